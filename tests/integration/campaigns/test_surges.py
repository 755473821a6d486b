"""When many come at once each is greeted first, and what has time follows: nothing is lost between the two halves."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from campaigns.delivery import perform
from campaigns.engine import enter, launch, rows, runs
from customers.banks.bank import Bank
from operations import jobs as table
from operations.events import dead_letters, explain, external_contacts, handle
from services.container import Services
from services.queue import inbox
from services.store import batching
from services.store.mongo import Doc
from tests.conftest import Sandbox
from tests.integration.campaigns import tools
from tests.integration.campaigns.test_engine import LEASE, dying
from tests.integration.campaigns.test_order import told
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.clock import MovedClock

GREET = next(job for job in table.JOBS if job.name == "campaigns.greet")
STORY = ["campaign.entered", "customer.added", "reward.offered", "tag.added", "welcome.sent"]


@pytest.fixture
def surge(monkeypatch: pytest.MonkeyPatch) -> None:
    """One who comes is a surge."""
    monkeypatch.setattr(external_contacts, "SURGE", 0)


async def _inbox(services: Services) -> list[Doc]:
    return await services.store.tenant("demo")["inbox"].find({})


async def _kinds(services: Services) -> set[tuple[str, str]]:
    rows = await services.store.tenant("demo")["outbox"].find({"run": {"$ne": ""}})
    return {(row["kind"], row["state"]) for row in rows}


async def _greeted(services: Services) -> Bank:
    """A turn of those who are to be greeted, and no other."""
    bank = await open_bank(services, "demo")
    await GREET.turn(bank)
    return bank


async def test_all_are_greeted_before_anything_else_is_done(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock
) -> None:
    many = external_contacts.SURGE + 4
    people = [await sandbox.person(f"客户{n}") for n in range(many)]
    await asyncio.gather(*(sandbox.scan(person, state=tools.NANSHAN) for person in people))
    bank = await _greeted(demo)
    assert (await tools.welcomes(sandbox), await _kinds(demo)) == (many, {("welcome", "done")})
    assert await tools.story(demo) == []
    assert [(row["open"], row["lane"], row["attempts"], len(row["left"]["runs"])) for row in await _inbox(demo)] == [
        (True, "", 0, 1)
    ] * many
    assert await GREET.is_due(bank) is False
    for _ in range(2):
        await tools.all_work(demo)
        clock.advance(launch.PATIENT_SECONDS)
    assert await _kinds(demo) == {("welcome", "done"), ("tag", "done"), ("offer", "done")}
    assert (await tools.welcomes(sandbox), await tools.story(demo)) == (many, sorted(STORY * many))
    assert {row["state"] for row in await _inbox(demo)} == {"handled"}
    assert {(run["waiting"], run["owner"]) for run in await tools.runs(demo)} == {("reward.claimed", None)}


async def test_of_few_each_is_done_with_at_once(demo: Services, sandbox: Sandbox, http: httpx.AsyncClient) -> None:
    await tools.scanned(sandbox, http)
    await _greeted(demo)
    assert await tools.story(demo) == STORY
    assert [(row["open"], row["state"], "left" in row) for row in await _inbox(demo)] == [(False, "handled", False)]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (perform, "perform_new"),
        (perform.outbox, "insert"),
        (inbox, "put_off"),
        (enter, "go_on"),
        (runs, "launch_pending"),
        (launch, "launch"),
        (perform, "tell_done"),
        (rows, "clear"),
        (batching, "close_each"),
    ],
)
async def test_killed_in_either_half_he_is_greeted_once_and_nothing_is_lost(
    demo: Services,
    sandbox: Sandbox,
    http: httpx.AsyncClient,
    clock: MovedClock,
    monkeypatch: pytest.MonkeyPatch,
    surge: None,
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
    assert (await tools.welcomes(sandbox), await tools.story(demo)) == (1, STORY)
    assert await _kinds(demo) == {("welcome", "done"), ("tag", "done"), ("offer", "done")}
    (run,) = await tools.runs(demo)
    assert (run["status"], run["waiting"], run["pending_steps"], run["owner"]) == ("active", "reward.claimed", [], None)
    assert [(row["open"], row["state"]) for row in await _inbox(demo)] == [(False, "handled")]


async def test_what_is_left_and_fails_for_good_is_a_dead_letter_and_tried_again_without_a_second_welcome(
    demo: Services,
    sandbox: Sandbox,
    http: httpx.AsyncClient,
    clock: MovedClock,
    monkeypatch: pytest.MonkeyPatch,
    surge: None,
) -> None:
    async def broken(*_: Any) -> None:
        raise KeyError("a fault of ours")

    await tools.scanned(sandbox, http)
    bank = await _greeted(demo)
    with monkeypatch.context() as patch:
        patch.setattr(enter, "go_on", broken)
        for _ in range(handle.RETRY.tries or 0):
            await jobs.handle_inbox(bank)
            clock.advance(handle.RETRY.most + 1)
    (letter,) = await explain.newest(bank, "dead")
    assert (letter["event"], await GREET.is_due(bank)) == ((await _inbox(demo))[0]["_id"].partition(":")[2], False)
    await dead_letters.retry(bank, "cli:test", (await _inbox(demo))[0]["_id"])
    for _ in range(2):
        await tools.all_work(demo)
    assert (await tools.welcomes(sandbox), await tools.story(demo)) == (1, STORY)
    assert await explain.newest(bank, "dead") == []


async def test_why_tells_of_both_halves(demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, surge: None) -> None:
    await tools.scanned(sandbox, http)
    bank = await _greeted(demo)
    (row,) = await _inbox(demo)
    waiting = await explain.explain_event(bank, row["_id"], str)
    assert (waiting["state"], waiting["welcome"]["sent"]) == ("waiting", True)
    await tools.all_work(demo)
    told_ = await explain.explain_event(bank, row["_id"], str)
    assert told_["state"] == "handled"
    assert [one["path"].rpartition("/")[2] for one in told_["called"]] == ["get"]
    assert [one["kind"] for one in told_["decided"]] == [one["kind"] for one in waiting["decided"]]
    effects = {effect["kind"]: effect["state"] for effect in told_["runs"][0]["effects"]}
    assert effects == {"welcome": "done", "tag": "done", "offer": "done"}


@pytest.mark.parametrize("change", ["del_follow_user", "del_external_contact"])
async def test_who_goes_before_the_second_half_was_greeted_and_gets_nothing_more(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock, surge: None, change: str
) -> None:
    person, scan = await tools.scanned(sandbox, http)
    bank = await _greeted(demo)
    assert await inbox.receive(demo, told(change, scan, person, int(demo.clock()) + 1)) == "stored"
    (gone,) = [row for row in await _inbox(demo) if "left" not in row]
    await handle.handle_message(bank, "w", {**gone, "owner": "w"})  # type: ignore[arg-type]
    clock.advance(1)
    await tools.all_work(demo)
    clock.advance(7)
    await tools.all_work(demo)
    assert await tools.welcomes(sandbox) == 1
    assert await _kinds(demo) == {("welcome", "done"), ("tag", "failed"), ("offer", "failed")}
    (run,) = await tools.runs(demo)
    assert (run["status"], run["reason"], run["void"]) == ("exited", "lost", False)  # his entry is spent
    (friends,) = await bank.db["relationships"].find({})
    assert friends["active"] is False


async def test_a_change_before_the_second_half_is_not_undone_by_it(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, surge: None
) -> None:
    person, scan = await tools.scanned(sandbox, http)
    bank = await _greeted(demo)
    await bank.wecom.customers.remark(scan["userid"], person["external_userid"], remark="老客户")
    await inbox.receive(demo, told("edit_external_contact", scan, person, int(demo.clock())))
    (edited,) = [row for row in await _inbox(demo) if "left" not in row]
    await handle.handle_message(bank, "w", {**edited, "owner": "w"})  # type: ignore[arg-type]
    (before,) = await bank.db["relationships"].find({})
    await tools.all_work(demo)
    (after,) = await bank.db["relationships"].find({})
    assert before["remark"] is not None
    assert (after["remark"], after["active"]) == (before["remark"], True)
    assert await tools.story(demo) == STORY
