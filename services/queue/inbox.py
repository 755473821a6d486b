"""The inbox: what happened, stored before anybody acts on it (contract/trust 1.3, promise P3).

`_id` is the hash of the tenant and the whole message, so one event delivered three times is one row
and fifty different events of one second are fifty. Rows are handled at least once; whoever handles
them makes the effects happen once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from redis.exceptions import RedisError

from services import ids
from services.clock import utc
from services.container import Services
from services.errors import Forbidden
from services.store.mongo import Doc

STORED, DUPLICATE = "stored", "duplicate"
WECOM, WECHAT = "wecom", "wechat"
"""The sources of what a platform told: WeCom, and a mini-program's message push
(`wechat:APPID`)."""
REWARDS = "rewards"
"""The source of what this product's own rewards tell its campaigns."""
URGENT_SECONDS = 86_400.0
"""Rows are handled in the order in which they are due: what is urgent is due since yesterday."""
_LOCAL_NONCES = 200_000


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
    refused = await services.store.insert_new_across("inbox", rows)
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
        "body": services.vault.seal(arrival.tenant, "inbox", "body", arrival.id, arrival.message),
        "at": utc(now),
        "open": True,
        "due": now - URGENT_SECONDS if arrival.urgent else now,
        "owner": None,
        "attempts": 0,
    }


async def _nonces_fit(services: Services, arrivals: list[Arrival]) -> list[bool]:
    """Whether each nonce is new, or was seen with this very message (a repeat is no attack).

    Redis keeps them for the callback window, for all processes; this process keeps its own as well,
    which is all there is while Redis is away.
    """
    taken = await _taken_elsewhere(services, [arrival for arrival in arrivals if arrival.nonce])
    asked = -1
    fits = []
    for arrival in arrivals:
        asked += bool(arrival.nonce)
        fits.append(
            not arrival.nonce
            or (asked not in taken and _seen_here(services, arrival) == arrival.id)
        )
    return fits


def _nonce_key(arrival: Arrival) -> str:
    return f"yq:nonce:{arrival.tenant}:{arrival.nonce[:64]}"


_REMEMBER = """
local taken = {}
for n, key in ipairs(KEYS) do
  if not redis.call('SET', key, ARGV[n + 1], 'NX', 'EX', ARGV[1]) then
    if redis.call('GET', key) ~= ARGV[n + 1] then taken[#taken + 1] = n - 1 end
  end
end
return taken
"""


async def _taken_elsewhere(services: Services, arrivals: list[Arrival]) -> set[int]:
    """Positions of the arrivals whose nonce Redis has seen with another message; none while Redis
    is away."""
    if not arrivals:
        return set()
    keys = [_nonce_key(arrival) for arrival in arrivals]
    remember: Any = services.cache.get("nonces.script")
    if remember is None:
        remember = services.cache["nonces.script"] = services.redis.register_script(_REMEMBER)
    try:
        window = services.settings.callback_window
        return set(await remember(keys=keys, args=[window, *(arrival.id for arrival in arrivals)]))
    except RedisError:
        services.metrics.redis_missed.labels("nonces").inc()
        return set()


def _seen_here(services: Services, arrival: Arrival) -> str:
    """The message id that this process holds for the nonce, ours where it held none that is young
    enough."""
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
