"""Limiters on a real Redis that is empty at the start."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError

from config.settings import PlatformLimits
from deploy.stack import Stores
from services import limiter as limiter_package
from services.limiter import Limiter, gate
from services.observe.metrics import Metrics
from tests.support.waiting import until

ROOMY = [(1_000_000, 60.0)]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that is slow because the machine is busy does not count as away."""
    monkeypatch.setattr(gate, "REDIS_SECONDS", 30.0)
    monkeypatch.setattr(limiter_package, "REDIS_SECONDS", 30.0)


@pytest.fixture
async def redis(stores: Stores) -> AsyncIterator[Redis]:
    stores.start_all()
    async with Redis.from_url(stores.redis_url, socket_timeout=30, socket_connect_timeout=30) as client:

        async def flushed() -> bool:
            try:
                return bool(await client.flushdb())
            except BusyLoadingError:
                return False

        await until(flushed)
        yield client


@pytest.fixture
async def make(redis: Redis) -> AsyncIterator[Callable[..., Limiter]]:
    """`make(limit, seconds, **options)`: another process's limiter for the API /x, and for others if `apis` is given."""
    made: list[Limiter] = []

    def make(limit: int = 1000, seconds: float = 60.0, **options: Any) -> Limiter:
        figures = {"apis": {"wecom/x": [(limit, seconds)]}, "address": ROOMY}
        figures |= {name: options.pop(name) for name in tuple(options) if name in PlatformLimits.model_fields}
        limiter = Limiter(options.pop("redis", redis), PlatformLimits(**figures), Metrics(), **options)
        made.append(limiter)
        return limiter

    yield make
    for limiter in made:
        await limiter.close()
