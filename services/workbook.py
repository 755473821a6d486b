"""Spreadsheets in Excel's formats, read in a process of their own.

What reads them is a library in Rust, fast and frugal, that holds a sheet as one rectangle: a file of
a kilobyte whose last cell is at the far corner asks for more memory than a machine has, and the
library ends its process. So the process is one that may end: it has a bound of memory and of time,
and whatever becomes of it is an answer.
"""

from __future__ import annotations

import io
import resource
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from itertools import islice

import orjson

from config.bounds import SHEET_BYTES, SHEET_SECONDS, WORKBOOK_BYTES
from services.errors import InvalidInput

AT_ONCE = 1_000
Cell = str | float | int | bool | None
"""A text or a number, as the sheet has it; a day or a time is a text as ISO 8601 has it."""


def is_workbook(data: bytes) -> bool:
    """Whether these are the first bytes of a spreadsheet in one of Excel's formats."""
    return data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0"))


def rows(data: bytes) -> Iterator[list[Cell]]:
    """The rows of the first sheet that has any, from line 1 on. Blocks for seconds: for a thread.

    Raises InvalidInput `workbook_unreadable` for what is no spreadsheet, is sealed by a password, or
    is larger than SHEET_BYTES of memory can hold.
    """
    _check(data)
    try:
        answer = subprocess.run(
            [sys.executable, "-m", "services.workbook"],
            input=data,
            capture_output=True,
            timeout=SHEET_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _unreadable() from None
    if answer.returncode:
        raise _unreadable()
    for some in io.BytesIO(answer.stdout):
        yield from orjson.loads(some)


def _unreadable() -> InvalidInput:
    return InvalidInput(
        "workbook_unreadable",
        "the spreadsheet cannot be read: it may be damaged, under a password, or too large; "
        "save it as CSV",
    )


def _check(data: bytes) -> None:
    """A workbook says how large it is when it is unpacked."""
    if not data.startswith(b"PK"):
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as parts:
            size = sum(part.file_size for part in parts.infolist())
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise _unreadable() from error
    if size > WORKBOOK_BYTES:
        raise _unreadable()


def main() -> None:
    """Reads a workbook from the standard input, and writes its rows to the standard output as JSON,
    AT_ONCE of them a line."""
    resource.setrlimit(resource.RLIMIT_AS, (SHEET_BYTES, SHEET_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from python_calamine import CalamineWorkbook

    book = CalamineWorkbook.from_filelike(io.BytesIO(sys.stdin.buffer.read()))
    names = [one.name for one in book.sheets_metadata if str(one.visible).endswith("Visible")]
    out = sys.stdout.buffer
    for name in names or book.sheet_names:
        sheet = book.get_sheet_by_name(name)
        if sheet.start is None:
            continue
        below, right = sheet.start
        out.write(orjson.dumps([[]] * below) + b"\n")
        margin = [None] * right
        each = ([*margin, *row] for row in sheet.iter_rows()) if margin else sheet.iter_rows()
        while some := list(islice(each, AT_ONCE)):
            out.write(orjson.dumps(some, default=str) + b"\n")
        return


if __name__ == "__main__":
    main()
