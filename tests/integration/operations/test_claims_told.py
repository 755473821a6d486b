"""A batch of grants that a worker is told of: what fails for one customer holds up no other."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from operations.events import handle
from rewards.points.occasions import Happening
from rewards.rows import TRANSFERS
from rewards.vouchers.rows import VOUCHERS
from services.container import Services
from services.errors import Conflict
from tests.integration.rewards import vouchering, world


async def test_what_fails_for_one_of_a_batch_holds_up_nothing_else(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.put(services, 10)
    bank = await vouchering.bank_of(services)
    cids = [await vouchering.person(bank, name) for name in ("a", "b")]
    grants = [await vouchering.old_grant(bank, cid) for cid in cids]
    told = [(row["_id"], row["cid"], row["at"].timestamp()) for row in grants]
    message = orjson.dumps({"event": "reward.claimed", "reward": world.REWARD, "offered": True, "grants": told})
    earned: list[str] = []

    async def earn(_: Any, happening: Happening) -> None:
        if happening.cid == cids[0]:
            raise Conflict("points_none", "no programme")
        earned.append(happening.cid)

    async def on_event(_: Any, theirs: Any, __: str) -> None:
        if cids[0] in theirs:
            raise KeyError("a step")

    monkeypatch.setattr(handle.earning, "earn", earn)
    monkeypatch.setattr(handle.runs, "on_event", on_event)
    for _ in range(2):
        with pytest.raises(KeyError):
            await handle._rewards_claimed(bank, message)
    assert earned == [cids[1]] * 2
    assert await bank.db[VOUCHERS].count() == await bank.db[TRANSFERS].count({"kind": "grant"}) == 2
