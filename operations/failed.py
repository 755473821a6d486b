"""Work that failed for good: rows of a job that are not tried any more, until a person has them tried
again. Each kind of row ends after the tries of its policy (services/queue/retry.py), and somebody is
told once a day of each cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict

from customers.banks.bank import Bank
from services.errors import NotFound
from services.store.mongo import Doc
from services.store.rows import Rows

SHOWN, BATCH, PAGE_MOST = 100, 100, 500
"""Rows that a list has, that are made due together, and that one press of the button makes due."""


@dataclass(frozen=True)
class Failures:
    """The rows of one job that failed for good: `query` finds them, `again` is what makes one of them
    wait again."""

    job: str
    rows: Rows
    query: Mapping[str, Any]
    again: Mapping[str, Any]


class Failure(TypedDict):
    """One of them, as people see it. `at` is when it was due last."""

    id: str
    job: str
    what: str
    reason: str
    attempts: int
    at: datetime


async def newest(bank: Bank, kinds: Sequence[Failures], limit: int = SHOWN) -> list[Failure]:
    """What failed of these jobs, newest first."""
    found: list[Failure] = []
    for kind in kinds:
        rows = await bank.db[kind.rows].find(dict(kind.query), sort=[("due", -1)], limit=limit)
        found += [_line(bank, kind, row) for row in rows]
    found.sort(key=lambda line: line["at"], reverse=True)
    return found[:limit]


def _line(bank: Bank, kind: Failures, row: Doc) -> Failure:
    due = float(row.get("due") or 0.0)
    return Failure(
        id=str(row["_id"]),
        job=kind.job,
        what=str(row.get("kind") or ""),
        reason=str(row.get("reason") or "internal"),
        attempts=int(row.get("attempts") or 0),
        at=datetime.fromtimestamp(due, bank.tz),
    )


async def retry(bank: Bank, actor: str, kinds: Sequence[Failures], row_id: str) -> None:
    """Has one row tried again; raises NotFound `work_unknown` when nothing of that id failed."""
    for kind in kinds:
        if await _reopen(bank, kind, [row_id]):
            await _told(bank, actor, kind, row_id, 1)
            return
    raise NotFound("work_unknown", "nothing of that id failed, or it waits again already")


async def retry_some(bank: Bank, actor: str, kinds: Sequence[Failures], limit: int = BATCH) -> int:
    """Has at most `limit` rows tried again, first those that wait the longest; how many. What fails
    again comes after the others."""
    done = 0
    for kind in kinds:
        rows = await bank.db[kind.rows].find(
            dict(kind.query), sort=[("due", 1)], limit=limit - done, fields={"_id": 1}
        )
        if not rows:
            continue
        again = await _reopen(bank, kind, [row["_id"] for row in rows])
        await _told(bank, actor, kind, kind.job, again)
        done += again
        if done >= limit:
            break
    return done


async def count(bank: Bank, kinds: Sequence[Failures]) -> int:
    """How many rows of these jobs failed for good."""
    return sum([await bank.db[kind.rows].count(dict(kind.query)) for kind in kinds])


async def _reopen(bank: Bank, kind: Failures, row_ids: Sequence[str]) -> int:
    wanted = {"_id": {"$in": list(row_ids)}, **kind.query}
    waits = {"open": True, "owner": None, "due": bank.now(), "attempts": 0, "reason": ""}
    return await bank.db[kind.rows].update_many(wanted, {"$set": {**waits, **kind.again}})


async def _told(bank: Bank, actor: str, kind: Failures, subject: str, rows: int) -> None:
    await bank.audit(actor, "work.retried", subject, job=kind.job, rows=rows)
    bank.signal(kind.job)
