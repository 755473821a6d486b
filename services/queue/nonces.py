"""Nonces of callbacks: each belongs to one message for as long as the callback window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services import lua
from services.cache import TtlCache
from services.clock import Clock
from services.observe.metrics import Metrics

MOST_LOCAL = 200_000


class Nonces:
    """Redis keeps the nonces of all processes; this process keeps its own as well, which is all
    there is while Redis is away. `window` is in seconds."""

    def __init__(self, redis: Redis, clock: Clock, metrics: Metrics, *, window: int) -> None:
        self._clock = clock
        self._metrics = metrics
        self._window = window
        self._remember: Any = redis.register_script(lua.script("services.queue", "take_nonces"))
        self._local: TtlCache[str, str] = TtlCache(MOST_LOCAL)

    async def fit(
        self, uses: Sequence[tuple[str, str]], *, seconds: int | None = None
    ) -> list[bool]:
        """Whether each (nonce, message id) is a nonce that is new, or was seen with this very
        message (a repeat is no attack). A nonce names its tenant and who sent it. They are kept for
        `seconds`, else for the window."""
        window = self._window if seconds is None else seconds
        taken = await self._taken_elsewhere(uses, window)
        return [
            position not in taken and self._seen_here(nonce, message, window) == message
            for position, (nonce, message) in enumerate(uses)
        ]

    async def _taken_elsewhere(self, uses: Sequence[tuple[str, str]], window: int) -> set[int]:
        """Positions whose nonce Redis has seen with another message; none while it is away."""
        if not uses:
            return set()
        keys = [_key(nonce) for nonce, _ in uses]
        args = [window, *(message for _, message in uses)]
        try:
            return set(await self._remember(keys=keys, args=args))
        except RedisError:
            self._metrics.redis_missed.labels("nonces").inc()
            return set()

    def _seen_here(self, nonce: str, message: str, window: int) -> str:
        """The message that this process holds for the nonce: `message` where it held none."""
        now = self._clock()
        known = self._local.get(nonce, now)
        if known is None:
            self._local.put(nonce, message, now + window)
        return known or message


def _key(nonce: str) -> str:
    return f"yq:nonce:{nonce}"
