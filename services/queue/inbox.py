"""The inbox: what happened, stored before anybody acts on it (contract/trust 1.3, promise P3).

`_id` is the hash of the tenant and the whole message, so one event delivered three times is one row
and fifty different events of one second are fifty. Rows are handled at least once; whoever handles
them makes the effects happen once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, NotRequired, cast

from services import ids
from services.clock import utc
from services.container import Services
from services.errors import Forbidden
from services.queue.trace_rows import Traced, TraceRow
from services.store import batching, leases
from services.store.mongo import Doc, TenantStore
from services.store.rows import Rows

INBOX = Rows(
    "inbox",
    indexes=(
        (("tenant", 1), ("open", 1), ("due", 1)),
        (("tenant", 1), ("open", 1), ("lane", 1), ("due", 1)),
    ),
    sealed=("body",),
)
"""What happened, stored before anybody acts on it."""

STORED, DUPLICATE = "stored", "duplicate"
WECOM, WECHAT = "wecom", "wechat"
"""The sources of what a platform told: WeCom, and a mini-program's message push
(`wechat:APPID`)."""
REWARDS = "rewards"
"""The source of what this product's own rewards tell its campaigns."""
HAPPENED = "happened"
"""The source of what customers did, for whoever listens (customers/happenings.py)."""
STAFF, GREETING = "staff", "greeting"
"""The lanes of what waits behind nothing else: changes of who works at the bank, since a leaver's
sessions have 5 seconds, and what brings a welcome code, which has 20."""
URGENT_SECONDS = 86_400.0
"""Rows are handled in the order in which they are due: those of a lane are due since yesterday."""


class InboxRow(Traced):
    """A message and what became of it. `at` is when it was received, `due` seconds UTC; `body` is
    sealed. The fields that may be missing are those of a message that was handled, or tried; `left`
    is what has time of one whose urgent part is done."""

    _id: str
    tenant: str
    source: str
    body: bytes
    at: datetime
    open: bool
    due: float
    owner: str | None
    attempts: int
    lane: NotRequired[str]
    state: NotRequired[str | None]
    type: NotRequired[str]
    reason: NotRequired[str]
    left: NotRequired[Doc]


@dataclass(frozen=True)
class Arrival:
    """One message of `source`; `nonce` is what the sender said was used once (callbacks only).
    Those with a `lane` (STAFF, GREETING) are handled before all others that wait."""

    tenant: str
    source: str
    message: bytes
    nonce: str = ""
    lane: str = ""

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
    rows = [_row(services, arrivals[index]) for index in wanted]
    refused = await services.store.insert_new_across(INBOX, rows)
    answers: list[str | Exception] = [
        Forbidden("callback_replayed", "this nonce was used for another message")
    ] * len(arrivals)
    for position, index in enumerate(wanted):
        answers[index] = DUPLICATE if position in refused else STORED
    return answers


async def _nonces_fit(services: Services, arrivals: list[Arrival]) -> list[bool]:
    """Whether each arrival's nonce is its own; who has none is not asked for it."""
    used = [arrival for arrival in arrivals if arrival.nonce]
    uses = [(f"{one.tenant}:{one.source}:{one.nonce[:64]}", one.id) for one in used]
    fits = await services.nonces.fit(uses)
    refused = {id(arrival) for arrival, fit in zip(used, fits, strict=True) if not fit}
    return [id(arrival) not in refused for arrival in arrivals]


async def put(services: Services, arrival: Arrival) -> None:
    """Stores a message of our own; once, however often it is told."""
    await put_all(services, [arrival])


async def put_all(services: Services, arrivals: Sequence[Arrival]) -> None:
    """The same for several, in one write."""
    rows = [_row(services, arrival) for arrival in arrivals]
    await services.store.insert_new_across(INBOX, rows)


def _row(services: Services, arrival: Arrival) -> Doc:
    """The message as it is stored, ready to be handled."""
    now = services.clock()
    return {
        "_id": arrival.id,
        "tenant": arrival.tenant,
        "source": arrival.source,
        "body": services.vault.seal(arrival.tenant, INBOX, "body", arrival.id, arrival.message),
        "at": utc(now),
        "open": True,
        "due": now - URGENT_SECONDS if arrival.lane else now,
        "owner": None,
        "attempts": 0,
        "lane": arrival.lane,
    }


def message_of(services: Services, row: InboxRow) -> bytes:
    """The message as it was received."""
    return services.vault.open(row["tenant"], INBOX, "body", row["_id"], bytes(row["body"]))


async def end(
    services: Services, row: InboxRow, owner: str, trace: TraceRow, **fields: Any
) -> None:
    """Ends a row that is still `owner`'s, together with others that end alike in `fields`; its
    `trace` is its own."""
    own = {"trace": trace}
    await batching.close_each(services, row["tenant"], INBOX, owner, row["_id"], own, **fields)


async def put_back(
    db: TenantStore, row: InboxRow, owner: str, *, due: float, **fields: Any
) -> None:
    """Has a row that is still `owner`'s tried again at `due` (seconds UTC)."""
    await leases.put_back(db[INBOX], owner, [row["_id"]], due, **fields)


async def put_off(
    services: Services, row: InboxRow, owner: str, trace: TraceRow, left: Doc
) -> None:
    """Has a row that is still `owner`'s handled once more, for what is `left` of it, in its turn
    among all that is not urgent; together with others that are put off."""
    own = {"due": row["at"].timestamp(), "trace": trace, "left": left}
    await batching.close_each(
        services, row["tenant"], INBOX, owner, row["_id"], own, open=True, lane="", attempts=0
    )


async def give_up(db: TenantStore, row: InboxRow, owner: str, **fields: Any) -> None:
    """Ends a row that is still `owner`'s and was not handled."""
    await leases.close(db[INBOX], owner, [row["_id"]], **fields)


async def reopen(db: TenantStore, row_id: str, states: Collection[str], now: float) -> bool:
    """Has a row that ended in one of `states` handled again, as if it had just come; False when it
    is in none of them."""
    return await reopen_all(db, [row_id], states, now) == 1


async def reopen_all(
    db: TenantStore, row_ids: Sequence[str], states: Collection[str], now: float
) -> int:
    """The same for some rows; how many there were."""
    ended = {"_id": {"$in": list(row_ids)}, "open": False, "state": {"$in": list(states)}}
    again = {"open": True, "due": now, "attempts": 0, "state": None, "reason": ""}
    return await db[INBOX].update_many(ended, {"$set": again})


async def is_greeting_due(db: TenantStore, now: float) -> bool:
    """Whether somebody waits to be greeted, and nobody is at it."""
    waiting = {"open": True, "lane": GREETING, "due": {"$lte": now}}
    return bool(await db[INBOX].find(waiting, limit=1, fields={"_id": 1}))


async def exists(db: TenantStore, row_id: str) -> bool:
    """Whether there is a row with that `_id`."""
    return await db[INBOX].find_one({"_id": row_id}, {"_id": 1}) is not None


async def beginning_with(db: TenantStore, prefix: str, limit: int) -> list[InboxRow]:
    """Rows whose `_id` begins with `prefix`, which ends with hexadecimal digits."""
    found = await db[INBOX].find({"_id": {"$gte": prefix, "$lt": f"{prefix}g"}}, limit=limit)
    return cast("list[InboxRow]", found)


async def newest(
    db: TenantStore, *, waiting: bool, limit: int, before: float | None = None
) -> list[InboxRow]:
    """The rows that wait and were due last, or those that ended; `before` (seconds UTC) is the
    `due` of the last that is known."""
    wanted: Doc = {"open": waiting}
    if before is not None:
        wanted["due"] = {"$lte": before}
    found = await db[INBOX].find(wanted, sort=[("due", -1)], limit=limit)
    return cast("list[InboxRow]", found)


async def newest_in(db: TenantStore, state: str, limit: int) -> list[InboxRow]:
    """The newest rows that ended in that state."""
    ended = {"open": False, "state": state}
    found = await db[INBOX].find(ended, sort=[("due", -1)], limit=limit)
    return cast("list[InboxRow]", found)


async def by_ids(services: Services, tenant: str, wanted: Sequence[str]) -> list[InboxRow]:
    """The rows with these `_id`s, as far as they are there."""
    found = await batching.read(services, tenant, INBOX, wanted) if wanted else {}
    return cast("list[InboxRow]", list(found.values()))
