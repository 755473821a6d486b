"""Whoever is killed at a voucher leaves one use or none, and a ledger that agrees."""

from __future__ import annotations

from typing import Any

import pytest

from rewards import ledger
from rewards.vouchers import due, redeem
from services.container import Services
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
