"""Files of spreadsheets: encodings, dividers, and lines that spoil no other line."""

from __future__ import annotations

import pytest

from services import sheets
from services.errors import InvalidInput

NAMES = {"number": ("客户号",), "phone": ("手机号", "手机")}
TEXT = "客户号,手机号\nC-1001,13800000001\n"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("gbk"),
        TEXT.encode("gb18030"),
        TEXT.encode("utf-16"),
        TEXT.encode("utf-16-le"),
        b"\xfe\xff" + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-16-be"),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
        TEXT.replace(",", ";").encode("gbk"),
        TEXT.replace(",", "\t").encode("utf-16"),
        TEXT.replace(",", "，").encode(),
        ("sep=;\n" + TEXT.replace(",", ";")).encode(),
        ("\n ,, \n" + TEXT + "\n,\n\n").encode(),
        '客户号 ,备注,手机\nC-1001,"a,b",13800000001\n'.encode(),
        '"客户号","手机号"\n"C-1001","13800000001"\n'.encode(),
    ],
)
def test_a_table_reads_the_same_however_it_was_saved(data: bytes) -> None:
    read = sheets.table(sheets.decode(data), NAMES)
    assert list(read.columns) == ["number", "phone"]
    assert [dict(row.cells) for row in read.rows] == [{"number": "C-1001", "phone": "13800000001"}]


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(InvalidInput) as refused:
        sheets.decode(b"\x89PNG\r\n\x1a\n\x00\xff" * 3)
    assert refused.value.code == "file_unreadable"


def test_a_line_that_cannot_be_read_costs_no_other_line() -> None:
    read = sheets.table('number,phone\nC-1,"138\n\nC-2,139,x,\nC-3,137,\nC-4\n', NAMES)
    assert [(row.line, dict(row.cells), bool(row.problem)) for row in read.rows] == [
        (2, {}, True),
        (4, {}, True),
        (5, {"number": "C-3", "phone": "137"}, False),
        (6, {"number": "C-4"}, False),
    ]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ('C-1,"a\nb",138\nC-2,x,139', [(2, "C-1", "138"), (4, "C-2", "139")]),
        ('C-1,"a\n\n, b ""c""\nd",138\nC-2,x,139', [(2, "C-1", "138"), (6, "C-2", "139")]),
        ('C-1,"a\nC-2,x,139\nC-3,"b",137', [(2, None, None), (3, "C-2", "139"), (4, "C-3", "137")]),
        ('C-1,"a\nC-2,"b\nc",139', [(2, None, None), (3, "C-2", "139")]),
        ('C-1,"a\nC-2,"', [(2, None, None), (3, None, None)]),
        ('C-1,"a\nb"c,138\nC-2,x,139', [(2, None, None), (3, 'b"c', None), (4, "C-2", "139")]),
        ('C-1,"a\nb', [(2, None, None), (3, "b", None)]),
        ('C-1,6" wide,138\nC-2,6" wide,139', [(2, "C-1", "138"), (3, "C-2", "139")]),
        (f'C-1,"{"a" * 4_096}\nb",138', [(2, None, None), (3, 'b"', None)]),
    ],
    ids=["two", "four", "open", "open-then-two", "open-twice", "closed-inside", "never-closed", "inches", "too-long"],
)
def test_a_cell_in_quotation_marks_goes_on_where_nothing_else_is_swallowed(
    text: str, read: list[tuple[int, str | None, str | None]]
) -> None:
    rows = sheets.table(f"number,note,phone\n{text}\n", NAMES).rows
    found = [(row.line, row.cells.get("number"), row.cells.get("phone")) for row in rows]
    assert found == read


def test_a_mark_swallows_no_line_of_a_single_column() -> None:
    rows = sheets.table('number\n"C-1\nC-2\nC-3"\n', NAMES).rows
    assert [row.cells.get("number") for row in rows] == [None, "C-2", 'C-3"']


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("900001.0", "900001"),
        ("9.00001E+5", "900001"),
        ("6.2220123E+7", "62220123"),
        ("'000123", "000123"),
        ('="000123"', "000123"),
        ("Ｃ９０００１", "C90001"),
        ("9E12", "9E12"),
        ("C-1001", "C-1001"),
    ],
)
def test_digits_are_what_they_were_before_the_spreadsheet(text: str, read: str) -> None:
    assert sheets.digits(text) == read
