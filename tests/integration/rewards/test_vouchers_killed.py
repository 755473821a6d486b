"""Whoever is killed at a voucher leaves one use or none, and a ledger that agrees."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from customers.access import history
from customers.banks.bank import Bank
from rewards import ledger
from rewards.vouchers import due, life, redeem
from rewards.vouchers.rows import Voucher
from services.container import Services
from services.errors import Unavailable
from services.security.intents import GRACE
from tests.integration.rewards import vouchering, world
from tests.integration.rewards.vouchering import ANN, BEN, code, now, voucher
from tests.support import killing
from tests.support.waiting import until


async def settled(services: Services) -> None:
    await until(lambda: world.settled(services))


@pytest.mark.parametrize("number", range(12))
async def test_a_write_off_that_is_killed_anywhere_is_one_use_and_told_by_the_job(
    services: Services, clock: Any, number: int
) -> None:
    bank, row = await voucher(services)
    await settled(services)
    with pytest.MonkeyPatch.context() as patch:
        killed = killing.before_write(patch, number)
        try:
            await redeem.redeem(bank, ANN, code(bank, row), "k")
        except killing.Killed:
            assert killed()
    clock.advance(3)
    await due.see_to(bank)
    before = (await now(bank, row))["state"]
    assert await ledger.check(bank) == []
    done = await redeem.redeem(bank, ANN, code(bank, row), "k")
    assert done.replayed == (before == "used")
    with pytest.raises(Exception, match="voucher_used"):
        await redeem.redeem(bank, BEN, code(bank, row), "k")
    assert [use["state"] for use in await redeem.today(bank, ANN)] == ["done"]
    assert await vouchering.balances(bank) == {"supply": -1000, "stock": 999, "used": 1}
    assert await ledger.check(bank) == []


async def _three(services: Services) -> tuple[Bank, list[str]]:
    """Three customers' vouchers, by their codes."""
    bank, first = await voucher(services)
    rows = [first] + [await vouchering.granted(bank, await vouchering.person(bank, f"u{n}")) for n in (1, 2)]
    await settled(services)
    return bank, [code(bank, row) for row in rows]


async def _all_at_once(bank: Bank, shown: list[str]) -> list[Any]:
    tries = (redeem.redeem(bank, ANN, one, f"key-{one}") for one in shown)
    return list(await asyncio.gather(*tries, return_exceptions=True))


async def _told(bank: Bank) -> tuple[int, ...]:
    """Uses that are done, lines of the ledger, entries of timelines, and vouchers that are told."""
    db = bank.db
    return (
        await db["voucher_uses"].count({"state": "done"}),
        await db["transfers"].count({"kind": "voucher", "why": "voucher.used"}),
        await db["timeline"].count({"kind": "voucher.used"}),
        await db["vouchers"].count({"state": "used", "steps": []}),
    )


async def test_write_offs_of_the_same_moment_are_told_together_and_once_each(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank, shown = await _three(services)
    tell, together = life.tell, list[int]()

    async def counted(bank: Bank, rows: Any) -> None:
        together.append(len(rows))
        await tell(bank, rows)

    monkeypatch.setattr(life, "tell", counted)
    ended = await _all_at_once(bank, shown)
    assert [(one.left, one.replayed) for one in ended] == [(0, False)] * 3
    assert sum(together) == 3
    assert len(together) < 3
    assert await _told(bank) == (3, 3, 3, 3)
    receipts = {one.use: (one.at, one.left) for one in ended}
    uses = await bank.db["voucher_uses"].find({})
    assert {use["_id"]: (use["at"], use["left"]) for use in uses} == receipts
    assert await ledger.check(bank) == []


@pytest.mark.parametrize("number", range(12))
async def test_write_offs_that_are_killed_together_are_each_told_once_by_the_job(
    services: Services, clock: Any, number: int
) -> None:
    bank, shown = await _three(services)
    with pytest.MonkeyPatch.context() as patch:
        killing.before_write(patch, number)
        await _all_at_once(bank, shown)
    used = await bank.db["vouchers"].count({"state": "used"})
    clock.advance(3)
    await due.see_to(bank)
    assert await _told(bank) == (used,) * 4
    await history.finish_acts(bank)
    clock.advance(GRACE + 1)
    await history.finish_acts(bank)
    ended = await _all_at_once(bank, shown)
    assert sum(one.replayed for one in ended) == used
    assert await _told(bank) == (3, 3, 3, 3)
    said = await bank.db["audit"].find({"action": "voucher.used"})
    assert {row["data"]["use"] for row in said} == {one.use for one in ended}
    assert await ledger.check(bank) == []


async def test_uses_of_one_voucher_at_the_same_moment_are_each_told(services: Services) -> None:
    bank, row = await voucher(services, uses=4)
    tries = (redeem.redeem(bank, by, code(bank, row), key) for by in (ANN, BEN) for key in ("k1", "k2"))
    assert sorted(one.left for one in await asyncio.gather(*tries)) == [0, 1, 2, 3]
    await until(lambda: _nothing_left(bank))
    assert (await _told(bank))[0] == 4
    assert await bank.db["timeline"].count({"kind": "voucher.used"}) == 4
    assert await ledger.check(bank) == []


async def _nothing_left(bank: Bank) -> bool:
    await due.see_to(bank)
    return not await bank.db["vouchers"].count({"steps": {"$ne": []}})


async def _used_untold(bank: Bank, row: Voucher, key: str) -> Voucher:
    """The voucher after a use of which nobody was told."""

    async def dies(*_: Any) -> None:
        raise killing.Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(life, "_tell_now", dies)
        with pytest.raises(killing.Killed):
            await redeem.redeem(bank, ANN, code(bank, row), key)
    return await now(bank, row)


async def test_what_happens_while_others_are_told_is_not_taken_off_with_them(services: Services, clock: Any) -> None:
    bank, row = await voucher(services, uses=2)
    await settled(services)
    seen = await _used_untold(bank, row, "k1")
    await _used_untold(bank, row, "k2")
    await life.tell(bank, [seen])
    assert [step["n"] for step in (await now(bank, row))["steps"]] == [1, 2]
    clock.advance(3)
    await due.see_to(bank)
    assert await _told(bank) == (2, 1, 2, 1)
    assert await ledger.check(bank) == []


async def test_of_two_changes_of_a_voucher_at_the_same_moment_the_newest_tells_both(services: Services) -> None:
    bank, row = await voucher(services, uses=2)
    await settled(services)
    first = await _used_untold(bank, row, "k1")
    second = await _used_untold(bank, row, "k2")
    await asyncio.gather(life._tell_now(bank, second), life._tell_now(bank, first))
    assert await _told(bank) == (2, 1, 2, 1)


async def test_what_happens_at_two_banks_at_the_same_moment_is_told_at_each(services: Services) -> None:
    changed = []
    for tenant in ("demo", "other"):
        await world.put(services, 10, tenant)
        bank = await vouchering.bank_of(services, tenant)
        row = await vouchering.granted(bank, await vouchering.person(bank))
        changed.append((bank, await _used_untold(bank, row, "k")))
    await asyncio.gather(*(life._tell_now(bank, row) for bank, row in changed))
    assert [await _told(bank) for bank, _ in changed] == [(1, 1, 1, 1)] * 2


@pytest.mark.parametrize("why", [Unavailable("store_unavailable", "the database does not answer"), KeyError("ours")])
async def test_what_cannot_be_told_now_is_done_all_the_same(
    services: Services, clock: Any, monkeypatch: pytest.MonkeyPatch, why: Exception
) -> None:
    bank, shown = await _three(services)

    async def away(*_: Any) -> None:
        raise why

    with monkeypatch.context() as patch:
        patch.setattr(life, "tell", away)
        ended = await _all_at_once(bank, shown)
    assert [(one.left, one.state) for one in ended] == [(0, "used")] * 3
    assert await _told(bank) == (0, 0, 0, 0)
    clock.advance(3)
    await due.see_to(bank)
    assert await _told(bank) == (3, 3, 3, 3)


async def test_the_ledger_names_a_voucher_whose_unit_is_elsewhere(services: Services) -> None:
    bank, row = await voucher(services)
    await settled(services)
    await redeem.redeem(bank, ANN, code(bank, row), "k")
    assert await ledger.check(bank) == []
    await bank.db["vouchers"].update({"_id": row["_id"]}, {"$set": {"state": "expired"}})
    assert sorted(await ledger.check(bank)) == [
        "camp.r: account expired:camp.r holds 0, but of the vouchers it is 1",
        "camp.r: account used:camp.r holds 1, but of the vouchers it is 0",
    ]
