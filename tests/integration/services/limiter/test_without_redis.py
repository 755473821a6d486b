"""Redis away, back, or back without its memory: calls go on, and the allowance holds."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from deploy.stack import Stores
from services.limiter import Limiter
from services.wechat.core.errors import SlowDown
from tests.support.waiting import until

Make = Callable[..., Limiter]


async def take(limiter: Limiter, most: int, path: str = "/x") -> int:
    """How many calls the limiter lets through, one after the other, up to `most`."""
    for taken in range(most):
        try:
            async with limiter.passing("wecom", "ww1", path, 1.0):
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


def written(redis: Redis) -> Callable[[], Awaitable[bool]]:
    """Whether its log is: a Redis whose disk is busy answers before, and a kill loses that."""

    async def asked() -> bool:
        log = await redis.info("persistence")
        return not log["aof_buffer_length"] and not log["aof_pending_bio_fsync"]

    return asked


def newest_log(folder: str) -> Path:
    return max(Path(folder).rglob("*.aof"), key=lambda file: file.stat().st_mtime)


async def log_of(redis: Redis) -> Path:
    return newest_log((await redis.config_get("dir"))["dir"])


async def told(limiter: Limiter) -> bool:
    """Whether Redis knows of all that has ended."""
    now = asyncio.get_running_loop().time()
    return limiter.shared(now) and not any(gate and gate._owes(now) for gate in limiter._gates.values())


def back(limiter: Limiter) -> Callable[[], Awaitable[bool]]:
    """Whether the limiter asks Redis again."""

    async def asked() -> bool:
        return limiter.shared(asyncio.get_running_loop().time())

    return asked


@pytest.mark.kills_store
@pytest.mark.alone
async def test_redis_learns_what_was_called_while_it_was_away(make: Make, redis: Redis, stores: Stores) -> None:
    limiter, other = make(80, 60.0), make(80, 60.0)
    assert await take(limiter, 3) == 3
    await until(written(redis))
    stores.kill9("redis")
    assert await take(limiter, 4) == 4
    stores.start("redis")
    await until(back(limiter))
    assert await take(limiter, 1) == 1
    assert await take(other, 100) == 79 - 8
    assert await take(limiter, 100) == 0


@pytest.mark.kills_store
@pytest.mark.alone
async def test_redis_that_lost_the_last_it_was_told_is_told_that_again_before_it_grants(
    make: Make, redis: Redis, stores: Stores
) -> None:
    limiter, other = make(80, 60.0), make(80, 60.0)
    assert await take(limiter, 1) == 1
    log = await log_of(redis)
    async with limiter.passing("wecom", "ww1", "/x", 1.0):
        await until(written(redis))
        kept = log.stat().st_size
    async with limiter.passing("wecom", "ww1", "/x", 1.0):
        assert await take(limiter, 1) == 1
        await asyncio.sleep(0.1)
        stores.kill9("redis")
        os.truncate(log, kept)  # as if the disk had been busy since
        stores.start("redis")
        assert await take(limiter, 1) == 1
        await until(back(limiter))
        assert await take(limiter, 1) == 1
        assert await take(other, 100) == 79 - 6
    assert await take(limiter, 100) == 0


@pytest.mark.kills_store
@pytest.mark.alone
async def test_what_all_apis_of_an_address_share_is_told_again_once(make: Make, redis: Redis, stores: Stores) -> None:
    """Of an hour, whose parts are longer than anything that Redis loses."""
    figures = {"apis": {"wecom/x": [(9000, 60.0)], "wecom/y": [(9000, 60.0)]}, "address": [(160, 3600.0)]}
    limiter, other = make(**figures), make(**figures)
    for path in ("/x", "/y"):
        assert await take(limiter, 5, path) == 5
    await until(lambda: told(limiter))
    log = await log_of(redis)
    await until(written(redis))
    kept = log.stat().st_size
    for path in ("/x", "/y"):
        assert await take(limiter, 1, path) == 1
    async with limiter.passing("wecom", "ww1", "/y", 1.0):
        await until(lambda: told(limiter))
        stores.kill9("redis")
        os.truncate(log, kept)
        stores.start("redis")
        await redis.connection_pool.disconnect()
        assert await take(limiter, 1) == 1
    await until(lambda: told(limiter))
    assert await take(other, 200) == 158 - 14


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
