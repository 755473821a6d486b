"""Workers are killed while they split and join what the bank's systems sent, and all is there once."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from customers.identity import customer_numbers
from customers.identity.awaited import AWAITED
from customers.intake.rows import BANK_EVENTS, EVENT_TALLIES, INTAKE
from customers.timeline import TIMELINE
from deploy.parts import Parts
from services.container import Services
from tests.support.bank_systems import customer, event, take
from tests.support.banks import open_bank
from tests.support.waiting import until

REQUESTS, EVENTS, PEOPLE = 12, 60, 20


@pytest.mark.alone
async def test_kills_while_events_are_split_and_joined_lose_none_and_count_none_twice(
    demo: Services, worker: Parts
) -> None:
    bank = await open_bank(demo, "demo")
    db = bank.db
    cids = {}
    for n in range(PEOPLE // 2):
        cids[f"C{n:04d}"] = await customer(bank, unionid=f"u{n}")
        await customer_numbers.link(bank, f"C{n:04d}", cids[f"C{n:04d}"], source="bank", proof="t")
    truth: Counter[str] = Counter()
    for request in range(REQUESTS):
        named = [f"C{(request * 7 + n) % PEOPLE:04d}" for n in range(EVENTS)]
        truth.update(named)
        await take(bank, [event(f"{request}-{n}", number=number) for n, number in enumerate(named)])

    async def some() -> bool:
        bank.signal("customers.split_intake")
        return await db[BANK_EVENTS].count() > 0

    async def split() -> bool:
        bank.signal("customers.split_intake")
        return await db[INTAKE].count({"open": True}) == 0

    async def killed() -> None:
        worker.kill9("worker")
        await asyncio.to_thread(worker.start, "worker")

    await until(some, 60)
    await killed()
    await until(split, 120)
    for n in range(PEOPLE // 2, PEOPLE):
        cids[f"C{n:04d}"] = await customer(bank, unionid=f"u{n}")
        await customer_numbers.link(bank, f"C{n:04d}", cids[f"C{n:04d}"], source="bank", proof="t")

    async def joined_some() -> bool:
        bank.signal("customers.join_waiting")
        return await db[AWAITED].count() < PEOPLE // 2

    async def joined() -> bool:
        bank.signal("customers.join_waiting")
        return await db[AWAITED].count() == 0

    await until(joined_some, 60)
    await killed()
    await until(joined, 120)
    tallies = await db[EVENT_TALLIES].find({}, limit=None)
    assert {row["cid"]: sum(row["days"].values()) for row in tallies} == {
        cids[number]: n for number, n in truth.items()
    }
    assert await db[TIMELINE].count({"kind": "bank.event"}) == truth.total() == REQUESTS * EVENTS
    assert await db[BANK_EVENTS].count({"wait": {"$exists": True}}) == 0
