"""P10: a limit of the platform, real or mistaken, silences nobody for longer than it lasts."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest

from services.container import Services
from services.limiter.blocks import PROBE_MOST
from tests.conftest import Sandbox
from tests.integration.campaigns import tools

WINDOWS = ["minute", "hour", "day", "month"]


async def work(demo: Services, seconds: float, until_welcomes: int = 1000, sandbox: Sandbox | None = None) -> float:
    """Workers at work for so many real seconds, or until so many were greeted; how long it took."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        await tools.all_work(demo)
        if sandbox is not None and await tools.welcomes(sandbox) >= until_welcomes:
            break
        await asyncio.sleep(0.1)
    return time.monotonic() - began


@pytest.mark.parametrize("window", WINDOWS)
async def test_after_a_storm_of_limits_the_next_welcome_goes_out_within_seconds(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, window: str
) -> None:
    await tools.fault(sandbox, "errcode", errcode=45009, window=window)
    await tools.scanned(sandbox, http)
    await work(demo, 3)
    assert await tools.welcomes(sandbox) == 0
    await tools.no_faults(sandbox)
    await tools.scanned(sandbox, http, name="王芳")
    took = await work(demo, 20, 2, sandbox)
    assert await tools.welcomes(sandbox) == 2  # the first one's 20 s were not over either
    assert took < PROBE_MOST[0] + 3


@pytest.mark.parametrize("times", [1, 3])
async def test_a_limit_on_the_welcome_alone_delays_it_by_seconds(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, times: int
) -> None:
    await tools.fault(sandbox, "errcode", tools.WELCOME_CALL, errcode=45009, times=times, window="day")
    await tools.scanned(sandbox, http)
    await work(demo, 18, 1, sandbox)
    row = await tools.effect(demo, "welcome")
    assert (row["state"], row["attempts"]) == ("done", 1)


async def test_a_process_that_starts_anew_probes_at_once(
    demo: Services, second: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    await tools.fault(sandbox, "errcode", errcode=45009)
    await tools.scanned(sandbox, http)
    await work(demo, 2)
    await tools.no_faults(sandbox)
    took = await work(second, 20, 1, sandbox)
    assert took < PROBE_MOST[0] + 3


async def test_a_limit_that_lasts_lets_the_welcome_expire_with_its_reason_and_the_rm_is_told_when_it_ends(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    await tools.fault(sandbox, "errcode", errcode=45009)
    _, scan = await tools.scanned(sandbox, http)
    await work(demo, 24)
    row = await tools.effect(demo, "welcome")
    assert (row["state"], row["open"]) == ("expired", False)
    assert row["reason"].startswith("platform_slow_down")
    assert await tools.told_staff(sandbox, scan["userid"]) == []
    waiting = await demo.store.tenant("demo")["outbox"].find({"open": True})
    assert {kind["kind"] for kind in waiting} >= {"staff", "tag"}
    assert {row["attempts"] for row in waiting} == {0}  # however often it was refused
