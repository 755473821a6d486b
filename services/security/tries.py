"""How often somebody may fail: tries are begun before they are judged and ended by how they went, so
that a hundred at once are no more than one after the other. Good ones cost nothing.

Redis counts; emptied, everybody begins anew. A name or an address is in it as a hash only.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services import ids, lua
from services.errors import TooMany, Unavailable

WAIT_SECONDS = 15.0
"""How long a try waits for those under way that may yet fill its limit."""
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


class Tries:
    """Begins and ends tries."""

    def __init__(self, redis: Redis) -> None:
        self._begin: Any = redis.register_script(lua.script("services.security", "begin_tries"))
        self._end: Any = redis.register_script(lua.script("services.security", "end_tries"))

    @asynccontextmanager
    async def trying(
        self, limits: Sequence[Limit], failure: type[Exception]
    ) -> AsyncIterator[None]:
        """Around the judging of one try, which is good when nothing is raised. A `failure` counts
        under every limit, and another error under none. Raises LockedOut where a limit is reached
        already, and Unavailable without Redis."""
        await self._wait_for_leave(limits)
        ending = "void"
        try:
            yield
            ending = "passed"
        except failure:
            ending = "failed"
            raise
        finally:
            await self._ended(limits, ending)

    async def _wait_for_leave(self, limits: Sequence[Limit]) -> None:
        keys = [limit.key for limit in limits]
        args = [each for limit in limits for each in (limit.failures, limit.seconds * 1000)]
        loop = asyncio.get_running_loop()
        until = loop.time() + WAIT_SECONDS
        while True:
            told = await _asked(self._begin(keys=keys, args=args))
            if told[0] == b"go":
                return
            if told[0] == b"over":
                seconds = max(1, math.ceil(int(told[1]) / 1000))
                raise LockedOut(retry_after=seconds, first=bool(told[2]))
            if loop.time() > until:
                raise LockedOut(retry_after=1, first=False)
            await asyncio.sleep(_POLL_SECONDS)

    async def _ended(self, limits: Sequence[Limit], how: str) -> None:
        keys = [limit.key for limit in limits]
        args: list[str | int] = [how]
        for limit in limits:
            args += [limit.failures, limit.seconds * 1000, int(limit.forgiven)]
        await _asked(self._end(keys=keys, args=args))


async def _asked(asking: Any) -> Any:
    try:
        return await asking
    except RedisError as error:
        raise Unavailable(
            "sessions_unavailable", "sign-in is not possible at the moment"
        ) from error
