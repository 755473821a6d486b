"""Turns: what may be done by one process at a time, and is put off by the others."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services import lua

REDIS_SECONDS = 1.0
_GIVE_UP = lua.script("services.wechat.core", "unlock")
log = logging.getLogger(__name__)


@asynccontextmanager
async def turn(redis: Redis, name: str, seconds: int) -> AsyncIterator[bool]:
    """Whether `name` is this caller's until the block ends, or `seconds` at most. Without Redis it
    is everybody's: what a turn keeps apart must be safe, if only slower, without it."""
    key, owner = f"yq:turn:{name}", secrets.token_hex(8)
    mine = await _take(redis, key, owner, seconds)
    try:
        yield mine
    finally:
        if mine:
            await _give_up(redis, key, owner)


async def _take(redis: Redis, key: str, owner: str, seconds: int) -> bool:
    try:
        async with asyncio.timeout(REDIS_SECONDS):
            return bool(await redis.set(key, owner, nx=True, ex=seconds))
    except (RedisError, OSError) as error:
        log.warning("turns go on without Redis: %s", type(error).__name__)
        return True


async def _give_up(redis: Redis, key: str, owner: str) -> None:
    try:
        async with asyncio.timeout(REDIS_SECONDS):
            await redis.eval(_GIVE_UP, 1, key, owner)
    except (RedisError, OSError) as error:
        log.warning("a turn ends by itself: %s", type(error).__name__)
