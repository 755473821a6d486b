"""P10: whatever way the platform counts, many processes together never exceed it, and use at least 95 % of it."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import pytest
from redis.asyncio import Redis

from deploy.processes import ROOT
from deploy.stack import Stores
from services.limiter import Lane, Limiter, lane
from services.limiter.meters import ALIVE_SECONDS
from services.wechat.core.errors import SlowDown
from tests.integration.services.limiter.windows import Bucket, Fixed, Simulated, Sliding, Window

Make = Callable[..., Limiter]
pytestmark = pytest.mark.usefixtures("patient")


async def storm(
    limiters: Sequence[Limiter | None], platform: Simulated, *, callers: int, seconds: float, name: Lane = "normal"
) -> None:
    """So many callers for each limiter, who call again as soon as they have an answer."""
    end = time.time() + seconds

    async def caller(limiter: Limiter | None) -> None:
        while time.time() < end:
            try:
                async with limiter.passing("wecom", "ww1", "/x", 1.0) if limiter else nullcontext():
                    await platform.call()
            except SlowDown:
                await asyncio.sleep(0.05)

    watch = asyncio.create_task(platform.watch_stalls(limiters[0].redis if limiters[0] else None))
    with lane(name):
        await asyncio.gather(*(caller(limiter) for limiter in limiters for _ in range(callers)))
    watch.cancel()


def windows(limit: int, seconds: float) -> list[Window]:
    """Every way at once: an answer that one of them refuses counts as an overrun."""
    phases = [Fixed(limit, seconds, random.uniform(0, seconds)) for _ in range(5)]
    return [*phases, Sliding(limit, seconds), Bucket(limit, seconds)]


@pytest.mark.parametrize("name", ["welcome", "normal", "bulk"])
async def test_no_window_of_any_kind_is_overrun_and_95_percent_are_used_at_ten_times_the_demand(
    make: Make, name: Lane
) -> None:
    platform = Simulated(*windows(400, 2.0), latency=(0.001, 0.01))
    limiters = [make(400, 2.0, patience=1.5, bulk_patience=3.0) for _ in range(2)]
    await storm(limiters, platform, callers=30, seconds=6.5, name=name)
    assert (platform.overruns, platform.crowded) == (0, 0)
    assert platform.share(400, 2.0) >= 0.95


@pytest.mark.parametrize(("limit", "latency"), [(60, (0.01, 0.08)), (7, (0.0, 0.3)), (1, (0.0, 0.01))])
async def test_slow_answers_and_small_limits_cost_allowance_but_never_overrun(
    make: Make, limit: int, latency: tuple[float, float]
) -> None:
    platform = Simulated(*windows(limit, 1.0), latency=latency)
    await storm([make(limit, 1.0, patience=1.5) for _ in range(2)], platform, callers=20, seconds=3.5)
    assert (platform.overruns, platform.crowded) == (0, 0)
    assert len(platform.times) >= 2 * limit * platform.ran(3.5)


async def test_without_the_limiter_the_same_demand_overruns_every_window() -> None:
    platform = Simulated(*windows(400, 2.0))
    await storm([None, None], platform, callers=30, seconds=2.5)
    assert platform.overruns > 400
    assert platform.crowded > 400


async def test_a_minutes_and_an_hours_window_hold_together(make: Make) -> None:
    short, long = Sliding(20, 0.5), Sliding(60, 3.0)
    limiters = [make(apis={"wecom/x": [(20, 0.5), (60, 3.0)]}, patience=1.0) for _ in range(2)]
    platform = Simulated(short, long, latency=(0.0, 0.005))
    await storm(limiters, platform, callers=10, seconds=4.5)
    assert platform.overruns == 0
    assert len(platform.times) >= 100 * platform.ran(4.5)


async def test_the_source_address_is_shared_by_all_corps_and_apis(make: Make) -> None:
    figures = {"apis": {"wecom*": [(1000, 1.0)]}, "address": [(50, 1.0)], "patience": 1.0}
    one, two = make(**figures), make(**figures)
    window = Sliding(50, 1.0)
    platform = Simulated(window, latency=(0.0, 0.005), at_once=1000)
    end = time.time() + 2.5

    async def caller(limiter: Limiter, corp: str, path: str) -> None:
        while time.time() < end:
            try:
                async with limiter.passing("wecom", corp, path, 1.0):
                    await platform.call()
            except SlowDown:
                await asyncio.sleep(0.05)

    routes = [(limiter, corp, path) for limiter in (one, two) for corp in ("ww1", "ww2") for path in ("/x", "/y")]
    watch = asyncio.create_task(platform.watch_stalls(one.redis))
    await asyncio.gather(*(caller(*route) for route in routes for _ in range(3)))
    watch.cancel()
    assert platform.overruns == 0
    assert platform.share(50, 1.0) >= 0.9


async def test_hosts_behind_different_addresses_have_an_allowance_each(make: Make) -> None:
    for source in ("a", "b"):
        limiter = make(address=[(1, 60.0)], source=source)
        async with limiter.passing("wecom", "ww1", "/x", 1.0):
            pass
        with pytest.raises(SlowDown):
            async with limiter.passing("wecom", "ww2", "/x", 1.0):
                pass


PROCESS = """
import asyncio, random, sys, time
import orjson
from redis.asyncio import Redis
from config.settings import PlatformLimits
from services.limiter import Limiter, gate, lane
from services.wechat.core.errors import SlowDown

url, limit, window, seconds, lanes = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]), sys.argv[5]
gate.MARGIN_SECONDS, gate.REDIS_SECONDS = float(sys.argv[6]), 30.0

async def main():
    own = PlatformLimits(apis={"wecom/x": [(limit, window)]}, address=[(1000000, 60)])
    made = []
    async with Redis.from_url(url) as redis:
        limiter = Limiter(redis, own, patience=1.0)
        print("ready", flush=True)
        end = time.time() + seconds
        async def caller(name):
            with lane(name):
                while time.time() < end:
                    try:
                        async with limiter.passing("wecom", "ww1", "/x", 1.0):
                            await asyncio.sleep(random.uniform(0, 0.005))
                            made.append(time.time())
                            print(made[-1], flush=True)
                            await asyncio.sleep(random.uniform(0, 0.005))
                    except SlowDown:
                        await asyncio.sleep(0.05)
        stalled = 0.0
        async def watch():
            nonlocal stalled
            while True:
                before = time.monotonic()
                await asyncio.sleep(0.01)
                await redis.ping()
                late = time.monotonic() - before - 0.01
                stalled += late if late > 0.01 else 0.0
        watching = asyncio.create_task(watch())
        await asyncio.gather(*(caller(name) for name in lanes.split(",") for _ in range(15)))
        watching.cancel()
        await limiter.close()
        print("stalled", stalled, flush=True)

asyncio.run(main())
"""


async def process(stores: Stores, *arguments: object) -> asyncio.subprocess.Process:
    """A process that calls as often as it may and prints when the platform saw each call."""
    command = ["-c", PROCESS, stores.redis_url, *(str(argument) for argument in arguments)]
    started = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, limit=1 << 22
    )
    assert started.stdout is not None
    assert await started.stdout.readline() == b"ready\n"
    return started


async def times(started: asyncio.subprocess.Process) -> tuple[list[float], float]:
    """When the platform saw its calls, and for how many seconds it could not run (0 of one that was killed)."""
    assert started.stdout is not None
    lines = (await started.stdout.read()).splitlines()
    stalled = sum(float(line.split()[1]) for line in lines if line.startswith(b"stalled "))
    return [float(line) for line in lines if line[:1].isdigit() and line.count(b".") == 1], stalled


def most_in_a_window(moments: list[float], seconds: float) -> int:
    window, most = Sliding(1 << 30, seconds), 0
    for moment in sorted(moments):
        window.take(moment)
        most = max(most, len(window.taken))
    return most


async def test_processes_share_one_allowance(redis: Redis, stores: Stores) -> None:
    started = [await process(stores, 300, 2.0, 6.5, "normal,bulk", 5.0) for _ in range(3)]
    told = [await times(one) for one in started]
    assert [await one.wait() for one in started] == [0, 0, 0]
    seen, ran = [calls for calls, _ in told], [max(0.0, 1.0 - stalled / 6.5) for _, stalled in told]
    moments = sorted(moment for one in seen for moment in one)
    assert most_in_a_window(moments, 2.0) <= 300
    first = moments[0]
    assert sum(1 for moment in moments if moment < first + 6.0) >= 0.9 * 900 * min(ran)
    assert all(len(one) >= 0.1 * len(moments) * part for one, part in zip(seen, ran, strict=True))


async def test_a_killed_process_leads_to_no_overrun(redis: Redis, stores: Stores) -> None:
    started = [await process(stores, 100, 1.5, 7.0, "normal", 2.0) for _ in range(2)]
    assert started[0].stdout is not None
    early = [float(await started[0].stdout.readline()) for _ in range(30)]
    started[0].send_signal(signal.SIGKILL)
    seen = [(await times(one))[0] for one in started]
    seen[0] += early
    assert [await one.wait() for one in started] == [-signal.SIGKILL, 0]
    assert most_in_a_window([moment for one in seen for moment in one], 1.5) <= 100
    assert max(seen[1]) > max(seen[0])
    assert await redis.zcard("limit:wecom:ww1:/x:out") == 0


HOLDER = """
import asyncio, sys
from redis.asyncio import Redis
from config.settings import PlatformLimits
from services.limiter import Limiter

async def main():
    async with Redis.from_url(sys.argv[1]) as redis:
        limiter = Limiter(redis, PlatformLimits(concurrency=1, apis={"wecom/x": [(1000, 60)]}))
        async with limiter.passing("wecom", "ww1", "/x", float(sys.argv[2])):
            print("held", flush=True)
            await asyncio.Event().wait()

asyncio.run(main())
"""


async def held(stores: Stores, seconds: float) -> asyncio.subprocess.Process:
    """A process that has the only place, with a call that may take `seconds` and never ends."""
    command = (sys.executable, "-c", HOLDER, stores.redis_url, str(seconds))
    holder = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"held\n"
    return holder


async def test_the_only_place_is_free_again_long_before_the_call_of_its_killed_holder_would_be_over(
    make: Make, redis: Redis, stores: Stores
) -> None:
    holder = await held(stores, 600.0)
    holder.send_signal(signal.SIGKILL)
    await holder.wait()
    async with make(concurrency=1, patience=60.0).passing("wecom", "ww1", "/x", 1.0):
        assert await redis.hget("limit:wecom:ww1:/x", "60:sum") == b"1"


async def test_a_process_that_lives_keeps_its_place_though_its_call_hangs(make: Make, stores: Stores) -> None:
    holder = await held(stores, 600.0)
    try:
        with pytest.raises(SlowDown):
            async with make(concurrency=1, patience=2 * ALIVE_SECONDS).passing("wecom", "ww1", "/x", 1.0):
                pass
    finally:
        holder.send_signal(signal.SIGKILL)
        await holder.wait()


async def test_what_is_kept_in_redis_is_bounded_and_ends(make: Make, redis: Redis) -> None:
    platform = Simulated(latency=(0.0, 0.002))
    await storm([make(200, 0.5, patience=0.4)], platform, callers=20, seconds=2.5)
    fields = await redis.hlen("limit:wecom:ww1:/x")
    assert fields < 2 * (200 + 60)
    for key in await redis.keys("limit:*"):
        ends = await redis.ttl(key)  # -1: never, -2: it has ended in this moment
        assert key == b"limit:epoch" or (ends != -1 and ends < 2 * 3600)


async def test_an_uncontended_call_asks_redis_once(make: Make, redis: Redis) -> None:
    limiter = make()
    async with limiter.passing("wecom", "ww1", "/x", 1.0):
        pass
    await redis.config_resetstat()
    for _ in range(20):
        async with limiter.passing("wecom", "ww1", "/x", 1.0):
            pass
    stats: dict[str, Any] = await redis.info("commandstats")
    assert 20 <= stats["cmdstat_evalsha"]["calls"] <= 22  # the ends of the first call and of the last may be told alone
