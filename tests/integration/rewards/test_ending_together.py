"""Batches whose answers are given are told of and settled together, and each once, whoever is killed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from rewards import claims, ledger, stock
from rewards.claims import settle_stale
from rewards.ledger.rows import LEDGER_PAGES
from services.container import Services
from tests.integration.rewards import world
from tests.integration.rewards.world import REWARD, TENANT
from tests.support import killing
from tests.support.banks import open_bank
from tests.support.clock import MovedClock

LONG = stock.LEASE_SECONDS + 1


@asynccontextmanager
async def answered(services: Services, monkeypatch: pytest.MonkeyPatch, *cids: str) -> AsyncIterator[Services]:
    """A process that has answered a claim of each, a batch a claim, and ends nothing before it stops itself."""
    monkeypatch.setattr(claims, "END_SECONDS", 600.0)
    async with world.process(services) as one:
        for cid in cids:
            assert await world.answer(one, world.request(cid)) == "granted"
        yield one


async def test_a_process_that_stops_ends_its_batches_in_one_write(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = await open_bank(services, TENANT)
    await world.put(services, 5)
    ended: list[int] = []
    settle = stock.settle

    async def counted(bank: object, reward: str, ends: Sequence[stock.End]) -> bool:
        ended.append(len(ends))
        return await settle(await open_bank(services, TENANT), reward, ends)

    monkeypatch.setattr(stock, "settle", counted)
    async with answered(services, monkeypatch, "a", "b", "c"):
        assert (await world.stock(services))["held"] == 3
    assert ended == [3]
    assert await world.stock(services) == {"total": 5, "available": 2, "held": 0, "granted": 3, "retired": 0}
    assert (await world.reward_row(services))["spent"] == {stock.today(bank): 300}
    assert sorted(await world.told(services)) == ["a", "b", "c"]
    assert await bank.db[LEDGER_PAGES].count({"kind": "grant"}) == 3
    assert await ledger.check(bank, lined=True) == []


@pytest.mark.parametrize("write", range(4), ids=["pages", "inbox", "names", "leases"])
async def test_killed_before_any_write_each_batch_ends_once(
    services: Services, clock: MovedClock, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    bank = await open_bank(services, TENANT)
    await world.put(services, 5)
    with pytest.MonkeyPatch.context() as patch:
        async with answered(services, monkeypatch, "a", "b"):
            killed = killing.before_write(patch, write)
    assert killed()
    clock.advance(LONG)
    await settle_stale(bank)
    assert await world.stock(services) == {"total": 5, "available": 3, "held": 0, "granted": 2, "retired": 0}
    assert sorted(await world.told(services)) == ["a", "b"]
    assert await ledger.check(bank, lined=True) == []


async def test_of_leases_of_which_one_was_settled_the_others_end(services: Services) -> None:
    bank = await open_bank(services, TENANT)
    await world.put(services, 5)
    for cid in ("a", "b"):
        assert await world.claim_and_die(services, world.request(cid), after=world.die) == "Killed"
    leases = (await world.reward_row(services))["leases"]
    ends = [stock.End(batch, lease["day"], 1) for batch, lease in leases.items()]
    assert await stock.settle(bank, REWARD, ends[:1])
    assert not await stock.settle(bank, REWARD, ends)
    assert await world.stock(services) == {"total": 5, "available": 3, "held": 0, "granted": 2, "retired": 0}
    assert not await stock.settle(bank, REWARD, ends)
    assert await world.stock(services) == {"total": 5, "available": 3, "held": 0, "granted": 2, "retired": 0}
    assert await ledger.check(bank) == []
