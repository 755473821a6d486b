"""A voucher whose code came out of a pool: shown, found and over as its supplier says."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from customers.actors import CustomerActor
from rewards import portal
from rewards.vouchers import gifts, redeem
from services.container import Services
from services.errors import YinqiaoError
from tests.integration.rewards import pool_world, vouchering, world
from tests.integration.rewards.vouchering import ANN, now


async def refusal(doing: Any) -> str:
    with pytest.raises(YinqiaoError) as caught:
        await doing
    return caught.value.code


async def test_a_code_of_a_pool_is_shown_found_and_over_as_its_file_says(services: Services, clock: Any) -> None:
    bank = await vouchering.bank_of(services)
    await pool_world.make(bank)
    last = bank.today()
    rows = ["code,expires", f"Ab-Cd-0001,{last:%Y-%m-%d}", "Ab-Cd-0002,2029-01-01"]
    await pool_world.bring(bank, "\n".join(rows).encode())
    await pool_world.put(services, 10, per_customer=2)
    cid = await vouchering.person(bank)
    actor = CustomerActor(world.TENANT, cid, world.BANK)
    told = [(await portal.claim(bank, actor, world.REWARD, key, b"")).view["redemption"] for key in "ab"]
    assert sorted(one["code"] for one in told) == ["Ab-Cd-0001", "Ab-Cd-0002"]
    shown = (await portal.vouchers(bank, actor, "zh"))["redemptions"]
    assert {one["id"]: one["code"] for one in shown} == {one["id"]: one["code"] for one in told}
    assert (await redeem.look(bank, ANN, "abcd 0001")).may
    assert await refusal(redeem.look(bank, ANN, "abcd 0003")) == "voucher_unknown"
    first, second = sorted(shown, key=lambda one: str(one["code"]))
    row = await now(bank, {"_id": f"{bank.id}:{first['id']}"})  # type: ignore[typeddict-item]
    assert row["expires"] is not None
    assert row["expires"].astimezone(bank.tz).date() == date.fromordinal(last.toordinal() + 1)
    assert row["remind"] is None, "there is no time left to remind in"
    other = await now(bank, {"_id": f"{bank.id}:{second['id']}"})  # type: ignore[typeddict-item]
    assert other["expires"] is not None
    assert other["remind"] == other["expires"].timestamp() - 3 * 86_400
    assert await refusal(gifts.offer(bank, [cid], f"{bank.id}:{second['id']}")) == "not_transferable"
    clock.advance(86_400)
    assert await refusal(redeem.redeem(bank, ANN, "Ab-Cd-0001", "k1")) == "voucher_expired"
    assert (await redeem.redeem(bank, ANN, "ab-cd-0002", "k2")).left == 0
