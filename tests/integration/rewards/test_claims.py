"""Claims through HTTP: a scarce reward, and every refusal, which must leave no trace."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from rewards import catalogue, ledger
from services.container import Services
from tests.integration.rewards import world
from tests.integration.rewards.world import BANK, REWARD, TENANT
from tests.support.banks import open_bank
from tests.support.waiting import until

VOUCHER = f"/mp/{BANK}/rewards/flash.voucher/claim"
CLAIM = f"/mp/{BANK}/rewards/{REWARD}/claim"


async def test_five_hundred_customers_get_a_hundred_vouchers(demo: Services, http: httpx.AsyncClient) -> None:
    customers = await world.signed_in(demo, 500)
    demo.sessions._local.clear()

    at_once = asyncio.Semaphore(100)  # what httpx's pool takes without its own time-out

    async def claim(n: int) -> tuple[int, str]:
        headers = {**customers[n], "Idempotency-Key": "k"}
        async with at_once:
            answer = await http.post(VOUCHER, headers=headers)
        return answer.status_code, answer.json().get("error", {}).get("code", "granted")

    answers = Counter(await asyncio.gather(*(claim(n) for n in range(500))))
    assert answers == {(200, "granted"): 100, (409, "sold_out"): 400}
    await until(lambda: world.settled(demo))
    voucher = await world.stock(demo, reward="flash.voucher")
    assert voucher == {"total": 100, "available": 0, "held": 0, "granted": 100, "retired": 0}
    assert await demo.store.tenant(TENANT)["transfers"].count({"kind": "grant"}) == 100
    assert await ledger.check(await open_bank(demo, TENANT)) == []


async def test_each_customer_sees_his_own_voucher_and_no_other(demo: Services, http: httpx.AsyncClient) -> None:
    winner, other = await world.signed_in(demo, 2)
    granted = await http.post(VOUCHER, headers={**winner, "Idempotency-Key": "k"})
    mine = (await http.get(f"/mp/{BANK}/redemptions", headers=winner)).json()["redemptions"]
    assert mine == [granted.json()["redemption"]]
    assert (await http.get(f"/mp/{BANK}/redemptions", headers=other)).json() == {"redemptions": []}


async def _offered(services: Services) -> None:
    await world.put(services, 5, open_to="offered")


async def _not_started(services: Services) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    await world.put(services, 5, starts=later)


async def _ended(services: Services) -> None:
    await world.put(services, 5, ends=datetime.now(UTC) - timedelta(seconds=1))


async def _paused(services: Services) -> None:
    await world.put(services, 5)
    await catalogue.set_state(await open_bank(services, services.store.tenant(TENANT).tenant), world.CAMPAIGN, "paused")


async def _sold_out(services: Services) -> None:
    await world.put(services, 0)


async def _quota_day(services: Services) -> None:
    await world.put(services, 5, per_day=1)
    assert await world.answer(services, world.request("somebody")) == "granted"
    await until(lambda: world.settled(services))


@pytest.mark.parametrize(
    ("prepare", "code"),
    [
        (_offered, "not_eligible"),
        (_not_started, "not_started"),
        (_ended, "ended"),
        (_paused, "paused"),
        (_sold_out, "sold_out"),
        (_quota_day, "quota_day"),
    ],
)
async def test_a_refused_claim_leaves_no_trace(
    demo: Services, http: httpx.AsyncClient, prepare: Any, code: str
) -> None:
    await prepare(demo)
    (customer,) = await world.signed_in(demo, 1)
    before = await world.all_rows(demo)
    answer = await http.post(CLAIM, headers={**customer, "Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, code)
    assert await world.all_rows(demo) == _without_days(before, await world.all_rows(demo))
    assert _counted(demo, code) == 1


def _without_days(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """`before` with today's counter as it is after: an untouched share of 0 may be written out."""
    for was, now in zip(before["rewards"], after["rewards"], strict=True):
        if not any(now["days"].values()):
            was["days"] = now["days"]
    return before


def _counted(services: Services, outcome: str) -> float:
    return services.metrics.registry.get_sample_value("yinqiao_claims_total", {"outcome": outcome}) or 0.0


async def test_an_offer_makes_eligible(demo: Services, http: httpx.AsyncClient) -> None:
    await world.put(demo, 5, open_to="offered")
    (customer,) = await world.signed_in(demo, 1)
    (row,) = await demo.store.tenant(TENANT)["customers"].find({})
    await world.offer(demo, row["_id"])
    answer = await http.post(CLAIM, headers={**customer, "Idempotency-Key": "k"})
    assert answer.status_code == 200, answer.text


async def test_an_unknown_reward_is_not_found_and_leaves_nothing_in_memory(
    demo: Services, http: httpx.AsyncClient
) -> None:
    (customer,) = await world.signed_in(demo, 1)
    before = await world.all_rows(demo)
    for n in range(30):
        answer = await http.post(f"/mp/{BANK}/rewards/none.{n}/claim", headers={**customer, "Idempotency-Key": "k"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "reward_unknown")
    assert await world.all_rows(demo) == before
    assert not [name for name in demo.groups._groups if "none." in name]


async def test_the_end_of_a_sell_out_hint_lets_claims_through_again(demo: Services) -> None:
    await world.put(demo, 0)
    assert await world.answer(demo, world.request("a")) == "sold_out"
    await world.put(demo, 1)
    await until(lambda: _granted_at_last(demo))
    assert await world.grants(demo) == 1


async def _granted_at_last(services: Services) -> bool:
    return await world.answer(services, world.request("a")) in ("granted", "replayed")


async def test_the_second_of_two_is_still_on_offer(demo: Services, http: httpx.AsyncClient) -> None:
    await world.put(demo, 5, per_customer=2)
    (customer,) = await world.signed_in(demo, 1)

    async def state() -> str:
        rewards = (await http.get(f"/mp/{BANK}/rewards", headers=customer)).json()["rewards"]
        return str({row["id"]: row["state"] for row in rewards}[REWARD])

    assert await state() == "claimable"
    assert (await http.post(CLAIM, headers={**customer, "Idempotency-Key": "k1"})).status_code == 200
    assert await state() == "claimable"
    assert (await http.post(CLAIM, headers={**customer, "Idempotency-Key": "k2"})).status_code == 200
    assert await state() == "claimed"


async def test_fewer_a_customer_later_hide_nothing_that_he_has(demo: Services, http: httpx.AsyncClient) -> None:
    await world.put(demo, 5, per_customer=2)
    (customer,) = await world.signed_in(demo, 1)
    for key in ("k1", "k2"):
        assert (await http.post(CLAIM, headers={**customer, "Idempotency-Key": key})).status_code == 200
    await world.put(demo, 5, per_customer=1)
    had = (await http.get(f"/mp/{BANK}/redemptions", headers=customer)).json()["redemptions"]
    assert len(had) == 2
