"""Tables for a spreadsheet: no cell is a formula, digits stay, and the workbook is one that others open."""

from __future__ import annotations

import io
import zipfile

import pytest
from defusedxml import ElementTree

from services import sheets, spreadsheets

ATTACKS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "＝1", '=HYPERLINK("http://x","y")', "\r=1", "\n@x")


@pytest.mark.parametrize("cell", ATTACKS)
def test_no_cell_begins_a_formula(cell: str) -> None:
    assert spreadsheets.safe(cell).startswith("'")


@pytest.mark.parametrize("cell", ["张三", "00491512345", "13800000001", "YQ-1", "a=b", "深圳市 1-2-3", ""])
def test_what_is_none_stays(cell: str) -> None:
    assert spreadsheets.safe(cell) == cell


def test_csv_is_read_back_as_it_was() -> None:
    data = spreadsheets.csv_of(["order", "name"], [["A1", '李"四",\n=2'], ["A2", "王五"]])
    assert data.startswith(b"\xef\xbb\xbf")
    table = sheets.table(sheets.decode(data), {"order": (), "name": ()})
    assert [row.cells["name"] for row in table.rows] == ['李"四", =2', "王五"]


def test_a_workbook_holds_texts_alone_and_is_the_same_each_time() -> None:
    rows = [["00013800000001", "=cmd|' /C calc'!A0", "<&>"]]
    data = spreadsheets.xlsx_of(["a", "b", "c"], rows)
    assert data == spreadsheets.xlsx_of(["a", "b", "c"], rows)
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        for name in book.namelist():
            ElementTree.fromstring(book.read(name))
        sheet = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))
    space = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
    cells = list(sheet.iter(f"{space}c"))
    assert {one.get("t") for one in cells} == {"inlineStr"}
    assert [one.get("r") for one in cells] == ["A1", "B1", "C1", "A2", "B2", "C2"]
    assert ["".join(one.itertext()) for one in cells[3:]] == ["00013800000001", "'=cmd|' /C calc'!A0", "<&>"]
