"""How a sync goes, for the console and the command line: progress, errors, and what the last
comparisons found."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict

from customers.banks.bank import Bank
from customers.identity.resolution import mask_id
from customers.wecom_mirror import findings
from operations.sync import rows, run
from operations.sync.rows import KEPT_SYNCS, PartCounts, SyncRow

MOST_ERRORS = 200
MOST_DIFFERENCES = 200
LOOK_BACK = 5
"""So many earlier syncs say how many objects a part may have."""


class Line(TypedDict):
    """One part of a sync. `total` is None while nobody knows it, `share` from 0 to 1, `rate` in
    objects a second."""

    name: str
    state: str
    total: int | None
    share: float
    rate: float
    done: int
    new: int
    changed: int
    gone: int
    errors: int


class Progress(TypedDict):
    """The newest sync; `started` and `finished` in seconds UTC."""

    number: int
    kind: str
    by: str
    mend: bool
    state: str
    reason: str
    started: float
    finished: float | None
    open: bool
    part: str
    parts: list[Line]
    share: float


class Error(TypedDict):
    """What could not be brought in; `id` is what a retry takes."""

    id: str
    part: str
    object: str
    code: str
    attempts: int
    last: datetime


class Difference(TypedDict):
    """What a comparison found."""

    object: str
    part: str
    kind: str
    about: str
    cid: str
    mended: bool


async def progress(bank: Bank) -> Progress | None:
    """The newest sync with a line for each of its parts; None when there never was one."""
    row = await run.latest(bank)
    if row is None:
        return None
    expected = await _expected(bank, row["number"])
    lines = [_line(bank, row, name, expected.get(name)) for name in row["plan"]]
    finished = row["finished_at"]
    return Progress(
        number=row["number"],
        kind=row["kind"],
        by=row["by"],
        mend=row["mend"],
        state=row["state"],
        reason=row["reason"],
        started=row["started_at"].timestamp(),
        finished=finished.timestamp() if finished is not None else None,
        open=row["open"],
        part=row["part"],
        parts=lines,
        share=sum(line["share"] for line in lines) / len(lines),
    )


async def _expected(bank: Bank, number: int) -> dict[str, int]:
    """How many objects each part had when it was last walked to its end: what may be expected of
    this one."""
    found: dict[str, int] = {}
    for row in await rows.newest(bank, LOOK_BACK, before=number):
        for name, counts in row["counts"].items():
            if counts["finished_at"] and not counts.get("left_out"):
                found.setdefault(name, counts["done"])
    return found


def _line(bank: Bank, row: SyncRow, name: str, expected: int | None) -> Line:
    counts = row["counts"].get(name)
    if counts is None:
        state = ("running" if row["part"] == name else "waiting") if row["open"] else "cancelled"
        return _line_of(rows.fresh_counts(bank.utc()), name, state, expected, 0.0, 0.0)
    total = counts["total"] if counts["total"] is not None else expected
    state, share = _state_and_share(row, counts, total)
    until = counts["finished_at"] or row["finished_at"] or bank.utc()
    seconds = (until - counts["started_at"]).total_seconds()
    rate = counts["done"] / seconds if seconds > 0 else 0.0
    return _line_of(counts, name, state, total, share, rate)


def _state_and_share(row: SyncRow, counts: PartCounts, total: int | None) -> tuple[str, float]:
    if counts.get("left_out"):
        return "left_out", 1.0
    if counts["finished_at"]:
        return "done", 1.0
    share = min(0.99, counts["done"] / total) if total else 0.0
    return ("running" if row["open"] else "cancelled"), share


def _line_of(
    counts: PartCounts, name: str, state: str, total: int | None, share: float, rate: float
) -> Line:
    return Line(
        name=name,
        state=state,
        total=total,
        share=share,
        rate=rate,
        done=counts["done"],
        new=counts["new"],
        changed=counts["changed"],
        gone=counts["gone"],
        errors=counts["errors"],
    )


async def errors(bank: Bank) -> list[Error]:
    """What could not be brought in, newest first; customers' ids masked."""
    return [
        Error(
            id=row["_id"].split(":", 1)[1],
            part=row["part"],
            object=_shown(findings.object_of_error(bank, row), private=row["private"]),
            code=row["code"],
            attempts=row["attempts"],
            last=row["last"],
        )
        for row in await findings.errors(bank, MOST_ERRORS)
    ]


async def differences(bank: Bank) -> tuple[int | None, list[Difference]]:
    """The number of the newest comparison, and what it found."""
    nights = (row for row in await rows.newest(bank, KEPT_SYNCS) if row["kind"] == run.NIGHTLY)
    newest = next(nights, None)
    if newest is None:
        return None, []
    return newest["number"], [
        Difference(
            object=_shown(findings.object_of_difference(bank, row), private=row["private"]),
            part=row["part"],
            kind=row["kind"],
            about=row["about"],
            cid=row["cid"],
            mended=row["mended"],
        )
        for row in await findings.differences(bank, newest["number"], MOST_DIFFERENCES)
    ]


def _shown(text: str, *, private: bool) -> str:
    return mask_id(text) if private else text
