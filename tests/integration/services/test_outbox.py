from __future__ import annotations

import bson
import pytest

from services.container import Services
from services.queue import outbox
from services.queue.outbox import Effect
from services.security.vault import CannotOpen
from services.store import batching, leases

EFFECT = Effect(
    id="demo:e1",
    tenant="demo",
    kind="welcome",
    cid="demo:c1",
    args={"welcome_code": "canary-welcome-code", "name": "刘敏", "deep": [1, None, True]},
    lane=outbox.WELCOME,
    campaign="acq",
    version=3,
    run="demo:r1",
    step="hello",
    deadline=1_800_000_020.0,
)


async def test_an_effect_comes_back_as_it_was_and_its_arguments_are_sealed(services: Services) -> None:
    row = outbox.row_of(services, EFFECT, due=1_800_000_000.0, owner=None)
    assert await batching.insert(services, "demo", "outbox", row)
    (kept,) = await services.store.tenant("demo")["outbox"].find({})
    assert outbox.effect_of(services, kept) == EFFECT
    stored = bson.encode(kept)
    assert b"canary-welcome-code" not in stored
    assert "刘敏".encode() not in stored
    assert b"demo:c1" in stored


@pytest.mark.parametrize("place", [{"_id": "demo:e2"}, {"tenant": "other"}])
def test_arguments_that_were_moved_to_another_effect_do_not_open(services: Services, place: dict[str, str]) -> None:
    row = outbox.row_of(services, EFFECT, due=0.0, owner=None)
    with pytest.raises(CannotOpen):
        outbox.effect_of(services, {**row, **place})


async def test_an_effect_in_hand_is_left_to_its_owner_until_its_lease_is_over(services: Services) -> None:
    rows = services.store.tenant("demo")["outbox"]
    row = outbox.row_of(services, EFFECT, due=1_800_000_006.0, owner="me")
    assert (row["attempts"], row["open"], row["state"]) == (1, True, "ready")
    assert await batching.insert(services, "demo", "outbox", row)
    assert (await leases.claim(rows, 1_800_000_005.0, limit=9))[1] == []
    _, again = await leases.claim(rows, 1_800_000_006.0, limit=9)
    assert [(doc["_id"], doc["attempts"]) for doc in again] == [("demo:e1", 2)]


async def test_the_same_cause_makes_no_second_row(services: Services) -> None:
    rows = [outbox.row_of(services, EFFECT, due=due, owner=None) for due in (1.0, 2.0)]
    assert [await batching.insert(services, "demo", "outbox", row) for row in rows] == [True, False]
    (kept,) = await services.store.tenant("demo")["outbox"].find({})
    assert kept["due"] == 1.0
