"""Redis: sessions and small counters. Never the only copy of anything (design 3): emptied, people
sign in again.

A session token is 256 random bits; Redis holds its hash, so a dump of Redis signs nobody in. What
Redis holds beside it is sealed by the vault to that token and kind, with the time at which it is
over, so whoever can write to Redis signs nobody in either: neither by a session of his own making,
nor by another's copied under his token, nor by one that he kept until after its end. What a session
may do is not in it: rights are read from the database at each request.

What is read is kept in the process for `LOCAL_SECONDS`, which bounds how long an ended session still
works. All sessions of one subject (a member, a clerk) can be ended at once: a sorted set for each
subject holds their keys, by when they are over.
"""

from __future__ import annotations

import logging
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services import ids, lua
from services.cache import TtlCache
from services.clock import Clock
from services.errors import Unavailable
from services.security.vault import CannotOpen, Vault
from services.store.groupcommit import GroupCommit

log = logging.getLogger(__name__)

LOCAL_SECONDS = 2.0
_LOCAL_LIMIT = 20_000

_VAULT = ":sessions"
"""In place of a tenant, which is not known before a session is open; no bank can be called that."""

Session = dict[str, Any]


class Sessions:
    """Sessions by token. `kind` (customer, staff, clerk, ticket) is part of the key: a token of one face
    opens no other."""

    def __init__(self, redis: Redis, clock: Clock, vault: Vault, *, hours: int) -> None:
        self._redis = redis
        self._clock = clock
        self._vault = vault
        self._ttl = hours * 3600
        self._local: TtlCache[str, Session] = TtlCache(_LOCAL_LIMIT)
        self._end_all: Any = redis.register_script(lua.script("services.security", "end_all"))
        self._reads: GroupCommit[str, bytes | None] = GroupCommit(
            "sessions", self._read_all, window=0, lanes=2
        )

    @property
    def seconds(self) -> int:
        """How long a session lives without being renewed."""
        return self._ttl

    async def open(
        self, kind: str, session: Session, *, subject: str = "", seconds: int | None = None
    ) -> str:
        """A new token for `session`, good for `seconds` (the usual time without); raises Unavailable
        when Redis is away. With a `subject`, `end_all` ends it too."""
        token = ids.token()
        key = _key(kind, token)
        lasts = seconds or self._ttl
        try:
            pipe: Any = self._redis.pipeline(transaction=True)
            pipe.set(key, self._seal(key, session, lasts), ex=lasts)
            if subject:
                now, every = self._clock(), _every_key(kind, subject)
                pipe.zremrangebyscore(every, "-inf", now)
                pipe.zadd(every, {key: now + self._ttl})
                pipe.expire(every, self._ttl)
            await pipe.execute()
        except RedisError as error:
            raise Unavailable(
                "sessions_unavailable", "sign-in is not possible at the moment"
            ) from error
        return token

    async def read(self, kind: str, token: str) -> Session | None:
        """The session of `token`, or None when it is unknown or over."""
        key = _key(kind, token)
        now = self._clock()
        known = self._local.get(key, now)
        if known is not None:
            return known
        raw = await self._reads.submit(key)
        session = None if raw is None else self._open(key, raw, now)
        if session is None:
            self._local.discard(key)
            return None
        self._local.put(key, session, now + LOCAL_SECONDS)
        return session

    async def take(self, kind: str, token: str) -> Session | None:
        """The session of `token`, which is over with that: of any number who ask at once, one gets
        it. None when it is unknown, over or taken; raises Unavailable."""
        key = _key(kind, token)
        try:
            raw = await self._redis.getdel(key)
        except RedisError as error:
            raise Unavailable(
                "sessions_unavailable", "sign-in is not possible at the moment"
            ) from error
        return None if raw is None else self._open(key, cast("bytes", raw), self._clock())

    def _seal(self, key: str, session: Session, lasts: int) -> bytes:
        sealed = {"until": self._clock() + lasts, "session": session}
        return self._vault.seal_json(_VAULT, "sessions", "session", key, sealed)

    def _open(self, key: str, raw: bytes, now: float) -> Session | None:
        """What was sealed under this very key and is not over; None for anything else."""
        try:
            sealed: Any = self._vault.open_json(_VAULT, "sessions", "session", key, raw)
        except CannotOpen:
            log.warning("a session in Redis is not one of ours, and is no session")
            return None
        return cast("Session", sealed["session"]) if now < sealed["until"] else None

    async def _read_all(self, keys: list[str]) -> list[bytes | None]:
        try:
            return cast("list[bytes | None]", await self._redis.mget(keys))
        except RedisError as error:
            raise Unavailable(
                "sessions_unavailable", "sessions cannot be read at the moment"
            ) from error

    async def end(self, kind: str, token: str) -> None:
        key = _key(kind, token)
        self._local.discard(key)
        try:
            await self._redis.delete(key)
        except RedisError as error:
            raise Unavailable(
                "sessions_unavailable", "signing out is not possible at the moment"
            ) from error

    async def end_all(self, kind: str, subject: str) -> int:
        """Ends every session of the subject, in every process within LOCAL_SECONDS; how many there
        were. Raises Unavailable."""
        try:
            keys = await self._end_all(keys=[_every_key(kind, subject)])
        except RedisError as error:
            raise Unavailable(
                "sessions_unavailable", "sessions cannot be ended at the moment"
            ) from error
        for key in keys:
            self._local.discard(key.decode())
        return len(keys)

    async def count(self, what: str, *, seconds: int) -> int:
        """Counts one more of `what`, and how many there were in the `seconds` that began with the
        first; raises Unavailable."""
        key = f"yq:counted:{ids.fingerprint(what.encode())[:32]}"
        try:
            pipe: Any = self._redis.pipeline(transaction=True)
            pipe.set(key, 0, nx=True, ex=seconds)
            pipe.incr(key)
            return int((await pipe.execute())[1])
        except RedisError as error:
            raise Unavailable(
                "sessions_unavailable", "sign-in is not possible at the moment"
            ) from error


def _every_key(kind: str, subject: str) -> str:
    return f"yq:sessions_of:{kind}:{subject}"


def _key(kind: str, token: str) -> str:
    return f"yq:session:{kind}:{ids.fingerprint(token.encode())}"
