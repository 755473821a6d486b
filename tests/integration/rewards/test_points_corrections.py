"""Corrections of a customer's points: two clerks, a reason, and an entry that is linked to what was wrong."""

from __future__ import annotations

from typing import Any

import pytest

from customers.banks.bank import Bank
from rewards.points import corrections, earning, spending
from services.container import Services
from services.documents.parts import Text
from services.errors import Conflict, Forbidden, InvalidInput, NotFound
from tests.integration.rewards import points_world as world
from tests.integration.rewards.points_world import LIN, ZHAO
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.clock import MovedClock
from tests.support.killing import Killed, before_write
from tests.support.waiting import until


@pytest.fixture
async def bank(demo: Services) -> Bank:
    bank = await open_bank(demo, "demo")
    await world.begin(bank)
    return bank


async def _has(bank: Bank, cid: str) -> int:
    await until(lambda: world.settled(bank))
    return (await world.points(bank, cid)).available


async def _state(bank: Bank, correction: str) -> str:
    (row,) = [row for row in await corrections.newest(bank) if row["_id"] == correction]
    return row["state"]


async def test_points_are_given_when_another_clerk_has_agreed(bank: Bank) -> None:
    cid = await world.person(bank, "a")
    asked = await corrections.ask(bank, LIN, cid, 500, "系统故障补偿")
    assert await _has(bank, cid) == 0
    with pytest.raises(Forbidden, match="approver_is_author"):
        await corrections.approve(bank, LIN, asked)
    assert (await _has(bank, cid), await _state(bank, asked)) == (0, "submitted")
    await corrections.approve(bank, ZHAO, asked)
    assert (await _has(bank, cid), await _state(bank, asked)) == (500, "applied")
    (row,) = await world.transfers(bank, kind="correction")
    assert (row["debit"], row["about"]["correction"]) == ("points_adjusted:points", asked)
    trail = await bank.db["audit"].find({"object": asked}, sort=[("seq", 1)])
    assert [(one["actor"], one["action"]) for one in trail] == [
        ("lin", "points.correction_asked"),
        ("lin", "points.correction_refused"),
        ("zhao", "points.corrected"),
    ]
    with pytest.raises(Conflict, match="points_decided"):
        await corrections.approve(bank, ZHAO, asked)


async def test_points_are_taken_and_never_more_than_he_has(bank: Bank) -> None:
    cid = await world.person(bank, "a")
    await earning.earn(bank, world.login(cid, "k", bank.now()))
    assert await _has(bank, cid) == 10
    await corrections.approve(bank, ZHAO, await corrections.ask(bank, LIN, cid, -4, "误发"))
    assert await _has(bank, cid) == 6
    too_many = await corrections.ask(bank, LIN, cid, -7, "误发")
    with pytest.raises(Conflict, match="insufficient"):
        await corrections.approve(bank, ZHAO, too_many)
    assert (await _has(bank, cid), await _state(bank, too_many)) == (6, "lapsed")


async def test_a_line_is_given_back_by_an_entry_that_is_linked_to_it(bank: Bank) -> None:
    cid = await world.person(bank, "a")
    await world.give(bank, cid, 50, None)
    assert await _has(bank, cid) == 50
    spent = await spending.spend(bank, cid, 30, "order", Text(zh="咖啡券"))
    asked = await corrections.ask_back(bank, LIN, cid, spent.id, "门店没有兑换")
    await corrections.approve(bank, ZHAO, asked)
    assert await _has(bank, cid) == 50
    (row,) = await world.transfers(bank, kind="refund")
    assert (row["of"], row["amount"], row["maker"], row["reason"]) == (spent.id, 30, "lin", "门店没有兑换")
    again = await corrections.ask_back(bank, LIN, cid, spent.id, "再来一次")
    with pytest.raises(Conflict, match="refund_exceeded"):
        await corrections.approve(bank, ZHAO, again)
    assert await _has(bank, cid) == 50


@pytest.mark.parametrize("points", [0, 1.5, "5", True, 10**9, -(10**9)])
async def test_what_is_no_amount_is_refused(bank: Bank, points: Any) -> None:
    cid = await world.person(bank, "a")
    with pytest.raises(InvalidInput, match="amount_invalid") as refused:
        await corrections.ask(bank, LIN, cid, points, "误发")
    assert (list(refused.value.fields), await corrections.newest(bank)) == (["points"], [])
    (row,) = await bank.db["audit"].find({"action": "points.correction_invalid"})
    assert (row["actor"], row["object"], row["data"]) == ("lin", cid, {"reason": "amount_invalid"})


async def test_without_a_reason_or_for_anothers_line_nothing_is_asked(bank: Bank) -> None:
    cid, other = await world.person(bank, "a"), await world.person(bank, "b")
    line = await world.give(bank, other, 50, None)
    with pytest.raises(InvalidInput, match="reason_missing"):
        await corrections.ask(bank, LIN, cid, 5, "  ")
    with pytest.raises(NotFound, match="transfer_unknown"):
        await corrections.ask_back(bank, LIN, cid, line, "误发")
    with pytest.raises(NotFound, match="customer_unknown"):
        await corrections.ask(bank, LIN, "demo:nobody", 5, "误发")
    assert await corrections.newest(bank) == []


async def test_a_correction_that_is_turned_down_says_why(bank: Bank) -> None:
    cid = await world.person(bank, "a")
    asked = await corrections.ask(bank, LIN, cid, 5, "误发")
    with pytest.raises(InvalidInput, match="reason_missing"):
        await corrections.reject(bank, ZHAO, asked, "")
    await corrections.reject(bank, ZHAO, asked, "没有依据")
    (row,) = await corrections.newest(bank)
    assert (row["state"], row["note"], row["decided_by"], await _has(bank, cid)) == ("rejected", "没有依据", "zhao", 0)


async def test_killed_anywhere_it_is_posted_once(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, clock: MovedClock
) -> None:
    cid, reached = await world.person(bank, "a"), True
    for number in range(30):
        asked = await corrections.ask(bank, LIN, cid, 100, "补偿")
        with monkeypatch.context() as patched:
            came = before_write(patched, number)
            try:
                await corrections.approve(bank, ZHAO, asked)
            except Killed:
                pass
            reached = came()
        clock.advance(6)
        await jobs.run(bank, "ledger.settle")
        if await _state(bank, asked) != "applied":
            await corrections.approve(bank, ZHAO, asked)
        clock.advance(6)
        await jobs.run(bank, "ledger.settle")
        assert await _has(bank, cid) == 100 * (number + 1)
        if not reached:
            break
    assert not reached
