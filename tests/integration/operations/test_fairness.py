"""A backlog delays nobody: not another bank, not a change of staff; and what is paused is left alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest

from campaigns.engine import pausing
from campaigns.publishing import versions
from customers.banks import apply
from customers.banks.bank import Bank
from operations import jobs as table
from operations import scheduler
from services.container import Services
from services.queue import inbox, outbox
from services.queue.inbox import Arrival
from services.queue.outbox import Effect
from tests.conftest import Sandbox
from tests.integration.campaigns import tools
from tests.integration.campaigns.test_inbox import CALLBACK, WeCom, event, send, wecom
from tests.integration.customers.conftest import other_bank
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.clock import MovedClock
from tests.support.documents import LIN

__all__ = ["CALLBACK", "wecom"]
CAMPAIGN = "acq-branch"


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


def _job(name: str) -> Any:
    return next(job for job in table.JOBS if job.name == name)


async def _paused_work(demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock) -> Bank:
    """A bank whose campaign is paused while an effect of it and a run wait."""
    bank = await open_bank(demo, "demo")
    await tools.fault(sandbox, "errcode", "externalcontact/mark_tag", errcode=-1, times=1)
    await tools.scanned(sandbox, http)
    await jobs.handle_inbox(bank)
    await versions.pause(bank, LIN, CAMPAIGN)
    await bank.db["runs"].update_many({}, {"$set": {"wake": clock(), "due": clock()}})
    clock.advance(30)
    await tools.all_work(demo)
    return bank


async def test_paused_work_is_looked_at_once_and_not_again_before_it_goes_on(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock
) -> None:
    bank = await _paused_work(demo, sandbox, http, clock)
    row = await tools.effect(demo, "tag")
    assert (row["reason"], row["open"], row["due"] > clock() + 86_400) == ("paused", True, True)
    (run,) = await tools.runs(demo)
    assert (run["asleep"], run["open"], run["due"] > clock() + 86_400) == (True, True, True)
    for _ in range(20):
        clock.advance(60)
        assert not {"campaigns.send_effects", "campaigns.advance_runs"} & set(await scheduler.tick(bank))
    await versions.resume(bank, LIN, CAMPAIGN)
    woken = await scheduler.tick(bank) or await _next_tick(bank, clock)
    assert {"campaigns.send_effects", "campaigns.advance_runs"} <= set(woken)
    await tools.all_work(demo)
    assert (await tools.effect(demo, "tag"))["state"] == "done"
    (run,) = await tools.runs(demo)
    assert (run["asleep"], run["moves"]) == (False, 2)
    assert await bank.db["campaigns"].count({"resumed": True}) == 0


async def _next_tick(bank: Bank, clock: MovedClock) -> list[str]:
    clock.advance(1)
    return await scheduler.tick(bank)


async def test_what_goes_to_sleep_while_the_campaign_goes_on_is_woken(
    demo: Services, second: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock
) -> None:
    """The worker's process has not heard of it yet."""
    bank = await open_bank(demo, "demo")
    await tools.fault(sandbox, "errcode", "externalcontact/mark_tag", errcode=-1, times=1)
    await tools.scanned(sandbox, http)
    await jobs.handle_inbox(bank)
    await versions.pause(bank, LIN, CAMPAIGN)
    clock.advance(30)
    await jobs.send_effects(bank)
    kept = demo.cache.get("campaigns:demo", clock()) if hasattr(demo.cache, "get") else None
    await versions.resume(await open_bank(second, "demo"), LIN, CAMPAIGN)
    if kept is not None:
        demo.cache.put("campaigns:demo", kept, 60.0)
    clock.advance(2)
    for _ in range(2):
        await jobs.send_effects(bank)
        clock.advance(2)
    assert (await tools.effect(demo, "tag"))["state"] == "done"


async def test_a_resume_that_was_cut_short_is_finished_by_the_workers(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = await _paused_work(demo, sandbox, http, clock)

    async def died(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(pausing, "wake", died)
        with pytest.raises(SystemExit):
            await versions.resume(bank, LIN, CAMPAIGN)
    clock.advance(10)
    assert "campaigns.resume" in await scheduler.tick(bank)
    await jobs.run(bank, "campaigns.resume")
    await tools.all_work(demo)
    assert (await tools.effect(demo, "tag"))["state"] == "done"
    assert await bank.db["campaigns"].count({"resumed": True}) == 0


async def test_a_leaver_waits_behind_no_other_event(
    demo: Services, http: httpx.AsyncClient, wecom: WeCom, clock: MovedClock
) -> None:
    bank = await open_bank(demo, "demo")
    for number in range(30):
        await inbox.receive(demo, Arrival("demo", "wecom", b"a backlog %d" % number, lane=inbox.GREETING))
    left = event("delete_user", extra="<UserID>rm.chen</UserID>").replace(b"change_external_contact", b"change_contact")
    assert await send(http, wecom.post(left)) == (200, "")
    job = _job("campaigns.handle_staff")
    assert (job.queue, [one.name for one in table.JOBS if one.queue == job.queue]) == ("staff", [job.name])
    await job.turn(bank)
    rows = await bank.db["inbox"].find({"open": False})
    assert [(row["lane"], row["state"]) for row in rows] == [("staff", "handled")]
    assert await bank.db["inbox"].count({"open": True}) == 30


async def test_a_turn_is_over_after_its_time_and_queues_up_again_behind_the_others(
    demo: Services, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = await open_bank(demo, "demo")
    for number in range(200):
        await inbox.receive(demo, Arrival("demo", "wecom", b"a backlog %d" % number))
    signalled: list[str] = []
    monkeypatch.setattr(demo.wakeups, "signal", lambda task, tenant: signalled.append(f"{task} {tenant}"))
    job = _job("campaigns.handle_inbox")
    handled: list[str] = []

    async def slow(bank: Bank, owner: str, row: Any) -> None:
        clock.advance(0.02)
        handled.append(row["_id"])
        await inbox.give_up(bank.db, row, owner, state="handled")

    slow_job = replace(job, work=slow)
    await slow_job.turn(bank)
    assert 0 < len(handled) < 200
    assert signalled == ["campaigns.handle_inbox demo"]
    while signalled:
        signalled.clear()
        await slow_job.turn(bank)
    assert len(handled) == 200


async def _ended(bank: Bank, owner: str, row: Any) -> None:
    await bank.db["inbox" if "source" in row else "outbox"].update({"_id": row["_id"]}, {"$set": {"open": False}})


async def _open(bank: Bank) -> tuple[int, int, int]:
    """How many wait to be greeted, and how many other events and effects wait."""
    events, effects = bank.db["inbox"], bank.db["outbox"]
    greetings = await events.count({"open": True, "lane": inbox.GREETING})
    return greetings, await events.count({"open": True, "lane": ""}), await effects.count({"open": True})


async def _waiting(services: Services, greetings: int, others: int, effects: int) -> Bank:
    lanes = [inbox.GREETING] * greetings + [""] * others
    arrivals = [Arrival("demo", "wecom", b"%d" % number, lane=lane) for number, lane in enumerate(lanes)]
    await inbox.put_all(services, arrivals)
    asked = [Effect(id=f"demo:{number}", tenant="demo", kind="tag", cid="", args={}) for number in range(effects)]
    await asyncio.gather(*(outbox.put(services, effect, due=services.clock()) for effect in asked))
    return await open_bank(services, "demo")


async def test_all_else_waits_for_those_who_were_not_greeted(demo: Services, clock: MovedClock) -> None:
    bank = await _waiting(demo, greetings=100, others=50, effects=200)
    clock.advance(1)
    greet, *others = [
        replace(_job(name), work=_ended)
        for name in ("campaigns.greet", "campaigns.handle_inbox", "campaigns.send_effects")
    ]
    for job in others:
        await job.turn(bank)
    assert await _open(bank) == (100, 50, 200)
    await greet.run(bank)
    assert await _open(bank) == (0, 50, 200)
    while any(await _open(bank)):
        for job in others:
            await job.turn(bank)


async def test_who_comes_while_others_have_their_turn_waits_for_what_was_taken_and_no_more(
    demo: Services, clock: MovedClock
) -> None:
    bank = await _waiting(demo, greetings=0, others=0, effects=200)
    clock.advance(1)

    async def and_somebody_comes(bank: Bank, owner: str, row: Any) -> None:
        await inbox.put(demo, Arrival("demo", "wecom", b"comes", lane=inbox.GREETING))
        await _ended(bank, owner, row)

    job = replace(_job("campaigns.send_effects"), work=and_somebody_comes)
    await job.turn(bank)
    assert await _open(bank) == (1, 0, 200 - job.at_once)


async def test_greetings_that_never_end_leave_the_others_some_rows_now_and_then(
    demo: Services, clock: MovedClock
) -> None:
    bank = await _waiting(demo, greetings=1, others=0, effects=200)
    clock.advance(1)
    job = replace(_job("campaigns.send_effects"), work=_ended)
    left = []
    for _ in range(5):
        await job.turn(bank)
        left.append((await _open(bank))[2])
        clock.advance(table.MOST_WAITING_SECONDS / 2)
    some = 200 - job.at_once
    assert left == [200, 200, some, some, some - job.at_once]


async def test_a_bank_whose_tick_hangs_delays_no_other_banks(demo: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    await apply.apply_tenant(demo, other_bank(), "other.yaml")
    stop, ticked = asyncio.Event(), []

    async def tick(bank: Bank) -> list[str]:
        if bank.id == "demo":
            await asyncio.Event().wait()
        ticked.append(bank.id)
        if len(ticked) == 2:
            stop.set()
        return []

    monkeypatch.setattr(scheduler, "tick", tick)
    monkeypatch.setattr(scheduler, "TICK_SECONDS", 0.05)
    await asyncio.wait_for(scheduler.run(demo, stop), 30)
    assert ticked == ["other", "other"]
