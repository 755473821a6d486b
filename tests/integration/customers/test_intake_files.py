"""Files of events: both forms and encodings, bad lines, going on where one was cut short, and twice."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import orjson
import pytest

from customers.banks.bank import Bank
from customers.intake import files, lines, receiving
from customers.intake.rows import CUSTOMERS, EVENTS, INTAKE, INTAKE_FILES
from services.container import Services
from services.errors import InvalidInput
from tests.support.bank_systems import event, moment
from tests.support.banks import open_bank


@pytest.fixture
async def bank(demo: Services) -> Bank:
    return await open_bank(demo, "demo")


async def take(bank: Bank, path: Path, kind: Any = EVENTS) -> files.Result:
    return await files.take(bank, lines.look(path), files.Order(kind, "core", path.with_suffix(".errors")))


async def stored(bank: Bank) -> list[Any]:
    """What was accepted, in the order of the file."""
    rows = await bank.db[INTAKE].find({}, limit=None)
    items = [one for row in rows for one in receiving.items_of(bank, row)]  # type: ignore[arg-type]
    return sorted(items, key=lambda one: str(one.get("id", one)))


def refused(path: Path) -> list[tuple[str, str, str]]:
    text = path.with_suffix(".errors").read_text(encoding="utf-8-sig")
    return [(row["line"], row["code"], row["field"]) for row in csv.DictReader(io.StringIO(text))]


def line(number: int, **other: Any) -> bytes:
    return orjson.dumps({**event(f"e{number:05d}"), **other}) + b"\n"


async def test_good_lines_go_in_and_the_others_into_a_file_with_reasons(bank: Bank, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    bad = [
        b"{not json\n",
        b"\n",
        line(3, name="never.declared"),
        line(4, at=moment(-100 * 86_400.0)),
        b'{"id": "\xff\xfe"}\n',
        b"[" * 20_000 + b"\n",
    ]
    path.write_bytes(b"\xef\xbb\xbf" + line(1) + b"".join(bad) + line(1) + line(8))
    done = await take(bank, path)
    assert (done.accepted, done.refused, done.again) == (3, 5, False)
    assert [one["id"] for one in await stored(bank)] == ["e00001", "e00001", "e00008"]
    assert refused(path) == [
        ("2", "line_unreadable", ""),
        ("4", "event_undeclared", "name"),
        ("5", "at_future", "at"),
        ("6", "line_encoding", ""),
        ("7", "line_too_long", ""),
    ]
    assert path.with_suffix(".errors").stat().st_mode & 0o077 == 0
    rows = await bank.db[INTAKE].count()
    again = await take(bank, path)
    assert (again.accepted, again.refused, again.again) == (3, 5, True)
    assert await bank.db[INTAKE].count() == rows


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
async def test_a_table_is_read_in_the_encodings_of_spreadsheets(bank: Bank, tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "events.csv"
    text = (
        "id,name,at,number,amount,channel,备注\r\n"
        "e1,payment.made,2026-11-30 10:00:00,C0001,12.50,柜台,第一笔\r\n"
        'e2,payment.made,2026-11-30T10:00:00+08:00,C0001,,"手机,银行",\r\n'
        'e3,payment.made,2026-11-30 10:00:00,C0001,12.505,"没有关上,\r\n'
        "e4,payment.made,2026-11-30 10:00:00,C0001,a lot,柜台,\r\n"
    )
    path.write_bytes(text.encode(encoding))
    done = await take(bank, path)
    assert (done.accepted, done.refused) == (2, 2)
    at = "2026-11-30T10:00:00+08:00"
    assert await stored(bank) == [
        {"id": "e1", "name": "payment.made", "at": at, "customer": {"number": "C0001"},
         "data": {"amount": 1250, "channel": "柜台"}},
        {"id": "e2", "name": "payment.made", "at": at, "customer": {"number": "C0001"},
         "data": {"channel": "手机,银行"}},
    ]  # fmt: skip
    assert refused(path) == [("4", "line_unreadable", ""), ("5", "field_type", "amount")]
    assert "没有关上" in path.with_suffix(".errors").read_text(encoding="utf-8")


async def test_a_file_of_customers_is_read_too(bank: Bank, tmp_path: Path) -> None:
    path = tmp_path / "customers.csv"
    path.write_text("number,birthday,holdings,payroll\nC0001,1990-02-03,3,是\nC0002,,,\n", encoding="utf-8")
    done = await take(bank, path, CUSTOMERS)
    assert (done.accepted, done.refused) == (1, 1)
    fields = {"birthday": "1990-02-03", "holdings": 3, "payroll": True}
    assert await stored(bank) == [{"customer": {"number": "C0001"}, "fields": fields}]
    path.write_text("name,birthday\nC0001,1990-02-03\n", encoding="utf-8")
    with pytest.raises(InvalidInput, match="intake_file"):
        await take(bank, path, CUSTOMERS)


async def test_who_was_cut_short_goes_on_where_he_was(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LINES", 10)
    monkeypatch.setattr(files, "ROWS_AT_ONCE", 2)
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"".join(b"broken\n" if n % 10 == 9 else line(n) for n in range(100)))
    some = files._take_some

    async def killed(bank: Bank, reader: Any, row: Any, errors: Any) -> bool:
        if reader.line >= 40:
            monkeypatch.setattr(files, "_take_some", some)
            errors.write(b"what was written before the end came\n")
            await some(bank, reader, {**row}, errors)
            await bank.db[INTAKE_FILES].update(
                {"_id": row["_id"]}, {"$set": {name: value for name, value in row.items() if name != "_id"}}
            )
            raise KeyboardInterrupt
        return await some(bank, reader, row, errors)

    monkeypatch.setattr(files, "_take_some", killed)
    with pytest.raises(KeyboardInterrupt):
        await take(bank, path)
    done = await take(bank, path)
    assert (done.lines, done.accepted, done.refused, done.again) == (100, 90, 10, False)
    ids = [one["id"] for one in await stored(bank)]
    assert ids == [f"e{n:05d}" for n in range(100) if n % 10 != 9]
    assert [number for number, _, _ in refused(path)] == [str(n) for n in range(10, 101, 10)]
