"""How most tests begin, made once and put back for whoever needs it again: the rows, the tokens in Redis, the audit's
checkpoints and the sandbox as they were.

Putting back costs a tenth of making. What was made for other settings, or on another clock, or too long ago, is made anew.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import redis
from pydantic import SecretStr

from config.settings import Settings
from services.clock import Clock, system_clock
from services.container import Services
from tests.support.clock import MovedClock, StillClock
from tests.support.stores import Databases, Rows

if TYPE_CHECKING:
    from tests.conftest import Sandbox

TOO_OLD_SECONDS = 30.0
"""Sooner than anything that was made is due by itself: a live code is looked at after a minute."""
TOKENS = "wechat:token:*"
OF_THE_TEST = {"data_dir", "mongodb_database"}
"""Settings that are another test's with every test, and change nothing of what is made."""


@dataclass(frozen=True)
class Beginning:
    """Something as it was made; `now` is the still clock's time at its end."""

    name: str
    made_at: float
    now: float
    rows: Rows
    tokens: dict[bytes, tuple[int, bytes]]
    files: dict[Path, bytes]


class Beginnings:
    """Those of one worker. Whoever asks for them gets a database as the last test left it, until `begin`."""

    def __init__(self, databases: Databases, redis_url: str) -> None:
        self._databases = databases
        self._redis = redis.Redis.from_url(redis_url)
        self._made: dict[Hashable, Beginning] = {}

    async def begin(
        self, name: str, services: Services, sandbox: Sandbox, make: Callable[[], Awaitable[object]]
    ) -> None:
        """What `make` does to stores and sandbox that are empty; `name` says what that is. Whatever a fixture did
        before it would be lost, so that one must ask for what begins here."""
        assert sandbox.untouched, f"something was done in the sandbox before {name} began in it"
        clock = _of_clock(services.clock)
        key = (name, _of_settings(services.settings), clock)
        made = self._made.get(key)
        if made is not None and time.monotonic() - made.made_at < TOO_OLD_SECONDS:
            await self._put_back(made, services, sandbox)
            return
        self._databases.become(services.settings.mongodb_database, {})
        await make()
        if clock is not None:
            self._made[key] = await self._kept(f"{name} {len(self._made)}", services, sandbox)

    async def _kept(self, name: str, services: Services, sandbox: Sandbox) -> Beginning:
        await sandbox.control("POST", "keep", {"name": name})
        folder = services.settings.checkpoints
        return Beginning(
            name=name,
            made_at=time.monotonic(),
            now=getattr(services.clock, "now", 0.0),
            rows=self._databases.rows(services.settings.mongodb_database),
            tokens={key: (self._redis.pttl(key), self._redis.dump(key)) for key in self._redis.keys(TOKENS)},
            files={file.relative_to(folder): file.read_bytes() for file in folder.glob("*")},
        )

    async def _put_back(self, made: Beginning, services: Services, sandbox: Sandbox) -> None:
        await sandbox.control("POST", "reset", {"to": made.name})
        self._databases.become(services.settings.mongodb_database, made.rows)
        for key, (life, value) in made.tokens.items():
            self._redis.restore(key, life, value)
        for file, content in made.files.items():
            path = services.settings.checkpoints / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if isinstance(services.clock, StillClock):
            services.clock.now = made.now

    def close(self) -> None:
        self._redis.close()


def _of_settings(settings: Settings) -> Hashable:
    """Equal for settings with which the same would be made."""
    values = settings.model_dump(exclude=OF_THE_TEST)
    return tuple(
        (name, value.get_secret_value() if isinstance(value, SecretStr) else repr(value))
        for name, value in values.items()
    )


def _of_clock(clock: Clock) -> Hashable:
    """Equal for clocks on which the same would be made; None for one that nobody knows."""
    if clock is system_clock:
        return ("moved", 0.0)
    if isinstance(clock, MovedClock):
        return ("moved", clock.offset)
    if isinstance(clock, StillClock):
        return ("still", clock.now, clock.step)
    return None
