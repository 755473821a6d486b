"""Redis away, back, or back without its memory: calls go on, and the allowance holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from deploy.stack import Stores
from services.limiter import Limiter
from services.wechat.core.errors import SlowDown
from tests.support.waiting import until

Make = Callable[..., Limiter]


async def take(limiter: Limiter, most: int) -> int:
    """How many calls the limiter lets through, one after the other, up to `most`."""
    for taken in range(most):
        try:
            async with limiter.passing("wecom", "ww1", "/x", 1.0):
                pass
        except SlowDown:
            return taken
    return most


@pytest.mark.kills_store
async def test_without_redis_each_process_has_its_share(make: Make, redis: Redis, stores: Stores) -> None:
    stores.kill9("redis")
    limiters = [make(80, 60.0) for _ in range(2)]
    assert [await take(limiter, 100) for limiter in limiters] == [9, 9]
    assert limiters[0]._metrics is not None
    assert limiters[0]._metrics.redis_missed.labels("limiter")._value.get() >= 1


async def test_a_block_holds_without_redis(make: Make) -> None:
    limiter = make(patience=0.2, redis=None, block_seconds=30.0)
    with pytest.raises(SlowDown):
        async with limiter.passing("wecom", "ww1", "/x", 1.0):
            raise SlowDown(45009, "too many", "/x")
    assert await take(limiter, 1) == 0


@pytest.mark.kills_store
@pytest.mark.alone
async def test_redis_learns_what_was_called_while_it_was_away(make: Make, redis: Redis, stores: Stores) -> None:
    limiter, other = make(80, 60.0), make(80, 60.0)
    assert await take(limiter, 3) == 3

    async def written() -> bool:
        """A Redis whose disk is busy answers before its log is written, and a kill loses that."""
        log = await redis.info("persistence")
        return not log.get("aof_buffer_length") and not log.get("aof_pending_bio_fsync")

    await until(written)
    stores.kill9("redis")
    assert await take(limiter, 4) == 4
    stores.start("redis")

    async def back() -> bool:
        return limiter.shared(asyncio.get_running_loop().time())

    await until(back)
    assert await take(limiter, 1) == 1
    assert await take(other, 100) == 79 - 8
    assert await take(limiter, 100) == 0


async def test_redis_that_lost_its_memory_is_told_by_every_process_before_it_grants(make: Make, redis: Redis) -> None:
    one, two = make(80, 60.0), make(80, 60.0)
    assert [await take(one, 30), await take(two, 20)] == [30, 20]
    await redis.flushdb()
    assert [await take(one, 1), await take(two, 1)] == [1, 1]
    assert await take(one, 100) == 79 - 52


async def test_calls_that_are_under_way_survive_the_loss_of_redis_memory(make: Make, redis: Redis) -> None:
    limiter, other = make(80, 60.0, patience=2.0, concurrency=2), make(80, 60.0, patience=2.0, concurrency=2)
    async with limiter.passing("wecom", "ww1", "/x", 1.0):
        await redis.flushdb()
        async with limiter.passing("wecom", "ww1", "/x", 1.0):
            assert await take(other, 1) == 0
    assert await take(other, 100) == 79 - 2
