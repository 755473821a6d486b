"""The night of RFM: all customers are measured, some at a time, the values that end the fifths are
found, and profiles move to their new fifths.

How far it is stands in the bank's row. What was measured of a part is kept in a row of its own until
all are measured, so that nothing is measured twice, and memory holds three numbers a customer and no
more. Profiles follow the cuts by their source (customers/rfm/profile.py); the night makes those anew
whose fifths differ. A killed night goes on with the part at which it was.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from customers.banks.bank import Bank
from customers.identity.rows import count_customers
from customers.profiles import refreshing
from customers.profiles.source import Source
from customers.rfm import asking, measuring, rows
from customers.rfm.asking import MEASURE, MOVE, RANKED, RANKING
from customers.rfm.cuts import cuts
from customers.rfm.rows import RFM_NIGHTS, RFM_PARTS, NightRow, Ranking
from customers.rules.days import number_of
from customers.rules.tree import mentions
from customers.segments import filling, membership
from customers.segments.judging import Judge
from services.aside import aside
from services.cache import invalidate
from services.queue.retry import FAIL, Retry
from services.store import leases
from services.store.mongo import Doc

LEASE_SECONDS = 60.0
RETRY = Retry(tries=20, first=5.0, most=600.0, then=FAIL)
TURN_SECONDS = 5.0
"""So long it works before it is somebody else's turn."""
SPANS = 20
"""Spans of about 500 customers that are measured as one part."""
HUSHED_SECONDS = 86_400.0
_NUMBER = np.dtype("<i8")


@dataclass(frozen=True)
class Work:
    """What it takes: what profiles are made of, and the rules of segments."""

    sources: Sequence[Source]
    judge: Judge


async def move(bank: Bank, owner: str, row: NightRow, work: Work) -> None:
    """Does some parts of the night, and puts its row back until it is over."""
    if row["customers"] is None and not await _begin(bank, owner, row):
        return
    if await _walk(bank, owner, row, work):
        over = _rank if row["step"] == MEASURE else _end
        await over(bank, owner, row, work)


async def _walk(bank: Bank, owner: str, row: NightRow, work: Work) -> bool:
    """Does the parts of its step that are left, as far as a turn goes; whether all are done, and the
    night is still ours."""
    spans = list(refreshing.spans(bank.id, row["customers"] or 0))
    step, parts = _move, len(spans)
    if row["step"] == MEASURE:
        step, parts = _measure, -(-len(spans) // SPANS)
    until = bank.now() + TURN_SECONDS
    while row["done"] < parts:
        await step(bank, row, spans, work)
        row["done"] += 1
        if not await _hold(bank, owner, row, done=row["done"], changed=row["changed"]):
            return False
        if bank.now() >= until and row["done"] < parts:
            await _put_back(bank, owner, bank.now())
            return False
    return True


async def _begin(bank: Bank, owner: str, row: NightRow) -> bool:
    """Fixes what the night measures by, and in which parts. Without a declaration nothing is
    measured."""
    declared = bank.rfm
    row["customers"] = await count_customers(bank)
    row["next"] = None
    if declared is not None:
        row["next"] = Ranking(
            events=list(declared.events),
            amounts=dict(declared.amounts),
            since=number_of(bank.today()) - declared.days + 1,
            cuts={},
            ranked=0,
            at=0.0,
        )
    row["changed"] = 0
    fields: Doc = {"customers": row["customers"], "next": row["next"], "state": RANKING}
    return await _hold(bank, owner, row, **fields, changed=0)


async def _hold(bank: Bank, owner: str, row: NightRow, **fields: Any) -> bool:
    """Stores how far it is; False when another night was asked for, or somebody else is at it."""
    mine = {"_id": row["_id"], "owner": owner}
    kept = {**fields, "due": bank.now() + LEASE_SECONDS}
    return await bank.db[RFM_NIGHTS].update(mine, {"$set": kept})


async def _put_back(bank: Bank, owner: str, due: float, **fields: Any) -> int:
    return await leases.put_back(
        bank.db[RFM_NIGHTS], owner, [bank.id], due, **{"attempts": 0, **fields}
    )


async def _measure(bank: Bank, row: NightRow, spans: Sequence[tuple[str, str]], work: Work) -> None:
    by = row.get("next")
    if by is None:
        return
    found: list[tuple[int, int, int]] = []
    for span in spans[row["done"] * SPANS : (row["done"] + 1) * SPANS]:
        measured = await measuring.measure(bank, await refreshing.batch_of(bank, span), by)
        found += [(one.r, one.f, one.m) for one in measured.values()]
    part = {"_id": rows.part_id(bank.id, row["turn"], row["done"])}
    values = np.array(found, dtype=_NUMBER).tobytes()
    await bank.db[RFM_PARTS].update(part, {"$set": {"values": values}}, upsert=True)


async def _rank(bank: Bank, owner: str, row: NightRow, work: Work) -> None:
    """Finds where the fifths end, and puts profiles on their way there."""
    live = row.get("next")
    if live is not None:
        measured = await _measured(bank, row)
        ends = await aside(bank.services, lambda: _ends(measured))
        live = {**live, "cuts": ends, "ranked": len(measured), "at": bank.now()}
    if row["quiet"]:
        await _hush(bank, work.judge, bank.now() + HUSHED_SECONDS)
    due = bank.now() + asking.SETTLE_SECONDS
    if await _put_back(bank, owner, due, live=live, next=None, step=MOVE, done=0):
        invalidate(bank.services, rows.cache_key(bank.id))
        await bank.db[RFM_PARTS].delete({})


def _ends(measured: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, list[int]]:
    """Where the fifths of each column end; a second for a million customers."""
    return {name: cuts(measured[:, place].copy()) for place, name in enumerate("rfm")}


async def _measured(bank: Bank, row: NightRow) -> np.ndarray[Any, np.dtype[np.int64]]:
    """All that was measured, a line a customer."""
    parts = []
    for part in range(row["done"]):
        kept = await bank.db[RFM_PARTS].find_one({"_id": rows.part_id(bank.id, row["turn"], part)})
        parts.append(np.frombuffer(kept["values"] if kept else b"", dtype=_NUMBER))
    return np.concatenate([*parts, np.empty(0, dtype=_NUMBER)]).reshape(-1, 3)


async def _move(bank: Bank, row: NightRow, spans: Sequence[tuple[str, str]], work: Work) -> None:
    """Makes the profiles of a part anew whose fifths are others now, and tells who came into a
    segment or left one because of that."""
    span = spans[row["done"]]
    batch = await refreshing.batch_of(bank, span)
    wanted = await measuring.ranks(bank, batch, row.get("live"))
    present = await refreshing.rfm_in(bank, span)
    unlike = {cid for cid in {*wanted, *present} if wanted.get(cid) != present.get(cid)}
    await refreshing.refresh(bank, unlike, work.sources)
    await membership.settle_span(bank, span)
    row["changed"] += len(unlike)


async def _hush(bank: Bank, judge: Judge, due: float) -> None:
    """Has the segments that ask for fifths filled at that time, and nobody told until then."""
    for segment in asking_for_rfm(judge):
        await filling.begin(bank, segment, due=due)


def asking_for_rfm(judge: Judge) -> Collection[str]:
    """The segments whose rules ask for fifths."""
    return [
        segment
        for segment, tree in judge.trees.items()
        if any(kind == "field" and name.startswith("rfm.") for kind, name in mentions(tree))
    ]


async def _end(bank: Bank, owner: str, row: NightRow, work: Work) -> None:
    """The night is over; the next one is due after midnight, as long as the bank declares it."""
    if row["quiet"]:
        await _hush(bank, work.judge, bank.now() + filling.SETTLE_SECONDS)
    fields: Doc = {"state": RANKED, "quiet": False}
    if row.get("live") is None:
        await leases.close(bank.db[RFM_NIGHTS], owner, [row["_id"]], **fields)
        return
    again = {"step": MEASURE, "customers": None, "done": 0, "turn": row["turn"] + 1}
    await _put_back(bank, owner, asking.after_midnight(bank), **fields, **again)


def progress(row: NightRow) -> tuple[str, int, int]:
    """In which step it is, how many of its parts are done, and how many there are; one before it
    begins."""
    if row["customers"] is None:
        return row["step"], 0, 1
    spans = max(1, row["customers"] // refreshing.AT_ONCE)
    return row["step"], row["done"], spans if row["step"] == MOVE else -(-spans // SPANS)
