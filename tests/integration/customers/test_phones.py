"""Phones keep their country from the mini-program's button to the bank's file and the clerk's search."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest

from customers.access import login
from customers.actors import ClerkActor
from customers.banks.bank import Bank
from customers.identity import customer_numbers, resolution, review
from customers.identity.customer_numbers import CONFLICT, INVALID, LINKED, UNKNOWN
from customers.identity.facts import Facts
from customers.identity.sealing import phone_index
from services.container import Services
from services.wechat.miniprogram import MiniProgramClient
from tests.conftest import Sandbox
from tests.integration.customers.conftest import BANK
from tests.support.banks import open_bank

LIN = ClerkActor("demo", "lin", "林晓", frozenset({review.READ, review.DECIDE}))
C08_BANK = "number,phone\nC900001,15123456700\n"
C08_DE: dict[str, Any] = {
    "errcode": 0,
    "phone_info": {"phoneNumber": "+4915123456700", "purePhoneNumber": "15123456700", "countryCode": "49"},
}


async def _bound(at_bank: Bank, sandbox: Sandbox, phone: str) -> str:
    """The cid of a new person who bound this phone."""
    person = await sandbox.person("刘敏", phone=phone)
    signed_in = await login.login(at_bank, BANK, await sandbox.open(person, BANK))
    actor = await login.read_session(at_bank.services, signed_in.token)
    await login.bind_phone(at_bank, actor, await sandbox.phone_code(person, BANK), "phone/2026-11")
    return actor.cid


async def _found(at_bank: Bank, wanted: str) -> list[tuple[str, str]]:
    return [(row["cid"], row["phone"]) for row in await review.search(at_bank, LIN, wanted)]


async def _number(at_bank: Bank, cid: str) -> str:
    return (await resolution.customer(at_bank, cid)).number


async def test_a_foreign_phone_is_not_the_mainland_one_with_the_same_digits(bank: Services, sandbox: Sandbox) -> None:
    at_bank = await open_bank(bank, "demo")
    german = await _bound(at_bank, sandbox, "+49 15123456700")
    assert [(line.line, line.outcome) for line in await customer_numbers.link_file(at_bank, C08_BANK, "cli")] == [
        (2, UNKNOWN)
    ]
    mainland = await _bound(at_bank, sandbox, "15123456700")
    assert await review.list_questions(at_bank, LIN) == []
    assert [(line.line, line.outcome) for line in await customer_numbers.link_file(at_bank, C08_BANK, "cli")] == [
        (2, LINKED)
    ]
    assert [await _number(at_bank, cid) for cid in (german, mainland)] == ["", "C900001"]
    assert await _found(at_bank, "15123456700") == [(mainland, "151****6700")]
    assert await _found(at_bank, "0049 151 23456700") == [(german, "+49 151****6700")]
    assert (await resolution.customer(at_bank, german)).phone == "+4915123456700"


@pytest.mark.parametrize("country_code", ["49", 49, "+49"])
async def test_the_answer_of_wechat_is_read_with_its_country_code(
    bank: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, country_code: Any
) -> None:
    at_bank = await open_bank(bank, "demo")
    info = {**C08_DE["phone_info"], "countryCode": country_code}

    class Wxa:
        async def get_phone_number(self, code: str) -> dict[str, Any]:
            return {**C08_DE, "phone_info": info}

    monkeypatch.setattr(MiniProgramClient, "wxa", Wxa(), raising=False)
    told = await at_bank.miniprogram(BANK).get_phone_number("code")
    assert login.phones.of_wechat(told.number, told.pure_number, told.country_code) == "+4915123456700"


async def test_neighbours_with_numbers_of_eight_digits_do_not_collide(bank: Services, sandbox: Sandbox) -> None:
    at_bank = await open_bank(bank, "demo")
    phones = ("+852 66123456", "+853 66123456", "+886 912345678", "+1 3125550123", "13125550123", "+65 66123456")
    cids = await asyncio.gather(*(_bound(at_bank, sandbox, phone) for phone in phones))
    assert len({*cids}) == len(phones)
    assert await review.list_questions(at_bank, LIN) == []
    for phone, cid in zip(phones, cids, strict=True):
        assert [found for found, _ in await _found(at_bank, phone)] == [cid]
    assert await _found(at_bank, "66123456") == []
    in_hong_kong = replace(at_bank, region="HK")
    assert [found for found, _ in await _found(in_hong_kong, "66123456")] == [cids[0]]


async def test_a_file_of_a_spreadsheet_is_read_as_it_was_meant(
    bank: Services, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    at_bank = await open_bank(bank, "demo")
    written = (
        "+8613800000001",
        "138 0000 0002",
        "１３８００００ ０００３",
        "13800000004.0",
        "'13800000005",
        "\t13800000006",
    )
    cids = [
        await resolution.identify(at_bank, Facts(unionid=f"u{n}", phone=f"+861380000000{n}"))
        for n in range(1, len(written) + 1)
    ]
    lines = [f"C-100{n},{phone}" for n, phone in enumerate(written, 1)]
    bad = [
        "C-2001,1.38E+10",
        "",
        "C-2002,85251234567",
        "1.2E+7,13800000001",
        'C-2003,"138',
        "C-2004,",
        "C-2005,13800000001",
    ]
    text = "客户号;手机号\r\n" + "\r\n".join([*lines, *bad]).replace(",", ";") + "\r\n"
    read = await customer_numbers.link_file(at_bank, text, "cli")
    assert [(line.line, line.outcome) for line in read] == [
        *((n + 2, LINKED) for n in range(len(written))),
        (8, INVALID),
        (10, INVALID),
        (11, INVALID),
        (12, INVALID),
        (13, INVALID),
        (14, CONFLICT),
    ]
    assert "format the column as text" in read[len(written)].why
    assert [await _number(at_bank, cid) for cid in cids] == [f"C-100{n}" for n in range(1, len(written) + 1)]
    said = "\n".join([*(line.why for line in read), *caplog.messages])
    assert "1380000" not in said
    assert "85251234567" not in said


async def test_no_phone_is_looked_for_without_its_country(services: Services) -> None:
    with pytest.raises(ValueError, match=r"E\.164"):
        phone_index(await open_bank(services, "demo"), "13800000001")
