"""A file of customers, read line by line: CSV in the encodings that spreadsheets use, or a spreadsheet
itself. Each line names one customer by whatever column is filled, or is a problem with its number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from config.bounds import MOST_LINES
from customers.identity.customer_numbers import HEADINGS as NUMBERS
from services import phones, sheets, workbook
from services.errors import InvalidInput
from services.workbook import Cell

KINDS = ("number", "phone", "unionid", "external_userid")
HEADINGS = {kind: NUMBERS[kind] for kind in KINDS}
UNREADABLE, UNKNOWN, SHARED, TWICE = "list_unreadable", "list_nobody", "list_shared", "list_twice"
REASONS = (UNREADABLE, UNKNOWN, SHARED, TWICE)
"""Why a line of a file names nobody anew."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the file: whom it names, as kind → value of one id; nobody where it cannot be
    read."""

    line: int
    customer: Mapping[str, str]


def read(data: bytes, region: str) -> list[Line]:
    """The lines of a file that are not blank. Computes for seconds: for a thread.

    Raises InvalidInput for a file that cannot be read as a whole: `file_unreadable`,
    `workbook_unreadable`, `list_heading`, `list_empty`, `list_too_many`.
    """
    rows = _of_sheet(data) if workbook.is_workbook(data) else _of_text(data)
    if not rows:
        raise InvalidInput("list_empty", "the file has no line with a customer")
    if len(rows) > MOST_LINES:
        raise InvalidInput("list_too_many", f"at most {MOST_LINES} lines")
    return [Line(row.line, _customer(row, region)) for row in rows]


def _of_text(data: bytes) -> Sequence[sheets.Row]:
    table = sheets.table(sheets.decode(data), HEADINGS)
    _check(table.columns)
    return table.rows


def _of_sheet(data: bytes) -> list[sheets.Row]:
    numbered = [
        (number, ["" if one is None else _text(one) for one in row])
        for number, row in enumerate(workbook.rows(data), 1)
    ]
    filled = [(number, row) for number, row in numbered if any(one.strip() for one in row)]
    columns = sheets.columns_of(filled[0][1], HEADINGS) if filled else []
    _check([one for one in columns if one])
    return [
        sheets.Row(number, {name: one for name, one in zip(columns, row, strict=False) if name})
        for number, row in filled[1:]
    ]


def _text(cell: Cell) -> str:
    """A cell as a text: a spreadsheet's number with all digits that it has."""
    return f"{cell:.0f}" if isinstance(cell, float) and cell.is_integer() else str(cell)


def _check(columns: Sequence[str]) -> None:
    if not columns or len(columns) > len(set(columns)):
        said = f"the first line must name one column each of {', '.join(KINDS)}, at least one"
        raise InvalidInput("list_heading", said)


def _customer(row: sheets.Row, region: str) -> Mapping[str, str]:
    """By the first id that the line has, in the order of KINDS; nobody for what cannot be read."""
    if row.problem:
        return {}
    for kind in KINDS:
        try:
            value = _value(kind, row.cells.get(kind, ""), region)
        except InvalidInput:
            return {}
        if value:
            return {kind: value}
    return {}


def _value(kind: str, cell: str, region: str) -> str:
    said = sheets.digits(cell) if kind in ("number", "phone") else sheets.cell(cell)
    if len(said) > 128:
        raise InvalidInput(UNREADABLE, "too long")
    return phones.read(said, region) if kind == "phone" and said else said
