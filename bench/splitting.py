"""A bank's file of events after it was taken in: split into events, joined to customers, counted and
told in timelines, by one worker's code.

Product: the job of the workers, over rows of 500 events each. Naive: one event at a time, as a careful
engineer writes it first: the customer by his number, the event, his count, his timeline. Ceiling: the
rows of events and timelines alone, inserted in groups. All three in this process, on the same stores,
in turn; every customer of `known` is known, and in `waiting` nobody is.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import Any, cast

from bench import cpu, intake
from bench.bank import SYSTEM, TENANT
from bench.load import LoadError
from bench.stage import FULL, TINY, Stage, open_stage
from customers.banks.bank import Bank, open_bank
from customers.banks.tasks import SPLIT_INTAKE
from customers.identity import awaited
from customers.identity.rows import CUSTOMERS, IDENTITIES
from customers.intake import receiving
from customers.intake.receiving import Checked, Sent
from customers.intake.rows import BANK_EVENTS, EVENT_TALLIES, EVENTS, INTAKE
from operations.jobs import JOBS
from services import ids

LINES = 500
MANY, FEW = 5_000, 1_000
EACH = 2
"""So many events has a customer in each round."""
SINGLE = 250
OF_NAIVE = 3.0
JOB = next(job for job in JOBS if job.name == SPLIT_INTAKE)
Way = Callable[[Stage, Bank, list[dict[str, Any]]], Awaitable[None]]


@dataclass
class Ran:
    """What one way did: events a second, and the processor time of an event (microseconds) by
    process, round by round."""

    rates: list[float] = field(default_factory=list)
    spent: list[dict[str, float]] = field(default_factory=list)

    def told(self) -> dict[str, int]:
        """The medians of the processor time."""
        return {who: round(median(one[who] for one in self.spent)) for who in self.spent[0]}


async def measure(tiny: bool) -> tuple[dict[str, Any], str]:
    """The row's line: events a second whose customers are known, and under `waiting` of those whose
    are not, with the processor time of an event (microseconds) by process. Raises LoadError unless
    each event is there and counted once."""
    rounds, count = (1, FEW) if tiny else (3, MANY)
    async with open_stage(TINY if tiny else FULL, frozenset()) as stage:
        bank = await open_bank(stage.services, TENANT)
        await _make_known(stage, bank, count // EACH)
        known, waiting = [Ran(), Ran(), Ran()], Ran()
        for _ in range(rounds):
            for way, ran in zip((_product, _naive, _ceiling), known, strict=True):
                await _run(stage, bank, way, _events(count, "C"), ran)
            await _run(stage, bank, _product, _events(count, "W"), waiting)
        await _check(bank, 2 * rounds * count, rounds * count)
        version = str((await stage.services.redis.info("server"))["redis_version"])
        return _line(
            dict(zip(("product", "naive", "ceiling"), known, strict=True)), waiting
        ), version


def _line(known: dict[str, Ran], waiting: Ran) -> dict[str, Any]:
    line: dict[str, Any] = {"bench": "splitting", "unit": "events/s"}
    line |= {name: round(median(ran.rates), 1) for name, ran in known.items()}
    for other in ("naive", "ceiling"):
        both = zip(known["product"].rates, known[other].rates, strict=True)
        line[f"of_{other}"] = round(median(mine / its for mine, its in both), 3)
    line["at_least_of_naive"] = OF_NAIVE
    line["us_an_event"] = {name: ran.told() for name, ran in known.items()}
    line["waiting"] = {
        "product": round(median(waiting.rates), 1),
        "us_an_event": {"product": waiting.told()},
    }
    return line


async def _run(stage: Stage, bank: Bank, way: Way, events: list[dict[str, Any]], ran: Ran) -> None:
    """One way over these events, by which the clock runs; the naive one over a few of them."""
    some = events if way is not _naive else events[:SINGLE]
    if way is _product:
        await _take_in(bank, some)
    before, began = _spent(stage), time.monotonic()
    await way(stage, bank, some)
    ran.rates.append(len(some) / (time.monotonic() - began))
    after = _spent(stage)
    ran.spent.append({who: (after[who] - before[who]) / len(some) * 1e6 for who in after})


def _spent(stage: Stage) -> dict[str, float]:
    store = cpu.seconds(stage.pids["mongodb"])
    return {"worker": time.process_time(), "mongodb": store}


def _events(count: int, letter: str) -> list[dict[str, Any]]:
    """Events of many customers in turn, so that hardly two of one lie together."""
    customers = count // EACH
    return [
        {**intake.event(one), "customer": {"number": f"{letter}{one % customers:08d}"}}
        for one in range(count)
    ]


async def _make_known(stage: Stage, bank: Bank, customers: int) -> None:
    numbers = [f"C{one:08d}" for one in range(customers)]
    cids = [ids.new_id(TENANT) for _ in numbers]
    about = {"created_at": datetime.now(UTC), "tags": [], "aliases": [], "openids": {}}
    await bank.db[CUSTOMERS].insert_new([{"_id": cid, **about} for cid in cids])
    rows = [
        {"_id": awaited.wait_id(bank, "number", number), "kind": "number", "cid": cid}
        for number, cid in zip(numbers, cids, strict=True)
    ]
    await bank.db[IDENTITIES].insert_new(rows)
    naive = [{"_id": number, "cid": cid} for number, cid in zip(numbers, cids, strict=True)]
    await stage.naive_db.numbers.insert_many(naive)


async def _take_in(bank: Bank, events: list[dict[str, Any]]) -> None:
    """The rows of a file, as files.py makes them."""
    name = secrets.token_hex(8)
    for start in range(0, len(events), LINES):
        sent = Sent(SYSTEM, EVENTS, f"{name}:{start}")
        row = receiving.row_of(bank, sent, Checked(events[start : start + LINES], {}))
        await bank.db[INTAKE].insert_new([cast("dict[str, Any]", row)])


async def _product(_: Stage, bank: Bank, events: list[dict[str, Any]]) -> None:
    await JOB.run(bank)


async def _naive(stage: Stage, _: Bank, events: list[dict[str, Any]]) -> None:
    db = stage.naive_db
    for event in events:
        known = await db.numbers.find_one({"_id": event["customer"]["number"]})
        at, cid = datetime.fromisoformat(event["at"]), known["cid"]
        row = {"_id": event["id"], "cid": cid, "name": event["name"], "at": at}
        await db.bank_events.insert_one({**row, "data": event["data"]})
        count = {"$inc": {f"days.{at:%Y%m%d}": 1}, "$max": {"last": at}, "$min": {"first": at}}
        await db.tallies.update_one({"_id": f"{cid}:{event['name']}"}, count, upsert=True)
        await db.timeline.insert_one(row)


async def _ceiling(_: Stage, bank: Bank, events: list[dict[str, Any]]) -> None:
    for rows in ("bench_events", "bench_timeline"):
        docs = [{"_id": f"{bank.id}:{one['id']}", **one} for one in events]
        await bank.db[rows].insert_new(docs)


async def _check(bank: Bank, events: int, counted: int) -> None:
    """Every event is there once, those of known customers are counted, and nothing is left over."""
    there = await bank.db[BANK_EVENTS].count()
    tallies = await bank.db[EVENT_TALLIES].find({}, limit=None)
    days = sum(sum(row["days"].values()) for row in tallies)
    left = await bank.db[INTAKE].count({"open": True})
    if (there, days, left) != (events, counted, 0):
        raise LoadError(f"{there} of {events} are there, {days} of {counted} counted, {left} left")
