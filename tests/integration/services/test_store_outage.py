"""The store is killed in the middle: no answer is given that is not so, and afterwards work goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from deploy.stack import Stores
from services.container import Services
from services.errors import Unavailable, UnknownOutcome
from services.store.mongo import Collection
from tests.support.waiting import until


@pytest.fixture
def store_again(stores: Stores) -> Iterator[Stores]:
    yield stores
    stores.start("mongodb")


async def _insert(rows: Collection, name: str, done: list[str]) -> None:
    for n in range(10_000_000):
        await rows.insert({"_id": f"a:{name}:{n}"})
        done.append(f"a:{name}:{n}")


async def _insert_new(rows: Collection, name: str, done: list[str]) -> None:
    for n in range(10_000_000):
        await rows.insert_new([{"_id": f"a:{name}:{n}"}])
        done.append(f"a:{name}:{n}")


async def _upsert(rows: Collection, name: str, done: list[str]) -> None:
    for n in range(10_000_000):
        await rows.update({"_id": f"a:{name}:{n}"}, {"$set": {"n": n}}, upsert=True)
        done.append(f"a:{name}:{n}")


async def _bulk(rows: Collection, name: str, done: list[str]) -> None:
    for n in range(10_000_000):
        await rows.bulk_update([({"_id": f"a:{name}:{n}"}, {"$set": {"n": n}})], upsert=True)
        done.append(f"a:{name}:{n}")


async def _read(rows: Collection) -> None:
    while True:
        await rows.find({}, limit=1)


@pytest.mark.kills_store
async def test_a_write_in_flight_is_unknown_and_an_acknowledged_one_is_there(
    services: Services, store_again: Stores
) -> None:
    rows, done = services.store.tenant("a")["things"], list[str]()
    writers = [
        asyncio.create_task(work(rows, f"{work.__name__}{n}", done))
        for work in (_insert, _insert_new, _upsert, _bulk)
        for n in range(4)
    ]
    reader = asyncio.create_task(_read(rows))

    async def under_way() -> bool:
        return len(done) > 200

    await until(under_way)
    store_again.kill9("mongodb")
    ended = await asyncio.gather(*writers, reader, return_exceptions=True)
    assert [type(error) for error in ended] == [UnknownOutcome] * len(writers) + [Unavailable]
    store_again.start("mongodb")
    kept = {doc["_id"] async for doc in rows.scan({}, {"_id": 1})}
    assert set(done) - kept == set()
    await rows.insert({"_id": "a:after"})


@pytest.mark.kills_store
async def test_readers_are_told_to_try_again_while_the_store_is_away(services: Services, store_again: Stores) -> None:
    rows = services.store.tenant("a")["things"]
    await rows.insert({"_id": "a:1"})

    async def scan() -> None:
        assert [doc async for doc in rows.scan()] == []

    store_again.kill9("mongodb")
    errors = await asyncio.gather(
        rows.find_one({}), rows.find(), rows.count(), rows.aggregate([]), scan(), services.store.ping(),
        return_exceptions=True,
    )  # fmt: skip
    assert [type(error) for error in errors] == [Unavailable] * 6
    assert {error.code for error in errors if isinstance(error, Unavailable)} == {"store_unavailable"}
    store_again.start("mongodb")
    await services.store.ping()
    assert await rows.count() == 1
