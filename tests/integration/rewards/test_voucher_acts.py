"""What two clerks do with vouchers: take back, recall, refund, make good; and their money."""

from __future__ import annotations

from typing import Any

import pytest

from customers.actors import ClerkActor
from customers.banks import apply
from rewards import ledger
from rewards.ledger import accounts, book
from rewards.ledger.entries import Entry
from rewards.ledger.lines import Leg
from rewards.vouchers import acts, due, issuing, money, redeem
from rewards.vouchers.acts import Act
from rewards.vouchers.rows import VOUCHER_ACTS, VOUCHERS
from services import ids
from services.container import Services
from services.errors import YinqiaoError
from tests.conftest import DEMO_BANK
from tests.integration.rewards import vouchering, world
from tests.integration.rewards.vouchering import ANN, balances, code, now, voucher
from tests.support import jobs, killing
from tests.support.waiting import until

LIN = ClerkActor(world.TENANT, "lin", "林晓", frozenset())
ZHAO = ClerkActor(world.TENANT, "zhao", "赵敏", frozenset())


async def agreed(bank: Any, act: Act, subject: str) -> str:
    asked = await acts.ask(bank, LIN, act, subject, "客户投诉")
    await acts.approve(bank, ZHAO, asked)
    return asked


async def refusal(doing: Any) -> str:
    with pytest.raises(YinqiaoError) as caught:
        await doing
    return caught.value.code


@pytest.fixture(autouse=True)
async def _clerks(services: Services) -> None:
    await apply.apply_tenant(services, DEMO_BANK.read_text(encoding="utf-8"), "demo.yaml")


async def test_a_late_write_off_is_taken_back_by_two_clerks(services: Services, clock: Any) -> None:
    bank, row = await voucher(services)
    done = await redeem.redeem(bank, ANN, code(bank, row), "k")
    clock.advance(3600)
    asked = await acts.ask(bank, LIN, "undo", done.use, "wrong customer")
    assert await refusal(acts.approve(bank, LIN, asked)) == "approver_is_author"
    assert await refusal(acts.ask(bank, ZHAO, "undo", done.use, "the same")) == "act_waits"
    assert (await now(bank, row))["state"] == "used"
    await acts.approve(bank, ZHAO, asked)
    assert (await now(bank, row))["state"] == "active"
    assert await refusal(acts.approve(bank, ZHAO, asked)) == "voucher_act_decided"
    assert await refusal(acts.ask(bank, LIN, "undo", done.use, "again")) == "use_undone"
    assert await balances(bank) == {"supply": -1000, "stock": 999, "issued": 1}


async def test_a_recalled_voucher_is_used_nowhere_and_a_used_one_is_not_recalled(services: Services) -> None:
    bank, row = await voucher(services)
    await agreed(bank, "recall", row["_id"])
    assert await refusal(redeem.redeem(bank, ANN, code(bank, row), "k")) == "voucher_recalled"
    assert await refusal(acts.ask(bank, LIN, "refund", row["_id"], "x")) == "voucher_recalled"
    other = await vouchering.granted(bank, row["cid"], key="z")
    asked = await acts.ask(bank, LIN, "recall", other["_id"], "x")
    await redeem.redeem(bank, ANN, code(bank, other), "k2")
    assert await refusal(acts.approve(bank, ZHAO, asked)) == "voucher_used"
    assert (await bank.db[VOUCHER_ACTS].find({"_id": asked}))[0]["state"] == "failed"
    await until(lambda: world.settled(services))
    assert await ledger.check(bank) == []


async def test_what_is_made_good_costs_the_campaign_and_what_is_refunded_comes_back(
    services: Services, clock: Any
) -> None:
    bank, row = await voucher(services, valid_days=1)
    assert await refusal(acts.ask(bank, LIN, "make_good", row["_id"], "x")) == "voucher_not_over"
    clock.advance(3 * 86_400)
    await due.see_to(bank)
    funds = [Leg("funds:camp", "budget:camp", 2_000)]
    await book.post(bank, Entry("fund", "fund", funds))
    await agreed(bank, "make_good", row["_id"])
    old = await now(bank, row)
    (new,) = await bank.db[VOUCHERS].find({"instead_of": row["_id"]})
    assert (old["made_good"], new["cid"], new["state"]) == (new["_id"], row["cid"], "granted")
    assert 30 <= (new["expires"] - bank.utc()).days <= 31
    assert (row["remind"], new["remind"]) == (None, new["expires"].timestamp() - 3 * 86_400)
    assert (await accounts.balance(bank, "budget:camp")).posted == 500
    await until(lambda: world.settled(services))
    assert await ledger.check(bank) == []
    assert (await redeem.look(bank, ANN, code(bank, new))).may  # type: ignore[arg-type]
    assert await refusal(acts.ask(bank, LIN, "make_good", new["_id"], "x")) == "voucher_not_over"
    await agreed(bank, "refund", new["_id"])
    assert (await accounts.balance(bank, "budget:camp")).posted == 2_000
    assert await ledger.check(bank) == []
    assert (await balances(bank))["refunded"] == 1


async def test_a_make_good_beyond_the_budget_is_refused_and_changes_nothing(services: Services) -> None:
    bank, row = await voucher(services)
    await agreed(bank, "recall", row["_id"])
    await book.post(bank, Entry("fund", "fund", [Leg("funds:camp", "budget:camp", 1_499)]))
    asked = await acts.ask(bank, LIN, "make_good", row["_id"], "x")
    assert await refusal(acts.approve(bank, ZHAO, asked)) == "budget"
    assert await bank.db[VOUCHERS].count({}) == 1
    assert (await accounts.balance(bank, "budget:camp")).posted == 1_499


async def test_what_was_made_good_is_neither_taken_back_nor_refunded(services: Services) -> None:
    """Else the customer would have both, or the campaign its money and he his voucher."""
    bank, row = await voucher(services)
    done = await redeem.redeem(bank, ANN, code(bank, row), "k")
    late = await acts.ask(bank, LIN, "undo", done.use, "x")
    await agreed(bank, "make_good", row["_id"])
    assert await refusal(redeem.undo(bank, ANN, done.use, "x")) == "voucher_made_good"
    assert await refusal(acts.approve(bank, ZHAO, late)) == "voucher_made_good"
    assert await refusal(acts.ask(bank, LIN, "refund", row["_id"], "x")) == "voucher_made_good"
    assert acts.may(bank, await now(bank, row)) == []
    assert await bank.db[VOUCHERS].count({"state": {"$in": ["granted", "active"]}}) == 1
    await until(lambda: world.settled(services))
    assert await ledger.check(bank) == []


async def test_no_use_is_taken_back_between_a_make_goods_payment_and_its_voucher(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank, row = await voucher(services)
    done = await redeem.redeem(bank, ANN, code(bank, row), "k")
    asked, pay = await acts.ask(bank, LIN, "make_good", row["_id"], "x"), acts.money.pay

    async def meanwhile(*arguments: Any) -> str:
        paid_by = await pay(*arguments)
        assert await refusal(redeem.undo(bank, ANN, done.use, "x")) == "voucher_made_good"
        return paid_by

    monkeypatch.setattr(acts.money, "pay", meanwhile)
    await acts.approve(bank, ZHAO, asked)
    assert await bank.db[VOUCHERS].count({"instead_of": row["_id"]}) == 1
    assert (await balances(bank, "spent"))["spent"] == 1_500 + 1_500


async def test_a_use_may_be_taken_back_after_a_make_good_that_was_too_dear(services: Services) -> None:
    bank, row = await voucher(services)
    done = await redeem.redeem(bank, ANN, code(bank, row), "k")
    await book.post(bank, Entry("fund", "fund", [Leg("funds:camp", "budget:camp", 1_499)]))
    asked = await acts.ask(bank, LIN, "make_good", row["_id"], "x")
    assert await refusal(acts.approve(bank, ZHAO, asked)) == "budget"
    await redeem.undo(bank, ANN, done.use, "x")
    assert (await now(bank, row))["state"] == "active"


async def test_a_make_good_goes_on_though_the_budget_was_opened_meanwhile(services: Services) -> None:
    bank, row = await voucher(services)
    await agreed(bank, "recall", row["_id"])
    asked = await acts.ask(bank, LIN, "make_good", row["_id"], "x")
    new = ids.tenant_id(bank.id, "voucher", row["_id"], "made_good")
    assert await money.pay(bank, await now(bank, row), new) == "funds:camp"
    await book.post(bank, Entry("fund", "fund", [Leg("funds:camp", "budget:camp", 5_000)]))
    await acts.approve(bank, ZHAO, asked)
    (made,) = await bank.db[VOUCHERS].find({"instead_of": row["_id"]})
    assert made["paid_by"] == "funds:camp"
    assert (await accounts.balance(bank, "budget:camp")).posted == 5_000


@pytest.mark.parametrize("number", range(0, 20, 2))
async def test_a_make_good_that_is_killed_anywhere_is_one(services: Services, clock: Any, number: int) -> None:
    bank, row = await voucher(services)
    await agreed(bank, "recall", row["_id"])
    asked = await acts.ask(bank, LIN, "make_good", row["_id"], "x")
    await until(lambda: world.settled(services))
    with pytest.MonkeyPatch.context() as patch:
        killed = killing.before_write(patch, number)
        try:
            await acts.approve(bank, ZHAO, asked)
        except killing.Killed:
            assert killed()
        except YinqiaoError:
            assert killed()
    clock.advance(120)
    await jobs.run(bank, "ledger.settle")
    await acts.complete(bank)
    (act,) = await bank.db[VOUCHER_ACTS].find({"_id": asked})
    if act["state"] == "submitted":
        await acts.approve(bank, ZHAO, asked)
    await due.see_to(bank)
    assert await bank.db[VOUCHERS].count({"instead_of": row["_id"]}) == 1
    assert await ledger.check(bank) == []
    assert (await balances(bank, "spent"))["spent"] == 1_500


@pytest.mark.parametrize("number", range(1, 4))
async def test_what_was_asked_for_by_a_clerk_who_was_cut_short_anywhere_stands_in_nobodys_way(
    services: Services, number: int
) -> None:
    bank, row = await voucher(services)
    with pytest.MonkeyPatch.context() as patch:
        killed = killing.before_write(patch, number)
        try:
            await acts.ask(bank, LIN, "recall", row["_id"], "x")
        except killing.Killed:
            assert killed()
    for act in await acts.waiting(bank):
        with pytest.raises(YinqiaoError, match="approver_is_author"):
            await acts.approve(bank, LIN, act["_id"])
        assert await refusal(acts.reject(bank, ZHAO, act["_id"], "  ")) == "reason_missing"
        await acts.reject(bank, ZHAO, act["_id"], "nein")
    await agreed(bank, "recall", row["_id"])
    assert (await now(bank, row))["state"] == "recalled"


async def test_the_unused_vouchers_of_a_campaign_are_recalled_whoever_is_killed(services: Services, clock: Any) -> None:
    bank, first = await voucher(services, uses=2)
    for n in range(7):
        await vouchering.granted(bank, await vouchering.person(bank, f"p{n}"))
    await redeem.redeem(bank, ANN, code(bank, first), "k")
    asked = await agreed(bank, "recall_campaign", "camp")
    late = await vouchering.granted(bank, await vouchering.person(bank, "late"))
    await until(lambda: world.settled(services))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(acts, "AT_ONCE", 3)
        killing.before_write(patch, 5)
        with pytest.raises(killing.Killed):
            await jobs.run(bank, acts.TASK)
    clock.advance(30)
    await jobs.run(bank, acts.TASK)
    await due.see_to(bank)
    (act,) = await bank.db[VOUCHER_ACTS].find({"_id": asked})
    assert (act["state"], act["total"]) == ("done", 7)
    assert ((await now(bank, first))["state"], (await now(bank, late))["state"]) == ("active", "granted")
    assert (await balances(bank))["recalled"] == 7
    await until(lambda: world.settled(services))
    assert await ledger.check(bank) == []


async def test_a_voucher_that_is_made_after_its_campaign_was_recalled_is_recalled(services: Services) -> None:
    """Its worker was behind: the grant was there, and the voucher was not."""
    bank, _ = await voucher(services)
    cid = await vouchering.person(bank, "behind")
    behind = await vouchering.old_grant(bank, cid)
    asked = await agreed(bank, "recall_campaign", "camp")
    late = await vouchering.old_grant(bank, await vouchering.person(bank, "late"))
    for _ in range(2):
        await jobs.run(bank, acts.TASK)
    assert (await bank.db[VOUCHER_ACTS].find({"_id": asked}))[0]["state"] == "done"
    await issuing.of_claims(bank, [behind["_id"], late["_id"]])
    for _ in range(2):
        await jobs.run(bank, acts.TASK)
    states = {row["_id"]: row["state"] for row in await bank.db[VOUCHERS].find({})}
    assert (states[behind["_id"]], states[late["_id"]]) == ("recalled", "granted")
    assert (await bank.db[VOUCHER_ACTS].find({"_id": asked}))[0]["state"] == "done"
