"""Waiting for customers who are not known yet.

What waits is in the store before its customer is waited for, and he is looked for again after that:
so one who became known in between is found by whoever made him known or by whoever waits. The row
that waits goes when nothing is left that waits under it, unless somebody woke it in that moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from customers.banks.bank import Bank
from customers.identity import awaited
from customers.identity.awaited import AWAITED, WaitRow
from customers.intake import joining
from customers.intake.joining import Found
from services.store.mongo import Doc

FIRST_LOOK = 60.0
"""Seconds until somebody who waits is looked for again by himself."""
EACH_LOOK, LONGEST = 8.0, 86_400.0
"""The pause grows so many times with each look, up to so many seconds."""


async def wait_for(bank: Bank, waiting: Mapping[str, str], found: Mapping[str, Found]) -> None:
    """Has these customers waited for (the row, and the kind of id), under whose rows there is
    something that waits; `found` is what was known before. Whoever became known since is joined at
    once."""
    if not waiting:
        return
    rows = [
        _row(one, by, bank.now() + FIRST_LOOK, found.get(one, Found()).reason)
        for one, by in waiting.items()
    ]
    there = await bank.db[AWAITED].insert_new(cast("list[Doc]", rows))
    await _open_again(bank, [rows[place] for place in there])
    await _look_again(bank, rows)


async def _look_again(bank: Bank, rows: list[WaitRow]) -> None:
    """Wakes the rows of those who became known meanwhile; one that is gone by now is put back."""
    since = await joining.find(bank, [row["_id"] for row in rows])
    known = [row for row in rows if (who := since.get(row["_id"])) is not None and who.cid]
    if known and await awaited.wake(bank, [row["_id"] for row in known]) < len(known):
        now = bank.now()
        await bank.db[AWAITED].insert_new([cast("Doc", {**row, "due": now}) for row in known])


async def _open_again(bank: Bank, rows: list[WaitRow]) -> None:
    """A row that was kept for a clerk's choice waits again where the choice holds no more."""
    closed = {"_id": {"$in": [row["_id"] for row in rows]}, "open": False}
    if rows:
        waits = {"open": True, "owner": None, "attempts": 0, "due": bank.now() + FIRST_LOOK}
        await bank.db[AWAITED].update_many(closed, {"$set": waits, "$unset": {"cid": ""}})


def _row(row_id: str, by: str, due: float, reason: str) -> WaitRow:
    row: WaitRow = {
        "_id": row_id,
        "by": by,
        "since": due - FIRST_LOOK,
        "open": True,
        "due": due,
        "owner": None,
        "attempts": 0,
    }
    if reason:
        row["reason"] = reason
    return row


def next_look(now: float, attempts: int) -> float:
    """When somebody who is still unknown after so many looks is looked for again; many rows have
    the same moment, so that they are put back together."""
    pause = min(LONGEST, FIRST_LOOK * EACH_LOOK ** min(attempts, 8))
    return (now + pause) // FIRST_LOOK * FIRST_LOOK
