from __future__ import annotations

import asyncio

import pytest

from deploy.stack import Stores
from services.container import Services
from services.errors import UnknownOutcome
from services.store import batching, leases
from services.store.mongo import MissingTenant


def _flushes(services: Services, writer: str) -> float:
    return services.metrics.registry.get_sample_value("yinqiao_group_commit_size_count", {"writer": writer}) or 0.0


async def test_inserts_of_one_moment_share_a_round_trip_and_duplicates_are_told_apart(services: Services) -> None:
    docs = [{"_id": f"a:{n % 30}", "n": n} for n in range(40)]
    new = await asyncio.gather(*(batching.insert(services, "a", "things", doc) for doc in docs))
    assert new == [True] * 30 + [False] * 10
    assert _flushes(services, "insert") == 1
    kept = {doc["_id"]: doc["n"] for doc in await services.store.tenant("a")["things"].find({})}
    assert kept == {f"a:{n}": n for n in range(30)}
    assert await batching.insert(services, "a", "things", {"_id": "a:0", "n": 99}) is False


async def test_two_tenants_in_one_group_stay_apart(services: Services) -> None:
    pairs = [(tenant, n) for n in range(5) for tenant in ("a", "b")]
    docs = [{"_id": f"{tenant}:{n}", "tenant": "somebody else"} for tenant, n in pairs]
    new = await asyncio.gather(
        *(batching.insert(services, tenant, "things", doc) for (tenant, _), doc in zip(pairs, docs, strict=True))
    )
    assert new == [True] * 10
    assert _flushes(services, "insert") == 1
    for tenant in ("a", "b"):
        found = await services.store.tenant(tenant)["things"].find({}, sort=[("_id", 1)])
        assert found == [{"_id": f"{tenant}:{n}", "tenant": tenant} for n in range(5)]
    assert await services.store.tenant("somebody else")["things"].count() == 0


async def test_an_insert_with_anothers_id_is_refused_and_leaves_it_as_it_was(services: Services) -> None:
    assert await batching.insert(services, "a", "things", {"_id": "a:1", "n": 1}) is True
    assert await batching.insert(services, "b", "things", {"_id": "a:1", "n": 2}) is False
    assert await services.store.tenant("a")["things"].find({}) == [{"_id": "a:1", "n": 1, "tenant": "a"}]


async def test_readers_of_one_moment_share_a_round_trip_and_see_their_own_only(services: Services) -> None:
    for tenant in ("a", "b"):
        for n in range(3):
            await batching.insert(services, tenant, "things", {"_id": f"{tenant}:{n}"})
    every = ["a:0", "a:1", "b:0", "b:2", "c:0"]
    a, b, one, none = await asyncio.gather(
        batching.read(services, "a", "things", every),
        batching.read(services, "b", "things", every),
        batching.read(services, "a", "things", ["a:2"]),
        batching.read(services, "a", "things", []),
    )
    assert {doc_id: doc["tenant"] for doc_id, doc in a.items()} == {"a:0": "a", "a:1": "a"}
    assert {doc_id: doc["tenant"] for doc_id, doc in b.items()} == {"b:0": "b", "b:2": "b"}
    assert (list(one), none) == (["a:2"], {})
    assert _flushes(services, "read") == 1


async def test_rows_are_closed_together_and_each_behind_its_own_fence(services: Services) -> None:
    for tenant in ("a", "b"):
        rows = services.store.tenant(tenant)["work"]
        await rows.insert_new([{"_id": f"{tenant}:{n}", "open": True, "due": 0.0, "owner": None} for n in range(3)])
    mine, _ = await leases.claim(services.store.tenant("a")["work"], 10.0, limit=9)
    theirs, _ = await leases.claim(services.store.tenant("b")["work"], 10.0, limit=9)
    await asyncio.gather(
        batching.close(services, "a", "work", mine, "a:0", state="done"),
        batching.close(services, "a", "work", mine, "a:1", state="dead"),
        batching.close(services, "a", "work", "somebody else", "a:2", state="done"),
        batching.close(services, "b", "work", theirs, "b:0", state="done"),
        batching.close(services, "b", "work", mine, "b:1", state="done"),
        batching.close(services, "a", "work", mine, "b:2", state="done"),
    )
    assert _flushes(services, "change") == 1
    kept = {
        doc["_id"]: (doc["open"], doc["owner"], doc.get("state"))
        for tenant in ("a", "b")
        for doc in await services.store.tenant(tenant)["work"].find({})
    }
    assert kept == {
        "a:0": (False, None, "done"),
        "a:1": (False, None, "dead"),
        "a:2": (True, mine, None),
        "b:0": (False, None, "done"),
        "b:1": (True, theirs, None),
        "b:2": (True, theirs, None),
    }


@pytest.mark.kills_store
async def test_nobody_of_a_group_is_told_that_it_is_stored_when_the_store_died(
    services: Services, stores: Stores
) -> None:
    await batching.insert(services, "a", "things", {"_id": "a:before"})
    stores.kill9("mongodb")
    try:
        asked = [batching.insert(services, "a", "things", {"_id": f"a:{n}"}) for n in range(20)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
    finally:
        stores.start("mongodb")
    assert [type(answer) for answer in answers] == [UnknownOutcome] * 20
    again = await asyncio.gather(*(batching.insert(services, "a", "things", {"_id": f"a:{n}"}) for n in range(20)))
    assert again == [True] * 20
    assert await services.store.tenant("a")["things"].count() == 21


@pytest.mark.parametrize("tenant", ["", None])
async def test_an_insert_without_a_tenant_is_refused(services: Services, tenant: str) -> None:
    with pytest.raises(MissingTenant):
        await batching.insert(services, tenant, "things", {"_id": "x"})
    assert await services.store._database["things"].count_documents({}) == 0


async def test_rows_that_end_together_share_a_write_and_each_keeps_its_own(services: Services) -> None:
    rows = services.store.tenant("a")["things"]
    await rows.insert_new([{"_id": f"a:{n}", "open": True, "owner": "me"} for n in range(30)])
    await rows.update({"_id": "a:7"}, {"$set": {"owner": "somebody else"}})
    own = [{"trace": {"calls": [{"path": "$x", "n": n}], "at": n / 2}, "more": "$_id"} for n in range(30)]
    await asyncio.gather(
        *(batching.close_each(services, "a", "things", "me", f"a:{n}", own[n], state="$done") for n in range(30))
    )
    assert _flushes(services, "close") == 1
    found = {row["_id"]: row for row in await rows.find({})}
    assert found.pop("a:7") == {"_id": "a:7", "tenant": "a", "open": True, "owner": "somebody else"}
    ended = {"tenant": "a", "open": False, "owner": None, "state": "$done"}
    assert found == {f"a:{n}": {"_id": f"a:{n}", **ended, **own[n]} for n in range(30) if n != 7}
