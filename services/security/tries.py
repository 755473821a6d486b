"""How often somebody may fail: tries are begun before they are judged and ended by how they went, so
that a hundred at once are no more than one after the other. Good ones cost nothing. Whoever is killed
in the middle of a try holds its places for HOLD_SECONDS more, since nobody says any more that it goes
on. Those who wait for the same limit stand in one line, whose first alone asks Redis.

Redis counts; emptied, everybody begins anew. A name or an address is in it as a hash only.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services import ids, lua
from services.errors import TooMany, Unavailable

WAIT_SECONDS = 15.0
"""How long a try waits for those under way that may yet fill its limit."""
HOLD_SECONDS = 9.0
"""How long a try under way holds its places unless it says that it goes on, as it does three times in
that time: shorter than others wait, so that nobody is refused for the sake of a dead one."""
MOST_WAITING = 500
"""So many of a process wait for one limit; who comes then is told to come again."""
MOST_ASKING = 6
"""So many of a process ask Redis at once: a flood leaves its connections to others."""
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Limit:
    """At most `failures` of `what` in `seconds`; from the last of them on the way is shut for as
    long. With `forgiven`, a good try makes up for the failures before it."""

    what: str
    failures: int
    seconds: int
    forgiven: bool = False

    @property
    def key(self) -> str:
        return f"yq:failures:{ids.fingerprint(self.what.encode())[:32]}"


class LockedOut(TooMany):
    """Too many failures; `first` for the first who hears of it since the way is shut."""

    def __init__(self, *, retry_after: int, first: bool) -> None:
        super().__init__(
            "too_many_attempts", "too many tries; wait and try again", retry_after=retry_after
        )
        self.first = first


@dataclass(frozen=True)
class _Try:
    """One try under some limits."""

    id: str
    limits: Sequence[Limit]

    @property
    def keys(self) -> list[str]:
        """For each limit, where its failures are, and where its tries under way."""
        return [key for limit in self.limits for key in (limit.key, f"{limit.key}:begun")]


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


@dataclass
class _Line:
    """Those of this process who wait for one limit, in the order in which they came."""

    waiting: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Tries:
    """Begins and ends tries."""

    def __init__(self, redis: Redis) -> None:
        self._begin: Any = redis.register_script(lua.script("services.security", "begin_tries"))
        self._keep: Any = redis.register_script(lua.script("services.security", "keep_tries"))
        self._end: Any = redis.register_script(lua.script("services.security", "end_tries"))
        self._lines: dict[str, _Line] = {}
        self._asking = asyncio.Semaphore(MOST_ASKING)

    @asynccontextmanager
    async def trying(
        self, limits: Sequence[Limit], failure: type[Exception]
    ) -> AsyncIterator[None]:
        """Around the judging of one try, which is good when nothing is raised. A `failure` counts
        under every limit, and another error under none. Raises LockedOut where a limit is reached
        already, and Unavailable without Redis."""
        this = _Try(ids.token()[:16], limits)
        await self._wait_for_leave(this)
        going_on = asyncio.create_task(self._go_on(this))
        ending = "void"
        try:
            yield
            ending = "passed"
        except failure:
            ending = "failed"
            raise
        finally:
            going_on.cancel()
            await self._ended(this, ending)

    async def _go_on(self, this: _Try) -> None:
        """Says again and again that the try is under way."""
        while True:
            await asyncio.sleep(HOLD_SECONDS / 3)
            with suppress(Unavailable):  # the next time
                await self._ask(self._keep, this.keys[1::2], [this.id, _milliseconds(HOLD_SECONDS)])

    async def _wait_for_leave(self, this: _Try) -> None:
        until = asyncio.get_running_loop().time() + WAIT_SECONDS
        full = await self._asked_to_begin(this)
        while full is not None:
            full = await self._stand_in_line(this, full, until)

    async def _stand_in_line(self, this: _Try, full: Limit, until: float) -> Limit | None:
        """Waits for `full`; what is full then, or nothing when the try is begun."""
        line = self._lines.setdefault(full.key, _Line())
        if line.waiting >= MOST_WAITING:
            raise LockedOut(retry_after=1, first=False)
        line.waiting += 1
        try:
            async with asyncio.timeout_at(until):
                await line.turn.acquire()
            try:
                return await self._first_in_line(this, full, until)
            finally:
                line.turn.release()
        except TimeoutError:
            raise LockedOut(retry_after=1, first=False) from None
        finally:
            line.waiting -= 1
            if not line.waiting:
                self._lines.pop(full.key, None)

    async def _first_in_line(self, this: _Try, full: Limit, until: float) -> Limit | None:
        while (now := await self._asked_to_begin(this)) == full:
            if asyncio.get_running_loop().time() > until:
                raise LockedOut(retry_after=1, first=False)
            await asyncio.sleep(_POLL_SECONDS)
        return now

    async def _asked_to_begin(self, this: _Try) -> Limit | None:
        """Begins the try, or tells which limit may yet be filled by those under way; raises LockedOut
        where one is."""
        args: list[str | int] = [this.id, _milliseconds(HOLD_SECONDS)]
        args += [limit.failures for limit in this.limits]
        told = await self._ask(self._begin, this.keys, args)
        if told[0] == b"over":
            seconds = max(1, math.ceil(int(told[1]) / 1000))
            raise LockedOut(retry_after=seconds, first=bool(told[2]))
        return this.limits[int(told[1]) - 1] if told[0] == b"wait" else None

    async def _ended(self, this: _Try, how: str) -> None:
        args: list[str | int] = [this.id, how]
        for limit in this.limits:
            args += [limit.failures, _milliseconds(limit.seconds), int(limit.forgiven)]
        await self._ask(self._end, this.keys, args)

    async def _ask(self, script: Any, keys: list[str], args: Sequence[str | int]) -> Any:
        try:
            async with self._asking:
                return await script(keys=keys, args=args)
        except RedisError as error:
            raise Unavailable(
                "sessions_unavailable", "sign-in is not possible at the moment"
            ) from error
