"""P10: a limit that the platform claims is probed by one call at a time, and over as soon as one passes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from services.limiter import Lane, Limiter, lane, view
from services.limiter.blocks import PROBE_MOST, PROBE_SECONDS
from services.limiter.gate import Keys
from services.wechat.core.errors import BadRequest, NotSent, SlowDown, TokenRejected, UnknownOutcome
from tests.support.waiting import until

Make = Callable[..., Limiter]
pytestmark = pytest.mark.usefixtures("patient")
KEYS = Keys("wecom", "ww1", "/x")
TEXTS = [
    "api freq out of limit",
    "reach max api minute limit",
    "reach max api hour limit",
    "reach max api daily quota limit",
]


@asynccontextmanager
async def call(limiter: Limiter, path: str = "/x", corp: str = "ww1") -> AsyncIterator[None]:
    async with limiter.passing("wecom", corp, path, 1.0):
        yield


class Closed:
    """A platform that answers 45009 while it is `closed`, and counts who asked."""

    def __init__(self, errmsg: str = "reach max api daily quota limit") -> None:
        self.closed = True
        self.errmsg = errmsg
        self.asked: list[str] = []

    async def ask(self, limiter: Limiter, label: str = "", path: str = "/x") -> None:
        async with call(limiter, path):
            self.asked.append(label)
            await asyncio.sleep(0.01)
            if self.closed:
                raise SlowDown(45009, self.errmsg, path, retry_after=60)

    async def met(self, limiter: Limiter, label: str = "", path: str = "/x") -> SlowDown:
        with pytest.raises(SlowDown) as refused:
            await self.ask(limiter, label, path)
        return refused.value


async def age(redis: Redis, seconds: float, key: str = KEYS.block) -> None:
    """So many seconds go by for the block."""
    for field in ("over", "refused", "since", "probing"):
        value = float(await redis.hget(key, field) or 0)
        await redis.hset(key, field, "%.6f" % (value - seconds))


@pytest.mark.parametrize("errmsg", TEXTS)
async def test_the_first_call_that_passes_ends_the_block_for_everybody(make: Make, redis: Redis, errmsg: str) -> None:
    one, two, platform = make(), make(), Closed(errmsg)
    refused = await platform.met(one)
    assert refused.retry_after == PROBE_SECONDS
    assert [key.name for key in await view.blocked(two, [("wecom", "ww1")])] == ["/x"]
    platform.closed = False
    began = time.monotonic()
    await platform.ask(two)
    assert PROBE_SECONDS * 0.8 <= time.monotonic() - began < PROBE_SECONDS + 3
    await asyncio.gather(*(platform.ask(limiter) for limiter in (one, two) for _ in range(5)))
    assert await view.blocked(one, [("wecom", "ww1")]) == {}


async def test_one_call_probes_and_all_others_wait_for_what_it_comes_to(make: Make) -> None:
    limiters, platform = [make(), make()], Closed()
    await platform.met(limiters[0])
    platform.asked.clear()
    waiting = [asyncio.create_task(platform.met(limiter)) for limiter in limiters for _ in range(10)]
    await asyncio.sleep(PROBE_SECONDS + 1)
    assert len(platform.asked) == 1
    platform.closed = False
    passed = [asyncio.create_task(platform.ask(limiters[0])) for _ in range(10)]
    await asyncio.gather(*passed)
    await asyncio.gather(*waiting, return_exceptions=True)
    assert len(platform.asked) >= 11


async def test_the_welcome_probes_first_and_most_often(make: Make, redis: Redis) -> None:
    limiter, platform = make(patience=0.2, bulk_patience=0.2), Closed()
    names: tuple[Lane, ...] = ("welcome", "normal", "bulk")
    with lane("bulk"):
        await platform.met(limiter)
    for _ in range(8):
        await age(redis, max(PROBE_MOST))
        with lane("bulk"):
            await platform.met(limiter)
    waits = {}
    for name in names:
        with lane(name):
            waits[name] = (await platform.met(limiter)).retry_after
    assert waits == dict(zip(names, PROBE_MOST, strict=True))
    await age(redis, PROBE_MOST[0])
    tasks = []
    for name in reversed(names):
        with lane(name):
            tasks.append(asyncio.create_task(platform.met(limiter, name)))
    platform.asked.clear()
    await asyncio.gather(*tasks)
    assert platform.asked == ["welcome"]


async def test_the_pause_between_probes_grows_with_each_refusal(make: Make, redis: Redis) -> None:
    limiter, platform = make(), Closed()
    waits = []
    with lane("bulk"):
        for _ in range(9):
            waits.append((await platform.met(limiter)).retry_after)
            await age(redis, waits[-1])
    assert waits[:6] == [2, 4, 8, 16, 30, 64]  # after 60 s the wait is over, and one may try in any case
    assert waits[-1] == PROBE_MOST[2]


async def test_only_a_probe_that_is_refused_after_the_wait_makes_the_next_one_longer(make: Make, redis: Redis) -> None:
    limiter, platform, lengths = make(), Closed(), []
    for _ in range(6):
        await platform.met(limiter)
        await age(redis, 5)  # a probe within the wait
        await platform.met(limiter)
        over, now = float(await redis.hget(KEYS.block, "over") or 0), float((await redis.time())[0])
        lengths.append(over - now)
        await age(redis, over - now + 1)
    assert lengths[:2] == [pytest.approx(60, abs=20), pytest.approx(3600, abs=20)]
    assert 0 < lengths[2] <= 86_400
    assert round(lengths[3] / 3600) == 30 * 24
    assert await redis.hget(KEYS.block, "level") == b"3"


async def test_a_mini_programs_wait_is_never_longer_than_until_the_next_day(make: Make, redis: Redis) -> None:
    limiter, keys = make(apis={"wechat/x": [(100, 60.0)]}), Keys("wechat", "wx1", "/x")
    for _ in range(6):
        with pytest.raises(SlowDown):
            async with limiter.passing("wechat", "wx1", "/x", 1.0):
                raise SlowDown(45009, "reach max api month limit", "/x")
        left = float(await redis.hget(keys.block, "over") or 0) - time.time()
        await age(redis, left + 1, keys.block)
    assert await redis.hget(keys.block, "level") == b"2"


async def test_answers_of_calls_that_were_under_way_belong_to_the_block(make: Make, redis: Redis) -> None:
    limiter, ready = make(), asyncio.Barrier(5)

    async def one(number: int) -> None:
        async with call(limiter):
            await ready.wait()
            await asyncio.sleep(number * 0.02)
            if number < 4:
                raise SlowDown(45009, "too many", "/x")

    await asyncio.gather(*(one(number) for number in range(5)), return_exceptions=True)
    assert await redis.hget(KEYS.block, "refusals") == b"1"
    assert await redis.exists(KEYS.block)  # the fifth passed, and says nothing: it was sent before


@pytest.mark.parametrize(
    ("error", "ends"),
    [
        (BadRequest(40058, "", "/x"), True),
        (TokenRejected(42001, "", "/x"), False),
        (UnknownOutcome(None, "", "/x"), False),
        (NotSent(None, "", "/x"), False),
    ],
)
async def test_a_probe_that_says_nothing_of_the_limit_leaves_the_place_to_the_next(
    make: Make, redis: Redis, error: Exception, ends: bool
) -> None:
    limiter, platform = make(), Closed()
    await platform.met(limiter)
    await age(redis, PROBE_SECONDS)
    with pytest.raises(type(error)):
        async with call(limiter):
            raise error
    assert bool(await redis.exists(KEYS.block)) is not ends
    platform.closed = False
    await platform.ask(limiter)
    assert not await redis.exists(KEYS.block)


async def test_a_probe_whose_process_died_does_not_hold_the_place(make: Make, redis: Redis) -> None:
    limiter, other, platform = make(), make(), Closed()
    await platform.met(limiter)
    await age(redis, PROBE_SECONDS)
    hanging = limiter.passing("wecom", "ww1", "/x", 1.0)
    await hanging.__aenter__()
    platform.closed = False
    await platform.ask(other)
    assert not await redis.exists(KEYS.block)
    await hanging.__aexit__(None, None, None)


async def test_one_apis_block_is_no_others_and_no_other_corps(make: Make) -> None:
    limiter, platform = make(apis={"wecom/*": [(1000, 60.0)]}), Closed()
    await platform.met(limiter)
    async with asyncio.timeout(PROBE_SECONDS / 2):
        async with call(limiter, "/y"):
            pass
        async with call(limiter, "/x", "ww2"):
            pass


async def test_what_is_blocked_behind_the_same_address_is_tried_as_soon_as_one_of_it_passed(
    make: Make, redis: Redis
) -> None:
    limiter, platform = make(apis={"wecom/*": [(1000, 60.0)]}), Closed()
    for path in ("/x", "/y", "/z"):
        for _ in range(5):
            await platform.met(limiter, path=path)
            await age(redis, 200, Keys("wecom", "ww1", path).block)
        await age(redis, -200, Keys("wecom", "ww1", path).block)
    await age(redis, 4.5)
    platform.closed = False
    with lane("welcome"):
        await platform.ask(limiter, path="/x")
    began = time.monotonic()
    with lane("bulk"):
        await asyncio.gather(*(platform.ask(limiter, path=path) for path in ("/y", "/z")))
    assert time.monotonic() - began < 2
    assert await view.blocked(limiter, [("wecom", "ww1")]) == {}


async def test_an_api_without_a_known_limit_is_blocked_when_the_platform_says_so(make: Make, redis: Redis) -> None:
    limiter, asked = make(patience=0.2), []

    async def log_in() -> None:
        async with limiter.passing("wechat", "wx1", "/sns/jscode2session", 1.0):
            asked.append(1)
            raise SlowDown(45009, "reach max api daily quota limit", "/sns/jscode2session")

    for _ in range(5):
        with pytest.raises(SlowDown):
            await log_in()
    assert asked == [1]
    found = await view.blocked(limiter, [("wechat", "wx1")])
    assert [key.name for key in found] == ["/sns/jscode2session"]
    await age(redis, PROBE_SECONDS, next(iter(found)).block)
    for _ in range(2):
        async with limiter.passing("wechat", "wx1", "/sns/jscode2session", 1.0):
            pass


async def test_a_person_can_lift_a_block(make: Make) -> None:
    one, two, platform = make(), make(patience=0.2), Closed()
    await platform.met(one)
    platform.closed = False
    assert await platform.met(two)
    assert await view.lift(one, "wecom", "ww1", "/x")
    assert not await view.lift(one, "wecom", "ww1", "/x")
    await platform.ask(two)


async def test_what_is_used_and_blocked_can_be_seen(make: Make) -> None:
    limiter, platform = make(apis={"wecom/*": [(100, 60.0), (1000, 3600.0)]}), Closed("reach max api daily quota limit")
    for _ in range(3):
        async with call(limiter, "/y"):
            pass
    refused = await platform.met(limiter)

    async def told() -> bool:
        (x, y) = await view.states(limiter, "wecom", "ww1")
        return (x.under_way, x.windows[0].used, y.windows[0].used) == (0, 1, 3)

    await until(told)
    (x, y) = await view.states(limiter, "wecom", "ww1")
    assert [(used.seconds, used.used, used.most) for used in y.windows] == [(60.0, 3, 100), (3600.0, 3, 1000)]
    assert y.block is None
    assert x.block is not None
    assert (x.block.errcode, x.block.errmsg, x.block.refusals) == (45009, refused.errmsg, 1)
    assert 55 <= (x.block.until - x.block.since).total_seconds() <= 61


async def test_without_redis_a_process_probes_for_itself(make: Make) -> None:
    limiter, platform = make(redis=None, patience=5.0), Closed()
    refused = await platform.met(limiter)
    assert refused.retry_after == PROBE_SECONDS
    platform.closed = False
    async with asyncio.timeout(PROBE_SECONDS + 3):
        await asyncio.gather(*(platform.ask(limiter) for _ in range(5)))


async def test_redis_that_lost_its_memory_costs_one_more_refusal(make: Make, redis: Redis) -> None:
    limiter, platform = make(patience=0.2), Closed()
    await platform.met(limiter)
    await platform.met(limiter)
    assert len(platform.asked) == 1
    await redis.flushdb()
    for _ in range(5):
        await platform.met(limiter)
    assert len(platform.asked) == 2
