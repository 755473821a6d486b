"""A file of codes, read line by line: CSV in the encodings that spreadsheets use, or a spreadsheet
itself. Every line becomes a code or a problem with its number; nothing is guessed.

A code that a spreadsheet has taken for a number is refused, since its leading zeros are gone and
nobody knows how many there were.
"""

from __future__ import annotations

import io
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from config.bounds import LINE_BYTES, MOST_LINES
from services import sheets, workbook
from services.errors import InvalidInput
from services.workbook import Cell

CODE, EXPIRES, ASIDE = "code", "expires", "aside"
HEADINGS = {
    CODE: (
        "券码",
        "兑换码",
        "卡密",
        "卡券码",
        "优惠码",
        "激活码",
        "串码",
        "券号",
        "卡号",
        "codes",
        "couponcode",
        "coupon",
        "vouchercode",
        "voucher",
    ),
    EXPIRES: (
        "有效期",
        "有效期至",
        "到期日",
        "到期日期",
        "到期时间",
        "失效日期",
        "截止日期",
        "过期时间",
        "expiry",
        "expirydate",
        "expires_at",
        "expiresat",
        "expire",
        "validuntil",
        "valid_until",
        "enddate",
    ),
    ASIDE: ("序号", "备注", "#", "no", "no.", "note", "notes", "remark", "remarks"),
}
"""What a heading may call each column; those of ASIDE are not read."""
LEAST, MOST = 4, 128
"""Characters of a code."""
MOST_PROBLEMS = 100_000
"""So many lines that cannot be taken are told one by one; all are counted."""
MOST_DAYS = 1_000
"""Different days on which codes of one file may end."""
NEVER_YEAR = 2100
"""From this year on, a day means that there is none."""
SAID = 5_000
"""Every so many lines it is said how far it is."""

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{3,127}")
_CODE = re.compile(r"[!-<>-~][!-~]*(?: [!-~]+)*")
_NUMBER = re.compile(r"\d+\.0*|\d(?:\.\d+)?[eE]\+\d+|\d\.\d+[eE]\d+|\d{1,3}(?:,\d{3})+")
_DAY = re.compile(
    r"(\d{4})(?:([-/.])(\d{1,2})\2(\d{1,2})|年(\d{1,2})月(\d{1,2})日?)"
    r"(?:[T ]*(\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?)?"
)
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})")
_NO_END = frozenset({"", "-", "/", "无", "长期", "永久", "长期有效", "永久有效", "never", "none"})

Said = Callable[[int, int], None]
"""Told how much is done, and of how much."""
Problem = tuple[int, str, str]
"""A line that cannot be taken: its number, the reason, and what the reason's sentence names."""


@dataclass
class Lines:
    """What a file holds. One entry each for every code: the code, its line, and the last day on
    which it is good as an ordinal (0: no end). `bad` counts the other lines by reason."""

    codes: list[str] = field(default_factory=list)
    lines: array[int] = field(default_factory=lambda: array("I"))
    days: array[int] = field(default_factory=lambda: array("I"))
    problems: list[Problem] = field(default_factory=list)
    bad: Counter[str] = field(default_factory=Counter)

    def refuse(self, line: int, reason: str, what: str = "") -> None:
        """Notes that the line cannot be taken."""
        self.bad[reason] += 1
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append((line, reason, what))


def read(data: bytes, today: date, said: Said) -> Lines:
    """The codes of a file, and the lines that cannot be taken. Computes for seconds: for a thread.

    Raises InvalidInput for a file that cannot be read as a whole: `file_unreadable`,
    `workbook_unreadable`, `codes_heading`, `codes_columns`, `codes_empty`, `codes_too_many`.
    """
    if workbook.is_workbook(data):
        found = _of_sheet(workbook.rows(data), today, said)
    else:
        found = _of_text(data, today, said)
    if not found.codes and not found.bad:
        raise InvalidInput("codes_empty", "the file has a heading and no code")
    if len(set(found.days)) > MOST_DAYS:
        raise InvalidInput("codes_days", f"codes end on more than {MOST_DAYS} different days")
    return found


def _of_text(data: bytes, today: date, said: Said) -> Lines:
    """Reads in the likeliest encoding, and in the next one when a byte does not fit."""
    for encoding in sheets.encodings(data):
        try:
            return _of_lines(data, encoding, today, said)
        except UnicodeError:
            continue
    raise InvalidInput("file_unreadable", "expected a text file in UTF-8, UTF-16 or GBK")


def _of_lines(data: bytes, encoding: str, today: date, said: Said) -> Lines:
    codec = "utf-8-sig" if encoding == "utf-8" else encoding
    lines = enumerate(io.TextIOWrapper(io.BytesIO(data), codec, newline=None), 1)
    heading = sheets.heading_of(lines, HEADINGS)
    if heading is None:
        raise InvalidInput("codes_empty", "the file is empty")
    columns = _columns(heading.names)
    found, reader = Lines(), _Reader(today)
    total = max(1, data.count(b"\n"))
    each = _cells(sheets.whole(lines, heading), heading.delimiter, columns)
    _take(found, reader, each, lambda line: said(min(line, total), total))
    return found


def _cells(
    lines: Iterable[tuple[int, str]], delimiter: str, columns: Sequence[str]
) -> Iterator[tuple[int, Cell, Cell, str]]:
    """(line, code, end, problem) of every line."""
    place = _Place(columns)
    for number, text in lines:
        if len(text) >= LINE_BYTES:  # with its end
            yield number, "", "", "line_too_long"
            continue
        problem = ""
        if '"' in text:
            cells, torn = sheets.split(text, delimiter)
            problem = "line_quotes" if torn else ""
        else:
            cells = text.split(delimiter)
        yield number, *place.of(cells), problem or place.strangers(cells)


class _Place:
    """Where in a row the code and its end are, and where nothing may be."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._code = columns.index(CODE)
        self._end = columns.index(EXPIRES) if EXPIRES in columns else -1
        self._wide = len(columns)
        self._unnamed = [at for at, column in enumerate(columns) if not column]

    def of(self, row: Sequence[Cell]) -> tuple[Cell, Cell]:
        code = row[self._code] if self._code < len(row) else ""
        return code, row[self._end] if 0 <= self._end < len(row) else ""

    def strangers(self, row: Sequence[Cell]) -> str:
        """The reason for which a row with more cells than the heading names cannot be taken."""
        if len(row) <= self._wide and not self._unnamed:
            return ""
        others = [*row[self._wide :], *(row[at] for at in self._unnamed if at < len(row))]
        strange = any(one is not None and str(one).strip() for one in others)
        return "line_cells" if strange else ""


def _of_sheet(rows: Iterator[list[Cell]], today: date, said: Said) -> Lines:
    numbered = enumerate(rows, 1)
    names: list[str] = []
    for _, row in numbered:
        names = ["" if one is None else str(one) for one in row]
        if any(one.strip() for one in names):
            break
    if not any(one.strip() for one in names):
        raise InvalidInput("codes_empty", "the sheet is empty")
    columns = _columns(names)
    place = _Place(columns)
    each = ((number, *place.of(row), place.strangers(row)) for number, row in numbered)
    found = Lines()
    _take(found, _Reader(today), each, lambda line: said(line, 0))
    return found


def _columns(names: Sequence[str]) -> list[str]:
    """What each column is. Raises InvalidInput `codes_heading` when none or several have the codes,
    `codes_columns` for columns that nobody knows: whoever has a password beside each code must not
    find that it was left behind."""
    shown = [sheets.cell(one) for one in names]
    columns = sheets.columns_of(names, HEADINGS)
    strange = [name for name, column in zip(shown, columns, strict=True) if name and not column]
    if columns.count(CODE) != 1 or columns.count(EXPIRES) > 1:
        said = (
            "the first line must name one column of codes (code or 券码), and at most one of days"
        )
        raise InvalidInput("codes_heading", said)  # the line itself may be a code
    if strange:
        told = ", ".join(strange)[:200]
        said = f"columns that nobody knows: {told}; leave the codes (券码) and their end (有效期)"
        raise InvalidInput("codes_columns", said, data={"columns": told})
    return columns


def _take(
    found: Lines,
    reader: _Reader,
    each: Iterable[tuple[int, Cell, Cell, str]],
    said: Callable[[int], None],
) -> None:
    blank: list[int] = []  # those at the end of a file are no lines of it
    codes, lines, days = found.codes, found.lines, found.days
    for number, code, end, problem in each:
        if number % SAID == 0:
            said(number)
        if number > MOST_LINES:
            raise InvalidInput("codes_too_many", f"at most {MOST_LINES} lines")
        if not code and not end and not problem:
            blank.append(number)
            continue
        if blank:
            for one in blank:
                found.refuse(one, "code_blank")
            blank.clear()
        read_code, day, reason = reader.line(code, end)
        if problem or reason:
            found.refuse(number, problem or reason)
        else:
            codes.append(read_code)
            lines.append(number)
            days.append(day)


class _Reader:
    """Reads a code and its end; days are read once, since few are different."""

    def __init__(self, today: date) -> None:
        self._today = today.toordinal()
        self._days: dict[Cell, tuple[int, str]] = {}

    def line(self, code: Cell, end: Cell) -> tuple[str, int, str]:
        """(code, last day, reason); the reason is empty when both can be taken."""
        day = self._days.get(end)
        if day is None:
            day = self._days[end] = self._day(end)
            if len(self._days) > 10 * MOST_DAYS:
                self._days.clear()
        if type(code) is str and _PLAIN.fullmatch(code):
            return code, *day
        read_code, reason = _code(code)
        return read_code, day[0], reason or day[1]

    def _day(self, end: Cell) -> tuple[int, str]:
        last = last_day(end)
        if last is None:
            return 0, ""
        if last == date.min:
            return 0, "expiry_unreadable"
        ordinal = last.toordinal()
        return ordinal, "code_expired" if ordinal < self._today else ""


def _code(code: Cell) -> tuple[str, str]:
    """A code as it was meant, and why it cannot be taken."""
    if code is None:
        return "", "code_blank"
    if isinstance(code, bool | int | float):
        return "", "code_as_number"
    read_code = sheets.cell(code)
    if not read_code:
        return "", "code_blank"
    if _NUMBER.fullmatch(read_code):
        return "", "code_as_number"
    if not LEAST <= len(read_code) <= MOST:
        return "", "code_length"
    return read_code, "" if _CODE.fullmatch(read_code) else "code_characters"


def last_day(end: Cell) -> date | None:
    """The last day on which a code is good; None when it has no end, `date.min` for what is no day.

    A time within the day is the end of the day before: a code is never promised for longer than its
    supplier does.
    """
    if isinstance(end, float) and end.is_integer():
        end = int(end)
    text = sheets.cell("" if end is None or isinstance(end, bool) else str(end))
    if text.lower() in _NO_END:
        return None
    match = _DAY.fullmatch(text) or _COMPACT.fullmatch(text)
    if match is None:
        return date.min
    year, *rest = (one for one in match.groups() if one is not None and one not in "-/.")
    if int(year) >= NEVER_YEAR:
        return None
    month, day, *time = map(int, rest)
    try:
        last = date(int(year), month, day)
    except ValueError:
        return date.min
    whole = not any(time) or time[:2] == [23, 59]
    return last if whole else last - timedelta(days=1)
