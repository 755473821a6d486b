"""The books have every transfer: what became of vouchers, what came late, and what was there before there were
lines."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from customers.banks.bank import Bank
from operations.jobs import JOBS
from rewards import ledger
from rewards.claims import settle_stale
from rewards.ledger import rebuild, statement
from rewards.ledger.rows import LEDGER_CLOSINGS, LEDGER_NAMES, LEDGER_PAGES
from rewards.rows import REWARDS, TRANSFERS
from rewards.vouchers import due, redeem
from services.container import Services
from tests.integration.rewards import vouchering, world
from tests.integration.rewards.test_dead_leases import LONG
from tests.integration.rewards.vouchering import ANN, code, voucher
from tests.support import killing
from tests.support.waiting import until


async def even(bank: Bank) -> dict[str, int]:
    """What the books say that each account holds; their debits are their credits."""
    lines = await statement.trial(bank)
    sides: Counter[str] = Counter()
    for line in lines:
        sides[line.kind.currency] += line.debit - line.credit
    assert not any(sides.values()), sides
    return {line.account: line.turnover.balance for line in lines if line.turnover.balance}


async def test_the_books_have_what_became_of_vouchers(services: Services) -> None:
    bank, row = await voucher(services)
    await until(lambda: world.settled(services))
    await redeem.redeem(bank, ANN, code(bank, row), "k")
    held = await even(bank)
    assert (held["used:camp.r"], held["stock:camp.r"]) == (1, 999)
    assert await ledger.check(bank, lined=True) == []


async def test_what_is_told_of_a_voucher_late_opens_its_days_again(
    services: Services, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statement, "CLOSE_PAGES", 1)
    bank, row = await voucher(services)
    await until(lambda: world.settled(services))
    with monkeypatch.context() as patch:
        patch.setattr("rewards.vouchers.life._tell_now", killing_tell)
        with pytest.raises(killing.Killed):
            await redeem.redeem(bank, ANN, code(bank, row), "k")
    clock.advance(5 * 86_400)
    assert await statement.balance_at(bank, "issued:camp.r", bank.utc()) == 1
    assert await bank.db[LEDGER_CLOSINGS].count({"account": "issued:camp.r"}) == 1
    await due.see_to(bank)
    assert await statement.balance_at(bank, "issued:camp.r", bank.utc()) == 0


async def killing_tell(*_: Any) -> None:
    raise killing.Killed


async def of_before(services: Services) -> tuple[Bank, dict[str, int]]:
    """A bank whose transfers have no lines, and what its books said when they had."""
    bank, _ = await voucher(services)
    for n in range(6):
        await vouchering.granted(bank, await vouchering.person(bank, f"p{n}"))
    await world.put(services, 900, per_customer=20)
    await until(lambda: world.settled(services))
    held = await even(bank)
    for rows in (LEDGER_PAGES, LEDGER_NAMES, LEDGER_CLOSINGS):
        await bank.db[rows].delete({})
    await bank.db[REWARDS].update_many({}, {"$unset": {"lined": ""}})
    return bank, held


async def test_transfers_of_before_there_were_lines_get_theirs_whoever_is_killed(services: Services) -> None:
    _, held = await of_before(services)
    async with world.process(services) as fresh:
        bank = await vouchering.bank_of(fresh)
        (job,) = [one for one in JOBS if one.name == "ledger.make_lines"]
        assert await job.is_due(bank)
        assert await ledger.check(bank, lined=True) != []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rebuild, "AT_ONCE", 3)
            patch.setattr(rebuild, "SECONDS", 0.0)
            await job.run(bank)
            assert await job.is_due(bank)
            killed = killing.before_write(patch, 1)
            with pytest.raises(killing.Killed):
                await rebuild.make_missing(bank)
            assert killed()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rebuild, "AT_ONCE", 3)
            await asyncio.gather(rebuild.make_missing(bank), rebuild.make_missing(bank))
        assert not await job.is_due(bank)
        assert await even(bank) == held
        assert await ledger.check(bank, lined=True) == []
        assert await rebuild.rebuild(bank) == 0


async def test_what_is_under_way_is_left_to_who_writes_it(services: Services, clock: Any) -> None:
    await world.put(services, 5)
    bank = await vouchering.bank_of(services)
    assert await world.claim_and_die(services, world.request("a"), after=world.die) == "Killed"
    before = await bank.db[LEDGER_PAGES].count()
    assert await rebuild.rebuild(bank) == 0
    assert await bank.db[LEDGER_PAGES].count() == before
    clock.advance(LONG)
    await settle_stale(bank)
    assert (await even(bank))["issued:camp.r"] == 1
    assert await rebuild.rebuild(bank) == 0


async def test_a_new_bank_has_nothing_to_make_up_for(services: Services) -> None:
    bank, _ = await voucher(services)
    await until(lambda: world.settled(services))
    assert not await bank.db[REWARDS].find(rebuild.WITHOUT)
    assert await rebuild.rebuild(bank) == 0
    assert await bank.db[TRANSFERS].count() == 2
