"""A row that waits is done by one worker at a time, and by somebody in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import pytest

from services.container import Services
from services.store import leases
from services.store.mongo import Collection, Doc

NOW = 1_800_000_000.0
PATIENCE = 20.0


@pytest.fixture
async def rows(services: Services) -> Collection:
    """Ten due rows of tenant a; the tenth has been due longest."""
    rows = services.store.tenant("a")["work"]
    await rows.insert_new([_row(n) for n in range(10)])
    return rows


def _row(n: int, **fields: Any) -> Doc:
    return {"_id": f"a:{n}", "open": True, "due": NOW - n, "owner": None, "attempts": 0, **fields}


def _ids(docs: list[Doc]) -> list[str]:
    return sorted(doc["_id"] for doc in docs)


async def _kept(rows: Collection) -> dict[str, Doc]:
    return {doc["_id"]: doc for doc in await rows.find({})}


class Stopped:
    """The collection for a claimer who stops between seeing due rows and taking them, until told to go on."""

    def __init__(self, rows: Collection) -> None:
        self._rows = rows
        self.has_seen, self.go_on = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rows, name)

    async def update_many(self, query: Mapping[str, Any], change: Any) -> int:
        self.has_seen.set()
        await self.go_on.wait()
        return await self._rows.update_many(query, change)


Claim = Callable[[Any, float], Awaitable[list[Doc]]]


async def _naive_claim(rows: Collection, now: float) -> list[Doc]:
    """As one writes it first: what was seen due is taken, without asking again whether it still is."""
    found = await rows.find({"open": True, "due": {"$lte": now}}, limit=10)
    await rows.update_many({"_id": {"$in": _ids(found)}}, {"$set": {"due": now + 30}})
    return found


async def _claim(rows: Collection, now: float) -> list[Doc]:
    return (await leases.claim(rows, now, limit=10))[1]


async def _race(rows: Collection, claim: Claim) -> tuple[list[str], list[str]]:
    """The ids that two claimers hold, when the first sees all rows due and takes them after the second has."""
    stopped = Stopped(rows)
    first = asyncio.create_task(cast("Any", claim(stopped, NOW)))
    async with asyncio.timeout(PATIENCE):
        await stopped.has_seen.wait()
        second = await claim(rows, NOW)
        stopped.go_on.set()
        return _ids(await first), _ids(second)


async def test_a_naive_claim_gives_the_same_rows_to_two(rows: Collection) -> None:
    first, second = await _race(rows, _naive_claim)
    assert len(first) == 10
    assert first == second


async def test_no_row_is_ever_held_by_two(rows: Collection) -> None:
    first, second = await _race(rows, _claim)
    assert (first, len(second)) == ([], 10)
    assert {doc["attempts"] for doc in await rows.find({})} == {1}


async def test_who_comes_second_gets_what_the_other_left(rows: Collection) -> None:
    stopped: Any = Stopped(rows)
    first = asyncio.create_task(leases.claim(stopped, NOW, limit=10))
    async with asyncio.timeout(PATIENCE):
        await stopped.has_seen.wait()
        _, second = await leases.claim(rows, NOW, limit=4)
        stopped.go_on.set()
        owner, taken = await first
    assert (_ids(second), _ids(taken)) == (["a:6", "a:7", "a:8", "a:9"], [f"a:{n}" for n in range(6)])
    assert {doc["owner"] for doc in taken} == {owner}


async def test_twenty_claimers_at_once_share_the_rows_out(rows: Collection) -> None:
    await rows.insert_new([_row(n) for n in range(10, 100)])
    claims = await asyncio.gather(*(leases.claim(rows, NOW, limit=7) for _ in range(20)))
    held = [doc["_id"] for _, docs in claims for doc in docs]
    assert len(held) == len(set(held))
    assert len({owner for owner, _ in claims}) == 20
    kept = await _kept(rows)
    assert {(kept[doc["_id"]]["owner"], doc["_id"]) for _, docs in claims for doc in docs} == {
        (owner, doc["_id"]) for owner, docs in claims for doc in docs
    }


async def test_the_longest_due_rows_are_taken_first_and_no_more_than_asked_for(rows: Collection) -> None:
    owner, taken = await leases.claim(rows, NOW, limit=3, seconds=30.0)
    assert _ids(taken) == ["a:7", "a:8", "a:9"]
    assert {(doc["owner"], doc["due"], doc["attempts"]) for doc in taken} == {(owner, NOW + 30.0, 1)}


class Read:
    """The collection for a claimer, and how many rows his searches fitted: what the embedded store reads for them."""

    def __init__(self, rows: Collection) -> None:
        self._rows = rows
        self.count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rows, name)

    async def find(self, query: Mapping[str, Any], **how: Any) -> list[Doc]:
        if "due" in query:
            self.count += await self._rows.count(query)
        return await self._rows.find(query, **how)


@pytest.mark.parametrize("kept", [False, True])
async def test_a_horizon_finds_the_same_rows_and_reads_few_of_those_that_wait(services: Services, kept: bool) -> None:
    """400 rows wait; every third claim an urgent one comes, and another claimer takes some of the oldest."""
    rows = services.store.tenant("a")["work"]
    await rows.insert_new([_row(n, due=NOW - 60 + 0.1 * (n * 37 % 400) * (1 + n % 3)) for n in range(400)])
    read, horizon, claims = Read(rows), leases.Horizon(), 0
    while due := await rows.find({"due": {"$lte": NOW}}, sort=[("due", 1)], limit=10):
        _, taken = await leases.claim(cast("Any", read), NOW, limit=10, horizon=horizon if kept else None)
        assert _ids(taken) == _ids(due)
        claims += 1
        if claims % 3 == 0 and claims < 20:
            await rows.insert_new([_row(1000 + claims, due=NOW - 86_400)])
            await leases.claim(rows, NOW, limit=5)
    if kept:
        assert read.count < 60 * claims
    else:
        assert read.count > 130 * claims


async def test_what_is_not_due_or_not_open_or_not_asked_for_is_left(rows: Collection) -> None:
    await rows.delete({})
    await rows.insert_new(
        [_row(1, due=NOW + 0.001), _row(2, open=False), _row(3, lane="slow"), _row(4, lane="quick"), _row(5, due=NOW)]
    )
    assert _ids((await leases.claim(rows, NOW, limit=9, query={"lane": "quick"}))[1]) == ["a:4"]
    assert _ids((await leases.claim(rows, NOW, limit=9))[1]) == ["a:3", "a:5"]
    assert (await leases.claim(rows, NOW, limit=9))[1] == []


async def test_one_tenants_claim_takes_nothing_of_anothers(services: Services, rows: Collection) -> None:
    assert (await leases.claim(services.store.tenant("b")["work"], NOW, limit=99))[1] == []
    assert {doc["owner"] for doc in await rows.find({})} == {None}


async def test_a_dead_owners_rows_come_due_again_when_his_lease_is_over(rows: Collection) -> None:
    dead, taken = await leases.claim(rows, NOW, limit=10, seconds=30.0)
    assert len(taken) == 10
    assert (await leases.claim(rows, NOW + 29.999, limit=10))[1] == []
    heir, again = await leases.claim(rows, NOW + 30.0, limit=10)
    assert len(again) == 10
    assert heir != dead
    assert {doc["attempts"] for doc in again} == {2}


async def test_who_lost_his_claim_changes_nothing(rows: Collection) -> None:
    late, _ = await leases.claim(rows, NOW, limit=10, seconds=30.0)
    heir, _ = await leases.claim(rows, NOW + 31.0, limit=10, seconds=30.0)
    before = await _kept(rows)
    assert await leases.close(rows, late, before, state="done") == 0
    assert await leases.put_back(rows, late, before, NOW, reason="late") == 0
    assert await _kept(rows) == before
    assert await leases.close(rows, heir, ["a:1"], state="done") == 1
    assert await leases.close(rows, heir, ["a:1"], state="dead") == 0
    assert (await _kept(rows))["a:1"] == {**before["a:1"], "open": False, "owner": None, "state": "done"}
    assert await leases.close(rows, heir, []) == 0


async def test_a_row_that_was_put_back_is_due_when_it_said(rows: Collection) -> None:
    owner, _ = await leases.claim(rows, NOW, limit=10)
    assert await leases.put_back(rows, owner, ["a:1", "a:2"], NOW + 5.0, reason="busy") == 2
    assert (await leases.claim(rows, NOW + 4.9, limit=10))[1] == []
    _, again = await leases.claim(rows, NOW + 5.0, limit=10)
    assert [(doc["_id"], doc["attempts"], doc["reason"]) for doc in again] == [("a:1", 2, "busy"), ("a:2", 2, "busy")]


async def test_the_pump_handles_everything_that_is_due_once(rows: Collection) -> None:
    handled: list[str] = []

    async def handle(owner: str, row: Doc) -> None:
        handled.append(row["_id"])
        assert await leases.close(rows, owner, [row["_id"]]) == 1

    assert await leases.pump(lambda: NOW, rows, handle, limit=3) == 10
    assert sorted(handled) == [f"a:{n}" for n in range(10)]
    assert await leases.pump(lambda: NOW, rows, handle) == 0
    assert await rows.count({"open": True}) == 0


async def test_a_slow_row_holds_up_nobody_else(rows: Collection) -> None:
    """With room for two, the slow row is the first one taken, and ends only when every other, also one that came in the
    meantime, has been handled."""
    handled: list[str] = []
    all_others = asyncio.Event()

    async def handle(owner: str, row: Doc) -> None:
        if row["_id"] == "a:9":
            await all_others.wait()
        if len(handled) == 3:
            await rows.insert(_row(50))
        await leases.close(rows, owner, [row["_id"]])
        handled.append(row["_id"])
        if len(handled) == 10:
            all_others.set()

    async with asyncio.timeout(PATIENCE):
        assert await leases.pump(lambda: NOW, rows, handle, limit=2) == 11
    assert handled[-1] == "a:9"
    assert len(set(handled)) == 11


async def test_no_more_rows_than_the_limit_are_handled_at_once(rows: Collection) -> None:
    at_once, most = 0, 0

    async def handle(owner: str, row: Doc) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await leases.close(rows, owner, [row["_id"]])
        at_once -= 1

    await leases.pump(lambda: NOW, rows, handle, limit=4)
    assert most == 4


async def test_after_its_time_the_pump_takes_nothing_more_and_ends_what_it_has(rows: Collection) -> None:
    clock = [NOW]
    handled = []

    async def handle(owner: str, row: Doc) -> None:
        clock[0] = NOW + 10
        await leases.close(rows, owner, [row["_id"]])
        handled.append(row["_id"])

    assert await leases.pump(lambda: clock[0], rows, handle, limit=3, until=NOW + 5) == 3
    assert len(handled) == 3
    assert await leases.pump(lambda: clock[0], rows, handle, until=NOW + 5) == 0
    assert await rows.count({"open": True}) == 7


async def test_two_pumps_at_once_handle_every_row_once(rows: Collection) -> None:
    await rows.insert_new([_row(n) for n in range(10, 200)])
    handled: list[str] = []

    async def handle(owner: str, row: Doc) -> None:
        handled.append(row["_id"])
        await leases.close(rows, owner, [row["_id"]])

    done = await asyncio.gather(*(leases.pump(lambda: NOW, rows, handle, limit=16) for _ in range(3)))
    assert sum(done) == 200
    assert len(handled) == len(set(handled)) == 200
