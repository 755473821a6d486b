"""What a process keeps for a moment instead of asking again: one asks, all who come meanwhile wait
for that answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from services.container import Services

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class _Kept:
    until: float
    value: Any


async def kept(
    services: Services, key: str, seconds: float, load: Callable[[], Awaitable[Value]]
) -> Value:
    """`load()`'s answer, at most `seconds` old; its error reaches all who waited and is not
    kept."""
    entry = services.cache.get(key)
    if isinstance(entry, _Kept) and entry.until > services.clock():
        return cast("Value", entry.value)
    if not isinstance(entry, asyncio.Task):
        entry = services.cache[key] = asyncio.create_task(_load(services, key, seconds, load))
    return cast("Value", await asyncio.shield(entry))


async def _load(
    services: Services, key: str, seconds: float, load: Callable[[], Awaitable[Any]]
) -> Any:
    mine = asyncio.current_task()
    try:
        value = await load()
    except BaseException:
        if services.cache.get(key) is mine:
            del services.cache[key]
        raise
    if services.cache.get(key) is mine:
        services.cache[key] = _Kept(services.clock() + seconds, value)
    return value


def forget(services: Services, key: str) -> None:
    """The next one asks again; what is being asked at this moment is not kept."""
    services.cache.pop(key, None)
