"""Whoever splits or joins is killed before each of his writes in turn: what is there in the end is the truth."""

from __future__ import annotations

from typing import Any

import pytest

from customers.banks.bank import Bank
from customers.identity import customer_numbers
from customers.identity.awaited import AWAITED
from customers.intake.rows import BANK_EVENTS, BANK_TOLD, EVENT_TALLIES, INTAKE
from customers.timeline import TIMELINE
from services.container import Services
from tests.support import killing
from tests.support.bank_systems import customer, event, join, split, take, tell
from tests.support.banks import open_bank
from tests.support.killing import Killed


@pytest.fixture
async def bank(demo: Services) -> Bank:
    return await open_bank(demo, "demo")


async def due(bank: Bank) -> None:
    """The leases of the killed are over."""
    for rows in (INTAKE, AWAITED):
        await bank.db[rows].update_many({"open": True}, {"$set": {"due": 0.0}})


async def at_each_write(bank: Bank, monkeypatch: pytest.MonkeyPatch, work: Any, number: int) -> bool:
    """Does it, killed before that write; whether it came so far. Then another does it whole."""
    with monkeypatch.context() as patched:
        reached = killing.before_write(patched, number)
        try:
            await work(bank)
        except Killed:
            pass
    await due(bank)
    await work(bank)
    return reached()


async def truth(bank: Bank) -> dict[str, Any]:
    """What is there: counts by customer and event, stories, and what still waits."""
    tallies = await bank.db[EVENT_TALLIES].find({}, limit=None)
    return {
        "counted": {(row["cid"], row["name"]): sum(row["days"].values()) for row in tallies},
        "stories": await bank.db[TIMELINE].count({"kind": "bank.event"}),
        "events": await bank.db[BANK_EVENTS].count(),
        "waiting": await bank.db[BANK_EVENTS].count({"wait": {"$exists": True}}),
        "kept": await bank.db[BANK_TOLD].count(),
        "open": await bank.db[INTAKE].count({"open": True}),
    }


async def test_splitting_and_joining_end_at_the_truth_wherever_they_are_killed(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    cid = await customer(bank, unionid="u-1")
    await customer_numbers.link(bank, "C0001", cid, source="bank", proof="test")
    number, killed = 0, True
    while killed:
        other = f"D{number:04d}"
        before = await truth(bank)
        await take(bank, [event(f"a{number}"), event(f"b{number}"), event(f"c{number}", number=other)])
        await tell(bank, [{"customer": {"number": other}, "fields": {"holdings": number}}])
        killed = await at_each_write(bank, monkeypatch, split, number)
        now = await truth(bank)
        assert now["counted"][cid, "app.login"] == before["counted"].get((cid, "app.login"), 0) + 2
        assert now["stories"] == before["stories"] + 2
        assert (now["events"], now["waiting"], now["kept"], now["open"]) == (before["events"] + 3, 1, 1, 0)
        whose = await customer(bank, unionid=f"u-{other}")
        await customer_numbers.link(bank, other, whose, source="bank", proof="test")
        await due(bank)
        killed |= await at_each_write(bank, monkeypatch, join, number)
        now = await truth(bank)
        assert now["counted"][whose, "app.login"] == 1
        assert now["stories"] == before["stories"] + 3
        assert (now["waiting"], now["kept"]) == (0, 0)
        held = await bank.db["field_values"].find_one({"_id": whose})
        assert held is not None
        assert held["values"] == {"holdings": number}
        number += 1
    assert number > 8
