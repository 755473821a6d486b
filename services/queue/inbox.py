"""The inbox: what happened, stored before anybody acts on it (contract/trust 1.3, promise P3).

`_id` is the hash of the tenant and the whole message, so one event delivered three times is one row
and fifty different events of one second are fifty. Rows are handled at least once; whoever handles
them makes the effects happen once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

from services import ids
from services.clock import utc
from services.container import Services
from services.errors import Forbidden
from services.store.mongo import Doc
from services.store.rows import Rows

INBOX = Rows(
    "inbox",
    indexes=((("tenant", 1), ("open", 1), ("due", 1)),),
)
"""What happened, stored before anybody acts on it."""

STORED, DUPLICATE = "stored", "duplicate"
WECOM, WECHAT = "wecom", "wechat"
"""The sources of what a platform told: WeCom, and a mini-program's message push
(`wechat:APPID`)."""
REWARDS = "rewards"
"""The source of what this product's own rewards tell its campaigns."""
URGENT_SECONDS = 86_400.0
"""Rows are handled in the order in which they are due: what is urgent is due since yesterday."""


@dataclass(frozen=True)
class Arrival:
    """One message of `source`; `nonce` is what the sender said was used once (callbacks only).
    `urgent` ones are handled before all others that wait: a welcome has 20 seconds, a leaver's
    sessions 5."""

    tenant: str
    source: str
    message: bytes
    nonce: str = ""
    urgent: bool = False

    @cached_property
    def id(self) -> str:
        """The inbox row's `_id`."""
        return f"{self.tenant}:{ids.fingerprint(self.source.encode() + b'|' + self.message)}"


async def receive(services: Services, arrival: Arrival) -> str:
    """Stores one message durably: STORED, or DUPLICATE when it is there already.

    Raises Forbidden `callback_replayed` when the nonce was seen with another message; nothing is
    stored then.
    """

    async def flush(arrivals: list[Arrival]) -> Sequence[str | Exception]:
        return await _flush(services, arrivals)

    answer = await services.groups.get("inbox", flush, limit=256, lanes=2).submit(arrival)
    return cast("str", answer)


async def _flush(services: Services, arrivals: list[Arrival]) -> Sequence[str | Exception]:
    fresh = await _nonces_fit(services, arrivals)
    wanted = [index for index, fits in enumerate(fresh) if fits]
    rows = [row_of(services, arrivals[index]) for index in wanted]
    refused = await services.store.insert_new_across(INBOX, rows)
    answers: list[str | Exception] = [
        Forbidden("callback_replayed", "this nonce was used for another message")
    ] * len(arrivals)
    for position, index in enumerate(wanted):
        answers[index] = DUPLICATE if position in refused else STORED
    return answers


def row_of(services: Services, arrival: Arrival) -> Doc:
    """The inbox document of a message, ready to be handled; the message itself is sealed."""
    now = services.clock()
    return {
        "_id": arrival.id,
        "tenant": arrival.tenant,
        "source": arrival.source,
        "body": services.vault.seal(arrival.tenant, INBOX, "body", arrival.id, arrival.message),
        "at": utc(now),
        "open": True,
        "due": now - URGENT_SECONDS if arrival.urgent else now,
        "owner": None,
        "attempts": 0,
    }


async def _nonces_fit(services: Services, arrivals: list[Arrival]) -> list[bool]:
    """Whether each arrival's nonce is its own; who has none is not asked for it."""
    used = [arrival for arrival in arrivals if arrival.nonce]
    uses = [(f"{arrival.tenant}:{arrival.nonce[:64]}", arrival.id) for arrival in used]
    fits = await services.nonces.fit(uses)
    refused = {id(arrival) for arrival, fit in zip(used, fits, strict=True) if not fit}
    return [id(arrival) not in refused for arrival in arrivals]
