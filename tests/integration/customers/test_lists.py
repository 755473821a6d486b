"""Static lists: files of customers by whatever id, and rules that ask who is on one."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from unittest.mock import AsyncMock

import pytest

from customers.actors import ClerkActor
from customers.banks.bank import Bank
from customers.identity import customer_numbers, resolution
from customers.identity.facts import Facts
from customers.lists import keeping, uploading
from customers.lists.rows import UploadRow
from customers.profiles.downloading import Wanted
from customers.segments import filling, versions
from operations import profiling
from services import spreadsheets
from services.container import Services
from services.errors import Conflict, Forbidden, InvalidInput, NotFound
from tests.integration.customers.test_membership import members, of, put
from tests.support import jobs

NAME = {"zh": "活动名单", "en": "Event"}


@pytest.fixture
async def bank(services: Services, monkeypatch: pytest.MonkeyPatch) -> Bank:
    bank = Bank(services, "demo")

    async def current(self: Bank) -> Bank:
        return bank

    monkeypatch.setattr(Bank, "current", current)
    await keeping.create(bank, "lin", "event", NAME)
    return bank


async def people(bank: Bank, n: int) -> list[str]:
    return [
        await resolution.identify(
            bank, Facts(external_userid=f"wm{one}", unionid=f"u{one}"), source="callback", proof=f"e{one}"
        )
        for one in range(1, n + 1)
    ]


async def bring(bank: Bank, data: bytes, mode: str = "add") -> UploadRow:
    received = uploading.Receiver("list.csv")
    await received.write(data)
    name = await uploading.start(bank, "lin", "event", mode, received)
    await jobs.run(bank, uploading.TASK)
    return await uploading.upload(bank, "event", name)


async def on(bank: Bank) -> set[str]:
    return {row["cid"] for row in await bank.db["list_members"].find({"list": "event", "on": True})}


async def test_a_file_names_customers_by_any_id_and_each_bad_line_is_told(bank: Bank) -> None:
    ann, bob, eve = await people(bank, 3)
    await customer_numbers.link(bank, "88001234", ann, source="bank", proof="f")
    lines = [
        "客户号,手机号,unionid,external_userid",
        "88001234,,,",
        ",,u2,",
        ",,,wm3",
        "88001234,,,",
        ",,u9,",
        ",13x,,",
    ]
    upload = await bring(bank, "\r\n".join(lines).encode("gb18030"))
    assert (upload["state"], upload["good"], upload["done"], upload["total"]) == ("done", 3, 6, 6)
    assert upload["problems"] == [[5, "list_twice"], [6, "list_nobody"], [7, "list_unreadable"]]
    assert await on(bank) == {ann, bob, eve}
    assert uploading.problems_file(upload, {"list_twice": "重复"}).decode("utf-8-sig").splitlines()[1] == "5,重复"
    assert await bank.db["list_uploads"].count({"file": {"$exists": True}}) == 0
    assert await keeping.count(bank, "event") == 3


async def test_a_list_is_added_to_replaced_and_thinned_and_a_rule_asks_for_it(bank: Bank) -> None:
    ann, bob, eve = await people(bank, 3)
    await put(bank, "listed", "list('event') and not customer.bound")
    await bring(bank, b"unionid\nu1\nu2\n")
    await profiling.bring(bank, [ann, bob, eve])
    assert await members(bank, "listed") == {ann, bob}
    await bring(bank, spreadsheets.xlsx_file([("unionid",), ("u2",), ("u3",)]), "replace")
    await profiling.bring(bank, [ann, bob, eve])
    assert (await on(bank), await members(bank, "listed")) == ({bob, eve}, {bob, eve})
    await bring(bank, b"unionid\nu3\nu1\n", "remove")
    await profiling.bring(bank, [ann, bob, eve])
    assert await on(bank) == {bob}
    assert (await of(bank, bob), await of(bank, eve)) == (["listed"], [])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"shoe\n12\n", "list_heading"),
        (b"unionid\n\n", "list_empty"),
        (b"\x00\x01\x02\x03", "file_unreadable"),
        (b"PK\x03\x04broken", "workbook_unreadable"),
    ],
)
async def test_a_file_that_cannot_be_read_changes_nothing(bank: Bank, data: bytes, reason: str) -> None:
    await people(bank, 1)
    await bring(bank, b"unionid\nu1\n")
    upload = await bring(bank, data, "replace")
    assert (upload["state"], upload["reason"]) == ("refused", reason)
    assert await keeping.count(bank, "event") == 1


async def test_an_upload_that_is_cut_short_is_done_by_the_next_and_who_lost_it_changes_nothing(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploading, "AT_ONCE", 1)
    cids = await people(bank, 3)
    real, reached = uploading._put, asyncio.Event()

    async def cut(at: Bank, row: UploadRow, taken: list[str]) -> None:
        if not reached.is_set() and cids[1] in taken:
            reached.set()
            raise RuntimeError
        await real(at, row, taken)

    monkeypatch.setattr(uploading, "_put", cut)
    upload = await bring(bank, b"unionid\nu1\nu2\nu3\nu1\n")
    assert (upload["state"], upload["open"], upload["done"]) == ("importing", True, 1)
    await bank.db["list_uploads"].update({"_id": upload["_id"]}, {"$set": {"due": 0.0}})
    await jobs.run(bank, uploading.TASK)
    upload = await uploading.upload(bank, "event", upload["upload"])
    assert (upload["state"], upload["good"], upload["bad"]) == ("done", 3, {"list_twice": 1})
    assert await on(bank) == set(cids)


@pytest.mark.parametrize("guarded", [False, True], ids=["guard-off", "guard-on"])
@pytest.mark.parametrize(("data", "mode"), [(b"unionid\nu2\n", "remove"), (b"unionid\nu1\n", "replace")])
async def test_who_lost_his_lease_changes_nothing_that_a_later_file_says(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, data: bytes, mode: str, guarded: bool
) -> None:
    """A worker stands still before a write until his file, and the one after it, were read by others."""
    if not guarded:
        monkeypatch.setattr(uploading, "_older", lambda _: {})
    monkeypatch.setattr(uploading, "AT_ONCE", 1)
    ann, bob = await people(bank, 2)
    real = uploading._put

    async def stands_still(at: Bank, row: UploadRow, taken: list[str]) -> None:
        if bob in taken:
            monkeypatch.setattr(uploading, "_put", real)
            await bank.db["list_uploads"].update({"_id": row["_id"]}, {"$set": {"due": 0.0}})
            await jobs.run(bank, uploading.TASK)
            assert await on(bank) == {ann, bob}
            assert (await bring(bank, data, mode))["state"] == "done"
        await real(at, row, taken)

    monkeypatch.setattr(uploading, "_put", stands_still)
    await bring(bank, b"unionid\nu1\nu2\n")
    assert await on(bank) == ({ann} if guarded else {ann, bob})


async def test_files_for_one_list_are_read_in_the_order_in_which_they_were_sent(bank: Bank) -> None:
    ann, bob = await people(bank, 2)
    uploads = bank.db["list_uploads"]
    names = []
    for data, mode in ((b"unionid\nu1\n", "replace"), (b"unionid\nu2\n", "add")):
        received = uploading.Receiver("list.csv", bytearray(data))
        names.append(await uploading.start(bank, "lin", "event", mode, received))
    first, second = [await uploading.upload(bank, "event", name) for name in names]
    await uploads.update({"_id": first["_id"]}, {"$set": {"at": first["at"] - timedelta(seconds=1)}})
    await uploads.update({"_id": first["_id"]}, {"$set": {"due": bank.now() + 60, "owner": "busy"}})
    await jobs.run(bank, uploading.TASK)
    assert (await uploading.upload(bank, "event", names[1]))["open"]
    assert await on(bank) == set()
    for one in (first, second):
        await uploads.update({"_id": one["_id"]}, {"$set": {"due": 0.0}})
        await jobs.run(bank, uploading.TASK)
    assert await on(bank) == {ann, bob}


async def test_lists_have_ids_of_their_own(bank: Bank) -> None:
    with pytest.raises(Conflict) as there:
        await keeping.create(bank, "lin", "event", NAME)
    with pytest.raises(InvalidInput) as wrong:
        await keeping.create(bank, "lin", "Big List", NAME)
    with pytest.raises(NotFound) as unknown:
        await uploading.start(bank, "lin", "nothing", "add", uploading.Receiver("x"))
    assert [one.value.code for one in (there, wrong, unknown)] == ["list_exists", "list_wrong", "list_unknown"]


async def names(bank: Bank) -> dict[str, str]:
    return {key: one["en"] for key, one in (await keeping.titles(bank)).items()}


async def test_a_list_is_renamed_and_its_id_stays(bank: Bank) -> None:
    await keeping.rename(bank, "zhao", "event", {"zh": " 晚宴 ", "en": "Dinner"})
    assert await names(bank) == {"event": "Dinner"}
    await keeping.rename(bank, "zhao", "event", {"zh": "晚宴", "en": "Dinner"})
    assert await bank.db["audit"].count({"action": "list.renamed"}) == 1
    with pytest.raises(InvalidInput, match="list_wrong"):
        await keeping.rename(bank, "zhao", "event", {"zh": "", "en": "Dinner"})
    assert await names(bank) == {"event": "Dinner"}


async def test_a_list_is_archived_while_no_rule_names_it_and_can_be_brought_back(bank: Bank) -> None:
    (ann,) = await people(bank, 1)
    await bring(bank, b"unionid\nu1\n")
    await put(bank, "listed", "list('event') and not customer.bound")
    with pytest.raises(Conflict, match="list_used") as used:
        await keeping.archive(bank, "lin", "event", "over")
    assert used.value.data == {"by": "listed"}
    assert [row["segment"] for row in await keeping.used_by(bank, "event")] == ["listed"]
    await put(bank, "listed", "not customer.bound")
    with pytest.raises(InvalidInput, match="reason_missing"):
        await keeping.archive(bank, "lin", "event", " ")
    await keeping.archive(bank, "lin", "event", "over")
    for refused in (
        keeping.archive(bank, "lin", "event", "over"),
        uploading.start(bank, "lin", "event", "add", uploading.Receiver("x", bytearray(b"unionid\nu1\n"))),
    ):
        with pytest.raises(Conflict, match="list_archived"):
            await refused
    assert (await names(bank), await on(bank)) == ({}, {ann})
    await keeping.bring_back(bank, "lin", "event")
    await keeping.bring_back(bank, "lin", "event")
    assert (await names(bank), await on(bank)) == ({"event": "Event"}, {ann})
    acts = [row["action"] for row in await bank.db["audit"].find({"object": "event"}, sort=[("seq", 1)], limit=None)]
    assert [one for one in acts if one != "list.uploaded"] == ["list.created", "list.archived", "list.brought_back"]


@pytest.mark.parametrize("guard", [False, True])
async def test_a_list_that_somebody_begins_to_use_while_it_is_archived_stays(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, guard: bool
) -> None:
    """Without the second look its rule could be read no more."""
    real, looked = keeping._set_archived, keeping._expect_unused

    async def meanwhile(at: Bank, key: str) -> bool:
        await put(at, "listed", "list('event')")
        if not guard:
            monkeypatch.setattr(keeping, "_expect_unused", AsyncMock())
        return await real(at, key)

    monkeypatch.setattr(keeping, "_set_archived", meanwhile)
    if guard:
        with pytest.raises(Conflict, match="list_used"):
            await keeping.archive(bank, "lin", "event", "over")
    else:
        await keeping.archive(bank, "lin", "event", "over")
    monkeypatch.setattr(keeping, "_expect_unused", looked)
    assert await names(bank) == ({"event": "Event"} if guard else {})
    assert await bank.db["audit"].count({"action": "list.archived"}) == (0 if guard else 1)
    view = await versions.view(bank, "listed", await profiling.vocabulary(bank))
    assert (view.broken is None) is guard


async def test_a_set_of_lists_and_segments_is_taken_once_as_a_frozen_segment(bank: Bank) -> None:
    """Union, intersection and difference; whatever becomes of them, it stays as it was."""
    ann, bob, eve, dan = await people(bank, 4)
    await keeping.create(bank, "lin", "declined", NAME)
    await put(bank, "unbound", "not customer.bound")
    await bring(bank, b"unionid\nu1\nu2\nu3\n")
    received = uploading.Receiver("no.csv", bytearray(b"unionid\nu2\n"))
    await uploading.start(bank, "lin", "declined", "add", received)
    await jobs.run(bank, uploading.TASK)
    everybody = [ann, bob, eve, dan]
    await profiling.bring(bank, everybody)
    await put(bank, "invited", "(segment('unbound') and list('event')) and not list('declined')", kind="frozen")
    await put(bank, "either", "list('event') or list('declined')", kind="frozen")
    await filled(bank)
    assert (await members(bank, "invited"), await members(bank, "either")) == ({ann, eve}, {ann, bob, eve})
    await bring(bank, b"unionid\nu4\n", "replace")
    await profiling.bring(bank, everybody)
    await filled(bank)
    assert (await members(bank, "invited"), await members(bank, "either")) == ({ann, eve}, {ann, bob, eve})


async def filled(bank: Bank) -> None:
    """What is to be filled is."""
    await bank.db["segment_fills"].update_many({"open": True}, {"$set": {"due": 0.0}})
    await jobs.run(bank, filling.TASK)


MASKED = Wanted()
MAY = frozenset({"segments.export"})


async def table(bank: Bank, permissions: frozenset[str], wanted: Wanted) -> list[str]:
    actor = ClerkActor(bank.id, "lin", "lin", permissions)
    pieces = [piece async for piece in await keeping.download(bank, actor, "event", wanted)]
    return b"".join(pieces).decode("utf-8-sig").splitlines()


async def test_who_is_on_a_list_leaves_masked_or_for_a_reason_in_clear_and_can_come_back(bank: Bank) -> None:
    ann, bob = await people(bank, 2)
    await customer_numbers.link(bank, "88001234", ann, source="bank", proof="f")
    facts = Facts(external_userid="wm1", phone="+8613800000001", name="欧阳娜娜")
    await resolution.identify(bank, facts, source="callback", proof="e9")
    await bring(bank, b"unionid\nu1\nu2\n")
    await profiling.bring(bank, [ann, bob])
    lines = {f"{ann},…34,欧***,138****0001", f"{bob},,,"}
    masked = await table(bank, MAY, MASKED)
    assert (masked[0], set(masked[1:])) == ("cid,number,name,phone", lines)
    for permissions, wanted, refused in (
        (frozenset[str](), MASKED, Forbidden),
        (MAY, Wanted(clear=True, reason="audit"), Forbidden),
        (MAY | {"segments.reveal"}, Wanted(clear=True), InvalidInput),
    ):
        with pytest.raises(refused):
            await table(bank, permissions, wanted)
    clear = await table(bank, MAY | {"segments.reveal"}, Wanted(clear=True, reason="audit"))
    assert set(clear[1:]) == {f"{ann},88001234,欧阳娜娜,'+8613800000001", f"{bob},,,"}
    said = [row["data"] for row in await bank.db["audit"].find({"action": "list.downloaded"}, sort=[("seq", 1)])]
    assert said == [{"clear": False, "customers": 2}, {"clear": True, "customers": 2, "reason": "audit"}]
    upload = await bring(bank, "\n".join(clear).encode(), "replace")
    assert (upload["good"], upload["bad"]) == (1, {"list_unreadable": 1})
    assert await on(bank) == {ann}


async def test_a_download_that_breaks_off_stands_in_the_trail_as_unfinished(bank: Bank) -> None:
    await people(bank, 1)
    pieces = await keeping.download(bank, ClerkActor(bank.id, "lin", "lin", MAY), "event", MASKED)
    assert (await anext(pieces)).startswith("\ufeffcid".encode())
    await pieces.aclose()
    assert await bank.db["audit"].count({"action": "list.downloaded"}) == 0
    left = await bank.db["audit_intents"].find({})
    assert [(row["action"], row["data"]) for row in left] == [("list.downloaded", {"clear": False})]
