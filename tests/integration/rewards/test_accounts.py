"""Guarded accounts: the race with the guard off, and what their functions do with lots, without a store."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from customers.banks.bank import Bank
from rewards.ledger import accounts, book, check
from rewards.ledger.rows import AccountRow
from services.container import Services
from services.errors import InvalidInput
from tests.integration.rewards.test_book import BUDGET, code, fund, has, quiet, spend
from tests.support.banks import open_bank

NOW = datetime(2026, 3, 1, tzinfo=UTC)


async def test_read_then_write_spends_what_there_is_not_and_the_guard_does_not(services: Services) -> None:
    bank = await open_bank(services, "demo")
    await book.post(bank, fund(10))
    await quiet(bank)

    async def careless() -> bool:
        before = (await accounts.balance(bank, BUDGET)).available
        await asyncio.sleep(0.01)  # somebody else looks too
        if before < 7:
            return False
        await bank.db["accounts"].update({"account": BUDGET}, {"$inc": {"posted": -7}})
        return True

    assert sum(await asyncio.gather(*(careless() for _ in range(5)))) > 1
    assert (await has(bank))[0] < 0
    assert any("below nothing" in problem for problem in await check(bank))
    await bank.db["accounts"].update({"account": BUDGET}, {"$set": {"posted": 10}})
    found = await asyncio.gather(*(code(book.post(bank, spend(7, f"s{n}"))) for n in range(5)))
    assert sorted(set(found)) in (["insufficient", "posted"], ["balance_in_doubt", "posted"])
    assert found.count("posted") == 1
    await quiet(bank)
    assert await has(bank) == (3, 0, 3)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"$inc": {"posted": 1}}, "the transfers bring 10, not 11"),
        ({"$inc": {"posted": -1}}, "the transfers bring 10, not 9"),
        ({"$inc": {"held": 1}}, "the transfers hold 0, not 1"),
        ({"$inc": {"taken": 1}}, "taken 1, but the leases take 0"),
        ({"$inc": {"posted": -20}}, "below nothing"),
    ],
)
async def test_a_changed_account_is_named(services: Services, change: dict[str, dict[str, int]], named: str) -> None:
    bank = await open_bank(services, "demo")
    await book.post(bank, fund(10))
    await quiet(bank)
    assert await check(bank, lined=True) == []
    await bank.db["accounts"].update({"account": BUDGET}, change)
    problems = await check(bank)
    assert any(problem.startswith(f"account {BUDGET}: ") and named in problem for problem in problems), problems


async def test_a_changed_or_missing_line_is_named(services: Services) -> None:
    bank = await open_bank(services, "demo")
    await book.post(bank, fund(10))
    await quiet(bank)
    await bank.db["ledger_pages"].delete({"account": BUDGET})
    assert await check(bank) == []
    assert await check(bank, lined=True) == [f"account {BUDGET}: the lines differ from the transfers by 10"]


async def test_a_changed_transfer_is_named(services: Services) -> None:
    bank = await open_bank(services, "demo")
    posted = await book.post(bank, fund(10))
    await quiet(bank)
    await bank.db["transfers"].update({"_id": posted.id}, {"$set": {"amount": 12}})
    assert await check(bank) == [f"account {BUDGET}: the transfers bring 12, not 10"]
    await bank.db["transfers"].update({"_id": posted.id}, {"$set": {"amount": 10, "credit": "nothing:x"}})
    assert f"transfer {posted.id} names account nothing:x, which there is not" in await check(bank)


async def test_the_check_holds_while_work_goes_on(bank_at_work: Bank) -> None:
    for _ in range(3):
        assert await check(bank_at_work) == []


@pytest.fixture
async def bank_at_work(services: Services) -> Bank:
    bank = await open_bank(services, "demo")
    await book.post(bank, fund(10_000))

    async def work(n: int) -> None:
        for turn in range(15):
            await code(book.post(bank, spend(3, f"w{n}-{turn}")))

    for n in range(8):
        services.groups.spawn(work(n))
    return bank


@pytest.mark.parametrize(("account", "each"), [("points:c", 1), (BUDGET, 0), (BUDGET, -1), ("fee", 1)])
async def test_what_cannot_be_taken_is_refused(services: Services, account: str, each: int) -> None:
    bank = await open_bank(services, "demo")
    with pytest.raises(InvalidInput):
        await accounts.take(bank, account, "b", ["demo:1"], each)
    assert await bank.db["ledger_batches"].count() == 0


def lots(**left: int) -> AccountRow:
    row = accounts.blank("points:c")
    for name, n in left.items():
        expires = None if name == "never" else NOW + timedelta(days=int(name.removeprefix("d")))
        row["lots"].append({"expires": expires, "left": n, "aside": 0})
        row["posted"] += n
    return row


def test_lots_are_taken_soonest_first_and_what_has_expired_is_left() -> None:
    row = lots(d9=5, never=5, d1=5, d0=5)
    assert accounts.available(row, NOW) == 15
    assert accounts.available(row, NOW, expired=True) == 5
    assert [change["take"] for change in accounts.pick(row, 12, NOW)] == [5, 5, 2]
    assert [change["expires"] for change in accounts.pick(row, 3, NOW, expired=True)] == [NOW]
    with pytest.raises(ValueError, match="than they have"):
        accounts.pick(row, 16, NOW)


def test_what_never_arrived_goes_back_to_its_lots() -> None:
    row = lots(d1=5)
    picked = accounts.pick(row, 4, NOW)
    piece = {"id": "x", "take": 4, "debited": 4, "posted": -4, "held": 0, "lots": picked}
    accounts.lease(row, "b", NOW, piece)  # type: ignore[arg-type]
    assert (accounts.available(row, NOW), row["taken"]) == (1, 4)
    accounts.end(row, "b", set())
    assert (accounts.available(row, NOW), row["taken"], row["posted"]) == (5, 0, 5)
