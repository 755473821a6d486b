"""Who goes first, who waits how long, and what happens when the platform says that it was too much."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from services.limiter import Lane, Limiter, lane
from services.limiter.gate import FLUSH_SECONDS, Gate, Permit
from services.wechat.core.errors import BadRequest, NotSent, SlowDown, UnknownOutcome
from tests.support.waiting import until

Make = Callable[..., Limiter]
pytestmark = pytest.mark.usefixtures("patient")
OUT = "limit:wecom:ww1:/x:out"
COUNTS = "limit:wecom:ww1:/x"


@asynccontextmanager
async def call(limiter: Limiter, path: str = "/x") -> AsyncIterator[None]:
    async with limiter.passing("wecom", "ww1", path, 1.0):
        yield


async def counted(redis: Redis) -> int:
    """Calls in the minute's window."""
    return int(await redis.hget(COUNTS, "60:sum") or 0)


class Calls:
    """Calls that stay under way until they are let go, and the order in which they began."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.go = asyncio.Event()

    def start(self, limiter: Limiter, name: Lane, label: str) -> asyncio.Task[None]:
        async def run() -> None:
            with lane(name):
                async with call(limiter):
                    self.began.append(label)
                    await self.go.wait()

        self.tasks.append(asyncio.create_task(run()))
        return self.tasks[-1]

    async def begun(self, count: int) -> list[str]:
        async def there() -> bool:
            return len(self.began) >= count

        await until(there)
        return self.began


async def test_the_lanes_go_in_their_order_and_each_first_come_first_served(make: Make) -> None:
    limiter, calls = make(concurrency=1), Calls()
    calls.start(limiter, "normal", "first")
    await calls.begun(1)
    order: list[tuple[Lane, str]] = [
        ("bulk", "b1"),
        ("normal", "n1"),
        ("bulk", "b2"),
        ("welcome", "w1"),
        ("normal", "n2"),
    ]
    for name, label in order:
        calls.start(limiter, name, label)
        await asyncio.sleep(0)
    calls.go.set()
    await asyncio.gather(*calls.tasks)
    assert calls.began == ["first", "w1", "n1", "n2", "b1", "b2"]


@pytest.mark.parametrize("better", ["welcome", "normal"])
async def test_a_better_lane_of_another_process_goes_before_bulk(make: Make, better: Lane) -> None:
    """One place at a time, always wanted by twenty bulk calls here: one call over there does not wait for them."""
    here, there = make(concurrency=1), make(concurrency=1)
    done: list[str] = []

    async def bulk(number: int) -> None:
        with lane("bulk"):
            async with call(here):
                await asyncio.sleep(0.05)
                done.append(str(number))

    async def other() -> None:
        with lane(better):
            async with call(there):
                done.append("better")

    mass = [asyncio.create_task(bulk(number)) for number in range(20)]

    async def some() -> bool:
        return len(done) >= 3

    await until(some)
    before = len(done)
    await other()
    assert done.index("better") <= before + 3
    await asyncio.gather(*mass)


async def exhaust(limiter: Limiter, name: Lane) -> int:
    """How many calls in a row this lane may make until it would have to wait."""
    took = 0
    with lane(name):
        while True:
            try:
                async with call(limiter):
                    took += 1
            except SlowDown:
                return took


async def test_each_lane_leaves_a_little_of_the_allowance_to_those_before_it(make: Make) -> None:
    limiter = make(199, 600.0, patience=5.0, bulk_patience=5.0)
    assert await exhaust(limiter, "bulk") == 194
    assert await exhaust(limiter, "normal") == 3
    assert await exhaust(limiter, "welcome") == 2


async def test_a_large_allowance_is_used_up_at_once_by_welcomes_alone(make: Make) -> None:
    limiter = make(200, 600.0, patience=5.0, bulk_patience=5.0)
    assert await exhaust(limiter, "bulk") == 22
    assert await exhaust(limiter, "normal") == 24 - 22
    assert await exhaust(limiter, "welcome") == 200 - 24


async def test_only_the_welcome_may_use_the_last_place(make: Make) -> None:
    limiter, calls = make(concurrency=4), Calls()
    for number in range(5):
        calls.start(limiter, "normal", f"n{number}")
    await calls.begun(3)
    calls.start(limiter, "welcome", "w")
    assert await calls.begun(4) == ["n0", "n1", "n2", "w"]
    calls.go.set()
    await asyncio.gather(*calls.tasks)


async def test_processes_share_the_places_evenly(make: Make) -> None:
    one, two = make(concurrency=4), make(concurrency=4)
    under_way = {"one": 0, "two": 0}
    most = {"one": 0, "two": 0}
    made = {"one": 0, "two": 0}
    stop = asyncio.Event()

    async def caller(limiter: Limiter, name: str) -> None:
        while not stop.is_set():
            async with call(limiter):
                under_way[name] += 1
                most[name] = max(most[name], under_way[name])
                await asyncio.sleep(0.02)
                under_way[name] -= 1
                made[name] += 1

    first = [asyncio.create_task(caller(one, "one")) for _ in range(10)]

    async def settled() -> bool:
        return made["one"] >= 10

    await until(settled)
    second = [asyncio.create_task(caller(two, "two")) for _ in range(10)]

    async def both() -> bool:
        return made["two"] >= 20

    await until(both)
    stop.set()
    await asyncio.gather(*first, *second)
    assert most["one"] == 3
    assert most["two"] >= 1


async def test_a_cancelled_waiter_takes_nothing(make: Make, redis: Redis) -> None:
    limiter, calls = make(concurrency=1), Calls()
    calls.start(limiter, "normal", "first")
    await calls.begun(1)
    waiter = calls.start(limiter, "normal", "cancelled")
    await asyncio.sleep(FLUSH_SECONDS * 4)
    waiter.cancel()
    calls.start(limiter, "normal", "next")
    calls.go.set()
    await asyncio.gather(*calls.tasks, return_exceptions=True)
    assert calls.began == ["first", "next"]

    async def both_counted() -> bool:
        return await redis.zcard(OUT) == 0 and await counted(redis) == 2

    await until(both_counted)


async def test_a_permit_whose_waiter_is_cancelled_on_its_way_is_given_back_unused(make: Make, redis: Redis) -> None:
    limiter = make()
    for steps in range(12):
        waiter = asyncio.create_task(limiter.passing("wecom", "ww1", "/x", 1.0).__aenter__())
        for _ in range(steps):
            await asyncio.sleep(0.0001)
        waiter.cancel()
        done = await asyncio.gather(waiter, return_exceptions=True)
        if done == [None]:
            break

    async def nothing_out() -> bool:
        return await redis.zcard(OUT) <= 1 and await counted(redis) <= 1

    await until(nothing_out)


async def test_what_was_never_sent_is_not_counted_and_what_may_still_arrive_is(make: Make, redis: Redis) -> None:
    limiter = make()
    endings: list[tuple[Exception, int]] = [
        (NotSent(None, "", "/x"), 0),
        (UnknownOutcome(None, "", "/x"), 1),
        (BadRequest(40058, "", "/x"), 2),
        (ValueError(), 3),
    ]
    for error, count in endings:
        with pytest.raises(type(error)):
            async with call(limiter):
                raise error

        async def is_counted(count: int = count) -> bool:
            return await redis.zcard(OUT) == 0 and await counted(redis) == count

        await until(is_counted)


@pytest.mark.parametrize(("name", "patience", "bulk_patience"), [("normal", 5.0, 60.0), ("bulk", 60.0, 5.0)])
async def test_waiting_ends_with_the_time_at_which_to_try_again(
    make: Make, name: Lane, patience: float, bulk_patience: float
) -> None:
    limiter, began = make(1, 40.0, patience=patience, bulk_patience=bulk_patience), time.monotonic()
    async with call(limiter):
        pass
    with lane(name):
        with pytest.raises(SlowDown) as refused:
            async with call(limiter):
                raise AssertionError("was let through")
    assert refused.value.errcode is None
    assert 39 - (time.monotonic() - began) <= refused.value.retry_after <= 41
    assert limiter._metrics is not None
    assert limiter._metrics.platform_refused.labels("/x", name)._value.get() == 1


async def test_nobody_waits_who_would_wait_in_vain(make: Make) -> None:
    limiter = make(1, 3600.0, patience=600.0)
    async with call(limiter):
        pass
    async with asyncio.timeout(60):
        with pytest.raises(SlowDown):
            async with call(limiter):
                raise AssertionError("was let through")


async def draw(limiter: Limiter, errcode: int, count: int = 1) -> list[SlowDown]:
    """So many calls under way at once are answered with `errcode`."""
    ready = asyncio.Barrier(count)

    async def one() -> SlowDown:
        try:
            async with call(limiter):
                await ready.wait()
                raise SlowDown(errcode, "too many", "/x", retry_after=60)
        except SlowDown as error:
            return error

    return await asyncio.gather(*(one() for _ in range(count)))


async def test_a_drawn_45033_halves_what_may_be_under_way_and_it_grows_again(make: Make, redis: Redis) -> None:
    limiter, calls = make(concurrency=8), Calls()
    await draw(limiter, 45033, count=7)
    assert await redis.hget(COUNTS, "at_once") == b"4"
    for number in range(8):
        calls.start(limiter, "welcome", str(number))
    await calls.begun(4)
    await asyncio.sleep(0.1)
    assert len(calls.began) == 4
    await redis.hset(COUNTS, "cut", "%.6f" % (float((await redis.time())[0]) - 11))
    await calls.begun(6)
    calls.go.set()
    await asyncio.gather(*calls.tasks)


async def test_closing_sends_away_who_waits_and_gives_back_what_has_ended(make: Make, redis: Redis) -> None:
    limiter, calls = make(concurrency=1), Calls()
    calls.start(limiter, "normal", "first")
    await calls.begun(1)
    calls.start(limiter, "normal", "second")
    await asyncio.sleep(FLUSH_SECONDS * 4)
    calls.go.set()
    await calls.tasks[0]
    calls.go.clear()
    await calls.begun(2)
    third = calls.start(limiter, "normal", "third")
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await limiter.close()
        with pytest.raises(SlowDown):
            await third
    assert await redis.zcard(OUT) == 1
    assert await counted(redis) == 1
    calls.go.set()
    await asyncio.gather(*calls.tasks, return_exceptions=True)


async def test_an_api_without_a_known_limit_is_not_held_up(make: Make, redis: Redis) -> None:
    async with make().passing("wechat", "wx1", "/sns/jscode2session", 1.0):
        assert await redis.keys("limit:*") == []


async def test_who_is_cancelled_as_his_permit_comes_gives_it_back_unused(
    make: Make, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    limiter, calls, hand = make(), Calls(), Gate._hand

    def cancelled_meanwhile(gate: Gate, lane_: int, permit: Permit) -> None:
        hand(gate, lane_, permit)
        task.cancel()

    monkeypatch.setattr(Gate, "_hand", cancelled_meanwhile)
    task = calls.start(limiter, "normal", "cancelled")
    await asyncio.gather(task, return_exceptions=True)
    assert calls.began == []

    async def given_back() -> bool:
        return await redis.zcard(OUT) == 0

    await until(given_back, seconds=3)  # its lease is twice as long
    assert await counted(redis) == 0
