"""Static lists: files of customers by whatever id, and rules that ask who is on one."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from customers.banks.bank import Bank
from customers.identity import customer_numbers, resolution
from customers.identity.facts import Facts
from customers.lists import keeping
from customers.lists.rows import UploadRow
from operations import profiling
from services import spreadsheets
from services.container import Services
from services.errors import Conflict, InvalidInput, NotFound
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
    received = keeping.Receiver("list.csv")
    await received.write(data)
    name = await keeping.start(bank, "lin", "event", mode, received)
    await jobs.run(bank, keeping.TASK)
    return await keeping.upload(bank, "event", name)


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
    assert upload["problems"] == [[5, "list_twice"], [6, "list_unknown"], [7, "list_unreadable"]]
    assert await on(bank) == {ann, bob, eve}
    assert keeping.problems_file(upload, {"list_twice": "重复"}).decode("utf-8-sig").splitlines()[1] == "5,重复"
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
    monkeypatch.setattr(keeping, "AT_ONCE", 1)
    cids = await people(bank, 3)
    real, reached = keeping._put, asyncio.Event()

    async def cut(at: Bank, row: UploadRow, taken: list[str]) -> None:
        if not reached.is_set() and cids[1] in taken:
            reached.set()
            raise RuntimeError
        await real(at, row, taken)

    monkeypatch.setattr(keeping, "_put", cut)
    upload = await bring(bank, b"unionid\nu1\nu2\nu3\nu1\n")
    assert (upload["state"], upload["open"], upload["done"]) == ("waiting", True, 1)
    await bank.db["list_uploads"].update({"_id": upload["_id"]}, {"$set": {"due": 0.0}})
    await jobs.run(bank, keeping.TASK)
    upload = await keeping.upload(bank, "event", upload["upload"])
    assert (upload["state"], upload["good"], upload["bad"]) == ("done", 3, {"list_twice": 1})
    assert await on(bank) == set(cids)


async def test_files_for_one_list_are_read_in_the_order_in_which_they_were_sent(bank: Bank) -> None:
    ann, bob = await people(bank, 2)
    uploads = bank.db["list_uploads"]
    names = []
    for data, mode in ((b"unionid\nu1\n", "replace"), (b"unionid\nu2\n", "add")):
        received = keeping.Receiver("list.csv", bytearray(data))
        names.append(await keeping.start(bank, "lin", "event", mode, received))
    first, second = [await keeping.upload(bank, "event", name) for name in names]
    await uploads.update({"_id": first["_id"]}, {"$set": {"at": first["at"] - timedelta(seconds=1)}})
    await uploads.update({"_id": first["_id"]}, {"$set": {"due": bank.now() + 60, "owner": "busy"}})
    await jobs.run(bank, keeping.TASK)
    assert (await keeping.upload(bank, "event", names[1]))["open"]
    assert await on(bank) == set()
    for one in (first, second):
        await uploads.update({"_id": one["_id"]}, {"$set": {"due": 0.0}})
        await jobs.run(bank, keeping.TASK)
    assert await on(bank) == {ann, bob}


async def test_lists_have_ids_of_their_own(bank: Bank) -> None:
    with pytest.raises(Conflict) as there:
        await keeping.create(bank, "lin", "event", NAME)
    with pytest.raises(InvalidInput) as wrong:
        await keeping.create(bank, "lin", "Big List", NAME)
    with pytest.raises(NotFound) as unknown:
        await keeping.start(bank, "lin", "nothing", "add", keeping.Receiver("x"))
    assert [one.value.code for one in (there, wrong, unknown)] == ["list_exists", "list_wrong", "list_unknown"]
