"""The process's cache: loaded once for all who wait, ended in time, bounded, and typed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from services.cache import ProcessCache, Slot, TtlCache, cached, invalidate


@dataclass
class Process:
    now: float = 1000.0
    cache: ProcessCache = field(init=False)
    loads: int = 0

    def __post_init__(self) -> None:
        self.cache = ProcessCache(lambda: self.now)

    async def load(self) -> int:
        self.loads += 1
        number = self.loads
        await asyncio.sleep(0.01)
        return number


async def test_all_who_come_while_it_loads_share_one_load() -> None:
    process = Process()
    assert await asyncio.gather(*(cached(process, "key", 5.0, process.load) for _ in range(50))) == [1] * 50
    process.now += 4.9
    assert await cached(process, "key", 5.0, process.load) == 1
    process.now += 0.1
    assert await cached(process, "key", 5.0, process.load) == 2


async def test_one_waiter_who_goes_away_leaves_the_load_to_the_others() -> None:
    process = Process()
    first = asyncio.create_task(cached(process, "key", 5.0, process.load))
    second = asyncio.create_task(cached(process, "key", 5.0, process.load))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second, process.loads) == (1, 1)


async def test_none_is_a_value_like_any_other() -> None:
    process = Process()

    async def nothing() -> None:
        await process.load()

    await cached(process, "key", 5.0, nothing)
    await cached(process, "key", 5.0, nothing)
    assert process.loads == 1


async def test_an_error_reaches_all_who_waited_and_is_not_kept() -> None:
    process = Process()

    async def broken() -> int:
        await process.load()
        raise OSError("away")

    found = await asyncio.gather(*(cached(process, "key", 5.0, broken) for _ in range(3)), return_exceptions=True)
    assert ([type(error) for error in found], process.loads) == ([OSError] * 3, 1)
    assert await cached(process, "key", 5.0, process.load) == 2


async def test_what_is_being_loaded_when_it_is_invalidated_is_not_kept() -> None:
    process = Process()
    before = asyncio.create_task(cached(process, "key", 5.0, process.load))
    await asyncio.sleep(0)
    invalidate(process, "key")
    after = asyncio.create_task(cached(process, "key", 5.0, process.load))
    assert (await before, await after) == (1, 2)
    assert await cached(process, "key", 5.0, process.load) == 2
    invalidate(process, "key")
    assert await cached(process, "key", 5.0, process.load) == 3


def test_a_full_cache_drops_what_was_put_first() -> None:
    held: TtlCache[str, int] = TtlCache(3)
    for n, key in enumerate("abcad"):
        held.put(key, n, until=10.0)
    assert ([held.get(key, 9.9) for key in "abcd"], len(held)) == ([3, None, 2, 4], 3)
    assert held.get("a", 10.0) is None
    held.discard("a")
    held.discard("a")
    held.clear()
    assert len(held) == 0


def test_a_slot_is_made_once_and_is_its_owners_alone() -> None:
    one: Slot[dict[str, int]] = Slot("numbers", dict)
    other: Slot[dict[str, int]] = Slot("numbers", dict)
    cache = ProcessCache(lambda: 0.0)
    cache.of(one)["n"] = 1
    assert (cache.of(one), cache.of(other)) == ({"n": 1}, {})
    assert "{'n': 1}" in repr(cache)


@pytest.mark.parametrize("seconds", [1.0, 60.0])
async def test_what_is_put_is_found(seconds: float) -> None:
    process = Process()
    process.cache.put("key", 7, seconds)
    assert await cached(process, "key", 5.0, process.load) == 7
    process.cache.clear()
    assert await cached(process, "key", 5.0, process.load) == 1
