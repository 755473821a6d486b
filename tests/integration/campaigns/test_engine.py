"""Runs: nobody enters twice, no step is skipped or done twice, whatever is killed in the middle."""

from __future__ import annotations

import asyncio
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from campaigns import live
from campaigns.delivery import perform
from campaigns.engine import enter, launch, rows, runs
from campaigns.engine.rows import Context
from campaigns.publishing import versions
from operations.events import external_contacts
from services.container import Services
from services.errors import Unavailable
from services.store import batching, leases
from services.store.mongo import Collection
from tests.conftest import Sandbox
from tests.integration.campaigns import tools
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.clock import MovedClock
from tests.support.documents import LIN, WELCOME
from tests.support.waiting import until

LEASE = rows.LEASE_SECONDS + 0.5
TRIES = runs.RETRY.tries or 0
HI = "- {id: hi, send: {via: wecom.welcome, template: hi}}\n"


def dying(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> pytest.MonkeyPatch:
    """The process ends when it comes to that function."""

    async def dies(*_: Any, **__: Any) -> None:
        raise Unavailable("killed")

    monkeypatch.setattr(module, name, dies)
    return monkeypatch


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (launch, "greet"),
        (launch, "launch"),
        (rows, "clear"),
        (runs.timeline, "record"),
        (perform, "perform"),
        (perform, "perform_new"),
        (perform.outbox, "insert"),
        (perform, "tell_done"),
        (batching, "close_each"),
        (enter, "enter"),
        (enter, "go_on"),
        (external_contacts.relationships, "changed"),
        (external_contacts.details, "fetch"),
    ],
)
async def test_killed_anywhere_the_welcome_goes_out_once(
    demo: Services,
    sandbox: Sandbox,
    http: httpx.AsyncClient,
    clock: MovedClock,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    name: str,
) -> None:
    await tools.scanned(sandbox, http)
    with monkeypatch.context() as patch:
        dying(patch, module, name)
        await asyncio.gather(jobs.handle_inbox(await open_bank(demo, "demo")), return_exceptions=True)
    for _ in range(2):
        clock.advance(LEASE)
        await tools.all_work(demo)
    assert await tools.welcomes(sandbox) == 1
    (run,) = await tools.runs(demo)
    assert (run["status"], run["waiting"], run["pending_steps"], run["owner"]) == ("active", "reward.claimed", [], None)
    states = {row["kind"]: row["state"] for row in await demo.store.tenant("demo")["outbox"].find({})}
    assert states == {"welcome": "done", "tag": "done", "offer": "done"}
    assert await demo.store.tenant("demo")["inbox"].count({"open": True}) == 0
    assert await tools.story(demo) == [
        "campaign.entered", "customer.added", "reward.offered", "tag.added", "welcome.sent",
    ]  # fmt: skip


async def test_the_same_event_handled_twice_enters_once(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    await tools.scanned(sandbox, http)
    rows = demo.store.tenant("demo")["inbox"]
    for _ in range(3):
        await rows.update_many({}, {"$set": {"open": True, "due": 0.0, "owner": None}})
        await jobs.handle_inbox(await open_bank(demo, "demo"))
    assert (len(await tools.runs(demo)), await tools.welcomes(sandbox)) == (1, 1)
    assert await demo.store.tenant("demo")["outbox"].count({}) == 3


async def test_two_workers_on_the_same_events_welcome_each_customer_once(
    demo: Services, second: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    people = [await sandbox.person(f"客户{n}") for n in range(10)]
    await asyncio.gather(*(sandbox.scan(person, state=tools.NANSHAN) for person in people))
    await asyncio.gather(
        jobs.handle_inbox(await open_bank(demo, "demo")), jobs.handle_inbox(await open_bank(second, "demo"))
    )
    await asyncio.gather(tools.all_work(demo), tools.all_work(second))
    assert (await tools.welcomes(sandbox), len(await tools.runs(demo))) == (10, 10)


async def test_a_customer_who_comes_back_is_not_entered_again(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    person, scan = await tools.scanned(sandbox, http)
    await tools.all_work(demo)
    await sandbox.control("POST", f"people/{person['id']}/delete", {"userid": scan["userid"]})
    await tools.all_work(demo)
    (run,) = await tools.runs(demo)
    assert (run["status"], run["reason"]) == ("exited", "lost")
    await sandbox.scan(person, state=tools.NANSHAN, userid=scan["userid"])
    await tools.all_work(demo)
    assert len(await tools.runs(demo)) == 1


async def test_a_cap_lets_in_as_many_as_it_says_and_tells_the_others_why_not(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    await tools.go_live(demo, WELCOME.replace("codes('c')\"}", "codes('c')\", cap: {total: 3}}") + HI)
    people = [await sandbox.person(f"客户{n}") for n in range(8)]
    await asyncio.gather(*(sandbox.scan(person, state=tools.CODE) for person in people))
    await tools.all_work(demo)
    assert (await tools.welcomes(sandbox), len(await tools.runs(demo))) == (3, 3)
    refused = await demo.store.tenant("demo")["timeline"].find({"kind": "campaign.not_entered"})
    assert [row["data"] for row in refused] == [{"campaign": "hello", "reason": "cap"}] * 5


async def test_a_daily_cap_counts_the_days_of_the_windows_time_zone(demo: Services, clock: MovedClock) -> None:
    """Midnight in Auckland is no new day in Shanghai."""
    tz = ZoneInfo("Pacific/Auckland")
    head = WELCOME.replace("to: 2029-12-31", f"to: 2029-12-31, tz: {tz}")
    capped = head.replace("when: \"channel.code in codes('c')\"", "cap: {per_day: 1}")
    await tools.go_live(demo, capped + "- {id: w, wait: {for: 1h}}\n")
    bank = await open_bank(demo, "demo")
    noon = datetime.combine(datetime.fromtimestamp(clock(), tz).date() + timedelta(days=1), time(12), tz)
    moments = [noon, noon + timedelta(hours=11, minutes=59), noon + timedelta(hours=12, minutes=1)]
    entered = []
    for moment in moments:
        clock.advance(moment.timestamp() - clock())
        (program,) = [one for one in await live.live_programs(bank) if one.campaign.id == "hello"]
        at = clock()
        context: Context = {"event": "e", "happened_at": at, "received_at": at, "userid": "rm.chen"}
        cid = f"demo:{len(entered)}"
        entered.append(await enter.enter(bank, program, cid, {"customer.id": cid}, context) is not None)
    assert entered == [True, False, True]
    assert len({moment.astimezone(ZoneInfo("Asia/Shanghai")).date() for moment in moments}) == 1


async def test_two_workers_resume_a_run_and_it_moves_once(
    demo: Services, second: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock
) -> None:
    steps = "- {id: w, wait: {for: 1h}}\n- {id: n, send: {via: staff, template: note}}\n- {id: v, wait: {for: 1h}}\n"
    await tools.go_live(demo, WELCOME + steps)
    _, scan = await tools.scanned(sandbox, http, tools.CODE)
    await tools.all_work(demo)
    clock.advance(3601)
    await asyncio.gather(
        jobs.advance_runs(await open_bank(demo, "demo")), jobs.advance_runs(await open_bank(second, "demo"))
    )
    (run,) = await tools.runs(demo)
    assert (run["position"], run["moves"], run["open"]) == ("v", 2, True)
    assert len(await tools.told_staff(sandbox, scan["userid"])) == 1


async def test_a_move_whose_owner_was_replaced_changes_nothing(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock
) -> None:
    """A worker holds a run whose timer rang and stalls; the customer leaves, which ends the run; then the worker wakes."""
    head = WELCOME.replace("steps:\n", "exit: [{event: customer.blocked, as: lost}]\nsteps:\n")
    await tools.go_live(demo, head + "- {id: w, wait: {for: 1h}}\n- {id: n, send: {via: staff, template: note}}\n")
    person, scan = await tools.scanned(sandbox, http, tools.CODE)
    await tools.all_work(demo)
    clock.advance(599)
    rows = demo.store.tenant("demo")["runs"]
    await rows.update_many({}, {"$set": {"wake": clock(), "due": clock()}})
    old_owner, (old,) = await leases.claim(rows, clock(), limit=1, seconds=runs.LEASE_SECONDS)
    await sandbox.control("POST", f"people/{person['id']}/delete", {"userid": scan["userid"]})
    await jobs.handle_inbox(await open_bank(demo, "demo"))
    (ended,) = await tools.runs(demo)
    assert (ended["status"], ended["reason"]) == ("exited", "lost")
    await runs.resume_safely(await open_bank(demo, "demo"), old_owner, old)
    assert await tools.runs(demo) == [ended]
    assert await tools.told_staff(sandbox, scan["userid"]) == []


@pytest.mark.parametrize(("module", "name"), [(launch, "launch"), (rows, "clear")])
async def test_an_event_for_a_run_that_was_cut_short_is_not_lost(
    demo: Services,
    sandbox: Sandbox,
    http: httpx.AsyncClient,
    clock: MovedClock,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    name: str,
) -> None:
    """The run's process died with effects unsent; before its lease is over the customer deletes the RM."""
    person, scan = await tools.scanned(sandbox, http)
    with monkeypatch.context() as patch:
        dying(patch, module, name)
        await asyncio.gather(jobs.handle_inbox(await open_bank(demo, "demo")), return_exceptions=True)
    await sandbox.control("POST", f"people/{person['id']}/delete", {"userid": scan["userid"]})
    for _ in range(3):
        await tools.all_work(demo)
        clock.advance(LEASE)
    (run,) = await tools.runs(demo)
    assert (run["status"], run["reason"], run["open"]) == ("exited", "lost", False)


async def test_an_event_whose_run_another_one_takes_in_the_same_moment_is_told_again(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ends a run must not be dropped because something else is told to it at once."""
    head = WELCOME.replace("steps:\n", "exit: [{event: customer.blocked, as: lost}]\nsteps:\n")
    await tools.go_live(demo, head + "- {id: w, wait: {for: 1h}}\n")
    await tools.scanned(sandbox, http, tools.CODE)
    await tools.all_work(demo)
    bank, (run,) = await open_bank(demo, "demo"), await tools.runs(demo)
    update = Collection.update

    async def and_then_another(self: Collection, query: Any, change: Any, **options: Any) -> bool:
        held = await update(self, query, change, **options)
        if query.get("status") == "active":
            patch.undo()
            assert await rows.hold(bank, run, "another") is not None
        return held

    with monkeypatch.context() as patch:
        patch.setattr(Collection, "update", and_then_another)
        with pytest.raises(Unavailable):
            await runs.on_event(bank, [run["cid"]], "customer.blocked")
    assert await runs.on_event(bank, [run["cid"]], "customer.blocked") == 1
    (ended,) = await tools.runs(demo)
    assert (ended["status"], ended["reason"]) == ("exited", "lost")


async def test_a_deletion_that_arrives_before_its_addition_leaves_no_active_run(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    """Delivery is not ordered (contract/wechat C3): the end state is that of the right order."""
    person = await sandbox.person()
    await sandbox.control("POST", "faults", {"target": "callback", "kind": "reorder", "times": 2})
    scan = await sandbox.scan(person, state=tools.NANSHAN)
    await sandbox.control("POST", "clock", {"advance": 2})  # WeCom counts in seconds: the two events must differ
    await sandbox.control("POST", f"people/{person['id']}/delete", {"userid": scan["userid"]})
    await until(lambda: _both_handled(demo))
    assert [run for run in await tools.runs(demo) if run["status"] == "active"] == []
    (follow,) = await demo.store.tenant("demo")["relationships"].find({})
    assert follow["active"] is False


async def _both_handled(services: Services) -> bool:
    await tools.all_work(services)
    return await services.store.tenant("demo")["inbox"].count({"state": "handled"}) == 2


async def test_a_long_pause_does_not_use_up_a_runs_tries(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tools.go_live(demo, WELCOME + "- {id: w, wait: {for: 1h}}\n- {id: n, send: {via: staff, template: note}}\n")
    _, scan = await tools.scanned(sandbox, http, tools.CODE)
    await tools.all_work(demo)
    await versions.pause(await open_bank(demo, "demo"), LIN, "hello")
    clock.advance(3601)
    for _ in range(TRIES + 2):
        await jobs.advance_runs(await open_bank(demo, "demo"))
        clock.advance(runs.PAUSED_SECONDS + 0.1)
    assert await tools.told_staff(sandbox, scan["userid"]) == []
    await versions.resume(await open_bank(demo, "demo"), LIN, "hello")

    def fails(*_: Any) -> None:
        raise RuntimeError("a fault of ours")

    with monkeypatch.context() as patch:
        patch.setattr(runs, "advance", fails)
        await jobs.advance_runs(await open_bank(demo, "demo"))
    clock.advance(2)
    await jobs.advance_runs(await open_bank(demo, "demo"))
    (run,) = await tools.runs(demo)
    assert run["status"] == "done"
    assert len(await tools.told_staff(sandbox, scan["userid"])) == 1


async def test_a_run_that_cannot_go_on_ends_as_an_error_with_a_reason(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tools.go_live(demo, WELCOME + "- {id: w, wait: {for: 1h}}\n")
    await tools.scanned(sandbox, http, tools.CODE)
    await tools.all_work(demo)
    clock.advance(3601)

    def fails(*_: Any) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(runs, "advance", fails)
    for _ in range(TRIES):
        await jobs.advance_runs(await open_bank(demo, "demo"))
        clock.advance(301)
    (run,) = await tools.runs(demo)
    assert (run["status"], run["reason"], run["open"]) == ("error", "internal", False)
