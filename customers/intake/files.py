"""Files of events, or of what the bank knows of customers, taken in as if a system had sent them.

A file is read line by line (lines.py) and never held; every LINES of it are one row of `intake`, whose
`_id` is made of the file's hash and the line. How far it is read is written down after that: whoever is
cut short goes on there, and what he does twice is there once. A line that cannot be taken costs no other
line, and goes into a file of its own with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from customers.banks.bank import Bank
from customers.banks.tasks import SPLIT_INTAKE
from customers.intake import receiving
from customers.intake.lines import Line, Reader, Source
from customers.intake.receiving import Sent
from customers.intake.rows import INTAKE, INTAKE_FILES, FileRow, Kind
from services import ids, sheets
from services.errors import NotFound
from services.store.mongo import Doc

LINES = 500
"""Lines of a file that become one row together."""
ROWS_AT_ONCE = 8

Progress = Callable[[int, int], None]
"""Is told how many bytes are done, and of how many."""


@dataclass
class Result:
    """What became of a file, in all: `again` says that it was here before and nothing was left to
    do."""

    lines: int
    accepted: int
    refused: int
    again: bool = False


@dataclass(frozen=True)
class Order:
    """How a file is to be taken in: what it holds, whose it is, where its refused lines go, and who
    asks for it."""

    kind: Kind
    system: str
    errors: Path
    by: str = "cli"


async def take(
    bank: Bank, source: Source, order: Order, progress: Progress | None = None
) -> Result:
    """Takes a file in, from where an earlier try was cut short. Raises NotFound `system_unknown`, and
    InvalidInput `intake_file`."""
    if order.system not in bank.systems:
        raise NotFound("system_unknown", f"{bank.id} has no system {order.system}")
    row = await _file_row(bank, source, order.kind, order.system)
    if row["done"]:
        return Result(row["line"], row["accepted"], row["refused"], again=True)
    about = {"system": order.system, "kind": order.kind}
    async with bank.audited(order.by, "intake.file_taken", source.sha256, **about) as act:
        await _take_all(bank, source, order, row, progress)
        act.data.update(accepted=row["accepted"], refused=row["refused"])
    return Result(row["line"], row["accepted"], row["refused"])


async def _take_all(
    bank: Bank, source: Source, order: Order, row: FileRow, progress: Progress | None
) -> None:
    with source.path.open("rb") as file, _errors_file(order.errors, row["errors"]) as refused:
        reader = Reader(bank, order.kind, source, file)
        reader.begin(row["position"], row["line"])
        while await _take_some(bank, reader, row, refused):
            if progress is not None:
                progress(row["position"], source.size)


async def _file_row(bank: Bank, source: Source, kind: Kind, system: str) -> FileRow:
    row: FileRow = {
        "_id": ids.tenant_id(bank.id, "file", source.sha256, kind, system),
        "system": system,
        "kind": kind,
        "position": 0,
        "line": 0,
        "accepted": 0,
        "refused": 0,
        "errors": 0,
        "at": bank.utc(),
        "done": False,
    }
    if await bank.insert(INTAKE_FILES, cast("Doc", row)):
        return row
    return cast("FileRow", await bank.db[INTAKE_FILES].find_one({"_id": row["_id"]}))


def _errors_file(path: Path, length: int) -> BinaryIO:
    """The file of refused lines, as it was when its length was written down; nobody else may read
    it, since it holds what the file held."""
    path.touch(mode=0o600)
    file = path.open("r+b")
    file.truncate(length)
    file.seek(length)
    if not length:
        file.write("\ufeffline,code,field,text\r\n".encode())
    return file


async def _take_some(bank: Bank, reader: Reader, row: FileRow, errors: BinaryIO) -> bool:
    """Takes the next lines in; False at the file's end."""
    docs = _next_rows(bank, reader, row, errors)
    errors.flush()
    done = reader.position >= reader.source.size
    row["position"], row["line"] = reader.position, reader.line
    row["errors"], row["done"] = errors.tell(), done
    await bank.db[INTAKE].insert_new(docs)
    fields = {name: value for name, value in row.items() if name != "_id"}
    await bank.db[INTAKE_FILES].update({"_id": row["_id"]}, {"$set": fields})
    bank.signal(SPLIT_INTAKE)
    return not done


def _next_rows(bank: Bank, reader: Reader, row: FileRow, errors: BinaryIO) -> list[Doc]:
    """The rows of the next lines; none at the file's end, or of lines of which none is good."""
    docs: list[Doc] = []
    for _ in range(ROWS_AT_ONCE):
        first = reader.line + 1
        lines = reader.lines(LINES)
        if reader.line < first:
            break
        docs += _rows(bank, reader, row, lines, first, errors)
    return docs


def _rows(
    bank: Bank, reader: Reader, row: FileRow, lines: Sequence[Line], first: int, errors: BinaryIO
) -> list[Doc]:
    """The row of some lines, if any is good; the others go into the file of errors."""
    good = [one for one in lines if one.wrong is None]
    checked = receiving.check(bank, reader.kind, [one.item for one in good])
    for place, wrong in checked.wrong.items():
        good[place].wrong = wrong
    row["refused"] += _refuse(lines, reader.source.encoding, errors)
    row["accepted"] += len(good) - len(checked.wrong)
    if len(good) == len(checked.wrong):
        return []
    sent = Sent(row["system"], reader.kind, f"{reader.source.sha256}:{first}")
    return [cast("Doc", receiving.row_of(bank, sent, checked))]


def _refuse(lines: Sequence[Line], encoding: str, errors: BinaryIO) -> int:
    """Puts those that are wrong into the file of errors; how many there are."""
    refused = [one for one in lines if one.wrong is not None]
    errors.write(sheets.csv_text(_told(one, encoding) for one in refused).encode())
    return len(refused)


def _told(one: Line, encoding: str) -> tuple[int, str, str, str]:
    code, where = one.wrong or ("", "")
    return one.number, code, where, one.raw.decode(encoding, "replace").rstrip("\r\n")
