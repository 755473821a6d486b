"""Putting rewards in place: repeated, changed, and cut short."""

from __future__ import annotations

from typing import Any

import pytest

from rewards import ledger
from services.container import Services
from services.errors import Unavailable
from services.store.mongo import Collection
from tests.integration.rewards import world
from tests.integration.rewards.world import TENANT
from tests.support.banks import open_bank


async def test_putting_the_same_twice_changes_nothing(services: Services) -> None:
    await world.put(services, 10)
    before = await world.all_rows(services)
    await world.put(services, 10)
    assert await world.all_rows(services) == before


async def test_every_move_of_the_stock_is_a_line_of_the_ledger(services: Services) -> None:
    for wanted in (10, 25, 20):
        await world.put(services, wanted)
    lines = await services.store.tenant(TENANT)["transfers"].find({}, sort=[("at", 1)])
    told = sorted((line["kind"], line["debit"], line["credit"], line["amount"]) for line in lines)
    reward = world.REWARD
    assert told == [
        ("retire", f"stock:{reward}", f"retired:{reward}", 5),
        ("stock", f"supply:{reward}", f"stock:{reward}", 10),
        ("stock", f"supply:{reward}", f"stock:{reward}", 15),
    ]
    assert await world.stock(services) == {"total": 25, "available": 20, "held": 0, "granted": 0, "retired": 5}
    assert await ledger.check(await open_bank(services, TENANT)) == []


@pytest.mark.parametrize("then", [10, 30, 4])
async def test_a_restock_that_was_cut_short_is_told_by_the_next(
    services: Services, monkeypatch: pytest.MonkeyPatch, then: int
) -> None:
    await _cut_short(services, monkeypatch, 10)
    assert await world.stock(services) == {"total": 10, "available": 10, "held": 0, "granted": 0, "retired": 0}
    await world.put(services, then)
    assert await ledger.check(await open_bank(services, TENANT)) == []


async def _cut_short(services: Services, monkeypatch: pytest.MonkeyPatch, wanted: int) -> None:
    """Puts the reward in a process that dies before the ledger's line is written."""

    async def dies(self: Collection, docs: Any) -> set[int]:
        raise Unavailable("store_unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(Collection, "insert_new", dies)
        with pytest.raises(Unavailable):
            await world.put(services, wanted)
