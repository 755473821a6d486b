"""One unit, a thousand claims at once: one winner, every time."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from rewards import ledger
from services.container import Services
from tests.integration.rewards import world
from tests.integration.rewards.world import TENANT
from tests.support.banks import open_bank
from tests.support.waiting import until


async def _runs(services: Services, second: Services, runs: int, claims: int) -> None:
    """Each run has a reward of its own; half of the claims come to each of two processes."""
    bank = await open_bank(services, TENANT)
    for run in range(runs):
        await world.put(services, 1, key=f"run{run}")
        reward = f"{world.CAMPAIGN}.run{run}"

        async def claim(n: int, reward: str = reward) -> str:
            process = (services, second)[n % 2]
            return await world.answer(process, world.Claim(reward, (f"c{n}",), "k", "b"))

        second.cache.clear()
        answers = Counter(await asyncio.gather(*(claim(n) for n in range(claims))))
        assert answers["granted"] == 1, (run, answers)
        assert answers["sold_out"] + answers["stock_in_doubt"] == claims - 1
        assert await bank.db["transfers"].count({"reward": reward, "kind": "grant"}) == 1
    await until(lambda: world.settled(services))
    assert await ledger.check(bank) == []


async def test_of_three_hundred_claims_on_one_unit_one_wins(services: Services, second: Services) -> None:
    await _runs(services, second, runs=3, claims=300)


@pytest.mark.soak
async def test_of_a_thousand_claims_on_one_unit_one_wins_in_a_hundred_runs(
    services: Services, second: Services
) -> None:
    await _runs(services, second, runs=100, claims=1_000)
