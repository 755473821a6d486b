"""The rows of sync: one for each sync, which says how far it is."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NotRequired, TypedDict, cast

from customers.banks.bank import Bank
from services.store.rows import Rows

SYNCS = Rows(
    "syncs",
    indexes=(
        (("tenant", 1), ("open", 1), ("due", 1)),
        (("tenant", 1), ("number", -1)),
    ),
    sealed=("cursor",),
)
"""A sync, and how far it is."""

KEPT_SYNCS = 30
RUNNING, WAITING, DONE, CANCELLED = "running", "waiting", "done", "cancelled"


class PartCounts(TypedDict):
    """How far a part is: objects `done` out of `total` if that is known, and how many of them were
    new, changed, gone, or could not be brought in. `left_out` when the part was given up."""

    started_at: datetime
    finished_at: datetime | None
    done: int
    total: int | None
    new: int
    changed: int
    gone: int
    errors: int
    left_out: NotRequired[bool]


class SyncRow(TypedDict):
    """A sync. `plan` are its parts in their order, `part` is the present one (empty at the end), and
    `cursor`, sealed, where it is in it; `tries` failed there. `due` in seconds UTC."""

    _id: str
    number: int
    kind: str
    by: str
    mend: bool
    plan: list[str]
    state: str
    reason: str
    part: str
    cursor: bytes | None
    tries: int
    counts: dict[str, PartCounts]
    started_at: datetime
    finished_at: datetime | None
    open: bool
    due: float
    owner: str | None
    attempts: int


def fresh_counts(now: datetime) -> PartCounts:
    """The counts of a part that begins now."""
    return PartCounts(
        started_at=now,
        finished_at=None,
        done=0,
        total=None,
        new=0,
        changed=0,
        gone=0,
        errors=0,
    )


def row_id(bank: Bank, number: int) -> str:
    """The `_id` of the sync with that number: they are in order, and two of one number are one."""
    return f"{bank.id}:{number:08d}"


async def newest(bank: Bank, limit: int = 1, *, before: int | None = None) -> list[SyncRow]:
    """The newest syncs, newest first; of those with a number less than `before`, if given."""
    query = {} if before is None else {"number": {"$lt": before}}
    found = await bank.db[SYNCS].find(query, sort=[("number", -1)], limit=limit)
    return cast("list[SyncRow]", found)


async def insert(bank: Bank, row: SyncRow) -> bool:
    """False when there is a sync of that number already."""
    return not await bank.db[SYNCS].insert_new([{**row}])


async def cancel(bank: Bank, row: SyncRow) -> bool:
    """Ends a sync; False when it is over."""
    ended = {"open": False, "owner": None, "state": CANCELLED, "finished_at": bank.utc()}
    running = {"_id": row["_id"], "open": True}
    return await bank.db[SYNCS].update(running, {"$set": ended})


async def save(bank: Bank, row: SyncRow, owner: str, fields: dict[str, Any]) -> bool:
    """Changes a sync that runs and is `owner`'s; False when it is not."""
    ours = {"_id": row["_id"], "owner": owner, "open": True}
    return await bank.db[SYNCS].update(ours, {"$set": fields})


async def renew(bank: Bank, row: SyncRow, owner: str, seconds: float) -> None:
    """Keeps the lease of `owner` for `seconds` from now, if it is still his."""
    ours = {"_id": row["_id"], "owner": owner}
    await bank.db[SYNCS].update(ours, {"$set": {"due": bank.now() + seconds}})


async def forget_old(bank: Bank, number: int) -> None:
    """Syncs of long before that number are of no use any more."""
    before = row_id(bank, max(0, number - KEPT_SYNCS))
    await bank.db[SYNCS].delete({"_id": {"$lt": before}})
