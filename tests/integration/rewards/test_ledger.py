"""`ledger check` finds each kind of corruption, and names it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rewards import claims, ledger
from services.container import Services
from services.ids import tenant_id
from tests.integration.rewards import world
from tests.integration.rewards.world import REWARD, TENANT
from tests.support.banks import open_bank
from tests.support.waiting import until


@pytest.fixture
async def sold(services: Services) -> Services:
    """Ten units, three granted, two taken away."""
    await world.put(services, 10, per_customer=2)
    await world.put(services, 8, per_customer=2)
    at_bank = await open_bank(services, "demo")
    await asyncio.gather(*(claims.claim(at_bank, world.request(cid)) for cid in ("a", "b", "c")))
    await until(lambda: world.settled(services))
    assert await ledger.check(await open_bank(services, TENANT)) == []
    return services


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"$inc": {"available": 1}}, "total 10 is not the sum of"),
        ({"$inc": {"available": -1}}, "total 10 is not the sum of"),
        ({"$inc": {"available": -9, "retired": 9}}, "available is -4"),
        ({"$inc": {"held": 1, "available": -1}}, "held 1, but the leases hold 0"),
        ({"$inc": {"held": -1, "available": 1}}, "held is -1"),
        ({"$inc": {"granted": 1, "available": -1}}, "3 grants (0 under open leases), but granted is 4"),
        ({"$inc": {"retired": 1, "available": -1}}, "the ledger has 10 supplied and 2 retired, the reward 10 and 3"),
        ({"$inc": {"total": 1, "available": 1}}, "the ledger has 10 supplied and 2 retired, the reward 11 and 2"),
    ],
)
async def test_a_changed_balance_is_named(sold: Services, change: dict[str, Any], named: str) -> None:
    await sold.store.tenant(TENANT)["rewards"].update({"reward": REWARD}, change)
    problems = await ledger.check(await open_bank(sold, TENANT))
    assert any(problem.startswith(f"{REWARD}: ") and named in problem for problem in problems), problems


@pytest.mark.parametrize(
    "change",
    [
        {"amount": 5},
        {"amount": 0},
        {"debit": "stock:camp.other"},
        {"credit": "issued:camp.other"},
        {"credit": f"stock:{REWARD}"},
    ],
)
async def test_a_changed_grant_is_found(sold: Services, change: dict[str, Any]) -> None:
    transfers = sold.store.tenant(TENANT)["transfers"]
    assert await transfers.update({"kind": "grant", "cid": "a"}, {"$set": change})
    assert await ledger.check(await open_bank(sold, TENANT)) != []


@pytest.mark.parametrize("kind", ["stock", "retire", "grant"])
async def test_a_deleted_line_is_found(sold: Services, kind: str) -> None:
    transfers = sold.store.tenant(TENANT)["transfers"]
    (line, *_) = await transfers.find({"kind": kind})
    await transfers.delete({"_id": line["_id"]})
    assert await ledger.check(await open_bank(sold, TENANT)) != []


async def test_a_second_grant_under_one_key_is_named(sold: Services) -> None:
    transfers = sold.store.tenant(TENANT)["transfers"]
    grant = await transfers.find_one({"kind": "grant", "cid": "a"})
    assert grant is not None
    del grant["idem"]  # the index that keeps this from happening
    await transfers.insert({**grant, "_id": tenant_id(TENANT, "grant", REWARD, "a", 1)})
    await sold.store.tenant(TENANT)["rewards"].update({"reward": REWARD}, {"$inc": {"granted": 1, "available": -1}})
    assert await ledger.check(await open_bank(sold, TENANT)) == [f"{REWARD}: customer a has 2 grants under one key"]


async def test_more_grants_than_a_customer_may_have_are_named(sold: Services) -> None:
    transfers = sold.store.tenant(TENANT)["transfers"]
    grant = await transfers.find_one({"kind": "grant", "cid": "a"})
    assert grant is not None
    del grant["idem"]
    for n in (1, 2):
        await transfers.insert({**grant, "_id": f"{TENANT}:extra{n}", "key": f"k{n}"})
    await sold.store.tenant(TENANT)["rewards"].update({"reward": REWARD}, {"$inc": {"granted": 2, "available": -2}})
    assert await ledger.check(await open_bank(sold, TENANT)) == [f"{REWARD}: customer a has 3 grants, more than 2"]


async def test_transfers_without_a_reward_are_named(sold: Services) -> None:
    await sold.store.tenant(TENANT)["rewards"].delete({"reward": REWARD})
    assert f"transfers of {REWARD} have no reward" in await ledger.check(await open_bank(sold, TENANT))


async def test_another_banks_rows_are_not_counted(sold: Services) -> None:
    await world.put(sold, 5, tenant="other")
    await sold.store.tenant("other")["rewards"].update({"reward": REWARD}, {"$inc": {"available": 1}})
    assert await ledger.check(await open_bank(sold, TENANT)) == []
    assert await ledger.check(await open_bank(sold, "other")) != []


async def test_the_check_holds_under_an_open_lease(services: Services) -> None:
    await world.put(services, 5)
    await world.claim_and_die(services, world.request("a"), before=world.die)
    await world.claim_and_die(services, world.request("b"), after=world.die)
    assert await world.stock(services) == {"total": 5, "available": 3, "held": 2, "granted": 0, "retired": 0}
    assert await ledger.check(await open_bank(services, TENANT)) == []


async def test_fewer_a_customer_later_do_not_make_old_grants_wrong(services: Services) -> None:
    await world.put(services, 10, per_customer=2)
    assert [await world.answer(services, world.request("a", key)) for key in ("k1", "k2")] == ["granted", "granted"]
    await until(lambda: world.settled(services))
    await world.put(services, 10, per_customer=1)
    assert await ledger.check(await open_bank(services, TENANT)) == []


async def test_the_summary_tells_every_balance(sold: Services) -> None:
    expected = {"reward": REWARD, "total": 10, "available": 5, "held": 0, "granted": 3, "retired": 2, "leases": 0}
    assert await ledger.summary(await open_bank(sold, TENANT)) == [expected]
