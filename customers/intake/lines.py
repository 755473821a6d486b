"""The lines of a file of events, or of what the bank knows of customers, one by one.

A file is JSONL (an item a line, as in a request) or CSV with a heading, in UTF-8, GB 18030 or UTF-16. A
cell in quotation marks may hold line ends; a mark that is not closed costs its own line and no other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from config.bounds import INTAKE_LINE_BYTES
from customers.banks.bank import Bank
from customers.banks.declarations import FieldEntry, Label
from customers.fields import checks
from customers.intake import checking
from customers.intake.checking import Wrong
from customers.intake.rows import EVENTS, Kind
from services import sheets
from services.errors import InvalidInput
from services.sheets import Heading

BOMS = {
    b"\xef\xbb\xbf": "utf-8",
    b"\x84\x31\x95\x33": "gb18030",
    b"\xff\xfe": "utf-16-le",
    b"\xfe\xff": "utf-16-be",
}
UTF_16 = ("utf-16-le", "utf-16-be")
_HEAD = 200
_PLAIN = ("id", "name", "at")


@dataclass(frozen=True)
class Source:
    """A file as it was looked through: `begin` is where its text begins, `encoding` utf-8, gb18030,
    utf-16-le or utf-16-be."""

    path: Path
    size: int
    sha256: str
    encoding: str
    begin: int


def look(path: Path) -> Source:
    """Looks through a file once. Where no mark says its encoding, its lines that are not ASCII do:
    those that are UTF-8, and those that are not."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
        file.seek(0)
        size, sha256, by_lines = _measured(file)
    for mark, encoding in BOMS.items():
        if head.startswith(mark):
            return Source(path, size, sha256, encoding, len(mark))
    likely = next(iter(sheets.encodings(head)), "")
    return Source(path, size, sha256, likely if likely in UTF_16 else by_lines, 0)


def _measured(file: BinaryIO) -> tuple[int, str, str]:
    """The file's size, its hash, and which of UTF-8 and GB 18030 most lines are in that are not
    ASCII."""
    sha, size, wide, broken = hashlib.sha256(), 0, 0, 0
    while piece := file.readline(INTAKE_LINE_BYTES):
        sha.update(piece)
        size += len(piece)
        if not piece.isascii():
            good = _decodes(piece, "utf-8")
            wide, broken = wide + good, broken + (not good)
    return size, sha.hexdigest(), "utf-8" if wide >= broken else "gb18030"


def _decodes(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


@dataclass
class Line:
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
        if first is None or self._text(first).lstrip().startswith("{"):
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
            if not self._is_blank(raw):
                return raw
        return None

    def _is_blank(self, raw: bytes) -> bool:
        return not (raw.replace(b"\0", b"") if self.source.encoding in UTF_16 else raw).strip()

    def _text(self, raw: bytes) -> str:
        return raw.decode(self.source.encoding, "replace")

    def _next(self) -> bytes:
        """The next line; of one that is too long its beginning, and it is passed over."""
        raw = self._physical()
        rest = raw
        while len(rest) > INTAKE_LINE_BYTES and not self._ends(rest):
            rest = self._physical()
        self.position = self.file.tell()
        self.line += bool(raw)
        return raw

    def _physical(self) -> bytes:
        """The bytes up to the end of a line, or so many that it is too long. In UTF-16 the byte of a
        line feed is part of other characters too."""
        most, raw = INTAKE_LINE_BYTES + 1, b""
        while len(raw) < most and (piece := self.file.readline(most - len(raw))):
            raw += piece
            if len(raw) % 2 and self.source.encoding in UTF_16:
                raw += self.file.read(1)
            if self._ends(raw):
                break
        return raw

    def _ends(self, raw: bytes) -> bool:
        return raw.endswith("\n".encode(self.source.encoding))

    def _read_heading(self, raw: bytes) -> None:
        text = self._text(raw)
        self._columns = _columns(self.bank, self.kind)
        names = [*_PLAIN, *checking.KINDS, "appid", *self._columns]
        heading = sheets.heading_of(iter([(1, text)]), dict.fromkeys(names, ()))
        if heading is None or not {*heading.columns} & {*checking.KINDS}:
            needs = f"the heading needs one of {', '.join(checking.KINDS)}"
            raise InvalidInput("intake_file", needs)
        self._heading = heading

    def lines(self, most: int) -> list[Line]:
        """The next lines, `most` with those that are blank; empty at the end of the file."""
        read: list[Line] = []
        last = self.line + most
        while self.line < last and (raw := self._next()):
            if not self._is_blank(raw):
                one = Line(self.line, self._whole(raw))
                self._read(one)
                read.append(one)
        return read

    def _whole(self, raw: bytes) -> bytes:
        """A line of a table, together with those in which a cell in quotation marks goes on. Where
        that would swallow a line that is one by itself, or nothing closes the cell, the line stays
        alone."""
        if self._heading is None or b'"' not in raw or not sheets.is_open(self._text(raw)):
            return raw
        place, whole = (self.position, self.line), raw
        while more := self._next():
            whole += more
            if len(whole) > INTAKE_LINE_BYTES or self._stands_alone(self._text(more)):
                break
            if not sheets.is_open(self._text(whole)):
                if self._fits(self._text(whole)):
                    return whole
                break
        self.position, self.line = place
        self.file.seek(self.position)
        return raw

    def _fits(self, text: str) -> bool:
        try:
            self._cells(text)
        except InvalidInput:
            return False
        return True

    def _stands_alone(self, text: str) -> bool:
        """Whether a line, or what of it comes before its last quotation mark where that closes
        nothing, has what an item needs."""
        own = text.rpartition('"')[0] if sheets.is_open(text) else text
        try:
            named = self._cells(own)
        except InvalidInput:
            return False
        needs = {*_PLAIN} if self.kind == EVENTS else {*checking.KINDS} & {*named}
        return len(named) > 1 and bool(needs) and needs <= named.keys()

    def _read(self, one: Line) -> None:
        if len(one.raw) > INTAKE_LINE_BYTES:
            one.wrong, one.raw = ("line_too_long", ""), one.raw[:200]
            return
        try:
            raw = one.raw
            if self.source.encoding != "utf-8":
                raw = raw.decode(self.source.encoding).encode()
            one.item = orjson.loads(raw) if self._heading is None else self._row(raw.decode())
        except UnicodeError:
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
