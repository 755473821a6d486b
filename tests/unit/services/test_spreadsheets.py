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
