"""The bank's midnight: expired points go, whoever's are about to is told, and a night that is cut short goes on."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from customers.banks.bank import Bank
from rewards.ledger import check
from rewards.points import nights, spending
from services.container import Services
from services.documents.parts import Text
from services.queue import outbox
from tests.integration.rewards import points_world as world
from tests.support import jobs
from tests.support.banks import open_bank
from tests.support.clock import MovedClock
from tests.support.killing import Killed, before_write
from tests.support.waiting import until

NOTICE = {
    "days": 30,
    "appid": world.APPID,
    "template": "tpl-1",
    "fields": {"thing1": "program", "number2": "points", "date3": "date"},
}


@pytest.fixture
async def bank(demo: Services) -> Bank:
    bank = await open_bank(demo, "demo")
    await world.begin(bank, notice=NOTICE)
    return bank


async def _give(bank: Bank, cid: str, n: int, days: int, key: str = "given") -> datetime:
    """So many points that can be used on so many days after today."""
    day = bank.today() + timedelta(days=days + 1)
    expires = datetime(day.year, day.month, day.day, tzinfo=bank.tz)
    await world.give(bank, cid, n, expires, key)
    await until(lambda: world.settled(bank))
    return expires


async def _night(bank: Bank, clock: MovedClock) -> None:
    """The next midnight comes, and the job is done."""
    row = await bank.db["points_nights"].find_one({"_id": bank.id})
    assert row is not None
    clock.advance(max(0.0, row["due"] - bank.now()) + 1.0)
    await jobs.run(bank, nights.TASK)
    await until(lambda: world.settled(bank))


async def _has(bank: Bank, cid: str) -> tuple[int, int]:
    """(what he may spend, what his account says)."""
    row = await bank.db["accounts"].find_one({"account": f"points:{cid}"})
    return (await world.points(bank, cid)).available, row["posted"] if row else 0


async def _told(bank: Bank, cid: str, kind: str) -> list[dict[str, Any]]:
    return [row["data"] for row in await bank.db["timeline"].find({"cid": cid, "kind": kind})]


async def test_points_expire_at_midnight_and_only_those(bank: Bank, clock: MovedClock) -> None:
    cid = await world.person(bank, "a")
    await _give(bank, cid, 30, 0)
    await _give(bank, cid, 50, 1, "more")
    assert await _has(bank, cid) == (80, 80)
    await _night(bank, clock)
    assert await _has(bank, cid) == (50, 50)
    (row,) = await world.transfers(bank, kind=nights.EXPIRE)
    assert (row["amount"], row["credit"]) == (30, "points_expired:points")
    assert await _told(bank, cid, "points.expired") == [{"points": 30}]
    await _night(bank, clock)
    assert await _has(bank, cid) == (0, 0)


async def test_expired_points_cannot_be_spent_before_the_night_is_over(bank: Bank, clock: MovedClock) -> None:
    cid = await world.person(bank, "a")
    expires = await _give(bank, cid, 30, 0)
    clock.advance(expires.timestamp() - bank.now() + 1)
    assert await _has(bank, cid) == (0, 30)


async def test_what_is_held_at_midnight_expires_when_it_is_given_back(bank: Bank, clock: MovedClock) -> None:
    cid = await world.person(bank, "a")
    await _give(bank, cid, 30, 0)
    held = await spending.hold(bank, cid, 20, "k", Text(zh="券"), bank.utc() + timedelta(days=2))
    await until(lambda: world.settled(bank))
    await _night(bank, clock)
    assert await _has(bank, cid) == (0, 20)
    await spending.cancel(bank, cid, held.id)
    await until(lambda: world.settled(bank))
    await _night(bank, clock)
    assert await _has(bank, cid) == (0, 0)
    assert sorted(row["amount"] for row in await world.transfers(bank, kind=nights.EXPIRE)) == [10, 20]


async def test_two_workers_at_midnight_expire_once(bank: Bank, clock: MovedClock) -> None:
    cids = [await world.person(bank, f"p{n}") for n in range(5)]
    for cid in cids:
        await _give(bank, cid, 30, 0)
    clock.advance(86_400)
    row: Any = await bank.db["points_nights"].find_one({"_id": bank.id})
    await nights.move(bank, "one", {**row, "cursor": ""})
    await nights.move(bank, "two", {**row, "cursor": ""})
    await until(lambda: world.settled(bank))
    assert [await _has(bank, cid) for cid in cids] == [(0, 0)] * 5
    assert len(await world.transfers(bank, kind=nights.EXPIRE)) == 5


async def test_a_night_that_is_killed_anywhere_goes_on_and_does_nothing_twice(
    bank: Bank, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nights, "AT_ONCE", 2)
    cids = [await world.person(bank, f"p{n}") for n in range(5)]
    for cid in cids:
        await _give(bank, cid, 30, 0)
        await _give(bank, cid, 7, 9, "more")
    clock.advance(86_400)
    row: Any = await bank.db["points_nights"].find_one({"_id": bank.id})
    for number in range(60):
        await bank.db["points_nights"].update({"_id": bank.id}, {"$set": {"owner": "me"}})
        row = await bank.db["points_nights"].find_one({"_id": bank.id})
        with monkeypatch.context() as patched:
            reached = before_write(patched, number % 7 + 2)
            try:
                await nights.move(bank, "me", row)
            except Killed:
                pass
        clock.advance(6)
        await jobs.run(bank, "ledger.settle")
        if not reached():
            break
    assert not reached()
    await until(lambda: world.settled(bank))
    assert [await _has(bank, cid) for cid in cids] == [(7, 7)] * 5
    assert await check(bank) == []
    assert sum(row["amount"] for row in await world.transfers(bank, kind=nights.EXPIRE)) == 150
    told = [row["cid"] for row in await bank.db["points_notices"].find({})]
    assert sorted(told) == sorted(cids)
    assert await bank.db["outbox"].count({"kind": "subscribe"}) == 5


async def test_who_has_points_that_expire_in_thirty_days_is_told_once(bank: Bank, clock: MovedClock) -> None:
    cid = await world.person(bank, "a")
    expires = await _give(bank, cid, 30, 40)
    await _night(bank, clock)
    assert await bank.db["points_notices"].count({}) == 0
    while expires.timestamp() - bank.now() > 30 * 86_400:
        await _night(bank, clock)
    await _night(bank, clock)
    (notice,) = await bank.db["points_notices"].find({})
    assert (notice["cid"], notice["points"], notice["how"]) == (cid, 30, "sent")
    (effect,) = await bank.db["outbox"].find({"kind": "subscribe"})
    last = expires - timedelta(days=1)
    assert outbox.effect_of(bank.services, effect).args["data"] == {
        "thing1": "银桥积分",
        "number2": "30",
        "date3": f"{last.year}年{last.month}月{last.day}日",
    }
    assert await _told(bank, cid, "points.expiring") == [{"points": 30, "until": last.date().isoformat()}]


async def test_nobody_without_points_left_is_told(bank: Bank, clock: MovedClock) -> None:
    cid = await world.person(bank, "a")
    await _give(bank, cid, 30, 5)
    await spending.spend(bank, cid, 30, "k", Text(zh="券"))
    await until(lambda: world.settled(bank))
    await _night(bank, clock)
    assert await bank.db["points_notices"].count({}) == 0


async def test_without_a_message_of_its_own_the_story_tells_it(bank: Bank, clock: MovedClock) -> None:
    await world.begin(bank)
    cid = await world.person(bank, "a")
    await _give(bank, cid, 30, 5)
    await _night(bank, clock)
    (notice,) = await bank.db["points_notices"].find({})
    assert (notice["how"], await bank.db["outbox"].count({"kind": "subscribe"})) == ("shown", 0)


async def test_an_account_that_cannot_be_seen_to_holds_up_no_other(bank: Bank, clock: MovedClock) -> None:
    cid = await world.person(bank, "a")
    for who in ("demo:0000nobody", cid):
        await _give(bank, who, 30, 0)
    await _night(bank, clock)
    assert await _has(bank, cid) == (0, 0)
    row = await bank.db["points_nights"].find_one({"_id": bank.id})
    assert row is not None
    assert (row["open"], row["cursor"], row["attempts"]) == (True, "", 0)
