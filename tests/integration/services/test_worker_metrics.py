"""What workers count and measure reaches everybody's metrics, once."""

from __future__ import annotations

import asyncio
import sys

import httpx
import pytest
from prometheus_client import generate_latest

from deploy.processes import ROOT
from deploy.stack import Stores
from services.container import Services
from services.observe import worker_metrics
from services.observe.worker_metrics import Reporter
from tests.conftest import Sandbox, Stack
from tests.support.waiting import until

UNKNOWN = 'yinqiao_workers_events_unknown_total{change="new",event="brand"}'
SIZES = "yinqiao_workers_group_commit_size"


async def _shown(services: Services) -> str:
    return generate_latest(await worker_metrics.of_workers(services.redis)).decode()


async def test_two_workers_counts_are_added_and_reported_once(services: Services, second: Services) -> None:
    ours, theirs = Reporter(services.metrics.registry), Reporter(second.metrics.registry)
    services.metrics.events_unknown.labels("brand", "new").inc(2)
    second.metrics.events_unknown.labels("brand", "new").inc()
    for each in (ours, ours, theirs, theirs):
        await each.report(services.redis)
    assert f"{UNKNOWN} 3.0" in await _shown(services)
    services.metrics.events_unknown.labels("brand", "new").inc()
    await ours.report(services.redis)
    assert f"{UNKNOWN} 4.0" in await _shown(services)


async def test_two_workers_histograms_are_added_bucket_by_bucket(services: Services, second: Services) -> None:
    ours, theirs = Reporter(services.metrics.registry), Reporter(second.metrics.registry)
    for size in (3, 3, 100):
        services.metrics.group_size.labels("things").observe(size)
    await ours.report(services.redis)
    for size in (3, 1000):
        second.metrics.group_size.labels("things").observe(size)
    await theirs.report(services.redis)
    lines = [line for line in (await _shown(services)).splitlines() if line.startswith(SIZES)]
    bounds = [1, 2, 4, 8, 16, 32, 64, 128, "+Inf"]
    counts = [0, 0, 3, 3, 3, 3, 3, 4, 5]
    assert lines == [
        *(
            f'{SIZES}_bucket{{le="{bound if bound == "+Inf" else float(bound)}",writer="things"}} {float(count)}'
            for bound, count in zip(bounds, counts, strict=True)
        ),
        f'{SIZES}_count{{writer="things"}} 5.0',
        f'{SIZES}_sum{{writer="things"}} 1109.0',
    ]


@pytest.mark.kills_store
async def test_metrics_wait_while_redis_is_away(services: Services, stores: Stores) -> None:
    reporter = Reporter(services.metrics.registry)
    services.metrics.events_unknown.labels("brand", "new").inc()
    stores.kill9("redis")
    await reporter.report(services.redis)
    assert "events_unknown" not in await _shown(services)
    stores.start("redis")
    await reporter.report(services.redis)
    assert f"{UNKNOWN} 1.0" in await _shown(services)


WORKER = """
import asyncio, sys
from config.settings import Settings
from services.observe import worker_metrics
from services.queue.worker import WorkerLoop

worker_metrics.REPORT_SECONDS = 0.1
mongodb, database, redis, seconds = *sys.argv[1:4], float(sys.argv[4])
loop = WorkerLoop(Settings(mongodb_uri=mongodb, mongodb_database=database, redis_url=redis), (), {})

async def work(services):
    for _ in range(10):
        services.metrics.events_unknown.labels("brand", "new").inc()
        services.metrics.group_size.labels("things").observe(3)
    await asyncio.sleep(seconds)

loop.run(work)
loop._close()
"""


async def test_a_killed_workers_metrics_stay_and_the_next_one_goes_on(services: Services, stores: Stores) -> None:
    """Real processes: two end well, one is killed in the middle of its work, one comes after it."""

    async def worker(seconds: float) -> asyncio.subprocess.Process:
        ours = services.settings
        arguments = (ours.mongodb, ours.mongodb_database, ours.redis, str(seconds))
        return await asyncio.create_subprocess_exec(sys.executable, "-c", WORKER, *arguments, cwd=ROOT)

    async def counted(total: int) -> bool:
        shown = await _shown(services)
        return f"{UNKNOWN} {total}.0" in shown and f'{SIZES}_count{{writer="things"}} {total}.0' in shown

    ending = [await worker(0.0), await worker(0.0)]
    assert [await each.wait() for each in ending] == [0, 0]
    assert await counted(20)
    killed = await worker(600.0)
    await until(lambda: counted(30))
    killed.kill()
    assert await killed.wait() == -9
    assert await (await worker(0.0)).wait() == 0
    assert await counted(40)


async def test_a_workers_calls_are_on_the_servers_metrics(stack: Stack, sandbox: Sandbox) -> None:
    state = (await sandbox.control("GET", "ways"))["ways"][0]["state"]
    await sandbox.scan(await sandbox.person(), state=state)
    sent = 'yinqiao_workers_platform_calls_total{errcode="0",path="/cgi-bin/externalcontact/send_welcome_msg"} 1.0'
    grouped = f'{SIZES}_count{{writer="insert"}} '

    async with httpx.AsyncClient(base_url=stack.url, trust_env=False, timeout=15.0) as http:

        async def told() -> bool:
            shown = (await http.get("/metrics")).text
            return sent in shown and grouped in shown

        await until(told)
