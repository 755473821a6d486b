"""A reward that is given when of another nothing is left: one of the two, once, under one key."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest

from rewards import claims
from rewards.rows import Limits
from services.container import Services
from services.errors import KeyReused
from tests.integration.rewards import world
from tests.integration.rewards.test_quotas import quota, whole
from tests.integration.rewards.world import BANK, CAMPAIGN, REWARD, TENANT
from tests.support.banks import open_bank

TEA = f"{CAMPAIGN}.tea"
PEN = f"{CAMPAIGN}.pen"


async def put(services: Services, stock: int, *, tea: int = 100, **said: Any) -> None:
    """The cup, then the tea in its place, and then the pen."""
    await world.put(services, stock, limits=Limits(fallback=TEA, **said))
    await world.put(services, tea, key="tea", open_to="offered", limits=Limits(fallback=PEN))
    await world.put(services, 100, key="pen", open_to="offered")


async def given(services: Services, cid: str, key: str = "k") -> str:
    """What the customer was given, or why not."""
    try:
        granted = await claims.claim(await open_bank(services, TENANT), world.request(cid, key))
    except Exception as error:
        return str(getattr(error, "code", error))
    return granted.grant["reward"].partition(".")[2] + (" again" if granted.replayed else "")


async def all_grants(services: Services) -> Counter[str]:
    rows = await services.store.tenant(TENANT)["transfers"].find({"kind": "grant"})
    return Counter(row["cid"] for row in rows)


async def test_when_nothing_is_left_the_next_one_is_given(services: Services) -> None:
    await put(services, 2, tea=3)
    answers = Counter(await asyncio.gather(*(given(services, f"c{n}") for n in range(8))))
    assert answers == {"r": 2, "tea": 3, "pen": 3}
    await whole(services)
    again = Counter(await asyncio.gather(*(given(services, f"c{n}") for n in range(8))))
    assert again == {"r again": 2, "tea again": 3, "pen again": 3}
    other = Counter(await asyncio.gather(*(given(services, f"c{n}", "another key") for n in range(8))))
    assert other == {"quota_customer": 8}
    assert set((await all_grants(services)).values()) == {1}


async def test_a_quota_leads_to_the_fallback_and_a_customers_own_does_not(services: Services) -> None:
    await put(services, 100, quotas=[quota("campaign", 1, over="other"), quota("branch", 2)])
    answers = Counter(await asyncio.gather(*(given(services, f"c{n}") for n in range(5))))
    assert answers == {"r": 1, "tea": 4}
    await whole(services)
    assert await given(services, "c1", "another key") == "quota_customer"


async def test_what_came_back_is_not_given_besides(services: Services) -> None:
    """He has the tea; then there are cups again; his key still says tea, and another key says nothing more."""
    await put(services, 0)
    assert await given(services, "a") == "tea"
    await put(services, 5)
    services.cache.clear()
    assert await given(services, "a") == "tea again"
    assert await given(services, "a", "another key") == "quota_customer"
    await whole(services)
    assert await all_grants(services) == {"a": 1}


async def test_the_same_key_with_another_body_is_refused(services: Services) -> None:
    await put(services, 0)
    assert await given(services, "a") == "tea"
    with pytest.raises(KeyReused):
        await claims.claim(await open_bank(services, TENANT), world.request("a", body="other"))


async def _both_at_once(services: Services, second: Services) -> Counter[str]:
    """One process has seen that no cup is left, and is about to give tea; then a cup comes back, and another process
    gives it under the same key."""
    await put(services, 0)
    stall = world.Stall()
    async with world.process(services, before=stall) as slow:
        late = asyncio.create_task(given(slow, "a"))
        await stall.reached.wait()
        await put(second, 5)
        async with world.process(second) as other:
            first = await given(other, "a")
        stall.release()
        return Counter([first, await late])


async def test_without_what_both_grants_share_both_are_given(
    services: Services, second: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The race that the unique index closes."""
    monkeypatch.setattr(claims, "_idem", lambda *_: "")
    assert await _both_at_once(services, second) == {"r": 1, "tea": 1}


async def test_of_two_processes_one_gives_under_a_key(services: Services, second: Services) -> None:
    assert await _both_at_once(services, second) == {"r": 1, "claim_unknown": 1}
    await whole(services)
    assert await given(services, "a") == "r again"
    assert await all_grants(services) == {"a": 1}


async def test_nothing_is_left_of_any(services: Services) -> None:
    await put(services, 0, tea=0)
    await world.put(services, 0, key="pen", open_to="offered")
    assert await given(services, "a") == "sold_out"
    assert await all_grants(services) == {}


async def test_the_answer_says_which_was_given(demo: Services, http: httpx.AsyncClient) -> None:
    await put(demo, 0)
    (customer,) = await world.signed_in(demo, 1)
    headers = {**customer, "Idempotency-Key": "k"}
    answer = await http.post(f"/mp/{BANK}/rewards/{REWARD}/claim", headers=headers)
    assert answer.status_code == 200, answer.text
    redemption = answer.json()["redemption"]
    assert (redemption["reward"], redemption["instead_of"]) == (TEA, REWARD)
    repeated = await http.post(f"/mp/{BANK}/rewards/{REWARD}/claim", headers=headers)
    assert (repeated.json(), repeated.headers["Idempotency-Hit"]) == (answer.json(), "true")
    shown = (await http.get(f"/mp/{BANK}/rewards", headers=customer)).json()["rewards"]
    assert [one["state"] for one in shown if one["id"] == REWARD] == ["claimed"]


async def test_what_is_sold_out_can_be_claimed_while_another_is_given_instead(
    demo: Services, http: httpx.AsyncClient
) -> None:
    (customer,) = await world.signed_in(demo, 1)

    async def state() -> str:
        demo.cache.clear()
        shown = (await http.get(f"/mp/{BANK}/rewards", headers=customer)).json()["rewards"]
        return str(next(one["state"] for one in shown if one["id"] == REWARD))

    await put(demo, 0)
    assert await state() == "claimable"
    await put(demo, 0, tea=0)
    await world.put(demo, 0, key="pen", open_to="offered")
    assert await state() == "sold_out"
