"""The audit trail shows every change that was made to it afterwards, and where (contract/trust 3.6)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from operations.jobs import QUEUES
from operations.schema import COLLECTIONS
from services.container import Services, open_services
from services.security import audit as audit_module
from services.security.audit import GENESIS, Audit, Entry
from services.store.mongo import TenantStore


@pytest.fixture
async def chain(services: Services) -> TenantStore:
    """Six rows of tenant a."""
    db = services.store.tenant("a")
    for n in range(1, 7):
        assert await services.audit.record(db, "lin", "campaign.paused", f"c{n}", n=n, note="活动") == n
    assert await services.audit.verify(db) == []
    return db


async def _rows(db: TenantStore) -> list[dict[str, Any]]:
    return await db["audit"].find({}, sort=[("seq", 1)])


async def test_each_row_carries_the_hash_of_the_one_before(services: Services, chain: TenantStore) -> None:
    rows = await _rows(chain)
    assert [row["seq"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["prev"] for row in rows] == [GENESIS, *(row["hash"] for row in rows[:-1])]
    assert len({row["hash"] for row in rows}) == 6
    told = [(row["actor"], row["action"], row["object"], row["data"]) for row in rows]
    assert told == [("lin", "campaign.paused", f"c{n}", {"n": n, "note": "活动"}) for n in range(1, 7)]
    checkpoints = (services.settings.data_dir / "audit" / "a.audit").read_text(encoding="ascii").splitlines()
    assert checkpoints == [f"{row['seq']} {row['hash']}" for row in rows]


@pytest.mark.parametrize(
    "change",
    [
        {"$set": {"actor": "zhao"}},
        {"$set": {"action": "campaign.published"}},
        {"$set": {"object": "c9"}},
        {"$set": {"data.n": 30}},
        {"$set": {"data.more": 1}},
        {"$set": {"at": datetime(2026, 1, 1, tzinfo=UTC)}},
        {"$unset": {"actor": 1}},
        {"$unset": {"data": 1}},
        {"$set": {"at": "yesterday"}},
        {"$set": {"data": {"n": b"3"}}},
    ],
    ids=str,
)
async def test_a_changed_row_is_named(services: Services, chain: TenantStore, change: dict[str, Any]) -> None:
    assert await chain["audit"].update({"seq": 3}, change)
    assert await services.audit.verify(chain) == ["row 3 was changed"]


async def test_a_row_whose_hash_was_made_to_fit_is_named(services: Services, chain: TenantStore) -> None:
    """Whoever changes a row and works out its hash anew breaks the row after it, and differs from the checkpoint."""
    row = (await _rows(chain))[2]
    forged = audit_module._hash(row["prev"], 3, row["at"], Entry("zhao", row["action"], row["object"], row["data"]))
    await chain["audit"].update({"seq": 3}, {"$set": {"actor": "zhao", "hash": forged}})
    assert await services.audit.verify(chain) == [
        "row 4 does not follow row 3",
        "row 3 is not the one that the checkpoint file saw",
    ]


async def test_a_chain_that_was_written_anew_is_told_by_its_checkpoints(services: Services, chain: TenantStore) -> None:
    rows = await _rows(chain)
    await chain["audit"].delete({})
    forger = Audit(services.clock, services.settings.data_dir / "elsewhere")
    for row in rows:
        await forger.record(chain, "zhao", row["action"], row["object"], **row["data"])
    assert await services.audit.verify(chain) == [
        f"row {n} is not the one that the checkpoint file saw" for n in range(1, 7)
    ]


async def test_a_row_that_was_deleted_is_named(services: Services, chain: TenantStore) -> None:
    assert await chain["audit"].delete({"seq": 3}) == 1
    problems = await services.audit.verify(chain)
    assert problems == ["row 3 is missing", "row 3 is not the one that the checkpoint file saw"]


async def test_a_trail_that_was_cut_off_at_its_end_is_noticed(services: Services, chain: TenantStore) -> None:
    assert await chain["audit"].delete({"seq": {"$gte": 5}}) == 2
    assert await services.audit.verify(chain) == [
        "row 5 is not the one that the checkpoint file saw",
        "row 6 is not the one that the checkpoint file saw",
    ]


async def test_a_trail_that_was_emptied_is_noticed(services: Services, chain: TenantStore) -> None:
    await chain["audit"].delete({})
    assert len(await services.audit.verify(chain)) == 6


async def test_two_rows_that_changed_places_are_named(services: Services, chain: TenantStore) -> None:
    rows = await _rows(chain)
    for to, source in ((2, rows[3]), (4, rows[1])):
        moved = {name: source[name] for name in ("actor", "action", "object", "data", "at")}
        await chain["audit"].update({"seq": to}, {"$set": moved})
    assert await services.audit.verify(chain) == ["row 2 was changed", "row 4 was changed"]


async def test_rows_that_changed_numbers_are_named(services: Services, chain: TenantStore) -> None:
    for old, new in ((2, 40), (4, 2), (40, 4)):
        await chain["audit"].update({"seq": old}, {"$set": {"seq": new}})
    problems = await services.audit.verify(chain)
    assert {"row 2 was changed", "row 4 was changed"} <= set(problems)


async def test_a_row_that_was_put_in_is_named(services: Services, chain: TenantStore) -> None:
    row = (await _rows(chain))[2]
    await chain["audit"].insert({**row, "_id": "a:forged"})
    assert await services.audit.verify(chain) != []
    await chain["audit"].delete({"_id": "a:forged"})
    await chain["audit"].insert({**row, "_id": "a:7", "seq": 7})
    assert "row 7 was changed" in await services.audit.verify(chain)


@pytest.mark.parametrize("row_id", ["a:2000000", "a:²", "a:", "a:-1", "a:07", "elsewhere"])
async def test_a_row_that_was_planted_anywhere_is_named_and_the_rest_is_still_read(
    services: Services, chain: TenantStore, row_id: str
) -> None:
    row = (await _rows(chain))[2]
    await chain["audit"].insert({**row, "_id": row_id, "seq": 2_000_000})
    problems = await services.audit.verify(chain)
    assert 1 <= len(problems) <= 3
    assert row_id in problems[-1] or "2000000" in problems[-1]


async def test_twenty_writers_at_once_give_one_unbroken_chain(services: Services) -> None:
    db = services.store.tenant("a")
    numbers = await asyncio.gather(*(services.audit.record(db, f"clerk{n}", "did", "it") for n in range(20)))
    assert sorted(numbers) == list(range(1, 21))
    assert {row["actor"] for row in await _rows(db)} == {f"clerk{n}" for n in range(20)}
    assert await services.audit.verify(db) == []


async def test_two_processes_write_one_unbroken_chain(services: Services) -> None:
    other = await open_services(services.settings, COLLECTIONS, QUEUES)
    try:
        writers = [(services, n) for n in range(10)] + [(other, n) for n in range(10)]
        await asyncio.gather(*(who.audit.record(who.store.tenant("a"), "lin", "did", str(n)) for who, n in writers))
        assert await other.audit.verify(other.store.tenant("a")) == []
        assert await other.store.tenant("a")["audit"].count() == 20
    finally:
        await other.close()


async def test_each_tenant_has_a_chain_of_its_own(services: Services, chain: TenantStore) -> None:
    b = services.store.tenant("b")
    assert await services.audit.record(b, "lin", "did", "it") == 1
    await chain["audit"].update({"seq": 3}, {"$set": {"actor": "zhao"}})
    assert await services.audit.verify(b) == []
    assert await services.audit.verify(chain) == ["row 3 was changed"]


@pytest.mark.parametrize(
    "data",
    [
        {"at": datetime(2026, 11, 22, 10, 48, 15, 422_517, UTC)},
        {"pair": (1, 2)},
        {"nested": {"list": [1, 2.5, None, True, "文"]}},
        {"big": 2**53 + 1, "small": 1e-9},
    ],
    ids=str,
)
async def test_what_nobody_touched_verifies(services: Services, data: dict[str, Any]) -> None:
    db = services.store.tenant("a")
    await services.audit.record(db, "lin", "did", "it", **data)
    assert await services.audit.verify(db) == []


async def test_a_chain_without_checkpoints_still_shows_changes(
    services: Services, chain: TenantStore, tmp_path: Path
) -> None:
    audit = Audit(services.clock, tmp_path / "no such folder")
    assert await audit.verify(chain) == []
    await chain["audit"].delete({"seq": 2})
    assert await audit.verify(chain) == ["row 2 is missing"]
