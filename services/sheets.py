"""What people hand over as a file or a form, read as it was meant: the bytes of whatever encoding a
spreadsheet chose, the rows of a table with the line of each, and cells without what a spreadsheet
adds.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from config.bounds import LINE_BYTES
from services.errors import InvalidInput

DELIMITERS = ",;\t|，；"
_FORMULA = re.compile(r'="(.*)"')
_WHOLE = re.compile(r"(\d+)\.0+")
_SCIENTIFIC = re.compile(r"(\d)(?:\.(\d+)[eE]\+?|[eE]\+)(\d{1,2})")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+")
_FORMULA_STARTS = frozenset("=+-@＝＋－＠")
_CONTROLS = frozenset("\t\r\n\0")
_APOSTROPHES = "'‘’`"


def decode(data: bytes) -> str:
    """The text of a file in UTF-8, UTF-16 or GBK (GB 18030), with or without a byte order mark.

    Raises InvalidInput `file_unreadable` for what is none of them.
    """
    for encoding in encodings(data):
        try:
            return _one_end(data.decode(encoding).removeprefix("\ufeff"))
        except UnicodeDecodeError:
            continue
    raise InvalidInput("file_unreadable", "expected a text file in UTF-8, UTF-16 or GBK")


def encodings(data: bytes) -> Sequence[str]:
    """The encodings that the bytes may be in, the likeliest first. Text without a mark and with a
    zero in every other byte is UTF-16."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return ("utf-16",)
    head = data[:200]
    if head[1::2].count(0) > len(head) // 4:
        return ("utf-16-le",)
    if head[0::2].count(0) > len(head) // 4:
        return ("utf-16-be",)
    return () if b"\0" in data else ("utf-8", "gb18030")


def cell(text: str) -> str:
    """A cell as it was meant: full-width characters as plain ones, without blanks around it,
    invisible characters, and the apostrophe or `="…"` by which a spreadsheet keeps digits as text.
    """
    plain = unicodedata.normalize("NFKC", text)
    seen = "".join(one for one in plain if unicodedata.category(one) not in ("Cf", "Cc", "Cs"))
    seen = seen.strip()
    formula = _FORMULA.fullmatch(seen)
    seen = formula[1] if formula else seen
    return seen.strip(_APOSTROPHES).strip()


def digits(text: str) -> str:
    """A cell that holds a number which is a name (of a customer, of a phone), with all its digits:
    `13800000001.0` and `1.3800000001E+10` lose nothing, and are written out.

    Raises InvalidInput `digits_lost` for `1.38E+10`, whose other digits nobody knows any more.
    """
    read = cell(text)
    if _THOUSANDS.fullmatch(read):
        read = read.replace(",", "")
    whole, scientific = _WHOLE.fullmatch(read), _SCIENTIFIC.fullmatch(read)
    if whole:
        return whole[1]
    if scientific is None:
        return read
    first, rest, power = scientific[1], scientific[2] or "", int(scientific[3])
    if len(rest) >= power and not rest[power:].strip("0"):
        return first + rest[:power]
    raise InvalidInput(
        "digits_lost",
        "the spreadsheet has rounded this number: format the column as text and fill it in again",
    )


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: its number in the file (the first line is 1), its cells by column, and
    what is wrong with the line as a line."""

    line: int
    cells: Mapping[str, str] = field(repr=False)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """`columns` that were known in the heading, in their order, and the rows that are not blank."""

    columns: Sequence[str]
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Heading:
    """The first line of a table that is not blank: what divides the cells, the column of each
    (empty for one that nobody knows), and what each is called."""

    delimiter: str
    columns: Sequence[str]
    names: Sequence[str]


def table(text: str, columns: Mapping[str, Sequence[str]]) -> Table:
    """The table in `text`: its first line that is not blank is the heading, which says what divides
    the cells. `columns` has the names that a heading may give to each column, in lower case.

    A cell in quotation marks may hold line ends (`whole`). Columns that nobody knows are left out.
    """
    lines = enumerate(_lines(text), 1)
    heading = heading_of(lines, columns)
    if heading is None:
        return Table((), ())
    rows = [_row(number, line, heading) for number, line in whole(lines, heading) if filled(line)]
    return Table([one for one in heading.columns if one], rows)


def whole(lines: Iterator[tuple[int, str]], heading: Heading) -> Iterator[tuple[int, str]]:
    """The numbered lines after the heading without their ends, each together with those in which a
    cell in quotation marks goes on. Where nothing closes the cell, or a line would be swallowed that
    is one by itself, a line stays alone: a mark that is not closed costs its own line and no other.
    """
    ahead: deque[tuple[int, str]] = deque()
    while line := ahead.popleft() if ahead else next(lines, None):
        number, text = line[0], line[1].rstrip("\n")
        more = _going_on(text, _look(ahead, lines), heading) if '"' in text else []
        for _ in more:
            ahead.popleft()
        yield number, "\n".join([text, *more])


def _look(
    ahead: deque[tuple[int, str]], lines: Iterator[tuple[int, str]]
) -> Iterator[tuple[int, str]]:
    """The next lines, which are kept `ahead`."""
    yield from tuple(ahead)
    for line in lines:
        ahead.append(line)
        yield line


def _going_on(text: str, lines: Iterator[tuple[int, str]], heading: Heading) -> list[str]:
    """The lines in which the last cell of this one goes on; none when it is whole or stays alone."""
    if len(heading.columns) < 2 or not is_open(text) or not split(text, heading.delimiter)[1]:
        return []
    more: list[str] = []
    length, opened = len(text), True
    for _, ended in lines:
        line = ended.rstrip("\n")
        more.append(line)
        length, opened = length + 1 + len(line), opened != is_open(line)
        if length > LINE_BYTES or _stands_alone(line, heading):
            break
        if not opened:
            return [] if split("\n".join([text, *more]), heading.delimiter)[1] else more
    return []


def is_open(text: str) -> bool:
    """Whether a quotation mark in it is not closed."""
    return text.count('"') % 2 == 1


def _stands_alone(line: str, heading: Heading) -> bool:
    """Whether a line, or what of it comes before its last quotation mark where that closes nothing,
    has several cells, one of them of a known column."""
    own = line.rpartition('"')[0] if is_open(line) else line
    cells, problem = split(own, heading.delimiter)
    both = zip(heading.columns, cells, strict=False)
    return not problem and len(cells) > 1 and any(column and one.strip() for column, one in both)


def heading_of(
    lines: Iterator[tuple[int, str]], columns: Mapping[str, Sequence[str]]
) -> Heading | None:
    """The heading, taken from the beginning of the numbered lines; None when none is filled."""
    for _, ended in lines:
        line = ended.rstrip("\n")
        if filled(line) and not re.fullmatch(r'"?sep=.', line.strip('" '), re.IGNORECASE):
            return _heading(line, _by_name(columns))
    return None  # `sep=` is Excel's own word on what divides the cells


def _by_name(columns: Mapping[str, Sequence[str]]) -> dict[str, str]:
    return {name: column for column, each in columns.items() for name in (column, *each)}


def columns_of(names: Sequence[str], columns: Mapping[str, Sequence[str]]) -> list[str]:
    """The column that each name of a heading means; empty for one that nobody knows."""
    known = _by_name(columns)
    return [known.get(re.sub(r"\s+", "", cell(one)).lower(), "") for one in names]


def _lines(text: str) -> Iterator[str]:
    """The physical lines, whichever way they end."""
    yield from _one_end(text.removeprefix("\ufeff")).split("\n")


def _one_end(text: str) -> str:
    """The text with one way to end a line."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def filled(line: str) -> bool:
    """Whether there is anything in the line."""
    return bool(line.strip(f'{DELIMITERS}" \t\u3000\x1a'))


def _heading(line: str, names: Mapping[str, str]) -> Heading:
    readings = []
    for delimiter in DELIMITERS:
        cells, _ = split(line, delimiter)
        known = [names.get(re.sub(r"\s+", "", cell(one)).lower(), "") for one in cells]
        readings.append((sum(bool(one) for one in known), Heading(delimiter, known, cells)))
    return max(readings, key=lambda reading: reading[0])[1]


def split(line: str, delimiter: str) -> tuple[list[str], str]:
    """The cells of a line, and what is wrong with it."""
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), []), ""
    except csv.Error:
        return [], "a quotation mark is not closed, or stands inside a cell"


def _row(number: int, line: str, heading: Heading) -> Row:
    cells, problem = split(line, heading.delimiter)
    if not problem and any(cell(one) for one in cells[len(heading.columns) :]):
        problem = "more cells than the heading has columns"
    if problem:
        return Row(number, {}, problem)
    known = {column: one for column, one in zip(heading.columns, cells, strict=False) if column}
    return Row(number, known)


def csv_text(rows: Iterable[Sequence[str | int]]) -> str:
    """Rows as a table that spreadsheets open as it is: RFC 4180, and no text of somebody else's
    begins a formula. The file begins with BOM (`csv_file`)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")  # noqa: TID251 - the one that there is
    for row in rows:
        writer.writerow([cell if isinstance(cell, int) else harmless(cell) for cell in row])
    return text.getvalue()


def csv_file(rows: Iterable[Sequence[str | int]]) -> bytes:
    """The same as a whole file in UTF-8, with the mark by which Excel knows it."""
    return ("\ufeff" + csv_text(rows)).encode()


def harmless(cell: str) -> str:
    """A text with an apostrophe before what a spreadsheet would take for a formula."""
    return f"'{cell}" if cell.lstrip()[:1] in _FORMULA_STARTS or cell[:1] in _CONTROLS else cell
