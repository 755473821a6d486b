"""Files of events, or of what the bank knows of customers, taken in as if a system had sent them.

A file is JSONL (an item a line, as in a request) or CSV with a heading, in UTF-8 or GB 18030. It is read
line by line and never held; every LINES of it are one row of `intake`, whose `_id` is made of the
file's hash and the line. How far it is read is written down after that: whoever is cut short goes on
there, and what he does twice is there once. A line that cannot be taken costs no other line, and goes
into a file of its own with the reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from config.bounds import INTAKE_LINE_BYTES
from customers.banks.bank import Bank
from customers.banks.declarations import FieldEntry, Label
from customers.banks.tasks import SPLIT_INTAKE
from customers.fields import checks
from customers.intake import checking, receiving
from customers.intake.checking import Wrong
from customers.intake.receiving import Sent
from customers.intake.rows import EVENTS, INTAKE, INTAKE_FILES, FileRow, Kind
from services import ids, sheets
from services.errors import InvalidInput, NotFound
from services.sheets import Heading
from services.store.mongo import Doc

LINES = 500
"""Lines of a file that become one row together."""
ROWS_AT_ONCE = 8
BOMS = {b"\xef\xbb\xbf": "utf-8", b"\x84\x31\x95\x33": "gb18030"}
_PLAIN = ("id", "name", "at")

Progress = Callable[[int, int], None]
"""Is told how many bytes are done, and of how many."""


@dataclass(frozen=True)
class Source:
    """A file as it was looked through: `begin` is where its text begins, `encoding` utf-8 or
    gb18030."""

    path: Path
    size: int
    sha256: str
    encoding: str
    begin: int


@dataclass
class Result:
    """What became of a file, in all: `again` says that it was here before and nothing was left to
    do."""

    lines: int
    accepted: int
    refused: int
    again: bool = False


def look(path: Path) -> Source:
    """Looks through a file once. Of its lines that are not ASCII, those that are UTF-8 and those
    that are not say which of the two encodings it is."""
    sha, size, wide, broken, head = hashlib.sha256(), 0, 0, 0, b""
    with path.open("rb") as file:
        for line in _pieces(file):
            head = head or line[:4]
            sha.update(line)
            size += len(line)
            if not line.isascii():
                good = _decodes(line, "utf-8")
                wide, broken = wide + good, broken + (not good)
    mark = next((one for one in BOMS if head.startswith(one)), b"")
    encoding = BOMS[mark] if mark else "utf-8" if wide >= broken else "gb18030"
    return Source(path, size, sha.hexdigest(), encoding, len(mark))


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(INTAKE_LINE_BYTES):
        yield line


def _decodes(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


@dataclass
class _Line:
    """A line that is not blank: its number (the first is 1), its item, or why it is none."""

    number: int
    raw: bytes
    item: Any = None
    wrong: Wrong | None = None


@dataclass
class Reader:
    """Reads a file from `position` on, line by line."""

    bank: Bank
    kind: Kind
    source: Source
    file: BinaryIO = field(repr=False)
    position: int = 0
    line: int = 0
    _heading: Heading | None = None
    _columns: Mapping[str, FieldEntry] = field(default_factory=dict)

    def begin(self, position: int, line: int) -> None:
        """Reads the heading of a CSV file, and goes on at `position` (0: at the beginning), behind
        the `line`. Raises InvalidInput `intake_file` for a heading that names nothing."""
        self.file.seek(self.source.begin)
        self.position, self.line = self.source.begin, 0
        first = self._first()
        if first is None or first.lstrip().startswith(b"{"):
            self.position, self.line = position or self.source.begin, line
            self.file.seek(self.position)
            return
        self._read_heading(first)
        if position:
            self.position, self.line = position, line
            self.file.seek(position)

    def _first(self) -> bytes | None:
        """The first line that is not blank."""
        while raw := self._next():
            if raw.strip():
                return raw
        return None

    def _next(self) -> bytes:
        """The next line; of one that is too long its beginning, and it is passed over."""
        raw = self.file.readline(INTAKE_LINE_BYTES + 1)
        rest = raw
        while len(rest) > INTAKE_LINE_BYTES and not rest.endswith(b"\n"):
            rest = self.file.readline(INTAKE_LINE_BYTES + 1)
        self.position = self.file.tell()
        self.line += bool(raw)
        return raw

    def _read_heading(self, raw: bytes) -> None:
        text = raw.decode(self.source.encoding, "replace")
        self._columns = _columns(self.bank, self.kind)
        names = [*_PLAIN, *checking.KINDS, "appid", *self._columns]
        heading = sheets.heading_of(iter([(1, text)]), dict.fromkeys(names, ()))
        if heading is None or not {*heading.columns} & {*checking.KINDS}:
            needs = f"the heading needs one of {', '.join(checking.KINDS)}"
            raise InvalidInput("intake_file", needs)
        self._heading = heading

    def lines(self, most: int) -> list[_Line]:
        """The next lines, `most` with those that are blank; empty at the end of the file."""
        read: list[_Line] = []
        last = self.line + most
        while self.line < last and (raw := self._next()):
            if raw.strip():
                one = _Line(self.line, raw)
                self._read(one)
                read.append(one)
        return read

    def _read(self, one: _Line) -> None:
        if len(one.raw) > INTAKE_LINE_BYTES:
            one.wrong, one.raw = ("line_too_long", ""), one.raw[:200]
            return
        try:
            raw = one.raw
            if self.source.encoding != "utf-8":
                raw = raw.decode(self.source.encoding).encode()
            one.item = orjson.loads(raw) if self._heading is None else self._row(raw.decode())
        except UnicodeDecodeError:
            one.wrong = "line_encoding", ""
        except orjson.JSONDecodeError:
            one.wrong = ("line_unreadable" if _decodes(raw, "utf-8") else "line_encoding"), ""
        except InvalidInput as error:
            one.wrong = error.code, next(iter(error.fields), "")

    def _row(self, text: str) -> dict[str, Any]:
        """The item of a line of CSV; raises InvalidInput."""
        named = self._cells(text)
        item: dict[str, Any] = {name: named[name] for name in _PLAIN if name in named}
        if "at" in item:
            item["at"] = self._moment(item["at"])
        item["customer"] = {
            one: sheets.digits(named[one]) for one in (*checking.KINDS, "appid") if one in named
        }
        values = {
            entry.key: _value(entry, named[column])
            for column, entry in self._columns.items()
            if column in named
        }
        if self.kind == EVENTS:
            return item | ({"data": values} if values else {})
        return {**item, "fields": values}

    def _cells(self, text: str) -> dict[str, str]:
        """The cells of a line that are filled in, by column; raises InvalidInput."""
        heading = cast("Heading", self._heading)
        cells, problem = sheets.split(text.rstrip("\r\n"), heading.delimiter)
        if problem or any(cell.strip() for cell in cells[len(heading.columns) :]):
            raise InvalidInput("line_unreadable", problem or "more cells than the heading has")
        both = zip(heading.columns, cells, strict=False)
        return {column: cell.strip() for column, cell in both if column and cell.strip()}

    def _moment(self, text: str) -> str:
        """A time without an offset is the bank's."""
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            return text
        return (at if at.tzinfo is not None else at.replace(tzinfo=self.bank.tz)).isoformat()


def _value(entry: FieldEntry, text: str) -> Any:
    try:
        return checks.parse(entry, text)
    except InvalidInput as error:
        raise InvalidInput(error.code, error.message, fields={entry.key: "wrong"}) from None


def _columns(bank: Bank, kind: Kind) -> dict[str, FieldEntry]:
    """The columns of a table besides who and when, and what each holds."""
    if kind != EVENTS:
        return dict(bank.fields)
    found: dict[str, FieldEntry] = {}
    for event in bank.events.values():
        for one in event.data:
            name = one.name or Label(zh=one.key, en=one.key)
            found.setdefault(one.key, FieldEntry(key=one.key, name=name, type=one.type))
    return {key: entry for key, entry in found.items() if key not in (*_PLAIN, *checking.KINDS)}


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
    bank: Bank, reader: Reader, row: FileRow, lines: Sequence[_Line], first: int, errors: BinaryIO
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


def _refuse(lines: Sequence[_Line], encoding: str, errors: BinaryIO) -> int:
    """Puts those that are wrong into the file of errors; how many there are."""
    refused = [one for one in lines if one.wrong is not None]
    errors.write(sheets.csv_text(_told(one, encoding) for one in refused).encode())
    return len(refused)


def _told(one: _Line, encoding: str) -> tuple[int, str, str, str]:
    code, where = one.wrong or ("", "")
    return one.number, code, where, one.raw.decode(encoding, "replace").rstrip("\r\n")
