"""What workers count reaches everybody's metrics, once."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client import generate_latest

from deploy.stack import Stores
from services import tally
from services.container import Services
from services.tally import Tally
from tests.conftest import Sandbox, Stack
from tests.waiting import until

UNKNOWN = 'yinqiao_workers_events_unknown_total{change="new",event="brand"}'


async def _shown(services: Services) -> str:
    return generate_latest(await tally.of_workers(services.redis)).decode()


async def test_two_workers_counts_are_added_and_told_once(services: Services, second: Services) -> None:
    ours, theirs = Tally(services.metrics.registry), Tally(second.metrics.registry)
    services.metrics.events_unknown.labels("brand", "new").inc(2)
    second.metrics.events_unknown.labels("brand", "new").inc()
    for each in (ours, ours, theirs, theirs):
        await each.tell(services.redis)
    assert f"{UNKNOWN} 3.0" in await _shown(services)
    services.metrics.events_unknown.labels("brand", "new").inc()
    await ours.tell(services.redis)
    assert f"{UNKNOWN} 4.0" in await _shown(services)


@pytest.mark.kills_store
async def test_counts_wait_while_redis_is_away(services: Services, stores: Stores) -> None:
    told = Tally(services.metrics.registry)
    services.metrics.events_unknown.labels("brand", "new").inc()
    stores.kill9("redis")
    await told.tell(services.redis)
    assert "events_unknown" not in await _shown(services)
    stores.start("redis")
    await told.tell(services.redis)
    assert f"{UNKNOWN} 1.0" in await _shown(services)


async def test_a_workers_calls_are_on_the_servers_metrics(stack: Stack, sandbox: Sandbox) -> None:
    state = (await sandbox.control("GET", "ways"))["ways"][0]["state"]
    await sandbox.scan(await sandbox.person(), state=state)
    sent = 'yinqiao_workers_platform_calls_total{errcode="0",path="/cgi-bin/externalcontact/send_welcome_msg"} 1.0'

    async with httpx.AsyncClient(base_url=stack.url, trust_env=False, timeout=15.0) as http:

        async def told() -> bool:
            return sent in (await http.get("/metrics")).text

        await until(told)
