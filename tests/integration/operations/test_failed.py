"""A fault of ours is tried a bounded number of times, then a person sees it, and has it tried again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from campaigns.channels import reconcile
from campaigns.delivery import tagging
from customers.banks.bank import Bank
from customers.wecom_mirror import tags
from operations import failed
from operations.events import explain
from operations.jobs import FAILURES, JOBS, Job
from services.container import Services
from services.errors import NotFound
from services.queue.inbox import INBOX
from services.store.mongo import Doc
from tests.conftest import Sandbox
from tests.http.conftest import post_form, sign_in
from tests.integration.campaigns import tools
from tests.support import jobs as work
from tests.support.banks import open_bank
from tests.support.clock import MovedClock


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


async def broken(*_: object) -> None:
    raise KeyError("a fault of ours")


def waiting(bank: Bank, job: Job) -> Doc:
    due = {"open": True, "due": bank.now(), "owner": None, "attempts": 0, "state": "before"}
    told = {"at": bank.utc(), "source": "wecom"}
    return {"_id": f"{bank.id}:{job.name}", **due, **told, **job.query}


LEASED = [job for job in JOBS if isinstance(job, Job)]


@pytest.mark.parametrize("job", LEASED, ids=lambda job: job.name)
async def test_every_kind_of_waiting_row_ends_after_its_tries_and_somebody_is_told(
    demo: Services, clock: MovedClock, job: Job
) -> None:
    bank = await open_bank(demo, "demo")
    rows = bank.db[job.rows]
    await rows.delete({})
    await rows.insert(waiting(bank, job))
    tries = job.retry.tries
    assert tries is not None
    for _ in range(tries + 3):
        await replace(job, work=broken).run(bank)
        clock.advance(job.retry.most + 1)
    (row,) = await rows.find({})
    assert (row["open"], row["attempts"], row["reason"]) == (False, tries, "internal")
    (alarm,) = await bank.db["alarms"].find({"kind": "work.failed"})
    assert alarm["data"] == {"work": job.name, "reason": "internal"}
    if job.rows is INBOX:  # it has its dead letter
        (letter,) = await explain.newest(bank, "dead")
        assert letter["event"] == job.name
        return
    kinds = [job.failures]
    assert [line["id"] for line in await failed.newest(bank, FAILURES)] == [row["_id"]]
    await failed.retry(bank, "cli:test", kinds, row["_id"])
    (again,) = await rows.find({})
    assert (again["open"], again["attempts"], again["reason"]) == (True, 0, "")
    assert await failed.newest(bank, FAILURES) == []
    with pytest.raises(NotFound):
        await failed.retry(bank, "cli:test", kinds, row["_id"])


async def test_a_channels_own_state_is_not_touched_by_its_end(
    demo: Services, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = await open_bank(demo, "demo")
    before = {row["_id"]: row["state"] for row in await bank.db["channels"].find({})}
    assert before
    for kind in reconcile.RECONCILERS:
        monkeypatch.setitem(reconcile.RECONCILERS, kind, broken)
    for _ in range(14):
        await bank.db["channels"].update_many({"open": True}, {"$set": {"due": bank.now()}})
        await work.keep_channels(bank)
    rows = await bank.db["channels"].find({})
    assert {row["_id"]: row["state"] for row in rows} == before
    assert {row["open"] for row in rows} == {False}
    assert await failed.retry_some(bank, "cli:test", FAILURES) == len(before)
    assert await bank.db["channels"].count({"open": True}) == len(before)


@pytest.mark.parametrize("sweep", [job for job in JOBS if not isinstance(job, Job)], ids=lambda job: job.name)
async def test_a_sweep_that_fails_again_and_again_is_told(demo: Services, sweep: Any) -> None:
    bank = await open_bank(demo, "demo")
    faulty = replace(sweep, work=broken)
    for expected in (0, 0, 1, 1):
        await faulty.run(bank)
        assert await bank.db["alarms"].count({"kind": "work.failed"}) == expected


async def test_a_run_that_cannot_go_on_is_told_and_goes_on_when_it_is_tried_again(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = await open_bank(demo, "demo")
    await tools.scanned(sandbox, http)
    await tools.all_work(demo)
    (run,) = await tools.runs(demo)
    await bank.db["runs"].update_many({}, {"$set": {"due": bank.now()}})
    with monkeypatch.context() as patch:
        patch.setattr("campaigns.engine.runs.resume", broken)
        for _ in range(14):
            await work.advance_runs(bank)
            clock.advance(301)
    (stopped,) = await tools.runs(demo)
    assert (stopped["status"], stopped["reason"], stopped["open"]) == ("error", "internal", False)
    assert await bank.db["alarms"].count({"kind": "work.failed"}) == 1
    await failed.retry(bank, "cli:test", FAILURES, run["_id"])
    await work.advance_runs(bank)
    (again,) = await tools.runs(demo)
    assert again["status"] == "active"


async def test_failed_work_is_shown_and_tried_again_on_its_page(
    demo: Services, http: httpx.AsyncClient, clock: MovedClock
) -> None:
    bank = await open_bank(demo, "demo")
    (job,) = [one for one in LEASED if one.name == "campaigns.advance_runs"]
    for number in range(2):
        stopped = {"open": False, "status": "error", "reason": "internal", "attempts": 12}
        await bank.db["runs"].insert({**waiting(bank, job), "_id": f"demo:{number}", **stopped})
    await sign_in(http, "demo", "lin", "yinqiao-demo")
    page = (await http.get("/console/work?lang=en")).text
    assert page.count("/retry") == 2
    one = await post_form(http, "/console/work", "/console/work/0/retry", False)
    assert (one.status_code, one.headers["Location"]) == (303, "/console/work")
    assert await bank.db["runs"].count({"open": True, "status": "active"}) == 1
    twice = await post_form(http, "/console/work", "/console/work/0/retry", False)
    assert twice.status_code == 404
    every = await post_form(http, "/console/work", "/console/work", False)
    assert (every.status_code, await bank.db["runs"].count({"open": True, "status": "active"})) == (303, 2)
    audited = await bank.db["audit"].find({"action": "work.retried"})
    assert [(row["actor"], row["object"]) for row in audited] == [("lin", "demo:0"), ("lin", "campaigns.advance_runs")]


async def test_a_new_tag_that_wecom_does_not_list_yet_is_marked_all_the_same(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = await open_bank(demo, "demo")
    stale = await bank.wecom.tags.list()

    async def listed(*_: object) -> Any:
        return stale

    monkeypatch.setattr(tags, "_ask", listed)
    person, _ = await tools.scanned(sandbox, http)
    await tools.all_work(demo)
    row = await tools.effect(demo, "tag")
    assert (row["state"], row["attempts"]) == ("done", 1)
    friend = (await sandbox.control("GET", f"people/{person['id']}"))["friends"][0]
    assert friend["tag_names"] == ["sz-nanshan"]


async def test_a_tag_that_another_made_and_wecom_does_not_list_is_waited_for_and_given_up(
    demo: Services, sandbox: Sandbox, http: httpx.AsyncClient, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = await open_bank(demo, "demo")
    stale = await bank.wecom.tags.list()

    async def listed(*_: object) -> Any:
        return stale

    async def made_by_another(bank: Bank, group: str, tag: str) -> None:
        await tags.refresh(bank)

    monkeypatch.setattr(tags, "_ask", listed)
    monkeypatch.setattr(tagging, "_make", made_by_another)
    await tools.scanned(sandbox, http)
    for _ in range(14):
        await tools.all_work(demo)
        clock.advance(301)
    row = await tools.effect(demo, "tag")
    assert (row["state"], row["reason"]) == ("failed", "gave_up_after_12:platform_try_later:40071")
    assert [line["what"] for line in await failed.newest(bank, FAILURES)] == ["tag"]


async def test_what_fails_again_holds_up_none_of_the_others(demo: Services, clock: MovedClock) -> None:
    bank = await open_bank(demo, "demo")
    (job,) = [one for one in LEASED if one.name == "campaigns.advance_runs"]
    stopped = {"open": False, "status": "error", "reason": "internal", "attempts": 12}
    for number in range(4):
        await bank.db["runs"].insert({**waiting(bank, job), "_id": f"demo:{number}", **stopped})
        clock.advance(1)
    tried: list[str] = []
    for _ in range(2):
        assert await failed.retry_some(bank, "cli:test", FAILURES, 2) == 2
        again = await bank.db["runs"].find({"open": True})
        tried += [row["_id"] for row in again]
        clock.advance(1)
        for row in again:  # whose cause is there still
            await bank.db["runs"].update({"_id": row["_id"]}, {"$set": {**stopped, "due": bank.now()}})
    assert sorted(tried) == [f"demo:{number}" for number in range(4)]
