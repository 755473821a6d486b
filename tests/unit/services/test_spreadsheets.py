"""A workbook of ours: no cell is a formula, digits stay, and others can open it."""

from __future__ import annotations

import io
import zipfile

from defusedxml import ElementTree

from services import spreadsheets


def test_a_workbook_holds_texts_alone_and_is_the_same_each_time() -> None:
    rows = [["00013800000001", "=cmd|' /C calc'!A0", "<&>"]]
    data = spreadsheets.xlsx_file([["a", "b", "c"], *rows])
    assert data == spreadsheets.xlsx_file([["a", "b", "c"], *rows])
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        for name in book.namelist():
            ElementTree.fromstring(book.read(name))
        sheet = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))
    space = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
    cells = list(sheet.iter(f"{space}c"))
    assert {one.get("t") for one in cells} == {"inlineStr"}
    assert [one.get("r") for one in cells] == ["A1", "B1", "C1", "A2", "B2", "C2"]
    assert ["".join(one.itertext()) for one in cells[3:]] == ["00013800000001", "'=cmd|' /C calc'!A0", "<&>"]


def test_what_xml_cannot_hold_is_left_out_so_that_the_file_opens() -> None:
    odd = "".join(map(chr, [*range(32), 0x7F, 0x85, 0xD800, 0xFFFD, 0xFFFE, 0xFFFF, 0x1F600, 0x1FFFF]))
    with zipfile.ZipFile(io.BytesIO(spreadsheets.xlsx_file([[f"a{odd}b"]]))) as book:
        sheet = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))
    assert "".join(sheet.itertext()) == "a\t\n\n\x7f\x85\ufffd\U0001f600\U0001ffffb"
