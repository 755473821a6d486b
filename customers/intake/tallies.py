"""How often something happened to a customer, by the day, and what it came to.

A count is never added to: the rows of a day are counted anew whenever one comes, and the larger count
stays. So counting twice, or after a kill, changes nothing, and of two who count at once the one whose
row went in last counts them all. What is deleted after its time does not take the counts with it.
Sums are those of the rows that were counted, and are written together with the count or not at all:
a sum says nothing of which is the later one, since amounts may be below zero.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import cast

from customers.banks.bank import Bank
from customers.intake.rows import BANK_EVENTS, EVENT_TALLIES, EventRow, TallyRow, tally_of
from services import ids
from services.store.mongo import Doc

BUCKETS_AT_ONCE = 20
"""So many buckets are asked for together: the embedded store compares each row with each of them."""
_EPOCH = datetime(1970, 1, 1).toordinal()  # noqa: DTZ001  # a day, of no zone


def day_of(at: float, zone: tzinfo) -> int:
    """The zone's day of a moment (seconds UTC), counted from 1970."""
    return datetime.fromtimestamp(at, zone).toordinal() - _EPOCH


def bucket_of(cid: str, name: str, day: int) -> str:
    """What a customer's events of one name and day have in common."""
    return f"{cid}|{name}|{day}"


def tally_id(tenant: str, cid: str, name: str) -> str:
    return ids.tenant_id(tenant, "tally", cid, name)


@dataclass
class _Day:
    """What happened on a day: how often, and what each amount came to."""

    n: int = 0
    sums: Counter[str] = field(default_factory=Counter)


async def count(bank: Bank, rows: Sequence[EventRow]) -> None:
    """Brings the counts of these joined events' days up to what is there. Safe to repeat."""
    counts = await _counts(bank, {row["bucket"] for row in rows})
    tallies: dict[str, TallyRow] = {}
    for row in rows:
        row_id = tally_id(bank.id, row["cid"], row["name"])
        known = tallies.setdefault(row_id, _none_yet(row_id, row))
        day, counted = str(row["day"]), counts[row["bucket"]]
        known["days"][day] = counted.n
        for key, fen in counted.sums.items():
            known["sums"].setdefault(key, {})[day] = fen
        known["first"] = min(known["first"], row["at"])
        known["last"] = max(known["last"], row["at"])
    await _write(bank, list(tallies.values()))


def _none_yet(row_id: str, row: EventRow) -> TallyRow:
    return {
        "_id": row_id,
        "cid": row["cid"],
        "name": row["name"],
        "days": {},
        "sums": {},
        "first": row["at"],
        "last": row["at"],
        "rev": 1,
    }


async def _counts(bank: Bank, buckets: Iterable[str]) -> defaultdict[str, _Day]:
    counts: defaultdict[str, _Day] = defaultdict(_Day)
    wanted = sorted(buckets)
    for start in range(0, len(wanted), BUCKETS_AT_ONCE):
        some = {"bucket": {"$in": wanted[start : start + BUCKETS_AT_ONCE]}}
        fields = {"bucket": 1, "amounts": 1}
        for row in await bank.db[BANK_EVENTS].find(some, fields=fields, limit=None):
            counts[row["bucket"]].n += 1
            counts[row["bucket"]].sums.update(row.get("amounts", {}))
    return counts


async def _write(bank: Bank, tallies: Sequence[TallyRow]) -> None:
    """Puts the larger counts in; whoever meets somebody who writes the same rows does it again over
    what is there then."""
    left = {one["_id"]: one for one in tallies}
    while left:
        found = await bank.by_id(EVENT_TALLIES, list(left))
        known = {row_id: tally_of(row) for row_id, row in found.items()}
        raised = [(_raised(row, left[row_id]), row["rev"]) for row_id, row in known.items()]
        new = [one for row_id, one in left.items() if row_id not in known]
        met = await _put_in(bank, new, [(one, rev) for one, rev in raised if one["rev"] > rev])
        left = {row_id: left[row_id] for row_id in met}


async def _put_in(
    bank: Bank, new: Sequence[TallyRow], raised: Sequence[tuple[TallyRow, int]]
) -> list[str]:
    """Writes new rows, and those that had that `rev`; which rows somebody else may have written
    first."""
    rows = bank.db[EVENT_TALLIES]
    there, replaced = await asyncio.gather(
        rows.insert_new(cast("Sequence[Doc]", new)),
        rows.replace_each(cast("Sequence[tuple[Doc, int]]", raised), "rev"),
    )
    met = [new[place]["_id"] for place in there]
    return met + ([one["_id"] for one, _ in raised] if replaced < len(raised) else [])


def _raised(row: TallyRow, tally: TallyRow) -> TallyRow:
    """The row with the larger counts of both, each with its sums; as it was, if that is what it
    has."""
    larger = {day: n for day, n in tally["days"].items() if n > row["days"].get(day, 0)}
    first, last = min(row["first"], tally["first"]), max(row["last"], tally["last"])
    changes = bool(larger) or (first, last) != (row["first"], row["last"])
    sums = {key: dict(days) for key, days in row["sums"].items()}
    for key, days in tally["sums"].items():
        sums.setdefault(key, {}).update({day: fen for day, fen in days.items() if day in larger})
    counts = {"days": row["days"] | larger, "sums": sums, "first": first, "last": last}
    return cast("TallyRow", {**row, **counts, "rev": row["rev"] + changes})
