"""The job table: one entry makes a task, its route, its wake-ups and its retries."""

from __future__ import annotations

import ast
import asyncio
import importlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from config.settings import Settings
from customers.banks.bank import Bank
from operations import celery, jobs, scheduler
from operations.jobs import JOBS, QUEUES, Job
from operations.schema import COLLECTIONS
from services.container import Services, open_services
from services.errors import Conflict, Unavailable
from services.queue.broker import make_celery
from services.queue.retry import DEAD_LETTER, Retry
from services.queue.worker import WorkerLoop
from services.store import leases
from services.store.mongo import Doc
from services.store.rows import Rows
from tests.docs import codes
from tests.support.banks import open_bank
from tests.support.clock import MovedClock

PARCELS = Rows("parcels", indexes=((("tenant", 1), ("open", 1), ("due", 1)),))
NAME = "demo.carry"


async def carry(bank: Bank, owner: str, row: Doc) -> None:
    """Delivers a parcel, unless it is told to fail."""
    if row.get("fails"):
        raise Conflict("parcel_stuck", "it does not fit through the door")
    if row.get("away"):
        raise Unavailable("store_unavailable", "the database is away")
    await leases.close(bank.db[PARCELS], owner, [row["_id"]], state="done")


CARRY = Job(
    name=NAME,
    queue="parcels",
    rows=PARCELS,
    query={"lane": "road"},
    work=carry,
    lease=6.0,
    retry=Retry(3, first=2.0, then=DEAD_LETTER),
    doc="carries parcels",
)


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
async def post(
    settings: Settings, clock: MovedClock, monkeypatch: pytest.MonkeyPatch, demo: Services
) -> AsyncIterator[Services]:
    """Services of a product that has one job more."""
    monkeypatch.setattr(jobs, "JOBS", (*JOBS, CARRY))
    queues = {**QUEUES, NAME: CARRY.queue}
    opened = await open_services(settings, [*COLLECTIONS, PARCELS], queues, clock=clock)
    try:
        yield opened
    finally:
        await opened.close()


def parcel(bank: Bank, number: int, **fields: Any) -> Doc:
    waiting = {"open": True, "due": bank.now(), "owner": None, "attempts": 0}
    return {"_id": f"{bank.id}:{number}", "lane": "road", **waiting, **fields}


async def test_a_job_is_one_entry_and_its_work(post: Services, settings: Settings) -> None:
    bank = await open_bank(post, "demo")
    await bank.db[PARCELS].insert_new([parcel(bank, 1), parcel(bank, 2, lane="rail")])
    assert await scheduler.tick(bank) == [NAME]
    queues = {**QUEUES, NAME: CARRY.queue}
    app = make_celery(settings, queues)
    celery.register(app, WorkerLoop(settings, [*COLLECTIONS, PARCELS], queues), [CARRY])
    await asyncio.to_thread(app.tasks[NAME], "demo")
    found = await bank.db[PARCELS].find({}, sort=[("_id", 1)])
    assert [(row["open"], row.get("state")) for row in found] == [(False, "done"), (True, None)]
    assert app.conf.task_routes[NAME] == {"queue": "parcels"}


async def test_work_that_fails_is_tried_again_as_the_table_says(post: Services, clock: MovedClock) -> None:
    bank = await open_bank(post, "demo")
    await bank.db[PARCELS].insert_new([parcel(bank, 1, fails=True), parcel(bank, 2)])
    waits = []
    for _ in range(3):
        await CARRY.run(bank)
        (row,) = await bank.db[PARCELS].find({"fails": True})
        waits.append(round(row["due"] - bank.now()))
        clock.advance(10)
    assert waits[:2] == [2, 4]
    assert (row["open"], row["attempts"], row["state"], row["reason"]) == (False, 3, "dead", "parcel_stuck")
    assert await bank.db[PARCELS].count({"state": "done"}) == 1


async def test_a_row_whose_database_is_away_is_left_to_its_lease(post: Services) -> None:
    bank = await open_bank(post, "demo")
    await bank.db[PARCELS].insert_new([parcel(bank, 1, away=True)])
    await CARRY.run(bank)
    (row,) = await bank.db[PARCELS].find({})
    assert (row["open"], row["attempts"], round(row["due"] - bank.now())) == (True, 1, 6)


async def test_the_table_tells_what_waits_at_a_bank(post: Services) -> None:
    bank = await open_bank(post, "demo")
    later = parcel(bank, 3, due=bank.now() + 60)
    await bank.db[PARCELS].insert_new([parcel(bank, 1), parcel(bank, 2, lane="rail"), later])
    found = {one.job.name: (one.waiting, one.due) for one in await jobs.backlogs(bank)}
    assert found[NAME] == (2, 1)
    assert found["rewards.settle"] == (0, 0)
    assert list(found) == [*QUEUES, NAME]


def test_no_name_stands_twice_and_every_job_has_a_queue_and_a_lease() -> None:
    assert len(QUEUES) == len(JOBS)
    assert jobs.queues() == "callback,staff,bank,effects"
    assert [job.name for job in JOBS if isinstance(job, Job) and not 1.0 <= job.lease <= jobs.TIME_BUDGET * 2] == []


def test_whoever_wakes_a_worker_names_a_task_of_the_table() -> None:
    """A name that nobody listens to is accepted by a broker without a word."""
    woken = {}
    for file in codes.modules():
        module = ".".join(file.path.relative_to(codes.ROOT).with_suffix("").parts)
        for call, function, _ in file.calls():
            if codes.name_of(call) == "signal" and codes.receiver_of(call) in ("bank", "wakeups"):
                if (module, getattr(function, "name", "")) not in PASSING_ON:
                    given = importlib.import_module(module)
                    for name in _either(call.args[0]):
                        woken[module, call.lineno, name] = getattr(given, name, name)
    assert len(woken) > 8
    assert {place: task for place, task in woken.items() if task not in QUEUES} == {}


def _either(task: ast.expr) -> list[str]:
    """The name that is given, or both of `A if ... else B`."""
    if isinstance(task, ast.IfExp):
        return [*_either(task.body), *_either(task.orelse)]
    return [getattr(task, "id", "")]


PASSING_ON = {
    ("customers.banks.bank", "signal"),
    ("operations.failed", "_told"),
    ("operations.jobs", "turn"),
    ("operations.scheduler", "tick"),
}
"""These are given the name."""
