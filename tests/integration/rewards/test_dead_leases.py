"""Processes that die or stall in the middle of a claim: nothing leaks, nothing is sold twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rewards import claims, ledger, stock
from rewards.claims import settle_stale
from services.container import Services
from services.errors import Unavailable
from services.store.mongo import Doc
from tests.integration.rewards import world
from tests.integration.rewards.world import REWARD, TENANT
from tests.support.banks import open_bank
from tests.support.clock import MovedClock

LONG = stock.LEASE_SECONDS + 1


async def test_killed_before_the_grants_the_units_come_back(services: Services, clock: MovedClock) -> None:
    bank = await open_bank(services, TENANT)
    await world.put(services, 5)
    assert await world.claim_and_die(services, world.request("a"), before=world.die) == "Killed"
    assert await world.stock(services) == {"total": 5, "available": 4, "held": 1, "granted": 0, "retired": 0}
    assert await settle_stale(bank) == 0
    clock.advance(LONG)
    assert await settle_stale(bank) == 1
    assert await world.stock(services) == {"total": 5, "available": 5, "held": 0, "granted": 0, "retired": 0}
    assert await ledger.check(bank) == []


async def test_killed_after_the_grants_they_stand_and_are_told(services: Services, clock: MovedClock) -> None:
    bank = await open_bank(services, TENANT)
    await world.put(services, 5, open_to="offered")
    await world.offer(services, "a")
    assert await world.claim_and_die(services, world.request("a"), after=world.die) == "Killed"
    clock.advance(LONG)
    await settle_stale(bank)
    assert await world.stock(services) == {"total": 5, "available": 4, "held": 0, "granted": 1, "retired": 0}
    assert await world.told(services) == ["a"]
    assert await world.answer(services, world.request("a")) == "replayed"
    assert await ledger.check(bank) == []


async def test_killed_before_settling_nothing_is_told_twice(
    services: Services, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.put(services, 5, open_to="offered")
    await world.offer(services, "a")

    async def gone(*_: Any) -> bool:
        raise Unavailable("store_unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(stock, "settle", gone)
        async with world.process(services) as dying:
            assert await world.answer(dying, world.request("a")) == "granted"
    assert (await world.stock(services))["held"] == 1
    clock.advance(LONG)
    await settle_stale(await open_bank(services, TENANT))
    assert await world.stock(services) == {"total": 5, "available": 4, "held": 0, "granted": 1, "retired": 0}
    assert await world.told(services) == ["a"]


async def test_two_sweeps_at_once_settle_once(services: Services, second: Services, clock: MovedClock) -> None:
    bank = await open_bank(services, TENANT)
    await world.put(services, 5)
    for cid, gate in (("a", "before"), ("b", "after"), ("c", "before")):
        await world.claim_and_die(services, world.request(cid), **{gate: world.die})
    clock.advance(LONG)
    await asyncio.gather(settle_stale(bank), settle_stale(await open_bank(second, TENANT)))
    assert await world.stock(services) == {"total": 5, "available": 4, "held": 0, "granted": 1, "retired": 0}
    assert await ledger.check(bank) == []


async def test_the_customer_of_a_dead_claim_can_claim_again(services: Services, clock: MovedClock) -> None:
    bank = await open_bank(services, TENANT)
    await world.put(services, 1)
    await world.claim_and_die(services, world.request("a"), before=world.die)
    clock.advance(LONG)
    await settle_stale(bank)
    assert await world.answer(services, world.request("a")) == "granted"
    assert await world.grants(services) == 1
    assert await ledger.check(bank) == []


async def _naive_settle(services: Services) -> None:
    """The sweep without its guard: it counts the grants that are there, and leaves the ids open."""
    row = await world.reward_row(services)
    for batch, lease in row["leases"].items():
        there = await services.store.tenant(TENANT)["transfers"].count({"batch": batch, "kind": "grant"})
        await stock.settle(await open_bank(services, TENANT), REWARD, [stock.End(batch, lease["day"], there)])


async def _stall_then_sell(services: Services, settle: Any) -> tuple[str, str]:
    """`a` is taken for dead between taking the one unit and its grant; the unit is given to `b`; then `a` wakes."""
    stall = world.Stall()
    async with world.process(services, before=stall) as slow:
        late = asyncio.create_task(world.answer(slow, world.request("a")))
        await stall.reached.wait()
        await settle()
        async with world.process(services) as other:
            sold = await world.answer(other, world.request("b"))
        stall.release()
        return sold, await late


async def test_without_the_void_a_late_grant_oversells(services: Services, clock: MovedClock) -> None:
    """The race that the void rows are there for."""
    await world.put(services, 1)
    assert await _stall_then_sell(services, lambda: _naive_settle(services)) == ("granted", "granted")
    assert await world.grants(services) == 2
    assert await ledger.check(await open_bank(services, TENANT)) != []


async def test_with_the_void_a_late_grant_finds_its_place_taken(services: Services, clock: MovedClock) -> None:
    bank = await open_bank(services, TENANT)
    await world.put(services, 1)

    async def sweep() -> None:
        clock.advance(LONG)
        assert await settle_stale(bank) == 1

    assert await _stall_then_sell(services, sweep) == ("granted", "claim_unknown")
    assert await world.grants(services) == 1
    assert await world.stock(services) == {"total": 1, "available": 0, "held": 0, "granted": 1, "retired": 0}
    assert await ledger.check(bank) == []


async def test_a_later_dead_batch_does_not_open_the_door_again(services: Services, clock: MovedClock) -> None:
    """Batch 1 stalls and is voided; batch 2 of the same customer dies and is voided; then batch 1 wakes."""
    bank = await open_bank(services, TENANT)
    await world.put(services, 1)
    stall = world.Stall()
    async with world.process(services, before=stall) as slow:
        late = asyncio.create_task(world.answer(slow, world.request("a")))
        await stall.reached.wait()
        clock.advance(LONG)
        await settle_stale(bank)
        await world.claim_and_die(services, world.request("a"), before=world.die)
        clock.advance(LONG)
        await settle_stale(bank)
        async with world.process(services) as other:
            assert await world.answer(other, world.request("b")) == "granted"
        stall.release()
        await late
    assert await world.grants(services) == 1
    assert await ledger.check(bank) == []


async def test_a_late_group_keeps_what_arrived_and_loses_the_rest(services: Services, clock: MovedClock) -> None:
    """Of two grants one arrived before the sweep: one stands, one unit comes back, and each customer is told the truth."""
    bank = await open_bank(services, TENANT)
    await world.put(services, 2)
    stall = world.Stall()

    class HalfDone(world.Gate):
        async def insert_new_across(self, name: str, docs: Any) -> set[int]:
            rows: list[Doc] = list(docs)
            if name == "transfers":
                await self.store.insert_new_across(name, rows[:1])
                await stall()
            refused: set[int] = await self.store.insert_new_across(name, rows)
            return refused

    async with world.process(services) as slow:
        object.__setattr__(slow, "store", HalfDone(services.store))
        late = [asyncio.create_task(world.answer(slow, world.request(cid))) for cid in ("a", "b")]
        await stall.reached.wait()
        clock.advance(LONG)
        assert await settle_stale(bank) == 1
        assert await world.stock(services) == {"total": 2, "available": 1, "held": 0, "granted": 1, "retired": 0}
        stall.release()
        assert await asyncio.gather(*late) == ["granted", "claim_unknown"]
    assert await world.grants(services) == 1
    assert await world.answer(services, world.request("b")) == "granted"
    assert await ledger.check(bank) == []


async def test_telling_again_adds_nothing(services: Services) -> None:
    await world.put(services, 5, open_to="offered")
    await world.offer(services, "a")
    granted = await claims.claim(await open_bank(services, "demo"), world.request("a"))
    row = await world.reward_row(services)
    for _ in range(2):
        await claims.tell(await open_bank(services, TENANT), [(row, [granted.grant])])
    assert await world.told(services) == ["a"]
