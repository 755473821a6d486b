"""The inbox: what happened, stored before anybody acts on it (trust.md 1.3, promise P3).

`_id` is the hash of the tenant and the whole message, so one event delivered three times is one row and fifty different events of
one second are fifty. Rows are handled at least once; whoever handles them makes the effects happen once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from redis.exceptions import RedisError

from services import ids
from services.clock import utc
from services.container import Services
from services.errors import Forbidden
from services.mongo import Doc

STORED, DUPLICATE = "stored", "duplicate"
_LOCAL_NONCES = 200_000


@dataclass(frozen=True)
class Arrival:
    """One message of `source`; `nonce` is what the sender said was used once (callbacks only)."""

    tenant: str
    source: str
    message: bytes
    nonce: str = ""

    @property
    def id(self) -> str:
        return f"{self.tenant}:{ids.fingerprint(self.source.encode() + b'|' + self.message)}"


async def receive(services: Services, arrival: Arrival) -> str:
    """Stores one message durably: STORED, or DUPLICATE when it is there already.

    Raises Forbidden `callback_replayed` when the nonce was seen with another message; nothing is stored then.
    """

    async def flush(arrivals: list[Arrival]) -> Sequence[str | Exception]:
        return await _flush(services, arrivals)

    answer = await services.groups.get("inbox", flush, limit=256, lanes=2).submit(arrival)
    return cast("str", answer)


async def _flush(services: Services, arrivals: list[Arrival]) -> Sequence[str | Exception]:
    fresh = await _nonces_fit(services, arrivals)
    wanted = [index for index, fits in enumerate(fresh) if fits]
    rows = [row_of(services, arrivals[index]) for index in wanted]
    refused = await services.store.insert_new_across("inbox", rows)
    answers: list[str | Exception] = [Forbidden("callback_replayed", "this nonce was used for another message")] * len(
        arrivals
    )
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
        "body": services.vault.seal(arrival.tenant, "inbox", "body", arrival.id, arrival.message),
        "at": utc(now),
        "open": True,
        "due": now,
        "owner": None,
        "attempts": 0,
    }


async def _nonces_fit(services: Services, arrivals: list[Arrival]) -> list[bool]:
    """Whether each nonce is new, or was seen with this very message (a repeat is no attack).

    Redis keeps them for the callback window, for all processes; this process keeps its own as well, which is all there is
    while Redis is away.
    """
    shared = await _seen_by_all(services, [arrival for arrival in arrivals if arrival.nonce])
    return [
        not arrival.nonce
        or (_seen_here(services, arrival) == arrival.id and shared.get(_nonce_key(arrival), arrival.id) == arrival.id)
        for arrival in arrivals
    ]


def _nonce_key(arrival: Arrival) -> str:
    return f"yq:nonce:{arrival.tenant}:{ids.fingerprint(arrival.nonce.encode())[:32]}"


async def _seen_by_all(services: Services, arrivals: list[Arrival]) -> dict[str, str]:
    """The message id that Redis holds for each nonce, ours where it held none; nothing while Redis is away."""
    if not arrivals:
        return {}
    pipe: Any = services.redis.pipeline(transaction=False)
    for arrival in arrivals:
        pipe.set(_nonce_key(arrival), arrival.id, nx=True, ex=services.settings.callback_window)
        pipe.get(_nonce_key(arrival))
    try:
        answers = await pipe.execute()
    except RedisError:
        services.metrics.redis_missed.labels("nonces").inc()
        return {}
    held = answers[1::2]
    return {_nonce_key(arrival): value.decode() for arrival, value in zip(arrivals, held, strict=True) if value}


def _seen_here(services: Services, arrival: Arrival) -> str:
    """The message id that this process holds for the nonce, ours where it held none that is young enough."""
    local: dict[str, tuple[float, str]] = services.cache.setdefault("nonces", {})
    if len(local) > _LOCAL_NONCES:
        local.clear()
    now = services.clock()
    key = _nonce_key(arrival)
    expires, message = local.get(key, (0.0, ""))
    if expires > now:
        return message
    local[key] = (now + services.settings.callback_window, arrival.id)
    return arrival.id
