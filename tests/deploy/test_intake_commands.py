"""`manage.py events import` and `fields import`: what is good goes in, the rest into a file of its own, once."""

from __future__ import annotations

import asyncio
import csv
import io
from pathlib import Path

import pytest

from config.settings import Settings
from customers.banks import apply
from customers.banks.bank import Bank
from customers.intake import receiving
from customers.intake.rows import INTAKE
from services.container import Services
from tests.conftest import DEMO_BANK
from tests.support import commands
from tests.support.bank_systems import moment
from tests.support.banks import open_bank
from tests.support.commands import Ended


@pytest.fixture
async def bank(services: Services) -> Bank:
    await apply.apply_tenant(services, DEMO_BANK.read_text(encoding="utf-8"), DEMO_BANK.name)
    return await open_bank(services, "demo")


async def imported(settings: Settings, what: str, file: Path, *more: str) -> Ended:
    return await asyncio.to_thread(commands.manage, settings, what, "import", str(file), *more)


async def stored(bank: Bank) -> list[str]:
    """Of each item that is in: who, and the last of what it says."""
    rows = await bank.db[INTAKE].find({}, limit=None)
    items = [one for row in rows for one in receiving.items_of(bank, row)]  # type: ignore[arg-type]
    return sorted(f"{one['customer']['number']} {one.get('data', one.get('fields'))}" for one in items)


def refused(file: Path) -> list[list[str]]:
    """The lines of the file of errors, with the heading."""
    return list(csv.reader(io.StringIO(file.read_text(encoding="utf-8-sig"))))


async def test_a_gb18030_table_of_events_with_broken_lines_goes_in_once(
    settings: Settings, bank: Bank, tmp_path: Path
) -> None:
    file, at = tmp_path / "events.csv", moment(60)
    lines = [
        "id,name,at,number,amount,channel,备注".encode("gb18030"),
        f"e1,payment.made,{at},C0001,12.50,柜台,第一笔".encode("gb18030"),
        f"e2,payment.made,{at},C0002,many,柜台,".encode("gb18030"),
        f"e3,payment.made,{at},C0003,1,".encode() + b"\xff\xff",
        f"e4,never.declared,{at},C0004,,,中".encode("gb18030"),
        f"e5,payment.made,{at},C0005,,手机银行,".encode("gb18030"),
        f"e6,payment.made,{moment(-900)},C0006,,柜台,".encode("gb18030"),
    ]
    file.write_bytes(b"\r\n".join(lines) + b"\r\n")
    errors = tmp_path / "events.csv.errors.csv"
    first = await imported(settings, "events", file)
    assert (first.returncode, first.stderr) == (1, "")
    assert str(errors) in first.stdout.replace("\n", "")
    told = refused(errors)
    assert [line[:3] for line in told] == [
        ["line", "code", "field"],
        ["3", "field_type", "amount"],
        ["4", "line_encoding", ""],
        ["5", "event_undeclared", "name"],
        ["7", "at_future", "at"],
    ]
    assert told[1][3] == f"e2,payment.made,{at},C0002,many,柜台,"
    assert errors.stat().st_mode & 0o077 == 0
    good = ["C0001 {'amount': 1250, 'channel': '柜台'}", "C0005 {'channel': '手机银行'}"]
    assert await stored(bank) == good
    second = await imported(settings, "events", file)
    assert second.returncode == 1
    assert "here before; nothing was added" in second.stdout
    assert (await stored(bank), refused(errors)) == (good, told)


async def test_a_table_of_fields_that_is_good_leaves_no_file_of_errors(
    settings: Settings, bank: Bank, tmp_path: Path
) -> None:
    file, errors = tmp_path / "fields.csv", tmp_path / "wrong.csv"
    text = "number,birthday,month_income,payroll\nC0001,1990-02-03,123.45,是\nC0002,30 Feb,,\n"
    file.write_bytes(text.encode("gb18030"))
    half = await imported(settings, "fields", file, "--system", "core", "--errors", str(errors))
    assert half.returncode == 1
    assert refused(errors)[1:] == [["3", "field_type", "birthday", "C0002,30 Feb,,"]]
    good = "C0001 {'birthday': '1990-02-03', 'month_income': 12345, 'payroll': True}"
    assert await stored(bank) == [good]
    file.write_bytes(text.replace("30 Feb", "1991-02-28").encode("gb18030"))
    mended = await imported(settings, "fields", file, "--errors", str(errors))
    assert (mended.returncode, mended.stderr, errors.exists()) == (0, "", False)
    assert await stored(bank) == [good, good, "C0002 {'birthday': '1991-02-28'}"]


async def test_a_system_that_is_not_the_banks_brings_nothing(settings: Settings, bank: Bank, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text("{}\n", encoding="utf-8")
    ended = await imported(settings, "events", file, "--system", "nobody")
    assert ended.returncode != 0
    assert "nobody" in ended.stderr
    assert await stored(bank) == []
