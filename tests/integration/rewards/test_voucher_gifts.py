"""A voucher is given to another customer, where it may be: once, and what the giver knew leads nowhere."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from customers.actors import CustomerActor
from customers.banks.bank import Bank
from rewards import ledger, portal
from rewards.vouchers import codes, due, gifts, qr, redeem
from services.container import Services
from services.errors import YinqiaoError
from tests.integration.rewards import vouchering, world
from tests.integration.rewards.vouchering import ANN, code, now, voucher
from tests.support.waiting import until


async def refusal(doing: Any) -> str:
    with pytest.raises(YinqiaoError) as caught:
        await doing
    return caught.value.code


def actor(bank: Bank, cid: str) -> CustomerActor:
    return CustomerActor(bank.id, cid, world.BANK)


async def test_a_voucher_is_given_once_and_the_givers_codes_lead_nowhere(services: Services) -> None:
    bank, row = await voucher(services, transferable=True)
    number, old_code, old_qr = row["_id"].split(":")[1], code(bank, row), qr.text(bank, row)
    friends = [await vouchering.person(bank, name) for name in ("f1", "f2", "f3")]
    offered = (await portal.offer(bank, actor(bank, row["cid"]), number))["gift"]
    assert (await portal.voucher(bank, actor(bank, row["cid"]), number, "zh"))["redemption"]["gift"] == offered
    assert await refusal(portal.take(bank, actor(bank, row["cid"]), offered["code"], "zh")) == "gift_own"
    found = await asyncio.gather(
        *(portal.take(bank, actor(bank, cid), offered["code"].lower(), "zh") for cid in friends), return_exceptions=True
    )
    taken = [one for one in found if isinstance(one, dict)]
    assert (len(taken), {getattr(one, "code", "") for one in found if one not in taken}) == (1, {"gift_unknown"})
    after = await now(bank, row)
    assert after["cid"] in friends
    assert (await portal.vouchers(bank, actor(bank, row["cid"]), "zh"))["redemptions"] == []
    (his,) = (await portal.vouchers(bank, actor(bank, after["cid"]), "zh"))["redemptions"]
    assert his["code"] == codes.shown(codes.code_of(bank.vault, row["_id"], 1)) != old_code
    assert await refusal(redeem.redeem(bank, ANN, old_code, "a")) == "voucher_unknown"
    assert await refusal(redeem.redeem(bank, ANN, old_qr, "b")) == "voucher_code_wrong"
    again = await portal.take(bank, actor(bank, after["cid"]), offered["code"], "zh")
    assert again["redemption"]["id"] == number
    assert (await redeem.redeem(bank, ANN, his["code"], "c")).left == 0
    kinds = {one["kind"]: one["cid"] for one in await bank.db["timeline"].find({"kind": {"$regex": "^voucher"}})}
    assert kinds["voucher.given"] == row["cid"]
    assert kinds["voucher.taken"] == kinds["voucher.used"] == after["cid"]
    await until(lambda: world.settled(services))
    assert await ledger.check(bank) == []


async def test_what_may_not_be_given_is_refused(services: Services, clock: Any) -> None:
    bank, plain = await voucher(services)
    assert await refusal(gifts.offer(bank, [plain["cid"]], plain["_id"])) == "not_transferable"
    stranger = await vouchering.person(bank, "stranger")
    assert await refusal(gifts.offer(bank, [stranger], plain["_id"])) == "voucher_unknown"
    await world.put(services, 1000, item=vouchering.item(transferable=True, uses=2, valid_days=5), per_customer=20)
    row = await vouchering.granted(bank, plain["cid"], key="z")
    first = await gifts.offer(bank, [row["cid"]], row["_id"])
    second = await gifts.offer(bank, [row["cid"]], row["_id"])
    assert await refusal(gifts.take(bank, [stranger], first.code)) == "gift_unknown"
    await gifts.take_back(bank, [row["cid"]], row["_id"])
    assert await refusal(gifts.take(bank, [stranger], second.code)) == "gift_unknown"
    third = await gifts.offer(bank, [row["cid"]], row["_id"])
    await redeem.redeem(bank, ANN, code(bank, row), "k")
    assert await refusal(gifts.take(bank, [stranger], third.code)) == "gift_unknown"
    assert await refusal(gifts.offer(bank, [row["cid"]], row["_id"])) == "not_transferable"
    other = await vouchering.granted(bank, plain["cid"], key="y")
    fourth = await gifts.offer(bank, [other["cid"]], other["_id"])
    clock.advance(3 * 86_400 + 1)
    assert await refusal(gifts.take(bank, [stranger], fourth.code)) == "gift_unknown"
    clock.advance(10 * 86_400)
    await due.see_to(bank)
    assert await refusal(gifts.offer(bank, [other["cid"]], other["_id"])) == "voucher_expired"


async def test_a_customer_who_guesses_is_shut_out(services: Services) -> None:
    bank, row = await voucher(services, transferable=True)
    offered = await gifts.offer(bank, [row["cid"]], row["_id"])
    guesser, friend = [await vouchering.person(bank, name) for name in ("guesser", "friend")]
    for n in range(gifts.FAILURES):
        assert await refusal(gifts.take(bank, [guesser], f"guess-{n}")) == "gift_unknown"
    for _ in range(3):
        assert await refusal(gifts.take(bank, [guesser], offered.code)) == "too_many_attempts"
    assert (await now(bank, row))["cid"] == row["cid"]
    kept = await bank.db["audit"].find({"action": "voucher.refused"}, sort=[("seq", 1)])
    assert {one["actor"] for one in kept} == {f"customer:{guesser}"}
    assert [one["data"]["reason"] for one in kept] == ["gift_unknown"] * gifts.FAILURES + ["too_many_attempts"]
    assert offered.code not in str(kept)
    assert await gifts.take(bank, [friend], offered.code) == row["_id"]
