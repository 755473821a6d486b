"""A segment is filled: after its rule has changed, and after midnight where the day is part of it,
all customers are looked through, some at a time, through the store's filter. Cut short, it goes on
with the part at which it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import cast

from customers.banks.bank import Bank
from customers.identity.rows import count_customers
from customers.profiles import refreshing
from customers.profiles.source import Source
from customers.rules.days import number_of
from customers.rules.filters import to_filter
from customers.rules.tree import windowed
from customers.segments import membership, rows
from customers.segments.judging import Judge
from customers.segments.rows import SEGMENT_FILLS, SEGMENT_TAKEN, FillRow
from services import ids
from services.queue.retry import FAIL, Retry
from services.store import leases
from services.store.mongo import Doc

TASK = "customers.fill_segments"
FILLING, FILLED = "filling", "filled"
LEASE_SECONDS = 60.0
RETRY = Retry(tries=20, first=5.0, most=600.0, then=FAIL)
TURN_SECONDS = 5.0
"""So long it looks through customers before it is somebody else's turn."""
SETTLE_SECONDS = 8.0
"""So long after a change nobody judges by the rule of before any more."""
AFTER_MIDNIGHT = 5.0


async def begin(bank: Bank, segment: str, due: float | None = None) -> None:
    """Asks for the segment to be filled, since what its rule says changes now; what is under way is
    over. Until it is filled nobody is told of who comes and goes. `due` is in seconds UTC."""
    fields = {
        "segment": segment,
        "quiet": True,
        "customers": None,
        "done": 0,
        "changed": 0,
        "open": True,
        "due": bank.now() + SETTLE_SECONDS if due is None else due,
        "owner": None,
        "attempts": 0,
        "state": FILLING,
    }
    row = {"_id": rows.segment_id(bank.id, segment)}
    await bank.db[SEGMENT_FILLS].update(row, {"$set": fields}, upsert=True)
    bank.signal(TASK)


async def fill_of(bank: Bank, segment: str) -> FillRow | None:
    row = await bank.db[SEGMENT_FILLS].find_one({"_id": rows.segment_id(bank.id, segment)})
    return cast("FillRow | None", row)


def progress(row: FillRow) -> tuple[int, int]:
    """How many parts of all are looked through, and how many there are; one before it begins."""
    if row["customers"] is None:
        return 0, 1
    return row["done"], max(1, row["customers"] // refreshing.AT_ONCE)


@dataclass(frozen=True)
class Filling:
    """What it takes to fill segments: who judges, and what profiles are made of."""

    judge: Judge
    sources: Sequence[Source]


async def fill(bank: Bank, owner: str, row: FillRow, work: Filling) -> None:
    """Fills some parts of the segment, and puts its row back until all are done."""
    until = bank.now() + TURN_SECONDS
    customers = row["customers"] if row["customers"] is not None else await count_customers(bank)
    spans = list(refreshing.spans(bank.id, customers))
    done, changed = row["done"], row["changed"]
    while done < len(spans):
        changed += await _fill_span(bank, row["segment"], spans[done], work)
        done += 1
        if not await _hold(bank, owner, row, customers=customers, done=done, changed=changed):
            return
        if bank.now() >= until and done < len(spans):
            await leases.put_back(
                bank.db[SEGMENT_FILLS], owner, [row["_id"]], bank.now(), attempts=0
            )
            return
    await _end(bank, owner, row, work.judge)


async def _hold(bank: Bank, owner: str, row: FillRow, **fields: int) -> bool:
    """Stores how far it is; False when the rule was changed again, or somebody else is at it."""
    mine = {"_id": row["_id"], "owner": owner}
    kept = {**fields, "due": bank.now() + LEASE_SECONDS}
    return await bank.db[SEGMENT_FILLS].update(mine, {"$set": kept})


async def _end(bank: Bank, owner: str, row: FillRow, judge: Judge) -> None:
    """The segment is filled; where the day is part of its rule, it is due after midnight."""
    tree = judge.trees.get(row["segment"])
    fields: Doc = {"quiet": False, "state": FILLED, "attempts": 0}
    again = tree is not None and row["segment"] not in judge.frozen and windowed(tree)
    filled = bank.db[SEGMENT_FILLS]
    if again:
        fields |= {"done": 0, "changed": 0, "customers": None}
        await leases.put_back(filled, owner, [row["_id"]], _after_midnight(bank), **fields)
    else:
        await leases.close(filled, owner, [row["_id"]], **fields)


def _after_midnight(bank: Bank) -> float:
    tomorrow = bank.today() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), bank.tz).timestamp() + AFTER_MIDNIGHT


async def _fill_span(bank: Bank, segment: str, span: tuple[str, str], work: Filling) -> int:
    """Brings those of a part up to the rule who are in the segment and should not be, or should be
    and are not; how many they were."""
    present = await refreshing.matching(bank, span, {"segments": segment})
    unlike: set[str] = set()
    if segment not in work.judge.broken:
        met = await _meeting(bank, segment, span, work.judge)
        unlike = met ^ present
        if segment in work.judge.frozen:
            await _take(bank, segment, met, work.judge.frozen[segment])
        await refreshing.refresh(bank, unlike, work.sources)
    await membership.settle_span(bank, span)
    return len(unlike)


async def _meeting(bank: Bank, segment: str, span: tuple[str, str], judge: Judge) -> set[str]:
    tree = judge.trees.get(segment)
    if tree is None:
        return set()
    return await refreshing.matching(bank, span, to_filter(tree, number_of(bank.today())))


async def _take(bank: Bank, segment: str, cids: set[str], version: int) -> None:
    """The frozen segment is of these, in this version of it."""
    if not cids:
        return
    taken = [
        (
            {"_id": ids.tenant_id(bank.id, "segment_taken", segment, cid)},
            {"$set": {"segment": segment, "cid": cid, "version": version}},
        )
        for cid in sorted(cids)
    ]
    await bank.db[SEGMENT_TAKEN].bulk_update(taken, upsert=True)
