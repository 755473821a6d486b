"""Days, months and minutes of vouchers, at the second at which they begin and end, in the bank's time."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest

from rewards.vouchers import redeem
from services.container import Services
from services.errors import YinqiaoError
from tests.integration.rewards import world
from tests.integration.rewards.vouchering import ANN, code, now, voucher
from tests.support.clock import StillClock

LAST_SECOND = datetime(2026, 12, 31, 23, 59, 59, tzinfo=timezone(timedelta(hours=8)))


@pytest.fixture
def clock() -> StillClock:
    """A second before a day, a month and a year begin in Shanghai, on a Thursday."""
    still = StillClock()
    still.now = LAST_SECOND.timestamp()
    return still


async def refusal(doing: Any) -> str:
    with pytest.raises(YinqiaoError) as caught:
        await doing
    return caught.value.code


@pytest.mark.parametrize(("per", "days"), [("day", 0), ("month", 0), ("week", 3)])
async def test_uses_come_back_with_the_period_and_an_undoing_gives_back_its_own(
    services: Services, clock: StillClock, per: str, days: int
) -> None:
    bank, row = await voucher(services, uses=1, uses_per=per)
    before = await redeem.redeem(bank, ANN, code(bank, row), "k1")
    clock.now += days * 86_400
    assert await refusal(redeem.redeem(bank, ANN, code(bank, row), "k2")) == "uses_exceeded"
    clock.now += 1
    after = await redeem.redeem(bank, ANN, code(bank, row), "k3")
    if not days:
        await redeem.undo(bank, ANN, before.use, "of before")
        assert (await now(bank, row))["used"] == 1
    await redeem.undo(bank, ANN, after.use, "of now")
    assert (await now(bank, row))["used"] == 0


async def test_a_write_off_is_taken_back_at_ten_minutes_and_not_a_moment_later(
    services: Services, clock: StillClock
) -> None:
    bank, row = await voucher(services)
    done = await redeem.redeem(bank, ANN, code(bank, row), "k1")
    clock.now += 600
    await redeem.undo(bank, ANN, done.use, "x")
    again = await redeem.redeem(bank, ANN, code(bank, row), "k2")
    clock.now += 600.002
    assert await refusal(redeem.undo(bank, ANN, again.use, "x")) == "undo_too_late"


async def test_a_voucher_is_good_in_the_last_second_of_its_day(services: Services, clock: StillClock) -> None:
    bank, row = await voucher(services, valid_until=date(2026, 12, 31))
    assert (await redeem.look(bank, ANN, code(bank, row))).may
    clock.now += 1
    assert await refusal(redeem.redeem(bank, ANN, code(bank, row), "k")) == "voucher_expired"
    assert (await now(bank, row))["used"] == 0


async def test_a_days_share_is_of_the_banks_day(services: Services, clock: StillClock) -> None:
    await world.put(services, 10, per_day=1)
    answers = [await world.answer(services, world.request(f"demo:c{n}", f"k{n}")) for n in range(2)]
    clock.now += 1
    answers.append(await world.answer(services, world.request("demo:c2", "k2")))
    assert answers == ["granted", "quota_day", "granted"]
