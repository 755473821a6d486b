"""One tenant never reads, counts, changes or deletes what is another's (promise P5), whatever it asks for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pymongo.errors import WriteConcernError, WTimeoutError

from operations.schema import COLLECTIONS
from services.container import Services
from services.errors import UnknownOutcome
from services.store.mongo import INSERT_ROWS, SYSTEM_COLLECTIONS, Collection, Duplicate, MissingTenant, decode
from services.store.rows import Rows

ROWS = [{"_id": f"{tenant}:{n}", "n": n, "kind": "row"} for tenant in ("a", "b") for n in (1, 2, 3)]
QUERIES: list[dict[str, Any]] = [
    {},
    {"tenant": "a"},
    {"_id": "a:1"},
    {"_id": {"$in": ["a:1", "a:2"]}},
    {"$or": [{"tenant": "a"}, {"_id": "a:1"}]},
    {"tenant": {"$ne": "b"}},
    {"tenant": {"$exists": True}},
]


@pytest.fixture
async def rows(services: Services) -> Callable[[str], Collection]:
    """The collection `things` of either tenant, with three rows each."""
    for tenant in ("a", "b"):
        mine = [row for row in ROWS if row["_id"].startswith(tenant)]
        assert await services.store.tenant(tenant)["things"].insert_new(mine) == set()
    return lambda tenant: services.store.tenant(tenant)["things"]


async def _all(rows: Callable[[str], Collection], tenant: str) -> list[dict[str, Any]]:
    return await rows(tenant).find({}, sort=[("_id", 1)])


A_ROWS = [{**row, "tenant": "a"} for row in ROWS if row["_id"].startswith("a")]


@pytest.mark.parametrize("query", QUERIES)
async def test_a_tenant_reads_and_counts_its_own_only(rows: Callable[[str], Collection], query: dict[str, Any]) -> None:
    b = rows("b")
    found = await b.find(query)
    one = await b.find_one(query)
    scanned = [doc async for doc in b.scan(query)]
    assert [doc for batch in await b.find_raw(query) for doc in decode(batch)] == scanned
    assert {doc["tenant"] for doc in [*found, *scanned, *([one] if one else [])]} <= {"b"}
    expected = 3 if query in ({}, {"tenant": "a"}, {"tenant": {"$ne": "b"}}, {"tenant": {"$exists": True}}) else 0
    assert (len(found), len(scanned), await b.count(query), one is not None) == (
        expected,
        expected,
        expected,
        expected > 0,
    )


@pytest.mark.parametrize("query", QUERIES)
async def test_a_tenant_aggregates_its_own_only(rows: Callable[[str], Collection], query: dict[str, Any]) -> None:
    found = await rows("b").aggregate([{"$match": query}, {"$group": {"_id": "$tenant", "sum": {"$sum": "$n"}}}])
    assert [group for group in found if group["_id"] != "b"] == []
    assert await rows("b").aggregate([{"$group": {"_id": None, "sum": {"$sum": "$n"}}}]) == [{"_id": None, "sum": 6}]


Write = Callable[[Collection, dict[str, Any]], Awaitable[object]]
WRITES: dict[str, Write] = {
    "update": lambda rows, query: rows.update(query, {"$set": {"n": 99}}),
    "update_many": lambda rows, query: rows.update_many(query, {"$set": {"n": 99}}),
    "bulk_update": lambda rows, query: rows.bulk_update([(query, {"$set": {"n": 99}})]),
    "bulk_update, many": lambda rows, query: rows.bulk_update([(query, {"$set": {"n": 99}})], many=True),
    "update_and_get": lambda rows, query: rows.update_and_get(query, {"$set": {"n": 99}}),
    "update_and_get, sorted": lambda rows, query: rows.update_and_get(query, {"$set": {"n": 99}}, sort=[("_id", 1)]),
    "delete": lambda rows, query: rows.delete(query),
}


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("name", WRITES)
async def test_a_tenant_changes_its_own_only(
    rows: Callable[[str], Collection], name: str, query: dict[str, Any]
) -> None:
    await WRITES[name](rows("b"), query)
    assert await _all(rows, "a") == A_ROWS


@pytest.mark.parametrize("name", ["update", "update_and_get"])
async def test_an_upsert_that_names_anothers_row_is_refused(rows: Callable[[str], Collection], name: str) -> None:
    with pytest.raises(Duplicate):
        await getattr(rows("b"), name)({"_id": "a:1"}, {"$set": {"n": 99}}, upsert=True)
    assert await _all(rows, "a") == A_ROWS
    assert await rows("b").count() == 3


async def test_what_a_tenant_puts_in_is_its_own_whatever_it_says(rows: Callable[[str], Collection]) -> None:
    b = rows("b")
    await b.insert({"_id": "b:4", "tenant": "a"})
    await b.insert_new([{"_id": "b:5", "tenant": "a"}])
    await b.update({"_id": "b:6", "tenant": "a"}, {"$set": {"n": 6}}, upsert=True)
    await b.bulk_update([({"_id": "b:7", "tenant": "a"}, {"$set": {"n": 7}})], upsert=True)
    assert (await b.update_and_get({"_id": "b:8"}, {"$set": {"n": 8}}, upsert=True)) == {
        "_id": "b:8",
        "n": 8,
        "tenant": "b",
    }
    assert await _all(rows, "a") == A_ROWS
    assert await b.count({"tenant": "b"}) == 8


@pytest.mark.parametrize("tenant", ["", None])
def test_without_a_tenant_nothing_can_be_asked(services: Services, tenant: Any) -> None:
    with pytest.raises(MissingTenant):
        services.store.tenant(tenant)


async def test_collections_of_tenants_and_of_the_system_are_kept_apart(services: Services) -> None:
    for name in SYSTEM_COLLECTIONS:
        with pytest.raises(MissingTenant):
            services.store.tenant("a")[name]
        with pytest.raises(MissingTenant):
            await services.store.insert_new_across(name, [{"_id": "a:1", "tenant": "a"}])
    with pytest.raises(MissingTenant):
        services.store.system("customers")


async def test_a_shared_insert_refuses_a_document_without_a_tenant(services: Services) -> None:
    docs = [{"_id": "a:1", "tenant": "a"}, {"_id": "b:1"}]
    with pytest.raises(MissingTenant):
        await services.store.insert_new_across("things", docs)
    assert await services.store.tenant("a")["things"].count() == 0


def test_every_index_begins_with_the_tenant() -> None:
    assert {keys[0] for rows in COLLECTIONS for keys in rows.indexes} == {("tenant", 1)}


async def test_an_index_that_does_not_begin_with_the_tenant_is_refused(services: Services) -> None:
    with pytest.raises(MissingTenant):
        await services.store.ensure_indexes([Rows("things", indexes=[(("n", 1),)])])


async def test_a_second_insert_of_the_same_row_is_told_apart(rows: Callable[[str], Collection]) -> None:
    with pytest.raises(Duplicate) as refused:
        await rows("a").insert({"_id": "a:1", "n": 99})
    assert refused.value.status == 409
    docs = [{"_id": "a:9", "n": 9}, {"_id": "a:1", "n": 99}, {"_id": "a:8", "n": 8}, {"_id": "a:9", "n": 99}]
    assert await rows("a").insert_new(docs) == {1, 3}
    kept = {doc["_id"]: doc["n"] for doc in await _all(rows, "a")}
    assert kept == {"a:1": 1, "a:2": 2, "a:3": 3, "a:8": 8, "a:9": 9}


async def test_writes_say_what_they_did(rows: Callable[[str], Collection]) -> None:
    a = rows("a")
    assert await a.update({"_id": "a:1"}, {"$set": {"n": 1}}) is True
    assert await a.update({"_id": "a:7"}, {"$set": {"n": 1}}) is False
    assert await a.update({"_id": "a:7"}, {"$set": {"n": 7}}, upsert=True) is True
    assert await a.update_many({"n": {"$gte": 2}}, {"$set": {"x": 1}}) == 3
    assert await a.update_and_get({"_id": "a:1"}, {"$inc": {"n": 4}}, before=True) == A_ROWS[0]
    assert (await a.update_and_get({"_id": "a:1"}, {"$inc": {"n": 4}}) or {})["n"] == 9
    assert await a.update_and_get({"_id": "a:0"}, {"$set": {"n": 1}}) is None
    assert await a.delete({"n": {"$gte": 7}}) == 2
    assert await a.insert_new([]) == set()


async def test_of_many_documents_the_places_of_those_that_were_there_are_told(
    rows: Callable[[str], Collection],
) -> None:
    many = [{"_id": f"a:m{n}", "n": n} for n in range(INSERT_ROWS + 10)]
    assert await rows("a").insert_new([many[3], many[INSERT_ROWS + 4]]) == set()
    assert await rows("a").insert_new(many) == {3, INSERT_ROWS + 4}
    assert await rows("a").count({"_id": {"$regex": "^a:m"}}) == len(many)


async def test_each_document_is_replaced_unless_it_was_changed_or_is_anothers(
    rows: Callable[[str], Collection],
) -> None:
    await rows("a").insert_new([{"_id": f"a:{n}", "n": n, "gone": 1} for n in range(100, 160)])
    changes = [({"_id": f"a:{n}", "n": n + 1, "new": {"$n": "$n"}}, n) for n in range(100, 160)]
    changes[7] = ({"_id": "a:107", "n": 1}, 106)
    changes.append(({"_id": "a:0", "n": 1}, 0))
    changes.append(({"_id": "b:1", "n": 9}, 1))
    assert await rows("a").replace_each(changes, "n") == 59
    kept = {doc["_id"]: doc for doc in await _all(rows, "a")}
    assert kept["a:107"] == {"_id": "a:107", "tenant": "a", "n": 107, "gone": 1}
    assert kept["a:159"] == {"_id": "a:159", "tenant": "a", "n": 160, "new": {"$n": "$n"}}
    assert len(kept) == 63
    assert {doc["n"] for doc in await _all(rows, "b")} == {1, 2, 3}
    assert await rows("a").replace_each([], "n") == 0
    await rows("a").insert_new([{"_id": "a:none"}])
    assert await rows("a").replace_each([({"_id": "a:none", "n": 2}, 1)], "n") == 0
    assert await rows("a").replace_each([({"_id": "a:none", "n": 1}, 0)], "n") == 1


async def test_a_scan_may_be_left_before_its_end(rows: Callable[[str], Collection]) -> None:
    await rows("a").insert_new([{"_id": f"a:x{n}", "n": n} for n in range(2_500)])
    async for doc in rows("a").scan({"n": {"$gte": 10}}):
        assert doc["n"] >= 10
        break
    assert len([doc async for doc in rows("a").scan()]) == 2_503


async def test_writes_wait_for_the_majority_and_the_journal(services: Services) -> None:
    raw = services.store.tenant("a")["things"]._raw
    assert raw.write_concern.document == {"w": "majority", "j": True}
    assert raw.read_concern.level == "majority"


class _Answers:
    """A collection of which every write is answered with `error`."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Callable[..., Awaitable[object]]:
        async def call(*_: object, **__: object) -> object:
            raise self._error

        return call


@pytest.mark.parametrize("error", [WriteConcernError("not yet"), WTimeoutError("waited in vain")])
async def test_a_write_that_the_majority_did_not_confirm_has_an_unknown_outcome(error: Exception) -> None:
    rows = Collection(_Answers(error), "a")
    for write in (
        rows.insert({"_id": "a:1"}),
        rows.insert_new([{"_id": "a:1"}]),
        rows.update({}, {"$set": {"n": 1}}),
        rows.update_many({}, {"$set": {"n": 1}}),
        rows.bulk_update([({}, {"$set": {"n": 1}})]),
        rows.update_and_get({}, {"$set": {"n": 1}}),
        rows.delete({}),
    ):
        with pytest.raises(UnknownOutcome):
            await write
