"""A voucher whose code came out of a pool: shown, found and over as its supplier says."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Any

import pytest

from customers.actors import ClerkActor, CustomerActor
from customers.banks import apply
from customers.banks.bank import Bank
from rewards import catalogue, ledger, portal
from rewards.item import Item
from rewards.ledger import book
from rewards.ledger.book import Entry, Leg
from rewards.pools import keeping, taking
from rewards.vouchers import acts, due, gifts, held, money, pooled, redeem
from rewards.vouchers.rows import VOUCHER_ACTS, VOUCHERS, Voucher
from services.container import Services
from services.documents.parts import Text
from services.errors import YinqiaoError
from tests.conftest import DEMO_BANK
from tests.integration.rewards import pool_world, vouchering, world
from tests.integration.rewards.vouchering import ANN, now
from tests.support import jobs, killing
from tests.support.waiting import until

LIN = ClerkActor(world.TENANT, "lin", "林晓", frozenset())
ZHAO = ClerkActor(world.TENANT, "zhao", "赵敏", frozenset())


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


async def over(services: Services, codes: int) -> tuple[Bank, Voucher]:
    """A recalled voucher whose code came out of a pool in which so many are left."""
    await apply.apply_tenant(services, DEMO_BANK.read_text(encoding="utf-8"), "demo.yaml")
    bank = await vouchering.bank_of(services)
    await pool_world.make(bank)
    await pool_world.bring(bank, pool_world.file(codes + 1))
    await pool_world.put(services, 10)
    row = await vouchering.granted(bank, await vouchering.person(bank))
    await until(lambda: settled(bank))
    await acts.approve(bank, ZHAO, await acts.ask(bank, LIN, "recall", row["_id"], "x"))
    return bank, await now(bank, row)


async def settled(bank: Bank) -> bool:
    return not (await taking.find(bank, pool_world.POOL))["held"] and await world.settled(bank.services)


async def make_good(bank: Bank, row: Voucher) -> Voucher:
    await acts.approve(bank, ZHAO, await acts.ask(bank, LIN, "make_good", row["_id"], "坏码"))
    (new,) = await bank.db[VOUCHERS].find({"instead_of": row["_id"]})
    return new  # type: ignore[return-value]


async def test_what_is_made_good_shows_the_next_code_of_the_pool(services: Services) -> None:
    bank, row = await over(services, 2)
    new = await make_good(bank, row)
    shown = await held.pool_codes(bank, [row, new])
    assert (shown[row["_id"]], shown[new["_id"]]) == (pool_world.code(0), pool_world.code(1))
    assert await pool_world.counts(bank) == pool_world.counted(3, 1, granted=2)
    assert await ledger.check(bank) == []
    (found,) = await keeping.search(bank, "lin", pool_world.code(1))
    assert (found["state"], found["grant"], found["cid"]) == ("granted", new["_id"], row["cid"])
    assert (await redeem.redeem(bank, ANN, pool_world.code(1), "k")).left == 0


async def test_from_an_empty_pool_nothing_is_made_good_and_nothing_changes(services: Services) -> None:
    bank, row = await over(services, 0)
    before = await world.all_rows(services)
    asked = await acts.ask(bank, LIN, "make_good", row["_id"], "坏码")
    assert await refusal(acts.approve(bank, ZHAO, asked)) == "pool_empty"
    assert (await bank.db[VOUCHER_ACTS].find({"_id": asked}))[0]["why"] == "pool_empty"
    assert await world.all_rows(services) == before
    assert await bank.db[VOUCHERS].count({}) == 1
    await pool_world.bring(bank, pool_world.file(1, 100))
    assert (await held.pool_codes(bank, [await make_good(bank, row)])).popitem()[1] == pool_world.code(100)


async def test_a_code_that_is_not_paid_for_goes_back(services: Services) -> None:
    bank, row = await over(services, 1)
    await book.post(bank, Entry("fund", "fund", [Leg("funds:camp", "budget:camp", 99)]))
    asked = await acts.ask(bank, LIN, "make_good", row["_id"], "坏码")
    assert await refusal(acts.approve(bank, ZHAO, asked)) == "budget"
    assert await pool_world.counts(bank) == pool_world.counted(2, 1, granted=1)
    assert await ledger.check(bank) == []


async def test_what_is_paid_for_waits_until_its_pool_is_filled(services: Services, clock: Any) -> None:
    """Its first worker was killed after he had paid, and others took the last codes meanwhile."""
    bank, row = await over(services, 0)
    asked = await acts.ask(bank, LIN, "make_good", row["_id"], "坏码")
    new = acts.ids.tenant_id(bank.id, "voucher", row["_id"], "made_good")
    await money.pay(bank, row, new)
    assert await refusal(acts.approve(bank, ZHAO, asked)) == "pool_empty"
    await acts.complete(bank)
    assert not await bank.db[VOUCHERS].count({"_id": new})
    await pool_world.bring(bank, pool_world.file(1, 100))
    clock.advance(120)
    await acts.complete(bank)
    (made,) = await bank.db[VOUCHERS].find({"_id": new})
    assert await held.pool_codes(bank, [made]) == {new: pool_world.code(100)}  # type: ignore[list-item]
    assert await ledger.check(bank) == []


async def _naive_decide(bank: Bank, reward: Any, reserved: Any, old: Any, new: str) -> Any:
    """Every try shows the code that it took, whatever another has decided."""
    await taking.settle(bank, reward, reserved.batch, [{"code": reserved.code}])  # type: ignore[typeddict-item]
    return reserved.code


async def _twice_at_once(bank: Bank, row: Voucher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers make the same voucher good; both have taken a code before one of them decides."""
    asked = await acts.ask(bank, LIN, "make_good", row["_id"], "坏码")
    (act,) = await bank.db[VOUCHER_ACTS].find({"_id": asked})
    pay, both = money.pay, asyncio.Barrier(2)

    async def together(*arguments: Any) -> str:
        await both.wait()
        return await pay(*arguments)

    monkeypatch.setattr(acts.money, "pay", together)
    await asyncio.gather(*(acts._make_good(bank, act) for _ in range(2)))  # type: ignore[arg-type]


async def test_without_a_row_that_decides_two_workers_give_two_codes(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank, row = await over(services, 2)
    monkeypatch.setattr(pooled, "decide", _naive_decide)
    await _twice_at_once(bank, row, monkeypatch)
    assert await pool_world.counts(bank) == pool_world.counted(3, 0, granted=3)


async def test_two_workers_give_one_code(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    bank, row = await over(services, 2)
    await _twice_at_once(bank, row, monkeypatch)
    assert await pool_world.counts(bank) == pool_world.counted(3, 1, granted=2)
    (made,) = await bank.db[VOUCHERS].find({"instead_of": row["_id"]})
    (decided,) = await bank.db["transfers"].find({"kind": "made_good"})
    assert (made["code"], made["_id"]) == (decided["code"], decided["_id"])
    assert await ledger.check(bank) == []


async def test_the_last_code_is_both_workers_when_one_comes_after_the_other_took_it(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A voucher that costs nothing: no payment tells the second that the first was there."""
    bank, row = await over(services, 1)
    await bank.db[VOUCHERS].update({"_id": row["_id"]}, {"$set": {"cost": 0}})
    asked = await acts.ask(bank, LIN, "make_good", row["_id"], "坏码")
    (act,) = await bank.db[VOUCHER_ACTS].find({"_id": asked})
    take = taking.take

    async def after_the_other(*arguments: Any) -> taking.Taken:
        """The other has decided and has not gone on: nothing but his row says so."""
        monkeypatch.setattr(taking, "take", take)
        reward = await catalogue.find(bank, row["reward"])
        new = acts.ids.tenant_id(bank.id, "voucher", row["_id"], "made_good")
        reserved = await pooled.reserve(bank, reward, new)
        await pooled.decide(bank, reward, reserved, row, new)
        return await take(*arguments)

    monkeypatch.setattr(taking, "take", after_the_other)
    await acts._make_good(bank, act)  # type: ignore[arg-type]
    assert await pool_world.counts(bank) == pool_world.counted(2, 0, granted=2)
    (made,) = await bank.db[VOUCHERS].find({"instead_of": row["_id"]})
    assert await held.pool_codes(bank, [made]) == {made["_id"]: pool_world.code(1)}  # type: ignore[list-item]
    assert await ledger.check(bank) == []


@pytest.mark.parametrize("number", range(1, 25, 3))
async def test_killed_anywhere_one_code_is_given(services: Services, clock: Any, number: int) -> None:
    bank, row = await over(services, 2)
    asked = await acts.ask(bank, LIN, "make_good", row["_id"], "坏码")
    with pytest.MonkeyPatch.context() as patch:
        killed = killing.before_write(patch, number)
        try:
            await acts.approve(bank, ZHAO, asked)
        except (killing.Killed, YinqiaoError):
            assert killed()
    clock.advance(120)
    await jobs.run(bank, "ledger.settle")
    await jobs.run(bank, "rewards.settle_pools")
    await acts.complete(bank)
    (act,) = await bank.db[VOUCHER_ACTS].find({"_id": asked})
    if act["state"] == "submitted":
        await acts.approve(bank, ZHAO, asked)
    await due.see_to(bank)
    (made,) = await bank.db[VOUCHERS].find({"instead_of": row["_id"]})
    assert made["code"] == (await bank.db["transfers"].find({"kind": "made_good"}))[0]["code"]
    await jobs.run(bank, "rewards.settle_pools")
    assert await pool_world.counts(bank) == pool_world.counted(3, 1, granted=2)
    assert await ledger.check(bank) == []


async def test_of_what_is_no_pools_a_make_good_has_a_code_of_ours(services: Services) -> None:
    """A right; and a voucher whose reward is a parcel by now stays what it was."""
    await apply.apply_tenant(services, DEMO_BANK.read_text(encoding="utf-8"), "demo.yaml")
    bank, row = await vouchering.voucher(services)
    await acts.approve(bank, ZHAO, await acts.ask(bank, LIN, "recall", row["_id"], "x"))
    for kind in ("right", "physical"):
        await world.put(services, 1_000, item=Item(kind=kind, title=Text(zh="权益"), cost=100))  # type: ignore[arg-type]
        catalogue.drop_cached(bank)
        new = await make_good(bank, row)
        assert (new["kind"], "code" in new) == ("right" if kind == "right" else row["kind"], False)
        assert (await redeem.look(bank, ANN, vouchering.code(bank, new))).may
        await acts.approve(bank, ZHAO, await acts.ask(bank, LIN, "recall", new["_id"], "x"))
        row = await now(bank, new)
