"""Ticks: any number of schedulers wake once, for what is due and nothing else."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from customers.banks import apply
from customers.banks.bank import Bank
from operations import celery, scheduler
from operations.jobs import QUEUES
from services.container import Services
from tests.conftest import Sandbox
from tests.integration.campaigns import tools
from tests.integration.customers.conftest import other_bank
from tests.integration.rewards import world
from tests.support.banks import open_bank
from tests.support.clock import MovedClock


async def test_two_schedulers_tick_once_a_slot(
    demo: Services, second: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock
) -> None:
    await tools.scanned(sandbox, http)
    for _ in range(5):
        clock.advance(scheduler.TICK_SECONDS)
        woken = await asyncio.gather(
            *[scheduler.tick(await open_bank(one, "demo")) for one in (demo, second, demo, second)]
        )
        assert sorted(woken) == [[], [], [], ["campaigns.greet", "campaigns.handle_inbox"]]


async def test_nothing_due_wakes_nobody(demo: Services) -> None:
    assert await scheduler.tick(await open_bank(demo, "demo")) == []


async def test_what_was_cut_short_is_woken_for_when_its_lease_is_over(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock
) -> None:
    await tools.fault(sandbox, "errcode", tools.WELCOME_CALL, errcode=-1, times=1)
    await tools.scanned(sandbox, http)
    from tests.support import jobs

    await jobs.handle_inbox(await open_bank(demo, "demo"))
    clock.advance(3)
    assert await scheduler.tick(await open_bank(demo, "demo")) == ["campaigns.send_welcomes"]


async def test_held_units_are_woken_for(demo: Services, clock: MovedClock) -> None:
    await world.put(demo, 3)
    await world.claim_and_die(demo, world.request("a"), before=world.die)
    clock.advance(2)
    assert await scheduler.tick(await open_bank(demo, "demo")) == ["rewards.settle"]


async def test_another_banks_work_wakes_nobody(demo: Services, sandbox: Sandbox, http: httpx.AsyncClient) -> None:
    await apply.apply_tenant(demo, other_bank(), "other.yaml")
    await tools.scanned(sandbox, http)
    assert await scheduler.tick(await open_bank(demo, "other")) == []
    assert await scheduler.tick(await open_bank(demo, "demo")) == ["campaigns.greet", "campaigns.handle_inbox"]


async def test_a_bank_whose_tick_fails_holds_up_no_other(demo: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    await apply.apply_tenant(demo, other_bank(), "other.yaml")
    stop, ticked = asyncio.Event(), []

    async def nightly(bank: Bank) -> None:
        ticked.append(bank.id)
        if len(ticked) == 2:
            stop.set()
        raise KeyError(bank.id)

    monkeypatch.setattr(scheduler.syncing, "nightly", nightly)
    await asyncio.wait_for(scheduler.run(demo, stop), 30)
    assert sorted(ticked) == ["demo", "other"]


def test_every_job_has_its_task_and_every_task_its_queue() -> None:
    ours = {name for name in celery.app.tasks if not name.startswith("celery.")}
    assert ours == set(QUEUES)
    routed = {name: celery.app.conf.task_routes[name]["queue"] for name in QUEUES}
    assert routed == QUEUES
