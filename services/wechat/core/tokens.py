"""Access tokens: one fetch for all processes, kept in Redis, refreshed before they end
(contract/wechat A1, B1).

A token is keyed by tenant and app (an appid, or a corp with its agent), never by its secret.
Without Redis each process still fetches once for all its own callers. Nothing here loops on a
rejected token: `refresh` fetches at most once for everybody who was rejected with the same token,
and a fetch that brought the rejected token back is not repeated for `FRUITLESS_SECONDS`.

A secret that the platform refused is not tried again, by no process and after no restart, until the
bank is configured anew or a person says so: thousands of wrong ones close the platform to everybody
behind our address (contract/wechat D1).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field, replace
from typing import TypeVar

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services import lua
from services.clock import Clock, system_clock
from services.errors import YinqiaoError
from services.security.vault import Vault
from services.wechat.core.errors import BadConfig, PlatformError, SlowDown

EARLY_SECONDS = 300
HELD_SECONDS = 5
FRUITLESS_SECONDS = 30
FAILED_SECONDS = 8
"""How long a refused fetch is not repeated by its process: shorter than a welcome code lives, and
long enough to stay far below what closes the platform to our address."""
EARLY_FAILED_SECONDS = 30
EARLY_PAUSE_SECONDS = 60
LOCK_SECONDS = 10
WAIT_SECONDS = 5
REDIS_SECONDS = 1.0
_POLL_SECONDS = 0.05
BAD_SECRET = frozenset({40001, 40013, 40125})
"""What a token call answers to a wrong secret, or to one of another app (contract/wechat A1, B1)."""

_UNLOCK = lua.script("services.wechat.core", "unlock")

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Grant:
    """A token as the platform gave it; `expires_in` in seconds."""

    token: str = field(repr=False)
    expires_in: int


@dataclass(frozen=True, slots=True)
class App:
    """Whose token: `id` names the app within `tenant`.

    `fetch` asks the platform; its argument is the token that was just rejected, if one was. It
    raises PlatformError. `mark` tells one secret of the app from the next, and says nothing of it.
    """

    tenant: str
    id: str
    fetch: Callable[[str | None], Awaitable[Grant]] = field(repr=False, compare=False)
    mark: str = field(default="", repr=False)

    @property
    def key(self) -> str:
        return f"wechat:token:{self.tenant}:{self.id}"


@dataclass(frozen=True, slots=True)
class _Entry:
    token: str = field(repr=False)
    expires_at: float
    fetched_at: float
    fruitless_at: float = 0.0


def mark_of(secret: str) -> str:
    """The mark of a secret: a hash of what nobody can guess."""
    return hashlib.blake2b(secret.encode(), digest_size=12).hexdigest()


@dataclass(frozen=True, slots=True)
class RefusedSecret:
    """That the platform refused the secret with this `mark`, at `since` (seconds UTC)."""

    mark: str
    errcode: int
    errmsg: str
    path: str
    since: float


@dataclass(slots=True)
class _Held:
    """This process's copy, good until `look_at`; after that Redis is asked first."""

    entry: _Entry
    look_at: float


class TokenStore:
    """Shared access tokens. `redis` answers bytes; `vault` seals what is stored there; one store
    per event loop."""

    def __init__(
        self, redis: Redis | None, vault: Vault | None = None, clock: Clock = system_clock
    ) -> None:
        self._redis = redis
        self._vault = vault
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._mutexes: dict[str, asyncio.Lock] = {}
        self._flights: dict[tuple[str, str | None, bool], asyncio.Task[_Entry]] = {}
        self._failed: dict[str, tuple[float, PlatformError]] = {}
        self._refused: dict[str, tuple[float, RefusedSecret]] = {}
        self._early_at: dict[str, float] = {}

    async def get(self, app: App) -> str:
        """A token that is valid by its own date; raises PlatformError when none can be had.

        In its last 300 s a token is still answered while one caller of all processes fetches the
        next.
        """
        entry = await self._look(app)
        if entry is None:
            entry = await self._renew(app, None)
        elif self._due(entry):
            self._renew_early(app)
        return entry.token

    async def refresh(self, app: App, *, reject: str) -> str:
        """A token to try after the platform rejected `reject`: another one if there is one, else a
        fetched one.

        The platform may give the same token again (WeCom does while it is valid), so the caller
        must not loop.
        """
        entry = await self._look(app, fresh=True)
        if entry is None or entry.token == reject:
            entry = await self._renew(app, reject)
        return entry.token

    async def refused_secret(self, tenant: str, app_id: str) -> RefusedSecret | None:
        """Whether the platform refused the app's secret, so that it is not tried any more."""

        async def read(redis: Redis) -> bytes | str | None:
            return await redis.get(_refusal_key(tenant, app_id)) or b""

        stored = await self._ask(read, None)
        known = self._refused.get(_refusal_key(tenant, app_id))
        if stored is None:  # without Redis
            return known[1] if known else None
        return RefusedSecret(**orjson.loads(stored)) if stored else None

    async def retry_secret(self, tenant: str, app_id: str) -> bool:
        """Lets the app's secret be tried again; False when it was not refused."""
        key = _refusal_key(tenant, app_id)
        known = self._refused.pop(key, None) is not None
        self._failed.pop(f"wechat:token:{tenant}:{app_id}", None)
        return bool(await self._ask(lambda redis: redis.delete(key), 0)) or known

    async def check_secret(self, app: App) -> None:
        """Raises BadConfig when the platform has refused this very secret."""
        key, now = _refusal_key(app.tenant, app.id), self._clock()
        look_at, refusal = self._refused.get(key, (0.0, None))
        if now >= look_at:
            refusal = await self.refused_secret(app.tenant, app.id)
            if refusal is None:
                self._refused.pop(key, None)
            else:
                self._refused[key] = (now + HELD_SECONDS, refusal)
        if refusal is not None and refusal.mark == app.mark:
            raise BadConfig(refusal.errcode, refusal.errmsg, refusal.path)

    async def heard(self, app: App, error: PlatformError) -> None:
        """What a call came to that carried the app's secret: a refusal is written down."""
        if error.errcode not in BAD_SECRET:
            return
        now, errcode = self._clock(), error.errcode or 0
        refusal = RefusedSecret(app.mark, errcode, error.errmsg, error.path, now)
        key = _refusal_key(app.tenant, app.id)
        self._refused[key] = (now + HELD_SECONDS, refusal)
        await self._ask(lambda redis: redis.set(key, orjson.dumps(asdict(refusal))), None)

    async def aclose(self) -> None:
        """Ends what is still being fetched."""
        tasks = list(self._flights.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _due(self, entry: _Entry) -> bool:
        now = self._clock()
        return (
            entry.expires_at - now <= EARLY_SECONDS
            and now - entry.fetched_at >= EARLY_PAUSE_SECONDS
        )

    async def _look(self, app: App, *, fresh: bool = False) -> _Entry | None:
        """The valid token of this process's memory or of Redis; `fresh` asks Redis in any case."""
        now = self._clock()
        held = self._held.get(app.key)
        if held and now >= held.entry.expires_at:
            held = None
        if held and not fresh and now < held.look_at:
            return held.entry
        stored = await self._read(app)
        if stored and now < stored.expires_at:
            return self._hold(app, stored)
        return self._hold(app, held.entry) if held else None

    def _hold(self, app: App, entry: _Entry) -> _Entry:
        self._held[app.key] = _Held(entry, self._clock() + HELD_SECONDS)
        return entry

    def _renew_early(self, app: App) -> None:
        now = self._clock()
        if now - self._early_at.get(app.key, 0.0) < EARLY_FAILED_SECONDS:
            return
        self._early_at[app.key] = now
        _ = self._fly(app, None, early=True)

    async def _renew(self, app: App, reject: str | None) -> _Entry:
        until, error = self._failed.get(app.key, (0.0, None))
        if error and self._clock() < until:
            raise type(error)(
                error.errcode, error.errmsg, error.path, retry_after=error.retry_after
            )
        return await asyncio.shield(self._fly(app, reject, early=False))

    def _fly(self, app: App, reject: str | None, *, early: bool) -> asyncio.Task[_Entry]:
        """The one task of this process that answers this question, started if it is not under
        way."""
        key = (app.key, reject, early)
        task = self._flights.get(key)
        if task is None:
            task = self._flights[key] = asyncio.create_task(
                self._fetch_alone(app, reject, early=early)
            )
            task.add_done_callback(lambda done: self._landed(key, done))
        return task

    def _landed(self, key: tuple[str, str | None, bool], task: asyncio.Task[_Entry]) -> None:
        self._flights.pop(key, None)
        if not task.cancelled() and (error := task.exception()):
            log.warning("no access token for %s: %s", key[0], error)

    async def _fetch_alone(self, app: App, reject: str | None, *, early: bool) -> _Entry:
        """Fetches, alone among all processes, unless a second look finds that somebody has."""
        owner = secrets.token_hex(8)
        async with self._mutexes.setdefault(app.key, asyncio.Lock()):
            entry = await self._lock_or_find(app, owner, reject, early=early)
            try:
                return entry or await self._fetch(app, reject)
            finally:
                await self._unlock(app, owner)

    async def _lock_or_find(
        self, app: App, owner: str, reject: str | None, *, early: bool
    ) -> _Entry | None:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + WAIT_SECONDS
        while True:
            locked = await self._lock(app, owner)
            entry = await self._look(app, fresh=True)
            if entry and self._will_do(entry, reject, early=early and locked):
                return entry
            if locked or loop.time() >= give_up_at:
                return None
            await asyncio.sleep(_POLL_SECONDS)

    def _will_do(self, entry: _Entry, reject: str | None, *, early: bool) -> bool:
        if early:
            return not self._due(entry)
        return entry.token != reject or self._clock() - entry.fruitless_at < FRUITLESS_SECONDS

    async def _fetch(self, app: App, reject: str | None) -> _Entry:
        await self.check_secret(app)
        try:
            grant = await app.fetch(reject)
        except (BadConfig, SlowDown) as error:
            await self.heard(app, error)
            seconds = (
                min(error.retry_after, FAILED_SECONDS)
                if isinstance(error, SlowDown)
                else FAILED_SECONDS
            )
            self._failed[app.key] = (self._clock() + seconds, error)
            raise
        self._failed.pop(app.key, None)
        now = self._clock()
        if _refusal_key(app.tenant, app.id) in self._refused:
            await self.retry_secret(app.tenant, app.id)
        entry = _Entry(grant.token, now + grant.expires_in, now)
        if grant.token == reject:
            entry = replace(entry, fruitless_at=now)
        self._hold(app, entry)
        await self._write(app, entry, grant.expires_in)
        return entry

    async def _read(self, app: App) -> _Entry | None:
        async def read(redis: Redis) -> bytes | None:
            stored = await redis.get(app.key)
            return stored.encode() if isinstance(stored, str) else stored

        sealed = await self._ask(read, None)
        if sealed is None:
            return None
        try:
            raw = (
                self._vault.open(app.tenant, "tokens", "entry", app.id, sealed)
                if self._vault
                else sealed
            )
            return _Entry(**orjson.loads(raw))
        except (YinqiaoError, ValueError, TypeError):
            log.warning("the stored access token of %s cannot be read and is fetched anew", app.key)
            return None

    async def _write(self, app: App, entry: _Entry, seconds: int) -> None:
        raw = orjson.dumps(asdict(entry))
        sealed = (
            self._vault.seal(app.tenant, "tokens", "entry", app.id, raw) if self._vault else raw
        )
        await self._ask(lambda redis: redis.set(app.key, sealed, ex=seconds), None)

    async def _lock(self, app: App, owner: str) -> bool:
        """Whether the lock is ours; without Redis it always is."""

        async def take(redis: Redis) -> bool:
            return bool(await redis.set(f"{app.key}:lock", owner, nx=True, ex=LOCK_SECONDS))

        return await self._ask(take, True)

    async def _unlock(self, app: App, owner: str) -> None:
        await self._ask(lambda redis: redis.eval(_UNLOCK, 1, f"{app.key}:lock", owner), None)

    async def _ask(self, command: Callable[[Redis], Awaitable[T]], fallback: T) -> T:
        """Redis's answer, or `fallback` when Redis does not answer: it is never the only copy of
        anything."""
        if self._redis is None:
            return fallback
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                return await command(self._redis)
        except (RedisError, OSError) as error:
            log.warning("access tokens go on without Redis: %s", type(error).__name__)
            return fallback


def _refusal_key(tenant: str, app_id: str) -> str:
    return f"wechat:token:{tenant}:{app_id}:refused"
