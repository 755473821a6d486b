"""The audit trail shows every change that was made to it afterwards, and where (contract/trust 3.6)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from customers.access import history
from operations.jobs import QUEUES
from operations.schema import COLLECTIONS
from services.container import Services, open_services
from services.errors import Conflict, Unavailable, UnknownOutcome
from services.security import audit as audit_module
from services.security.audit import GENESIS, Audit, Entry
from services.security.checkpoints import Checkpoints
from services.security.vault import Vault
from services.store.mongo import Collection, Doc, TenantStore
from tests.support.banks import open_bank


@pytest.fixture
async def chain(services: Services) -> TenantStore:
    """Six rows of tenant a."""
    db = services.store.tenant("a")
    for n in range(1, 7):
        assert await services.audit.record(db, "lin", "campaign.paused", f"c{n}", n=n, note="活动") == n
    assert await services.audit.verify(db) == []
    return db


def _file(services: Services, tenant: str = "a") -> Path:
    return services.settings.data_dir / "audit" / f"{tenant}.checkpoints"


async def _rows(db: TenantStore) -> list[dict[str, Any]]:
    return await db["audit"].find({}, sort=[("seq", 1)])


async def test_each_row_carries_the_hash_of_the_one_before(services: Services, chain: TenantStore) -> None:
    rows = await _rows(chain)
    assert [row["seq"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["prev"] for row in rows] == [GENESIS, *(row["hash"] for row in rows[:-1])]
    assert len({row["hash"] for row in rows}) == 6
    told = [(row["actor"], row["action"], row["object"], row["data"]) for row in rows]
    assert told == [("lin", "campaign.paused", f"c{n}", {"n": n, "note": "活动"}) for n in range(1, 7)]
    lines = _file(services).read_text(encoding="ascii").splitlines()
    assert [line.rsplit(" ", 1)[0] for line in lines] == [f"{row['seq']} {row['hash']}" for row in rows]


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
    forger = Audit(services.clock, services.vault, services.settings.data_dir / "elsewhere")
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


async def test_rows_of_the_same_moment_go_into_the_chain_together(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, append, sizes = services.store.tenant("a"), Collection.append, list[int]()

    async def counted(self: Collection, docs: Sequence[Doc]) -> int:
        sizes.append(len(docs))
        return await append(self, docs)

    monkeypatch.setattr(Collection, "append", counted)
    numbers = await asyncio.gather(*(services.audit.record(db, "lin", "did", str(n)) for n in range(40)))
    assert numbers == list(range(1, 41))
    assert sizes == [40]
    assert [row["object"] for row in await _rows(db)] == [str(n) for n in range(40)]
    lines = _file(services).read_text(encoding="ascii").splitlines()
    assert [int(line.split()[0]) for line in lines] == numbers
    assert await services.audit.verify(db) == []


async def test_of_rows_that_were_cut_short_a_beginning_stands_and_the_chain_goes_on(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, append = services.store.tenant("a"), Collection.append
    assert await services.audit.record(db, "lin", "did", "first") == 1

    async def cut_short(self: Collection, docs: Sequence[Doc]) -> int:
        await append(self, docs[:2])
        raise UnknownOutcome("store_unavailable", "the database did not answer a write")

    with monkeypatch.context() as patch:
        patch.setattr(Collection, "append", cut_short)
        acts = (services.audit.record(db, "lin", "did", str(n)) for n in range(5))
        ended = await asyncio.gather(*acts, return_exceptions=True)
    assert [type(one) for one in ended] == [UnknownOutcome] * 5
    assert await services.audit.record(db, "lin", "did", "next") == 4
    assert [row["object"] for row in await _rows(db)] == ["first", "0", "1", "next"]
    assert await services.audit.verify(db) == []


async def test_who_lost_his_number_to_another_process_reads_on_to_the_end(services: Services) -> None:
    db = services.store.tenant("a")
    assert await services.audit.record(db, "lin", "did", "first") == 1
    other = await open_services(services.settings, COLLECTIONS, QUEUES)
    try:
        there = other.store.tenant("a")
        await asyncio.gather(*(other.audit.record(there, "zhao", "did", str(n)) for n in range(45)))
        assert await services.audit.record(db, "lin", "did", "last") == 47
        assert await services.audit.verify(db) == []
    finally:
        await other.close()


async def test_what_went_in_before_the_database_went_away_is_told_as_written(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process has the number of the third; then nobody can read on."""
    db, append = services.store.tenant("a"), Collection.append
    assert await services.audit.record(db, "lin", "did", "first") == 1

    async def away(*_: Any, **__: Any) -> Any:
        raise Unavailable("store_unavailable", "the database does not answer")

    async def up_to_two(self: Collection, docs: Sequence[Doc]) -> int:
        patch.setattr(Collection, "find", away)
        return await append(self, docs[:2])

    with monkeypatch.context() as patch:
        patch.setattr(Collection, "append", up_to_two)
        acts = (services.audit.record(db, "lin", "did", str(n)) for n in range(4))
        ended = await asyncio.gather(*acts, return_exceptions=True)
    assert ended[:2] == [2, 3]
    assert [type(one) for one in ended[2:]] == [Unavailable] * 2
    assert await services.audit.record(db, "lin", "did", "next") == 4
    assert [row["object"] for row in await _rows(db)] == ["first", "0", "1", "next"]
    assert await services.audit.verify(db) == []


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


async def test_a_chain_whose_checkpoints_are_missing_is_told_and_still_shows_changes(
    services: Services, chain: TenantStore, tmp_path: Path
) -> None:
    audit = Audit(services.clock, services.vault, tmp_path / "no such folder")
    missing = f"the checkpoint file {tmp_path / 'no such folder' / 'a.checkpoints'} is missing"
    assert await audit.verify(chain) == [missing]
    await chain["audit"].delete({"seq": 2})
    assert await audit.verify(chain) == ["row 2 is missing", missing]
    assert await audit.verify(services.store.tenant("b")) == [], "a bank of which nothing was recorded"


def _forge(rows: list[dict[str, Any]], seal: str = "") -> list[dict[str, Any]]:
    """A chain that holds by its hashes, in which zhao did it all; what a writer of the database can make."""
    previous, forged = GENESIS, []
    for row in rows:
        entry = Entry("zhao", row["action"], row["object"], row["data"])
        digest = audit_module._hash(previous, row["seq"], row["at"], entry)
        forged.append({**row, "actor": "zhao", "prev": previous, "hash": digest, "seal": seal or row["seal"]})
        previous = digest
    return forged


async def _rewrite(db: TenantStore, rows: list[dict[str, Any]]) -> None:
    await db["audit"].delete({})
    for row in rows:
        await db["audit"].insert(row)


@pytest.mark.parametrize("lines", ["appended", "written anew", "without seals", "under another key", "deleted"])
async def test_a_rewritten_chain_is_noticed_whatever_its_forger_does_to_the_file(
    services: Services, chain: TenantStore, lines: str
) -> None:
    rows = _forge(await _rows(chain))
    await _rewrite(chain, rows)
    file = _file(services)
    theirs = "".join(f"{row['seq']} {row['hash']} {'0' * 64}\n" for row in rows)
    match lines:
        case "appended":
            with file.open("a", encoding="ascii") as more:
                more.write(theirs)
        case "written anew":
            file.write_text(theirs, encoding="ascii")
        case "without seals":
            file.write_text("".join(f"{row['seq']} {row['hash']}\n" for row in rows), encoding="ascii")
        case "under another key":
            file.unlink()
            key = Vault("another-master-key-of-32-characters")
            for row in rows:
                Checkpoints(key, file.parent).append("a", [(row["seq"], row["hash"])])
        case "deleted":
            file.unlink()
    problems = await services.audit.verify(chain)
    assert len(problems) >= 6
    assert all(any(f"row {n} " in problem for problem in problems) for n in range(1, 7)), problems
    await services.audit.record(chain, "lin", "did", "it")
    assert len(await services.audit.verify(chain)) >= 6, "a later row heals nothing"


@pytest.mark.parametrize("kept", [0, 3, 5])
async def test_a_file_that_was_cut_off_is_noticed(services: Services, chain: TenantStore, kept: int) -> None:
    file = _file(services)
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:kept]))
    (problem,) = await services.audit.verify(chain)
    assert problem == (
        f"rows {kept + 1} to 6 are in no checkpoint of {file}" if kept else f"the checkpoint file {file} is empty"
    )


async def test_a_line_that_was_taken_out_or_changed_is_noticed(services: Services, chain: TenantStore) -> None:
    file = _file(services)
    lines = file.read_bytes().splitlines(keepends=True)
    for changed in (
        lines[:2] + lines[3:],
        lines[1:],
        [lines[1], lines[0], *lines[2:]],
        [*lines[:3], b"4 x y z\n", *lines[4:]],
    ):
        file.write_bytes(b"".join(changed))
        assert any("is not one of this bank's" in problem for problem in await services.audit.verify(chain))
    file.write_bytes(b"".join(lines))
    assert await services.audit.verify(chain) == []


async def test_what_a_killed_writer_left_of_a_line_is_taken_off(services: Services, chain: TenantStore) -> None:
    file = _file(services)
    with file.open("ab") as more:
        more.write(b"7 3fe")
    await services.audit.record(chain, "lin", "did", "it")
    assert await services.audit.verify(chain) == []


async def test_a_deleted_file_is_noticed_also_when_it_begins_anew(services: Services, chain: TenantStore) -> None:
    _file(services).unlink()
    assert await services.audit.verify(chain) == [f"the checkpoint file {_file(services)} is missing"]
    await services.audit.record(chain, "lin", "did", "it")
    assert await services.audit.verify(chain) == [
        "the checkpoints begin at row 7: what was there before was seen by none"
    ]
    at_bank = await open_bank(services, "a")
    assert await history.begin_checkpoints(at_bank, "cli:ops", "the disk was lost") == 8
    assert await services.audit.verify(chain) == []
    rows = await _rows(chain)
    assert (rows[-1]["action"], rows[-1]["data"]) == ("audit.checkpoints_begun", {"reason": "the disk was lost"})
    await chain["audit"].update({"seq": 3}, {"$set": {"actor": "zhao"}})
    assert await services.audit.verify(chain) == ["row 3 was changed"]


async def test_a_chain_and_a_file_that_were_cut_off_together_differ_from_the_copy_that_was_shipped(
    services: Services, chain: TenantStore, tmp_path: Path
) -> None:
    copy = tmp_path / "shipped"
    assert services.audit.checkpoints.export("a", copy) == 6
    assert copy.stat().st_mode & 0o077 == 0
    assert await services.audit.verify(chain, copy) == []
    file = _file(services)
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:4]))
    await chain["audit"].delete({"seq": {"$gte": 5}})
    assert await services.audit.verify(chain) == []
    assert await services.audit.verify(chain, copy) == [
        "row 5 is not the one that the checkpoint file saw",
        "row 6 is not the one that the checkpoint file saw",
        "the checkpoint file ends before the copy, at row 4",
    ]


async def test_another_banks_rows_and_file_do_not_pass_for_ones_own(services: Services, chain: TenantStore) -> None:
    b = services.store.tenant("b")
    for n in range(1, 7):
        await services.audit.record(b, "zhao", "campaign.paused", f"c{n}")
    theirs = [{**row, "_id": f"a:{row['seq']}", "tenant": "a"} for row in await _rows(b)]
    await _rewrite(chain, theirs)
    _file(services).write_bytes(_file(services, "b").read_bytes())
    problems = await services.audit.verify(chain)
    assert [problem for problem in problems if "key" in problem] == [
        f"row {n} was not written by this bank's key" for n in range(1, 7)
    ]
    assert "line 1 of the checkpoint file" in problems[0]
    assert await services.audit.verify(b) == []


async def test_nobody_but_its_owner_reads_a_checkpoint_file(services: Services, chain: TenantStore) -> None:
    assert _file(services).stat().st_mode & 0o777 == 0o600
    assert _file(services).parent.stat().st_mode & 0o777 == 0o700


async def test_a_checkpoint_file_is_not_copied_over_itself_and_a_copy_is_its_owners(
    services: Services, chain: TenantStore, tmp_path: Path
) -> None:
    itself, copy = tmp_path / "itself", tmp_path / "copy"
    itself.symlink_to(_file(services))
    for to in (_file(services), itself):
        with pytest.raises(Conflict):
            services.audit.checkpoints.export("a", to)
    assert await services.audit.verify(chain) == []
    copy.touch(mode=0o644)
    assert services.audit.checkpoints.export("a", copy) == 6
    assert copy.stat().st_mode & 0o777 == 0o600
    assert await services.audit.verify(chain, copy) == []
