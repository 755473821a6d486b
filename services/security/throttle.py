"""How often somebody may ask: so many at once, and then as fast as they grow back.

Redis counts for all processes, in one round trip for all who ask at the same moment; a process
counts for itself while Redis is away, and what is only read it always counts for itself. Who asks is
in Redis as a hash, and for no longer than his rate says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services import ids, lua
from services.cache import TtlCache
from services.clock import Clock
from services.errors import TooMany
from services.observe.metrics import Metrics
from services.store.groupcommit import GroupCommit

MOST_LOCAL = 50_000
"""So many who ask are counted by a process; of more the first are forgotten."""


@dataclass(frozen=True, slots=True)
class Rate:
    """`most` at once; that many grow back in `seconds`. One that is not `shared` is each process's
    own."""

    name: str
    most: int
    seconds: float
    shared: bool = True

    @property
    def each(self) -> float:
        """Seconds in which one grows back."""
        return self.seconds / self.most


@dataclass(frozen=True, slots=True)
class _Take:
    rate: Rate
    key: str
    count: int


class Throttle:
    """Counts who asks."""

    def __init__(self, redis: Redis, clock: Clock, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._script: Any = redis.register_script(lua.script("services.security", "take"))
        self._local: TtlCache[str, float] = TtlCache(MOST_LOCAL)
        self._takes: GroupCommit[_Take, float] = GroupCommit(
            "throttle", self._take_all, window=0, lanes=2
        )

    async def take(self, rate: Rate, who: str) -> None:
        """One of `rate` for `who`; raises TooMany `too_many_requests` when there is none left."""
        taken = self._what(rate, who, 1)
        wait = await self._takes.submit(taken) if rate.shared else self._take_here(taken)
        if wait > 0:
            raise TooMany(
                "too_many_requests",
                "that was too often; wait and try again",
                retry_after=max(1, math.ceil(wait)),
            )

    async def give_back(self, rate: Rate, who: str) -> None:
        """One that was taken in vain: what it was for did not happen, and not by his doing."""
        given = self._what(rate, who, -1)
        if rate.shared:
            await self._takes.submit(given)
        else:
            self._take_here(given)

    def _what(self, rate: Rate, who: str, count: int) -> _Take:
        asking = f"{rate.name}|{who}"
        key = f"yq:rate:{ids.fingerprint(asking.encode())[:32]}" if rate.shared else asking
        return _Take(rate, key, count)

    async def _take_all(self, takes: list[_Take]) -> Sequence[float]:
        args = [each for one in takes for each in (one.rate.each, one.rate.most, one.count)]
        try:
            waits = await self._script(keys=[one.key for one in takes], args=args)
        except RedisError:
            self._metrics.redis_missed.labels("throttle").inc()
            return [self._take_here(one) for one in takes]
        return [float(wait) for wait in waits]

    def _take_here(self, one: _Take) -> float:
        """The same as the script, by this process's own count."""
        now, rate = self._clock(), one.rate
        rested = max(self._local.get(one.key, now) or 0.0, now) + one.count * rate.each
        wait = rested - now - rate.seconds
        if one.count > 0 and wait > 0.001:
            return wait
        self._local.put(one.key, rested, rested)
        return 0.0
