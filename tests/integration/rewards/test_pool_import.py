"""Files of codes: what is taken, what is refused by line, and what a kill costs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from customers.banks.bank import Bank
from rewards.pools import codes, importing, keeping, proof, taking
from rewards.pools.rows import Upload
from services.container import Services
from services.errors import Conflict, InvalidInput, NotFound, TooLarge
from services.store.mongo import Collection
from tests.integration.rewards import pool_world
from tests.integration.rewards.pool_world import POOL, counted, sheet
from tests.integration.rewards.world import TENANT
from tests.support import killing
from tests.support.banks import open_bank
from tests.support.clock import MovedClock

HEADING = "券码,有效期"


@pytest.fixture
async def bank(services: Services) -> Bank:
    bank = await open_bank(services, TENANT)
    await pool_world.make(bank)
    return bank


async def all_codes(bank: Bank, upload: Upload) -> list[str]:
    numbers = [{"pool": upload["pool"], "lot": upload["lot"], "n": n, "expires": None} for n in range(upload["good"])]
    found = await codes.opened(bank, numbers)  # type: ignore[arg-type]
    return [found[upload["lot"], n] for n in range(upload["good"])]


async def problems(bank: Bank, upload: Upload) -> list[tuple[int, str, str]]:
    return await importing.problems_of(bank, upload["upload"])


async def kept(bank: Bank) -> list[tuple[str, str, str]]:
    """Who was refused a file for which pool, and why, as the audit trail has it."""
    rows = await bank.db["audit"].find({"action": "pool.upload_refused"}, sort=[("seq", 1)])
    return [(row["actor"], row["object"], row["data"]["reason"]) for row in rows]


TEXT = f"{HEADING}\nAAAA-0001,2099-12-31\nAAAA-0002,2099/12/31\nAAAA-0003,\n"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        ("\ufeff" + TEXT).encode(),
        TEXT.encode("gb18030"),
        TEXT.encode("utf-16"),
        TEXT.replace("\n", "\r\n").encode("utf-16-le"),
        TEXT.replace(",", ";").encode(),
        TEXT.replace(",", "\t").replace("\n", "\r").encode(),
        ("sep=,\n" + TEXT + "\n\n").encode(),
        sheet([["券码", "有效期"], ["AAAA-0001", 73050], ["AAAA-0002", 73050.0], ["AAAA-0003", ""]], days=[1]),
    ],
)
async def test_a_file_reads_the_same_however_it_was_saved(bank: Bank, data: bytes) -> None:
    upload = await pool_world.bring(bank, data)
    assert (upload["state"], upload["good"], upload["bad"]) == ("done", 3, {})
    assert await all_codes(bank, upload) == ["AAAA-0001", "AAAA-0002", "AAAA-0003"]
    row = await taking.find(bank, POOL)
    assert [(one["first"], one["end"], one["expires"] is None) for one in row["spans"]] == [(0, 2, False), (2, 3, True)]


BAD = f"""{HEADING}
GOOD-0001,2099-12-31
GOOD-0001,
abc,

中文中文中文,
1.23457E+15,
,2099-12-31
GOOD-0002,2099-13-01
GOOD-0003,2020-01-01
GOOD-0004,,x
"GOOD-0005,
1234567890.0,
GOOD-0006,20991231
"""
REASONS = [
    (3, "code_twice", "2"),
    (4, "code_length", ""),
    (5, "code_blank", ""),
    (6, "code_characters", ""),
    (7, "code_as_number", ""),
    (8, "code_blank", ""),
    (9, "expiry_unreadable", ""),
    (10, "code_expired", ""),
    (11, "line_cells", ""),
    (12, "line_quotes", ""),
    (13, "code_as_number", ""),
]


async def test_a_note_of_several_lines_is_no_code(bank: Bank) -> None:
    text = f'{HEADING},备注\nAAAA-0001,,"first\nZZZZ-9999"\nAAAA-0002,,x\n'
    upload = await pool_world.bring(bank, text.encode())
    assert (upload["state"], upload["good"], upload["bad"]) == ("done", 2, {})
    assert await all_codes(bank, upload) == ["AAAA-0001", "AAAA-0002"]


async def test_a_line_that_cannot_be_taken_refuses_the_file_and_is_named(bank: Bank) -> None:
    upload = await pool_world.bring(bank, BAD.encode())
    assert (upload["state"], upload["reason"], upload["good"]) == ("refused", "lines_refused", 2)
    assert await problems(bank, upload) == REASONS
    assert await pool_world.counts(bank) == counted(0, 0)
    for name in ("code_blocks", "code_prints", "code_lots"):
        assert await bank.db[name].count() == 0
    [row] = await bank.db["audit"].find({"action": "pool.upload_refused"})
    assert row["data"]["lines"] == len(REASONS)


async def test_the_others_are_imported_when_the_clerk_says_so(bank: Bank) -> None:
    upload = await pool_world.bring(bank, BAD.encode())
    await importing.skip_bad(bank, "lin", upload["upload"])
    upload = await pool_world.work(bank, upload)
    assert (upload["state"], upload["good"]) == ("done", 2)
    assert sorted(await all_codes(bank, upload)) == ["GOOD-0001", "GOOD-0006"]
    assert await problems(bank, upload) == REASONS
    with pytest.raises(Conflict, match="upload_not_refused"):
        await importing.skip_bad(bank, "lin", upload["upload"])
    assert await proof.check(bank) == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"code,expires\n", "codes_empty"),
        (b"\n\n ,\n", "codes_empty"),
        (b"AAAA-0001\nAAAA-0002\n", "codes_heading"),
        ("卡号,卡密\nAAAA-0001,BBBB-0001\n".encode(), "codes_heading"),
        ("券码,密码,面值\nAAAA-0001,1,2\n".encode(), "codes_columns"),
        (("券码," + ",".join("ABCDEFGHI") + "\nAAAA-0001,1,2,3,4,5,6,7,8,9\n").encode(), "codes_columns"),
        (b"code\n\xff\xfe\xff\x80\x81", "file_unreadable"),
        (bytes(range(256)) * 4, "file_unreadable"),
        (b"PK\x03\x04 no zip", "workbook_unreadable"),
        (b"\xd0\xcf\x11\xe0 an old one, torn", "workbook_unreadable"),
        (sheet([["code"], ["AAAA-0001"]], place="XFD1048576"), "workbook_unreadable"),
        (sheet([["", ""]]), "codes_empty"),
    ],
)
async def test_a_file_that_cannot_be_read_says_why(bank: Bank, data: bytes, reason: str) -> None:
    upload = await pool_world.bring(bank, data)
    assert (upload["state"], upload["reason"]) == ("refused", reason)
    assert await pool_world.counts(bank) == counted(0, 0)
    assert await bank.db["code_files"].count() == 0
    assert await kept(bank) == [("lin", POOL, reason)]


async def test_numbers_of_a_sheet_are_no_codes(bank: Bank) -> None:
    rows: list[list[Any]] = [["code"], ["AAAA-0001"], [13800000001], [1.5e15], ["00000001"]]
    upload = await pool_world.bring(bank, sheet(rows))
    assert await problems(bank, upload) == [(3, "code_as_number", ""), (4, "code_as_number", "")]
    rows = [["code", "expires"], ["AAAA-0001", 20991231], ["AAAA-0002", 12.5], ["AAAA-0003", "2099-12-31", "x"]]
    upload = await pool_world.bring(bank, sheet(rows))
    assert await problems(bank, upload) == [(3, "expiry_unreadable", ""), (4, "line_cells", "")]


async def test_the_same_file_again_is_harmless_and_says_so(bank: Bank) -> None:
    await pool_world.make(bank, "tea")
    upload = await pool_world.bring(bank, pool_world.file(10))
    again, new = await pool_world.send(bank, pool_world.file(10), "tea")
    assert not new
    assert (again["state"], again["pool"], again["at"]) == ("done", POOL, upload["at"])
    await pool_world.work(bank, again)
    assert await pool_world.counts(bank) == counted(10, 10)
    assert await pool_world.counts(bank, "tea") == counted(0, 0)
    assert await bank.db["code_files"].count() == 0


async def test_codes_of_another_pool_are_refused_by_line(bank: Bank) -> None:
    await pool_world.make(bank, "tea")
    first = await pool_world.bring(bank, pool_world.file(10))
    upload = await pool_world.bring(bank, pool_world.file(10, first=8), "tea")
    where = f"{POOL}:{first['upload']}"
    assert await problems(bank, upload) == [(2, "code_known", where), (3, "code_known", where)]
    await importing.skip_bad(bank, "lin", upload["upload"])
    assert (await pool_world.work(bank, upload))["good"] == 8
    assert await pool_world.counts(bank, "tea") == counted(8, 8)
    again = await pool_world.bring(bank, pool_world.file(18) + b"\n", skip=True)
    assert (again["state"], again["reason"]) == ("refused", "no_line_taken")


async def at_once(bank: Bank) -> list[Upload]:
    """Two files with 10 codes in common, imported at the same moment."""
    sent = [await pool_world.send(bank, pool_world.file(20, first=at), skip=True) for at in (0, 10)]
    return list(await asyncio.gather(*(pool_world.work(bank, upload) for upload, _ in sent)))


async def twice_there(bank: Bank, uploads: list[Upload]) -> int:
    found = [code for one in uploads for code in await all_codes(bank, one)]
    return len(found) - len({*found})


async def test_two_files_at_once_never_bring_one_code_twice(bank: Bank) -> None:
    uploads = await at_once(bank)
    assert [one["state"] for one in uploads] == ["done", "done"]
    assert sum(one["good"] for one in uploads) == 30
    assert await twice_there(bank, uploads) == 0
    assert await proof.check(bank) == []


async def test_without_the_numbers_of_uploads_they_do(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Collection.insert

    async def unguarded(self: Collection, doc: dict[str, Any]) -> None:
        if "number" in doc and "spans" in doc:
            doc = {**doc, "_id": f"{doc['_id']}:{doc['lot']}"}
        await plain(self, doc)

    monkeypatch.setattr(Collection, "insert", unguarded)
    assert await twice_there(bank, await at_once(bank)) == 10


async def test_killed_at_any_write_the_file_is_in_once(
    bank: Bank, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(60):
        upload, _ = await pool_world.send(bank, pool_world.file(25, prefix=f"K{number:02d}X"))
        with monkeypatch.context() as patch:
            killed = killing.before_write(patch, number)
            try:
                await pool_world.work(bank, upload)
            except killing.Killed:
                pass
            was_killed = killed()
        clock.advance(importing.LEASE_SECONDS + 1)
        upload = await pool_world.work(bank, upload)
        for _ in range(3):
            if upload["state"] != "done":
                clock.advance(importing.LEASE_SECONDS + 1)
                upload = await pool_world.work(bank, upload)
        assert (upload["state"], upload["good"]) == ("done", 25), number
        assert await proof.check(bank) == []
        assert len({*await all_codes(bank, upload)}) == 25
        if not was_killed:
            assert number > 8
            return
    raise AssertionError("it never came to its end")


async def test_who_was_only_slow_does_not_bring_it_twice(
    bank: Bank, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He stalls before his codes count; another begins anew meanwhile."""
    upload, _ = await pool_world.send(bank, pool_world.file(25))
    reached, go_on = asyncio.Event(), asyncio.Event()
    plain = importing._count_it
    calls = 0

    async def stalled(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            reached.set()
            await go_on.wait()
        return await plain(*given)

    monkeypatch.setattr(importing, "_count_it", stalled)
    slow = asyncio.create_task(pool_world.work(bank, upload))
    await reached.wait()
    clock.advance(importing.LEASE_SECONDS + 1)
    done = await pool_world.work(bank, upload)
    assert done["state"] == "done"
    go_on.set()
    await slow
    assert await pool_world.counts(bank) == counted(25, 25)
    assert len({*await all_codes(bank, done)}) == 25
    assert await proof.check(bank) == []


async def test_a_cancelled_upload_leaves_nothing_and_may_come_again(bank: Bank) -> None:
    upload, _ = await pool_world.send(bank, pool_world.file(25))
    await importing.cancel(bank, "lin", upload["upload"])
    assert (await pool_world.work(bank, upload))["state"] == "cancelled"
    with pytest.raises(Conflict, match="upload_over"):
        await importing.cancel(bank, "lin", upload["upload"])
    assert await bank.db["code_files"].count() == 0
    assert (await pool_world.bring(bank, pool_world.file(25)))["state"] == "done"
    with pytest.raises(Conflict, match="upload_over"):
        await importing.cancel(bank, "lin", upload["upload"])
    assert await pool_world.counts(bank) == counted(25, 25)


async def test_refused_files_are_kept_for_a_week(bank: Bank, clock: MovedClock) -> None:
    await pool_world.bring(bank, BAD.encode())
    received = importing.receive(bank, "torn.csv")
    await received.write(b"x" * importing.CHUNK)
    await importing.watch(bank)
    assert await bank.db["code_files"].count() == 2
    clock.advance(8 * 86_400)
    await importing.watch(bank)
    assert await bank.db["code_files"].count() == 0


async def test_an_unknown_pool_and_a_file_that_is_empty_or_too_large_leave_nothing(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFound, match="pool_unknown"):
        await pool_world.send(bank, pool_world.file(5), "nowhere")
    with pytest.raises(InvalidInput, match="codes_empty"):
        await pool_world.send(bank, b"")
    assert await kept(bank) == [("lin", "nowhere", "pool_unknown"), ("lin", POOL, "codes_empty")]
    monkeypatch.setattr(importing, "CODES_BYTES", importing.CHUNK + 10)
    received = importing.receive(bank, "codes.csv")
    await received.write(b"x" * importing.CHUNK)
    with pytest.raises(TooLarge):
        await received.write(b"x" * 11)
    assert await bank.db["code_files"].count() == 0


async def test_unused_codes_are_taken_back_and_never_given(bank: Bank) -> None:
    upload = await pool_world.bring(bank, pool_world.file(10))
    await pool_world.bring(bank, pool_world.file(5, first=10))
    with pytest.raises(Conflict, match="nothing_to_recall"):
        await keeping.recall(bank, "lin", POOL, keeping.EXPIRED, "over")
    done = await keeping.recall(bank, "lin", POOL, upload["lot"], "供应商要求收回")
    assert done["n"] == 10
    assert await pool_world.counts(bank) == counted(15, 5, recalled=10)
    [row] = await bank.db["audit"].find({"action": "pool.recalled"})
    assert (row["data"]["codes"], row["data"]["reason"]) == (10, "供应商要求收回")
    assert await proof.check(bank) == []
    found = await keeping.search(bank, "lin", pool_world.code(3))
    assert [one["state"] for one in found] == ["recalled"]
    assert [one["state"] for one in await keeping.search(bank, "lin", pool_world.code(12))] == ["left"]
    assert await keeping.search(bank, "lin", "nowhere") == []
