"""Who is waited for: ids that somebody told something of, and that lead to no customer yet.

A row has the id's blind index in its `_id`. Whoever makes an id known has its row looked at at once
(`known`), behind the answer that he gives; a row that nobody wakes is looked at again by itself, more
and more seldom, so that a lost wake-up costs time and loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NotRequired, TypedDict, cast

from customers.banks.bank import IDS_AT_ONCE, Bank
from customers.banks.tasks import JOIN_WAITING
from customers.identity.sealing import identity_id, phone_index
from services.store import leases
from services.store.mongo import Doc
from services.store.rows import Rows

PHONE = "phone"
FIRST_LOOK = 60.0
"""Seconds until somebody who waits is looked for again by himself."""
EACH_LOOK, LONGEST = 8.0, 86_400.0
"""The pause grows so many times with each look, up to so many seconds."""


class WaitRow(TypedDict):
    """Somebody who is waited for. `due` is in seconds UTC, `looks` how often nobody was found since;
    `reason` is why he is not found although
    his id is known, and `cid` whom a clerk has chosen then."""

    _id: str
    by: str
    since: float
    open: bool
    due: float
    owner: str | None
    attempts: int
    looks: NotRequired[int]
    reason: NotRequired[str]
    cid: NotRequired[str]


AWAITED = Rows(
    "awaited",
    indexes=((("tenant", 1), ("open", 1), ("due", 1)), (("tenant", 1), ("reason", 1))),
)
"""Ids that the bank's systems named, of customers who are not known yet."""


def wait_id(bank: Bank, kind: str, value: str) -> str:
    """The row that waits for the customer with this id, or with this phone (in E.164)."""
    if kind == PHONE:
        return f"{bank.id}:{PHONE}:{phone_index(bank, value)}"
    return identity_id(bank, kind, value)


def known(bank: Bank, wanted: Iterable[str]) -> None:
    """Somebody with these ids is known from now on: what waits for him is joined soon. Returns at
    once, and costs nothing where no system of the bank's sends anything."""
    if bank.systems:
        bank.services.groups.spawn(_wake(bank, list(wanted)))


async def _wake(bank: Bank, wanted: list[str]) -> None:
    found = await bank.read(AWAITED, wanted)
    if found:
        await wake(bank, found)


async def wake(bank: Bank, rows: Iterable[str], **fields: object) -> int:
    """Has these rows looked at now, and told `fields`; how many there are."""
    told: Doc = {"$set": {"due": bank.now(), **fields}}
    woken = await _change(bank, list(rows), {"open": True}, told)
    bank.signal(JOIN_WAITING)
    return woken


async def _change(bank: Bank, rows: Sequence[str], which: Doc, change: Doc) -> int:
    """Changes those of these rows that fit; how many did."""
    changed = 0
    for start in range(0, len(rows), IDS_AT_ONCE):
        some: Doc = {"_id": {"$in": list(rows[start : start + IDS_AT_ONCE])}, **which}
        changed += await bank.db[AWAITED].update_many(some, change)
    return changed


def row_of(row_id: str, by: str, now: float, reason: str = "") -> WaitRow:
    """The row of somebody who is waited for from now on (seconds UTC)."""
    row: WaitRow = {
        "_id": row_id,
        "by": by,
        "since": now,
        "open": True,
        "due": now + FIRST_LOOK,
        "owner": None,
        "attempts": 0,
    }
    if reason:
        row["reason"] = reason
    return row


async def add(bank: Bank, rows: Sequence[WaitRow]) -> None:
    """Puts in rows that are not there. One that was kept closed for a clerk's choice waits again,
    since whoever asks for it has found that the choice holds no more."""
    there = await bank.db[AWAITED].insert_new(cast("Sequence[Doc]", rows))
    known = await bank.by_id(AWAITED, [rows[place]["_id"] for place in there], {"open": 1})
    closed = [row_id for row_id, row in known.items() if not row["open"]]
    waits: Doc = {"open": True, "owner": None, "attempts": 0, "looks": 0}
    waits["due"] = bank.now() + FIRST_LOOK
    await _change(bank, closed, {"open": False}, {"$set": waits, "$unset": {"cid": ""}})


async def find(bank: Bank, wanted: Sequence[str]) -> dict[str, WaitRow]:
    """These rows, by their ids; any number of them."""
    return cast("dict[str, WaitRow]", await bank.by_id(AWAITED, wanted))


async def with_reason(bank: Bank, reason: str, limit: int) -> list[WaitRow]:
    """Those who wait for that reason and for a clerk's choice, the longest first."""
    rows = await bank.db[AWAITED].find({"reason": reason}, sort=[("since", 1)], limit=limit)
    return [row for row in cast("list[WaitRow]", rows) if row["open"] and "cid" not in row]


async def count(bank: Bank) -> int:
    """How many are waited for."""
    return await bank.db[AWAITED].count({"open": True})


async def look_later(bank: Bank, owner: str, row: WaitRow, reason: str) -> None:
    """Nobody was found under `owner`'s row: it is looked at again, later each time. Many rows have
    the same moment, so that they are put back together."""
    pause = min(LONGEST, FIRST_LOOK * EACH_LOOK ** min(row.get("looks", 0) + 1, 8))
    due = (bank.now() + pause) // FIRST_LOOK * FIRST_LOOK
    later = {"owner": None, "due": due, "reason": reason, "attempts": 0}
    again: Doc = {"$set": later, "$inc": {"looks": 1}}
    await bank.change(AWAITED, row["_id"], again, owner=owner)


async def go_on(bank: Bank, owner: str, row: WaitRow) -> None:
    """More waits under `owner`'s row than was joined: it is looked at again at once."""
    await leases.put_back(bank.db[AWAITED], owner, [row["_id"]], bank.now(), attempts=0)


async def end(bank: Bank, owner: str, row: WaitRow) -> None:
    """Nobody is waited for any more under `owner`'s row: it goes, or is kept closed with a clerk's
    choice. Not if somebody woke it since it was claimed."""
    ours: Doc = {"_id": row["_id"], "owner": owner, "due": row["due"]}
    if "cid" in row:
        await bank.db[AWAITED].update(ours, {"$set": {"open": False, "owner": None}})
    else:
        await bank.db[AWAITED].delete(ours)
