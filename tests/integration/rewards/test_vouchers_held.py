"""What a customer holds: his vouchers whichever way they came, their dates, and the one that he opens."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from customers.actors import CustomerActor
from customers.identity import resolution
from operations.jobs import JOBS
from rewards import portal
from rewards.vouchers import codes, due, issuing, redeem
from rewards.vouchers.rows import VOUCHERS
from services.container import Services
from services.errors import NotFound
from tests.integration.rewards import vouchering, world
from tests.integration.rewards.vouchering import ANN, bank_of, now, voucher
from tests.support import jobs
from tests.support.waiting import until


def actor(cid: str) -> CustomerActor:
    return CustomerActor(world.TENANT, cid, world.BANK)


async def test_the_code_of_a_claims_answer_is_that_of_the_voucher_whoever_makes_it(services: Services) -> None:
    await world.put(services, 10, item=vouchering.item())
    bank = await bank_of(services)
    ann, ben = [await vouchering.person(bank, name) for name in ("ann", "ben")]
    told = {cid: (await portal.claim(bank, actor(cid), world.REWARD, "k", b"")).view for cid in (ann, ben)}
    shown = (await portal.vouchers(bank, actor(ann), "zh"))["redemptions"]
    await until(lambda: bank.db["inbox"].count({}))
    await jobs.handle_inbox(bank)
    assert await bank.db[VOUCHERS].count({}) == 2
    for cid in (ann, ben):
        (one,) = (await portal.vouchers(bank, actor(cid), "zh"))["redemptions"]
        assert one == told[cid]["redemption"]
        assert (one["how"], one["where"], one["face_value"], one["uses_left"]) == ("到店出示兑换码", [], 1500, 1)
    assert shown[0]["id"] == told[ann]["redemption"]["id"]


async def test_the_code_of_a_voucher_of_before_still_leads_to_it(services: Services) -> None:
    await world.put(services, 10, item=vouchering.item())
    bank = await bank_of(services)
    request = world.request(await vouchering.person(bank))
    assert await world.answer(services, request) == "granted"
    grant = (await bank.db["transfers"].find({"kind": "grant"}))[0]
    fields = {"vouchers": "", "item": ""}
    await bank.db["rewards"].update({"reward": world.REWARD}, {"$unset": fields})
    assert await due_jobs(bank) == ["rewards.make_vouchers"]
    await jobs.run(bank, "rewards.make_vouchers")
    assert await due_jobs(bank) == []
    old = codes.shown(codes.old_code_of(bank.vault, grant["_id"]))
    assert (await redeem.redeem(bank, ANN, old.lower(), "k")).voucher == grant["_id"]


async def due_jobs(bank: Any) -> list[str]:
    names = ("rewards.vouchers", "rewards.make_vouchers")
    return [job.name for job in JOBS if job.name in names and await job.is_due(bank)]


@pytest.mark.parametrize(
    ("changes", "last"),
    [
        ({}, None),
        ({"valid_days": 7}, date(2026, 3, 8)),
        ({"valid_until": date(2026, 3, 5)}, date(2026, 3, 5)),
        ({"valid_days": 7, "valid_until": date(2026, 3, 5)}, date(2026, 3, 5)),
        ({"valid_days": 1, "valid_until": date(2026, 3, 5)}, date(2026, 3, 2)),
    ],
)
async def test_a_voucher_is_good_until_the_end_of_its_last_day_in_the_banks_time(
    services: Services, changes: dict[str, Any], last: date | None
) -> None:
    bank = await bank_of(services)
    reward: Any = {"ends": world.ENDS}
    at = datetime(2026, 2, 28, 16, 30, tzinfo=UTC)  # 2026-03-01 00:30 in Shanghai
    expires = issuing.expires(bank, reward, vouchering.item(**changes), at)
    if last is None:
        assert expires == world.ENDS
    else:
        assert expires == datetime(last.year, last.month, last.day, 16, tzinfo=UTC)


async def test_who_opens_his_voucher_sees_its_qr_code_and_nobody_elses(services: Services) -> None:
    bank, row = await voucher(services, valid_days=1, use_at={"branches": ["sz-futian"], "merchants": "all"})
    stranger = await vouchering.person(bank, "stranger")
    number = row["_id"].split(":")[1]
    opened = (await portal.voucher(bank, actor(row["cid"]), number, "zh"))["redemption"]
    assert (opened["state"], opened["qr"]["seconds"]) == ("active", 60)
    assert 86_000 < opened["seconds_left"] < 2 * 86_400
    assert opened["where"][-1] == "全部合作商户"
    assert opened["qr"]["svg"].startswith("<svg")
    again = (await portal.voucher(bank, actor(row["cid"]), number, "en"))["redemption"]
    assert again["qr"]["text"] != opened["qr"]["text"]
    assert codes.plain(opened["code"]) not in opened["qr"]["text"]
    with pytest.raises(NotFound):
        await portal.voucher(bank, actor(stranger), number, "zh")
    bench = redeem.Redeemer("merchant", "m", "M", merchant="m")
    await redeem.redeem(bank, bench, opened["qr"]["text"], "k")
    used = (await portal.voucher(bank, actor(row["cid"]), number, "zh"))["redemption"]
    assert (used["state"], used["qr"], used["uses_left"]) == ("used", None, 0)


async def test_whoever_is_merged_keeps_his_vouchers_and_so_does_who_withdraws(services: Services) -> None:
    bank, row = await voucher(services, "u1")
    other = await resolution.identify(bank, resolution.Facts(external_userid="wm1"))
    await vouchering.granted(bank, other, key="z")
    both = await resolution.identify(bank, resolution.Facts(unionid="u1", external_userid="wm1"))
    shown = (await portal.vouchers(bank, actor(both), "zh"))["redemptions"]
    assert len(shown) == 2
    await now(bank, row)


async def test_of_a_right_so_many_uses_come_back_each_day(services: Services, clock: Any) -> None:
    bank, row = await voucher(services, uses=2, uses_per="day", valid_days=5)
    shown = codes.code_of(bank.vault, row["_id"], 0)
    assert (await redeem.redeem(bank, ANN, shown, "a", uses=2)).left == 0
    with pytest.raises(Exception, match="uses_exceeded"):
        await redeem.redeem(bank, ANN, shown, "b")
    clock.advance(86_400)
    first = await redeem.redeem(bank, ANN, shown, "c")
    assert (first.left, first.state) == (1, "active")
    await redeem.undo(bank, ANN, first.use, "mistake")
    assert (await redeem.look(bank, ANN, shown)).left == 2
    clock.advance(5 * 86_400)
    assert (await redeem.look(bank, ANN, shown)).why == "voucher_expired"
    assert await due.see_to(bank) == 1
    assert await vouchering.balances(bank) == {"supply": -1000, "stock": 999, "expired": 1}


async def test_what_is_over_is_ended_once_however_often_and_by_however_many(services: Services, clock: Any) -> None:
    bank, row = await voucher(services, valid_days=1)
    more = [await vouchering.granted(bank, await vouchering.person(bank, f"p{n}")) for n in range(5)]
    await redeem.redeem(bank, ANN, codes.code_of(bank.vault, row["_id"], 0), "k")
    assert not await due_jobs(bank)
    clock.advance(timedelta(days=2).total_seconds())
    assert await due_jobs(bank) == ["rewards.vouchers"]
    await asyncio.gather(*(due.see_to(bank) for _ in range(3)))
    assert not await due_jobs(bank)
    assert [(await now(bank, one))["state"] for one in (row, *more)] == ["used"] + ["expired"] * 5
    assert await vouchering.balances(bank) == {"supply": -1000, "stock": 994, "used": 1, "expired": 5}
    told = await bank.db["timeline"].find({"kind": "voucher.expired"})
    assert sorted(one["cid"] for one in told) == sorted(one["cid"] for one in more)
