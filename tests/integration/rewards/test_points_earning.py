"""Earning points: once for each happening, never over a cap, whoever races or is killed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from customers import consent, happenings
from customers.access import login, withdrawal
from customers.actors import CustomerActor
from customers.banks.bank import Bank
from customers.identity import merging, resolution, review
from customers.identity.rows import root
from rewards.ledger import check
from rewards.points import caps, document, earning, spending
from rewards.points.occasions import Happening
from services.container import Services
from services.documents.parts import Text
from tests.conftest import Sandbox
from tests.integration.rewards import points_world as world
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.clock import MovedClock
from tests.support.killing import Killed, before_write
from tests.support.waiting import until

CAPS = {**world.LOGIN, "per_day": 50, "per_month": 120, "ever": 200}


@pytest.fixture
async def bank(demo: Services) -> Bank:
    bank = await open_bank(demo, "demo")
    await world.begin(bank)
    return bank


async def _noon(bank: Bank, clock: MovedClock) -> None:
    """It is noon at the bank, on the third of a month."""
    now = datetime.fromtimestamp(bank.now(), bank.tz)
    third = (now.replace(day=1) + timedelta(days=33)).replace(day=3, hour=12, minute=0, second=0, microsecond=0)
    clock.advance((third - now).total_seconds())


async def _has(bank: Bank, cid: str) -> int:
    await until(lambda: world.settled(bank))
    return (await world.points(bank, cid)).available


async def test_a_login_brings_ten_points_and_a_day_fifty_at_most(bank: Bank, clock: MovedClock) -> None:
    await _noon(bank, clock)
    cid = await world.person(bank, "a")
    brought = [await earning.earn(bank, world.login(cid, f"k{n}", bank.now())) for n in range(7)]
    assert [one["login"] for one in brought] == [10, 10, 10, 10, 10, 0, 0]
    assert await _has(bank, cid) == 50
    clock.advance(86_400)
    assert await earning.earn(bank, world.login(cid, "next", bank.now())) == {"login": 10}


async def test_a_happening_that_is_told_again_brings_nothing_more(bank: Bank) -> None:
    cid, at = await world.person(bank, "a"), bank.now()
    told = [earning.earn(bank, world.login(cid, "k", at)) for _ in range(20)]
    assert await asyncio.gather(*told) == [{"login": 10}] * 20
    assert await earning.earn(bank, world.login(cid, "k", at)) == {"login": 10}
    assert await _has(bank, cid) == 10
    (row,) = await world.transfers(bank, kind="earn")
    assert (row["debit"], row["credit"], row["about"]["rule"], row["about"]["version"]) == (
        world.ISSUED,
        f"points:{cid}",
        "login",
        1,
    )


@pytest.mark.parametrize(
    ("rule", "days", "expected"),
    [
        ({"points": 15, "per_day": 50}, 1, 50),
        ({"points": 10, "per_day": 50, "per_month": 120}, 4, 120),
        ({"points": 10, "per_day": None, "ever": 35}, 4, 35),
        ({"points": 10, "per_day": None}, 2, 160),
    ],
)
async def test_the_last_of_a_cap_is_cut_to_what_it_leaves(
    bank: Bank, clock: MovedClock, rule: dict[str, Any], days: int, expected: int
) -> None:
    await _noon(bank, clock)
    wanted = {name: value for name, value in {**world.LOGIN, **rule}.items() if value is not None}
    await world.begin(bank, rules={"login": wanted}, cost=801)
    cid = await world.person(bank, "a")
    for day in range(days):
        for n in range(8):
            await earning.earn(bank, world.login(cid, f"{day}:{n}", bank.now()))
        clock.advance(86_400)
    assert await _has(bank, cid) == expected


async def _storm(bank: Bank, cid: str) -> int:
    """What forty different logins at once bring."""
    at = bank.now()
    told = [earning.earn(bank, world.login(cid, f"k{n}", at)) for n in range(40)]
    return sum(one["login"] for one in await asyncio.gather(*told))


async def test_forty_logins_at_once_bring_what_the_cap_says(bank: Bank) -> None:
    cid = await world.person(bank, "a")
    assert await _storm(bank, cid) == 50
    assert await _has(bank, cid) == 50


async def test_without_the_guard_the_same_storm_goes_over_the_cap(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    cid = await world.person(bank, "a")
    write = caps._write

    async def check_then_write(bank: Bank, row: Any, used: Mapping[str, int], pending: Mapping[str, int]) -> bool:
        await asyncio.sleep(0.01)
        if not await write(bank, row, used, pending):
            change = {"$set": {"used": dict(used), "pending": dict(pending)}}
            await bank.db["points_caps"].update({"_id": row["_id"]}, change)
        return True

    monkeypatch.setattr(caps, "_write", check_then_write)
    assert await _storm(bank, cid) > 50
    assert await _has(bank, cid) > 50


async def test_killed_anywhere_it_is_brought_once_and_the_cap_holds(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    cid, at = await world.person(bank, "a"), bank.now()
    for number in range(40):
        happening = world.login(cid, f"k{number}", at)
        with monkeypatch.context() as patched:
            reached = before_write(patched, number % 10)
            try:
                await earning.earn(bank, happening)
            except Killed:
                pass
        if reached():
            await jobs.run(bank, "ledger.settle")
        await earning.earn(bank, happening)
    await asyncio.sleep(5.5)
    await jobs.run(bank, "ledger.settle")
    assert (await world.points(bank, cid)).available == 50
    assert sum(row["amount"] for row in await world.transfers(bank, kind="earn")) == 50
    assert await check(bank) == []


async def test_a_sign_in_is_told_through_the_inbox_and_earns_once(
    bank: Bank, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = await sandbox.open(await sandbox.person(), world.APPID)
    done = await login.login(bank, world.APPID, code)
    actor = await login.read_session(bank.services, done.token)
    rows = await bank.db["inbox"].find({"source": "happened"})
    assert len(rows) == 1
    await jobs.handle_inbox(bank)
    await bank.db["inbox"].update({"_id": rows[0]["_id"]}, {"$set": {"open": True, "due": 0.0, "state": None}})
    await jobs.handle_inbox(bank)
    assert await _has(bank, actor.cid) == 10


async def test_what_no_rule_is_about_is_not_even_told(bank: Bank) -> None:
    cid = await world.person(bank, "a")
    await happenings.tell(bank, "phone.bound", cid, "k")
    assert await bank.db["inbox"].count({"source": "happened"}) == 0
    await world.begin(bank, rules={"login": {**world.LOGIN, "event": "phone.bound"}})
    await happenings.tell(bank, "phone.bound", cid, "k")
    await happenings.tell(bank, "customer.login", cid, "k")
    assert await bank.db["inbox"].count({"source": "happened"}) == 1


async def _paused(bank: Bank) -> None:
    await world.begin(bank, rules={"login": {**world.LOGIN, "state": "paused"}})


async def _over(bank: Bank) -> None:
    await world.begin(bank, rules={"login": {**world.LOGIN, "to": "2026-01-01"}})


async def _not_yet(bank: Bank) -> None:
    await world.begin(bank, rules={"login": {**world.LOGIN, "from": "2099-01-01"}})


@pytest.mark.parametrize("change", [_paused, _over, _not_yet])
async def test_a_rule_that_does_not_hold_brings_nothing(bank: Bank, change: Callable[[Bank], Awaitable[None]]) -> None:
    await change(bank)
    cid = await world.person(bank, "a")
    assert await earning.earn(bank, world.login(cid, "k", bank.now())) == {}
    assert await world.transfers(bank, kind="earn") == []


async def test_what_happened_long_ago_or_is_no_occasion_brings_nothing(bank: Bank) -> None:
    cid = await world.person(bank, "a")
    assert await earning.earn(bank, world.login(cid, "k", bank.now() - 40 * 86_400)) == {}
    assert await earning.earn(bank, Happening("voucher.used", cid, "k", bank.now())) == {}


async def test_points_expire_at_the_midnight_that_the_rule_says(bank: Bank) -> None:
    cid = await world.person(bank, "a")
    await world.begin(bank, rules={"login": {**world.LOGIN, "lifetime": 7}})
    await earning.earn(bank, world.login(cid, "k", bank.now()))
    await until(lambda: world.settled(bank))
    (lot,) = (await world.points(bank, cid)).lots
    assert (lot.points, lot.at) == (10, document.expires(bank.today(), 7, bank.tz))


async def test_two_who_become_one_have_one_cap_and_one_balance(bank: Bank, clock: MovedClock) -> None:
    await _noon(bank, clock)
    elder, younger = await world.person(bank, "a"), await world.person(bank, "b")
    for n in range(4):
        await earning.earn(bank, world.login(elder, f"e{n}", bank.now()))
        await earning.earn(bank, world.login(younger, f"y{n}", bank.now()))
    origin = resolution.Origin("clerk", "said so")
    await merging.merge(bank, await root(bank, elder), await root(bank, younger), origin, ["unionid"])
    assert await _has(bank, younger) == 80
    assert await earning.earn(bank, world.login(younger, "e0", bank.now())) == {"login": 10}, "told before"
    assert await earning.earn(bank, world.login(younger, "new", bank.now())) == {"login": 0}, "80 are over 50"
    assert await _has(bank, elder) == 80


async def test_what_was_set_aside_before_a_merge_is_brought_after_it(bank: Bank, clock: MovedClock) -> None:
    """Killed in between; else its cap would be used up by nothing."""
    await _noon(bank, clock)
    elder, younger = await world.person(bank, "a"), await world.person(bank, "b")
    for n in range(4):
        await earning.earn(bank, world.login(younger, f"y{n}", bank.now()))
    happening = world.login(younger, "cut short", bank.now())
    (row,) = await caps.read(bank, "login", [younger])
    assert await caps.set_aside(bank, row, earning._told(happening), bank.today(), 10)
    origin = resolution.Origin("clerk", "said so")
    await merging.merge(bank, await root(bank, elder), await root(bank, younger), origin, ["unionid"])
    assert await earning.earn(bank, happening) == {"login": 10}
    assert await _has(bank, elder) == 50
    assert not any(row["pending"] for row in await caps.read(bank, "login", [elder, younger]))


async def test_undoing_the_merge_leaves_each_what_is_on_his_own_accounts(bank: Bank, clock: MovedClock) -> None:
    await _noon(bank, clock)
    elder, younger = await world.person(bank, "a"), await world.person(bank, "b")
    await earning.earn(bank, world.login(elder, "e", bank.now()))
    await earning.earn(bank, world.login(younger, "y", bank.now()))
    origin = resolution.Origin("clerk", "said so")
    await merging.merge(bank, await root(bank, elder), await root(bank, younger), origin, ["unionid"])
    await earning.earn(bank, world.login(younger, "while one", bank.now()))
    assert await _has(bank, elder) == 30
    (merge,) = await bank.db["merges"].find({"loser": younger})
    may = frozenset({"customers.unmerge", "customers.read"})
    await review.undo(bank, replace(world.LIN, permissions=may), merge["_id"], "two persons")
    await review.approve_undo(bank, replace(world.ZHAO, permissions=may), merge["_id"])
    assert (await _has(bank, elder), await _has(bank, younger)) == (20, 10)
    assert await earning.earn(bank, world.login(younger, "alone", bank.now())) == {"login": 10}
    assert (await _has(bank, elder), await _has(bank, younger)) == (20, 20)


async def test_who_withdraws_his_consent_keeps_his_points(bank: Bank) -> None:
    cid = await world.person(bank, "a")
    await earning.earn(bank, world.login(cid, "k", bank.now()))
    await consent.give(bank, cid, "phone", "2026-11", {"zh": "同意"}, "console")
    await withdrawal.withdraw(bank, CustomerActor("demo", cid, world.APPID), "phone")
    assert await _has(bank, cid) == 10


async def test_what_is_undone_is_given_back_once_and_cannot_be_earned_again(bank: Bank) -> None:
    rule = {**world.LOGIN, "event": "voucher.used", "per_day": 20}
    await world.begin(bank, rules={"use": rule})
    cid, at = await world.person(bank, "a"), bank.now()
    await happenings.tell(bank, "voucher.used", cid, "use-1", at=at)
    await jobs.handle_inbox(bank)
    assert await _has(bank, cid) == 10
    for later in (1, 2):
        await happenings.tell(bank, "voucher.undone", cid, "use-1", at=at + later)
    await jobs.handle_inbox(bank)
    assert await _has(bank, cid) == 0
    (row,) = await world.transfers(bank, kind="refund")
    assert (row["amount"], row["what"]) == (10, "earn")
    assert await earning.earn(bank, Happening("voucher.used", cid, "use-1", at)) == {"use": 10}, "told before"
    assert await _has(bank, cid) == 0


async def test_what_was_undone_after_it_was_spent_stays(bank: Bank) -> None:
    rule = {**world.LOGIN, "event": "voucher.used"}
    await world.begin(bank, rules={"use": rule})
    cid, at = await world.person(bank, "a"), bank.now()
    await earning.earn(bank, Happening("voucher.used", cid, "use-1", at))
    await until(lambda: world.settled(bank))
    await spending.spend(bank, cid, 5, "k", Text(zh="券"))
    await until(lambda: world.settled(bank))
    await earning.take_back(bank, Happening("voucher.used", cid, "use-1", at))
    assert await _has(bank, cid) == 5
