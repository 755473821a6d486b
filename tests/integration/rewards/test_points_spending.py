"""Spending points: what expires first goes first, never below nothing, and never to another customer."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from customers.actors import CustomerActor
from customers.banks.bank import Bank
from customers.identity import merging, resolution
from customers.identity.rows import root
from rewards.ledger.lines import legs_of
from rewards.points import spending
from services.container import Services
from services.documents.parts import Text
from services.errors import Conflict, InvalidInput, KeyReused, NotFound, Unavailable
from tests.integration.rewards import points_world as world
from tests.support.banks import open_bank
from tests.support.clock import MovedClock
from tests.support.waiting import until

MALL = Text(zh="咖啡券", en="Coffee voucher")


@pytest.fixture
async def bank(demo: Services) -> Bank:
    bank = await open_bank(demo, "demo")
    await world.begin(bank)
    return bank


async def _rich(bank: Bank, name: str = "a", **lots: int) -> str:
    """A customer with lots: `d3=50` are 50 points that expire in 3 days."""
    cid = await world.person(bank, name)
    for days, n in lots.items():
        await world.give(bank, cid, n, bank.utc() + timedelta(days=int(days[1:])))
    await until(lambda: world.settled(bank))
    return cid


async def _lots(bank: Bank, cid: str) -> list[int]:
    await until(lambda: world.settled(bank))
    return [lot.points for lot in (await world.points(bank, cid)).lots]


async def _kept(bank: Bank) -> list[str]:
    """The reasons of the refusals that the audit trail has, in their order."""
    rows = await bank.db["audit"].find({"action": "ledger.refused"}, sort=[("seq", 1)])
    return [row["data"]["reason"] for row in rows]


async def test_what_expires_first_is_spent_first(bank: Bank) -> None:
    cid = await _rich(bank, d30=40, d3=50, d90=10)
    done = await spending.spend(bank, cid, 70, "order-1", MALL)
    assert [lot["n"] for lot in done.row["lots"]] == [-50, -20]
    assert await _lots(bank, cid) == [20, 10]
    assert (done.row["kind"], done.row["credit"], done.row["about"]["title"]["en"]) == (
        "spend",
        "points_spent:points",
        "Coffee voucher",
    )


async def test_the_same_key_spends_once_and_another_body_is_refused(bank: Bank) -> None:
    cid = await _rich(bank, d3=50)
    other = await _rich(bank, "b", d3=50)
    told = [spending.spend(bank, cid, 30, "k", MALL) for _ in range(10)]
    assert len({one.id for one in await asyncio.gather(*told)}) == 1
    assert (await spending.spend(bank, cid, 30, "k", MALL)).replayed
    for who, n in ((cid, 31), (other, 30)):
        with pytest.raises(KeyReused):
            await spending.spend(bank, who, n, "k", MALL)
    assert (await _lots(bank, cid), await _lots(bank, other)) == ([20], [50])
    assert await _kept(bank) == ["idempotency_key_reused"] * 2


@pytest.mark.parametrize("points", [0, -5, 1.5, "5", True, 2**53 + 1])
async def test_what_is_no_amount_is_refused_and_named(bank: Bank, points: Any) -> None:
    cid = await _rich(bank, d3=50)
    with pytest.raises(InvalidInput, match="amount_invalid") as refused:
        await spending.spend(bank, cid, points, "k", MALL)
    assert list(refused.value.fields) == ["points"]
    assert (await _lots(bank, cid), await _kept(bank)) == ([50], ["amount_invalid"])


async def test_nobody_spends_more_than_he_has(bank: Bank) -> None:
    cid = await _rich(bank, d3=50)
    with pytest.raises(Conflict, match="insufficient"):
        await spending.spend(bank, cid, 51, "k", MALL)
    assert await _lots(bank, cid) == [50]


async def test_forty_spendings_at_once_leave_nothing_below_zero(bank: Bank) -> None:
    cid = await _rich(bank, d3=50, d9=50)

    async def one(n: int) -> int:
        for _ in range(40):
            try:
                await spending.spend(bank, cid, 7, f"k{n}", MALL)
            except Conflict:
                return 0
            except Unavailable:
                await asyncio.sleep(0.05)
            else:
                return 7
        raise AssertionError("never told")

    spent = sum(await asyncio.gather(*(one(n) for n in range(40))))
    assert (spent, sum(await _lots(bank, cid))) == (98, 2)


async def test_points_are_set_aside_used_in_part_and_given_back(bank: Bank) -> None:
    cid = await _rich(bank, d3=50)
    later = bank.utc() + timedelta(minutes=15)
    held = await spending.hold(bank, cid, 30, "k", MALL, later)
    await until(lambda: world.settled(bank))
    now = await world.points(bank, cid)
    assert (now.available, now.held) == (20, 30)
    await spending.confirm(bank, cid, held.id, 10)
    assert await _lots(bank, cid) == [40]
    with pytest.raises(Conflict, match="hold_ended"):
        await spending.cancel(bank, cid, held.id)
    second = await spending.hold(bank, cid, 40, "k2", MALL, later)
    await spending.cancel(bank, cid, second.id)
    assert await _lots(bank, cid) == [40]


async def test_anothers_hold_is_neither_confirmed_nor_cancelled(bank: Bank) -> None:
    cid, other = await _rich(bank, d3=50), await _rich(bank, "b", d3=50)
    held = await spending.hold(bank, cid, 30, "k", MALL, bank.utc() + timedelta(minutes=15))
    for end in (spending.confirm, spending.cancel):
        with pytest.raises(Conflict, match="not_yours"):
            await end(bank, other, held.id)
        with pytest.raises(NotFound, match="hold_unknown"):
            await end(bank, other, "demo:nothing")
    with pytest.raises(Conflict, match="hold_exceeded"):
        await spending.confirm(bank, cid, held.id, 31)
    assert (await world.points(bank, cid)).held == 30
    assert await _kept(bank) == ["not_yours", "not_yours", "hold_exceeded"]


async def test_a_hold_that_is_over_is_not_used(bank: Bank, clock: MovedClock) -> None:
    cid = await _rich(bank, d3=50)
    held = await spending.hold(bank, cid, 30, "k", MALL, bank.utc() + timedelta(minutes=15))
    clock.advance(15 * 60 + 1)
    with pytest.raises(Conflict, match="hold_ended"):
        await spending.confirm(bank, cid, held.id)
    assert (await _lots(bank, cid), await _kept(bank)) == ([50], ["hold_ended"])


async def test_two_who_became_one_spend_from_both_soonest_first(bank: Bank) -> None:
    elder, younger = await _rich(bank, d30=40), await _rich(bank, "b", d3=50)
    origin = resolution.Origin("clerk", "said so")
    await merging.merge(bank, await root(bank, elder), await root(bank, younger), origin, ["unionid"])
    done = await spending.spend(bank, elder, 60, "k", MALL)
    assert {leg.debit: leg.amount for leg in legs_of(done.row)} == {f"points:{younger}": 50, f"points:{elder}": 10}
    assert await _lots(bank, younger) == [30]


async def test_points_go_to_no_other_customer(bank: Bank) -> None:
    cid = await _rich(bank, d3=50)
    with pytest.raises(Conflict, match="points_not_transferable"):
        await spending.transfer(bank, CustomerActor("demo", cid, world.APPID))
    (row,) = await bank.db["audit"].find({"action": "points.transfer_refused"})
    assert row["actor"] == f"customer:{cid}"
    assert await _lots(bank, cid) == [50]
