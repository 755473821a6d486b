"""Units of a reward's stock: taken in one conditional write, and settled once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from customers.banks.bank import Bank
from rewards import catalogue
from rewards.stock import End, settle, take, today
from services.container import Services
from services.errors import Conflict, NotFound
from tests.integration.rewards import world
from tests.integration.rewards.world import REWARD, TENANT
from tests.support.banks import open_bank
from tests.support.clock import MovedClock


async def test_a_batch_takes_what_is_left_and_says_why_it_is_not_more(services: Services) -> None:
    bank = await open_bank(services, TENANT)
    await world.put(services, 3)
    taken = await take(bank, REWARD, "b1", ["a", "b", "c", "d", "e"])
    assert (taken.n, taken.reason) == (3, "sold_out")
    assert taken.reward["leases"]["b1"]["ids"] == ["a", "b", "c"]
    assert await world.stock(services) == {"total": 3, "available": 0, "held": 3, "granted": 0, "retired": 0}
    nothing = await take(bank, REWARD, "b2", ["f"])
    assert (nothing.n, nothing.reason) == (0, "sold_out")
    assert "b2" not in nothing.reward["leases"]


async def test_taking_twice_under_one_batch_takes_once(services: Services) -> None:
    bank = await open_bank(services, TENANT)
    await world.put(services, 5)
    first = await take(bank, REWARD, "b", ["a", "b"])
    again = await take(bank, REWARD, "b", ["a", "b"])
    assert (first.n, again.n, again.reason) == (2, 2, "")
    assert (await world.stock(services))["held"] == 2


async def test_settling_twice_settles_once(services: Services) -> None:
    bank = await open_bank(services, TENANT)
    await world.put(services, 5)
    day = (await take(bank, REWARD, "b", ["a", "b", "c"])).reward["leases"]["b"]["day"]
    assert await settle(bank, REWARD, [End("b", day, 1)]) is True
    once = await world.reward_row(services)
    assert await settle(bank, REWARD, [End("b", day, 1)]) is False
    assert await world.reward_row(services) == once
    assert await world.stock(services) == {"total": 5, "available": 4, "held": 0, "granted": 1, "retired": 0}
    assert once["days"] == {day: 1}


async def test_a_days_share_is_no_more_than_what_is_left(services: Services) -> None:
    await world.put(services, 2, per_day=5)
    taken = await take(await open_bank(services, TENANT), REWARD, "b", ["a", "b", "c", "d"])
    assert (taken.n, taken.reason) == (2, "sold_out")
    assert (await world.stock(services))["available"] == 0


async def test_what_a_day_gave_back_can_be_taken_again_that_day(services: Services) -> None:
    bank = await open_bank(services, TENANT)
    await world.put(services, 10, per_day=2)
    first = await take(bank, REWARD, "b1", ["a", "b", "c"])
    assert (first.n, first.reason) == (2, "quota_day")
    await settle(bank, REWARD, [End("b1", first.reward["leases"]["b1"]["day"], 1)])
    second = await take(bank, REWARD, "b2", ["c", "d"])
    assert (second.n, second.reason) == (1, "quota_day")


async def test_the_next_day_has_its_own_share(services: Services, clock: MovedClock) -> None:
    bank = await open_bank(services, TENANT)
    await world.put(services, 10, per_day=1)
    assert (await take(bank, REWARD, "b1", ["a"])).n == 1
    assert (await take(bank, REWARD, "b2", ["b"])).reason == "quota_day"
    clock.advance(86_400)
    assert (await take(bank, REWARD, "b3", ["b"])).n == 1


@pytest.mark.parametrize(
    ("now", "day"),
    [
        (datetime(2026, 12, 31, 15, 59, 59, tzinfo=UTC), "20261231"),
        (datetime(2026, 12, 31, 16, 0, 0, tzinfo=UTC), "20270101"),
    ],
)
def test_the_banks_day_begins_at_midnight_in_shanghai(services: Services, now: datetime, day: str) -> None:
    assert today(Bank(replace(services, clock=now.timestamp), TENANT)) == day


async def test_an_unknown_reward_cannot_be_taken(services: Services) -> None:
    with pytest.raises(NotFound, match="reward_unknown"):
        await take(await open_bank(services, TENANT), "camp.none", "b", ["a"])


async def test_read_then_write_oversells_and_the_guard_does_not(services: Services, second: Services) -> None:
    """The race itself: forty takers of ten units. Without the guard more than ten think that they have one."""
    await world.put(services, 10)
    rows = services.store.tenant(TENANT)["rewards"]
    all_have_read = asyncio.Barrier(40)

    async def naive() -> int:
        row = await world.reward_row(services)
        await all_have_read.wait()
        if row["available"] < 1:
            return 0
        await rows.update({"reward": REWARD}, {"$set": {"available": row["available"] - 1}})
        return 1

    assert sum(await asyncio.gather(*(naive() for _ in range(40)))) == 40
    await rows.update({"reward": REWARD}, {"$set": {"available": 10}})

    async def guarded(n: int) -> int:
        return (await take(await open_bank(services if n % 2 else second, TENANT), REWARD, f"b{n}", [f"g{n}"])).n

    assert sum(await asyncio.gather(*(guarded(n) for n in range(40)))) == 10
    assert await world.stock(services) == {"total": 10, "available": 0, "held": 10, "granted": 0, "retired": 0}


async def test_a_stock_cannot_be_cut_below_what_is_out(services: Services) -> None:
    await world.put(services, 5)
    await take(await open_bank(services, TENANT), REWARD, "b", ["a", "b", "c"])
    before = await world.all_rows(services)
    with pytest.raises(Conflict, match="stock_in_use"):
        await world.put(services, 2)
    assert await world.all_rows(services) == before
    await world.put(services, 3)
    assert await world.stock(services) == {"total": 5, "available": 0, "held": 3, "granted": 0, "retired": 2}


async def test_a_paused_reward_gives_nothing_and_goes_on_after(services: Services) -> None:
    bank = await open_bank(services, TENANT)
    await world.put(services, 1)
    db = services.store.tenant(TENANT)
    await catalogue.set_state(await open_bank(services, db.tenant), world.CAMPAIGN, "paused")
    refused = await take(bank, REWARD, "b1", ["a"])
    assert (refused.n, refused.reason) == (0, "paused")
    await catalogue.set_state(await open_bank(services, db.tenant), world.CAMPAIGN, "live")
    assert (await take(bank, REWARD, "b2", ["a"])).n == 1
