"""Files of events as they come from systems that are not well: what is good in them, and what is wrong with the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import orjson

from config.bounds import INTAKE_LINE_BYTES
from tests.support.bank_systems import moment

Refused = tuple[int, str, str]
"""A line's number, the code, and the field."""
HEADING = "id,name,at,number,amount,channel,备注\r\n"
AT, FUTURE = moment(3600), moment(-86_400)


@dataclass
class Truth:
    """What is in a file: the ids of good events, how many lines are good, and the others in order."""

    good: set[str] = field(default_factory=set)
    accepted: int = 0
    refused: list[Refused] = field(default_factory=list)
    lines: int = 0

    def take(self, event: str) -> None:
        self.good.add(event)
        self.accepted += 1

    def refuse(self, code: str, where: str = "") -> None:
        self.refused.append((self.lines + 1, code, where))


def event_id(number: int) -> str:
    return f"broken-{number}"


def who(number: int) -> str:
    return f"C{number % 1_000:04d}"


def json_lines(path: Path, number: int) -> Truth:
    """So many lines of JSONL in UTF-8, of which eight of fifty are wrong in ways of their own; the last is cut off."""
    truth = Truth()
    with path.open("wb") as file:
        for n in range(number - 1):
            file.write(_json_line(n, truth))
            truth.lines += 1
        truth.refuse("line_unreadable")
        file.write(b'{"id":"broken-cut-off","name":"app.log')
        truth.lines += 1
    return truth


def _item(event: str, customer: str, name: str = "payment.made", at: str = AT, channel: str = "柜台") -> bytes:
    data = {"amount": 1250, "channel": channel}
    item = {"id": event, "name": name, "at": at, "customer": {"number": customer}, "data": data}
    return orjson.dumps(item) + b"\n"


def _json_line(n: int, truth: Truth) -> bytes:
    event, customer = event_id(n), who(n)
    wrong: dict[int, tuple[str, str, Callable[[], bytes]]] = {
        1: ("line_unreadable", "", lambda: _item(event, customer)[:-4] + b"\n"),
        2: ("line_unreadable", "", lambda: _item(event, customer).replace(b"-", b"\0", 1)),
        3: ("line_encoding", "", lambda: _item(event, customer).decode().encode("gb18030")),
        4: ("at_future", "at", lambda: _item(event, customer, at=FUTURE)),
        5: ("data_wrong", "data.channel", lambda: _item(event, customer, channel="x" * 10_000)),
        6: ("line_too_long", "", lambda: _item(event, customer, channel="长" * 10_000)),
        7: ("event_undeclared", "name", lambda: _item(event, customer, name="never.declared")),
        8: ("id_wrong", "id", lambda: _item("", customer)),
    }
    kind = n % 50
    if kind in wrong:
        code, where, line = wrong[kind]
        truth.refuse(code, where)
        return line()
    if kind == 9:
        return b"\r\n"
    event = event_id(n - 30) if kind == 45 else event
    truth.take(event)
    return _item(event, customer)


def table(path: Path, numbers: range, encoding: str, *, mark: bool = False) -> Truth:
    """A table of events in that encoding, of which eight of twenty-five lines are unlike the others; the last is cut
    off."""
    truth = Truth(lines=1)
    with path.open("wb") as file:
        file.write((f"\ufeff{HEADING}" if mark else HEADING).encode(encoding))
        for n in numbers:
            _write_row(file, n, encoding, truth)
        truth.refuse("at_wrong", "at")
        file.write("broken-cut-off,payment.made,2026-1".encode(encoding))
        truth.lines += 1
    return truth


def _write_row(file: BinaryIO, n: int, encoding: str, truth: Truth) -> None:
    event, customer = event_id(n), who(n)
    begin = f"{event},payment.made,{AT},{customer}"
    wrong = {
        1: ("line_unreadable", "", f'{begin},12.50,"柜台,\r\n'),
        2: ("field_type", "amount", f"{begin},many,柜台,\r\n"),
        3: ("at_future", "at", f"{event},payment.made,{FUTURE},{customer},12.50,柜台,\r\n"),
        4: ("id_wrong", "id", f"{event}\0,payment.made,{AT},{customer},12.50,柜台,\r\n"),
        5: ("line_unreadable", "", f"{begin},12.50,柜台,,一格太多\r\n"),
    }
    good = {
        6: f'{begin},12.50,柜台,"第一行\r\n第二行, 有""引号""\r\n\r\n最后一行"\r\n',
        7: f'{begin},12.50,"柜台\n手机",\r\n',
        8: f"{begin},12.50,柜台,{'x' * 10_000}\r\n",
    }
    kind = n % 25
    if kind in wrong:
        code, where, text = wrong[kind]
        truth.refuse(code, where)
    else:
        text = good.get(kind, f"{begin},12.50,柜台,上海\r\n")
        if len(text.encode(encoding)) > INTAKE_LINE_BYTES:
            truth.refuse("line_too_long")
        else:
            truth.take(event)
    file.write(text.encode(encoding))
    truth.lines += text.count("\n")


def in_encodings(folder: Path, numbers: range) -> Iterator[tuple[Path, Truth]]:
    """Tables of the same events, as spreadsheets and exports write them."""
    for encoding, mark in (("gb18030", False), ("gb18030", True), ("utf-16-le", True), ("utf-16-be", False)):
        path = folder / f"{encoding}-{mark}.csv"
        yield path, table(path, numbers, encoding, mark=mark)
