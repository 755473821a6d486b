"""What the books say: balances at any time, an account's lines, the trial balance, a month, a story."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from customers.banks.bank import Bank
from rewards.ledger import book, check, lines, statement
from rewards.ledger.book import Entry
from services.container import Services
from services.errors import InvalidInput, NotFound
from tests.integration.rewards import world
from tests.integration.rewards.test_book import BUDGET, POINTS, burn, earn, fund, quiet, spend
from tests.support.banks import open_bank
from tests.support.clock import StillClock

START = datetime(2026, 3, 1, 4, tzinfo=UTC).timestamp()
"""Noon of 1 March in the bank's time."""
DAY = 86_400


@pytest.fixture
def clock() -> StillClock:
    still = StillClock()
    still.now = START
    return still


@pytest.fixture
async def bank(services: Services) -> Bank:
    return await open_bank(services, "demo")


async def at_noon(bank: Bank, clock: StillClock, day: int, *entries: Entry) -> None:
    clock.now = START + (day - 1) * DAY
    for entry in entries:
        await book.post(bank, entry)
    await quiet(bank)


async def test_a_balance_is_told_for_any_time(bank: Bank, clock: StillClock) -> None:
    await at_noon(bank, clock, 1, fund(100))
    await at_noon(bank, clock, 2, spend(30, "a"))
    await at_noon(bank, clock, 5, spend(20, "b"))
    noon = datetime.fromtimestamp(START, UTC)

    async def held(after: timedelta) -> int:
        return await statement.balance_at(bank, BUDGET, noon + after)

    moment = timedelta(milliseconds=1)
    assert await held(-moment) == 0
    assert await held(timedelta(0)) == 100
    assert await held(timedelta(days=1) - moment) == 100
    assert await held(timedelta(days=1)) == 70
    assert await held(timedelta(days=3)) == 70
    assert await held(timedelta(days=400)) == 50


async def test_a_day_is_closed_once_many_pages_lie_before_it(
    bank: Bank, clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statement, "CLOSE_PAGES", 3)
    for day in range(1, 8):
        await at_noon(bank, clock, day, fund(day, f"f{day}"))
    clock.now = START + 9 * DAY
    at = bank.utc()
    assert await statement.balance_at(bank, BUDGET, at) == 28
    (closing,) = await bank.db["ledger_closings"].find({})
    assert (closing["day"], closing["credits"]) == ("20260308", 28)
    assert await statement.balance_at(bank, BUDGET, at) == 28
    assert await statement.balance_at(bank, BUDGET, datetime.fromtimestamp(START + 2 * DAY, UTC)) == 6


async def test_a_line_that_comes_late_opens_the_day_again(
    bank: Bank, clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statement, "CLOSE_PAGES", 1)
    await at_noon(bank, clock, 1, fund(10))
    clock.now = START + 9 * DAY
    assert await statement.balance_at(bank, BUDGET, bank.utc()) == 10
    late = {"_id": "demo:late", "kind": "fund", "debit": "funds:camp", "credit": BUDGET, "amount": 5}
    await lines.write(bank, "late", [{**late, "at": datetime.fromtimestamp(START + DAY, UTC)}])
    assert await statement.balance_at(bank, BUDGET, bank.utc()) == 15
    assert await statement.balance_at(bank, BUDGET, datetime.fromtimestamp(START + DAY, UTC)) == 15


async def test_an_accounts_lines_have_the_balance_after_each(bank: Bank, clock: StillClock) -> None:
    await at_noon(bank, clock, 1, fund(100))
    await at_noon(bank, clock, 2, spend(30, "a"), spend(5, "b"))
    shown, older = await statement.latest(bank, BUDGET, bank.utc() + timedelta(seconds=1))
    assert [(line.amount, line.balance) for line in shown] in (
        [(-5, 65), (-30, 70), (100, 100)],
        [(-30, 65), (-5, 95), (100, 100)],
    )
    assert older is None
    shown, older = await statement.latest(bank, BUDGET, bank.utc() + timedelta(seconds=1), most=1)
    assert [line.amount for line in shown] in ([-5], [-5, -30], [-30, -5])
    assert older is not None
    rest, older = await statement.latest(bank, BUDGET, older, most=5)
    assert ([line.amount for line in rest], older) == ([100], None)


async def test_the_trial_balance_is_even_in_each_currency(bank: Bank, clock: StillClock) -> None:
    await world.put(bank.services, 10)
    await at_noon(bank, clock, 1, fund(100), earn(50, "e", bank=bank))
    await at_noon(bank, clock, 2, spend(30), burn(20, "b"))
    found = await statement.trial(bank)
    for currency in ("fen", "points", "unit"):
        of_it = [line for line in found if line.kind.currency == currency]
        assert sum(line.debit for line in of_it) == sum(line.credit for line in of_it) > 0
    balances = {line.account: line.turnover.balance for line in found}
    assert balances["points:*"] == 30
    assert POINTS not in balances
    assert (balances[BUDGET], balances["spent:camp"], balances["funds:camp"]) == (70, 30, -100)
    assert {line.account for line in await statement.trial(bank, datetime.fromtimestamp(START, UTC))} == {
        "supply:camp.r",
        "stock:camp.r",
        "funds:camp",
        BUDGET,
        "points:*",
        "points_issued:main",
    }
    assert await check(bank, lined=True) == []


async def test_a_months_totals_tie(bank: Bank, clock: StillClock) -> None:
    await at_noon(bank, clock, 1, fund(100))
    await at_noon(bank, clock, 31, spend(30, "a"))  # 31 March
    await at_noon(bank, clock, 32, spend(20, "b"))
    march = {one.account: one for one in await statement.month(bank, "2026-03")}
    april = {one.account: one for one in await statement.month(bank, "2026-04")}
    assert (march[BUDGET].opening, march[BUDGET].closing) == (0, 70)
    assert (april[BUDGET].opening, april[BUDGET].turnover.debits, april[BUDGET].closing) == (70, 20, 50)
    for month in (march, april):
        assert sum(one.turnover.debits for one in month.values()) == sum(one.turnover.credits for one in month.values())
        assert sum(one.closing for one in month.values()) == 0


@pytest.mark.parametrize("month", ["", "2026", "2026-13", "2026-00", "x", "2026-11-01", "9999-12"])
async def test_what_is_no_month_is_refused(bank: Bank, month: str) -> None:
    with pytest.raises(InvalidInput):
        await statement.month(bank, month)


async def test_a_story_tells_all_that_is_linked(bank: Bank, clock: StillClock) -> None:
    await book.post(bank, fund(100))
    held = await book.hold(bank, spend(80, cid="c1"), bank.utc() + timedelta(hours=1))
    done = await book.confirm(bank, held.id, 50)
    back = await book.refund(bank, done.id, 20, reason="returned", maker="li", key="1")
    for one in (held.id, done.id):
        told = await statement.story(bank, one)
        assert {row["_id"] for row in told.linked} | {one} == {held.id, done.id, back.id}
    told = await statement.story(bank, back.id)
    assert done.id in {row["_id"] for row in told.linked}
    with pytest.raises(NotFound):
        await statement.story(bank, "demo:nothing")
