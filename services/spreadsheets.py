"""A table as an Excel workbook: for files whose digits a spreadsheet must leave alone."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape

from services import sheets

_OPEN = "http://schemas.openxmlformats.org"
_MADE = "application/vnd.openxmlformats"
_SHEET = f"{_MADE}-officedocument.spreadsheetml"
_TYPES = (
    f'<Types xmlns="{_OPEN}/package/2006/content-types">'
    f'<Default Extension="rels" ContentType="{_MADE}-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_SHEET}.sheet.main+xml"/>'
    f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_SHEET}.worksheet+xml"/>'
    "</Types>"
)
_WORKBOOK = (
    '<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" '
    'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships">'
    '<sheets><sheet name="1" sheetId="1" r:id="rId1"/></sheets></workbook>'
)
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML cannot hold: one such character and no spreadsheet opens the file."""
_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'


def xlsx_file(rows: Iterable[Sequence[str]]) -> bytes:
    """The rows as a workbook of one sheet. Every cell is a text, so that digits stay as they are,
    and none begins a formula; the same rows are the same bytes."""
    lines = "".join(_line(number, cells) for number, cells in enumerate(rows, 1))
    sheet = (
        '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
        f"<sheetData>{lines}</sheetData></worksheet>"
    )
    parts = {
        "[Content_Types].xml": _TYPES,
        "_rels/.rels": _relations("officeDocument", "xl/workbook.xml"),
        "xl/workbook.xml": _WORKBOOK,
        "xl/_rels/workbook.xml.rels": _relations("worksheet", "worksheets/sheet1.xml"),
        "xl/worksheets/sheet1.xml": sheet,
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as book:
        for name, text in parts.items():
            entry = zipfile.ZipInfo(name)  # without the time: the same table is the same file
            entry.compress_type = zipfile.ZIP_DEFLATED
            book.writestr(entry, _HEAD + text)
    return file.getvalue()


def _relations(kind: str, target: str) -> str:
    """The part that says where the one thing of this kind is."""
    return (
        f'<Relationships xmlns="{_OPEN}/package/2006/relationships"><Relationship Id="rId1" '
        f'Type="{_OPEN}/officeDocument/2006/relationships/{kind}" Target="{target}"/>'
        "</Relationships>"
    )


def _line(number: int, cells: Sequence[str]) -> str:
    inside = "".join(
        f'<c r="{_column(place)}{number}" t="inlineStr"><is><t xml:space="preserve">'
        f"{escape(sheets.harmless(_NOT_XML.sub('', cell)))}</t></is></c>"
        for place, cell in enumerate(cells)
    )
    return f'<row r="{number}">{inside}</row>'


def _column(place: int) -> str:
    letters = ""
    place += 1
    while place:
        place, rest = divmod(place - 1, 26)
        letters = chr(65 + rest) + letters
    return letters
