"""Two processes at work on the same reward and the same customer at the same moment."""

from __future__ import annotations

import asyncio
from collections import Counter

from rewards import ledger
from services.container import Services
from tests.integration.rewards import world
from tests.integration.rewards.world import TENANT
from tests.support.banks import open_bank
from tests.support.waiting import until


async def test_one_customer_at_two_processes_has_one_grant(services: Services, second: Services) -> None:
    await world.put(services, 50)
    both = (services, second)
    for n in range(10):
        request = world.request(f"c{n}")
        answers = await asyncio.gather(*(world.answer(one, request) for one in both))
        assert set(answers) <= {"granted", "replayed"}
        assert answers.count("granted") <= 1
    await until(lambda: world.settled(services))
    assert await world.stock(services) == {"total": 50, "available": 40, "held": 0, "granted": 10, "retired": 0}
    assert await ledger.check(await open_bank(services, TENANT)) == []


async def test_two_processes_never_sell_more_than_there_is(services: Services, second: Services) -> None:
    await world.put(services, 30)
    claims = [world.answer((services, second)[n % 2], world.request(f"c{n}")) for n in range(100)]
    answers = Counter(await asyncio.gather(*claims))
    assert answers["granted"] == 30
    assert answers["sold_out"] + answers["stock_in_doubt"] == 70  # the other process's last units may come back
    await until(lambda: world.settled(services))
    assert await world.stock(services) == {"total": 30, "available": 0, "held": 0, "granted": 30, "retired": 0}
    assert await ledger.check(await open_bank(services, TENANT)) == []


async def test_who_comes_second_learns_what_the_first_got(services: Services, second: Services) -> None:
    """Both have read that the customer has nothing; the slower one meets the other's grant and gives its unit back."""
    await world.put(services, 5)
    stall = world.Stall()
    async with world.process(services, before=stall) as slow:
        late = asyncio.create_task(world.answer(slow, world.request("a")))
        await stall.reached.wait()
        assert await world.answer(second, world.request("a")) == "granted"
        stall.release()
        assert await late == "replayed"
    await until(lambda: world.settled(services))
    assert await world.stock(services) == {"total": 5, "available": 4, "held": 0, "granted": 1, "retired": 0}


async def test_who_comes_second_with_another_body_is_told_so(services: Services, second: Services) -> None:
    await world.put(services, 5)
    stall = world.Stall()
    async with world.process(services, before=stall) as slow:
        late = asyncio.create_task(world.answer(slow, world.request("a", body="other")))
        await stall.reached.wait()
        assert await world.answer(second, world.request("a")) == "granted"
        stall.release()
        assert await late == "idempotency_key_reused"
    assert await world.grants(services) == 1


async def test_two_keys_at_two_processes_get_the_two_that_a_customer_may_have(
    services: Services, second: Services
) -> None:
    await world.put(services, 5, per_customer=2)
    stall = world.Stall()
    async with world.process(services, before=stall) as slow:
        late = asyncio.create_task(world.answer(slow, world.request("a", "k1")))
        await stall.reached.wait()
        assert await world.answer(second, world.request("a", "k2")) == "granted"
        stall.release()
        first_answer = await late
    # With another process's grant in his place, the claim may have to be repeated; it may not be refused for good.
    if first_answer != "granted":
        assert first_answer == "claim_unknown"
        assert await world.answer(services, world.request("a", "k1")) == "granted"
    assert await world.grants(services) == 2


async def test_one_key_at_two_processes_is_one_grant_though_two_are_allowed(
    services: Services, second: Services
) -> None:
    await world.put(services, 5, per_customer=2)
    stall = world.Stall()
    async with world.process(services, before=stall) as slow:
        late = [asyncio.create_task(world.answer(slow, world.request("a", key))) for key in ("k1", "k2")]
        await stall.reached.wait()
        assert await world.answer(second, world.request("a", "k2")) == "granted"
        stall.release()
        await asyncio.gather(*late)
    await until(lambda: world.settled(services))
    assert await ledger.check(await open_bank(services, TENANT)) == []


async def test_the_check_finds_nothing_wrong_while_claims_go_on(services: Services, second: Services) -> None:
    await world.put(services, 200)

    async def customers(one: Services, name: str) -> None:
        for n in range(40):
            await world.answer(one, world.request(f"{name}{n}"))

    selling = asyncio.gather(customers(services, "a"), customers(second, "b"))
    while not selling.done():
        assert await ledger.check(await open_bank(services, TENANT)) == []
    await selling
