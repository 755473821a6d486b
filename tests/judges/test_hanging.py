"""The event loop stays free while WeCom hangs, drips, or answers rubbish (promise P10)."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from bench.lag import MOST_MS, watched
from config.settings import Settings
from services.container import Services
from tests.conftest import Sandbox
from tests.support import jobs
from tests.support.banks import open_bank

PEOPLE = 60
TROUBLES: dict[str, dict[str, Any]] = {
    "never answers": {"kind": "timeout_after_success"},
    "answers late": {"kind": "latency", "seconds": 2.5},
    "closes": {"kind": "close"},
    "is down": {"kind": "http", "status": 503},
    "says busy": {"kind": "errcode", "errcode": -1},
}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A call is given up sooner than in a bank, which changes nothing but how long this takes."""
    return settings.model_copy(update={"platform_timeout": 1.0})


@pytest.fixture(autouse=True)
def _collecting_as_in_the_processes() -> Iterator[None]:
    """As server.py and services/queue/worker.py set the garbage collector; the tests' own objects are not looked at again."""
    threshold = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
    yield
    gc.set_threshold(*threshold)
    gc.unfreeze()


def test_the_meter_sees_a_callback_that_computes() -> None:
    """The control: without it a meter that measures nothing would pass everything."""

    async def compute() -> None:
        sum(number * number for number in range(2_000_000))

    with watched() as worst:
        asyncio.run(compute())
    assert worst.cpu_ms > MOST_MS


@pytest.mark.parametrize("name", TROUBLES)
@pytest.mark.alone
async def test_no_callback_of_the_loop_takes_50_ms_while_wecom(
    name: str, http: httpx.AsyncClient, demo: Services, sandbox: Sandbox
) -> None:
    people = [await sandbox.person(f"客户{number}") for number in range(PEOPLE)]
    state = str((await sandbox.control("GET", "ways"))["ways"][0]["state"])
    await sandbox.control("POST", "faults", {"target": "api", **TROUBLES[name]})

    scanned = asyncio.Event()

    async def handle() -> None:
        while not scanned.is_set():
            await jobs.handle_inbox(await open_bank(demo, "demo"))
            await asyncio.sleep(0.01)
        await jobs.handle_inbox(await open_bank(demo, "demo"))

    async def look() -> list[int]:
        return [(await http.get("/healthz")).status_code for _ in range(40)]

    async def scan(person: dict[str, Any]) -> bool:
        return bool((await sandbox.scan(person, state=state))["delivered"])

    with watched() as worst:
        handling = asyncio.create_task(handle())
        delivered, healthy = await asyncio.gather(asyncio.gather(*map(scan, people)), look())
        scanned.set()
        await handling
    assert all(delivered), "every callback was acknowledged at its first attempt"
    assert healthy == [200] * 40
    assert worst.callbacks > 1000
    assert worst.cpu_ms < MOST_MS, worst.what
