"""How often something happened to a customer, by the day.

A count is never added to: the rows of a day are counted anew whenever one comes, and the larger count
stays. So counting twice, or after a kill, changes nothing, and of two who count at once the one whose
row went in last counts them all. What is deleted after its time does not take the counts with it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, tzinfo
from typing import cast

from customers.banks.bank import Bank
from customers.intake.rows import BANK_EVENTS, EVENT_TALLIES, EventRow, TallyRow
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


async def count(bank: Bank, rows: Sequence[EventRow]) -> None:
    """Brings the counts of these joined events' days up to what is there. Safe to repeat."""
    counts = await _counts(bank, {row["bucket"] for row in rows})
    tallies: dict[str, TallyRow] = {}
    for row in rows:
        row_id = tally_id(bank.id, row["cid"], row["name"])
        known = tallies.setdefault(row_id, _none_yet(row_id, row))
        known["days"][str(row["day"])] = counts[row["bucket"]]
        known["first"] = min(known["first"], row["at"])
        known["last"] = max(known["last"], row["at"])
    await _write(bank, list(tallies.values()))


def _none_yet(row_id: str, row: EventRow) -> TallyRow:
    return {
        "_id": row_id,
        "cid": row["cid"],
        "name": row["name"],
        "days": {},
        "first": row["at"],
        "last": row["at"],
        "rev": 1,
    }


async def _counts(bank: Bank, buckets: Iterable[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    wanted = sorted(buckets)
    for start in range(0, len(wanted), BUCKETS_AT_ONCE):
        some = {"bucket": {"$in": wanted[start : start + BUCKETS_AT_ONCE]}}
        found = await bank.db[BANK_EVENTS].find(some, fields={"bucket": 1}, limit=None)
        counts.update(row["bucket"] for row in found)
    return counts


async def _write(bank: Bank, tallies: Sequence[TallyRow]) -> None:
    """Puts the larger counts in; whoever meets somebody who writes the same rows does it again over
    what is there then."""
    left = {one["_id"]: one for one in tallies}
    while left:
        known = cast("dict[str, TallyRow]", await bank.by_id(EVENT_TALLIES, list(left)))
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
    """The row with the larger counts of both; as it was, if that is what it has."""
    days = row["days"] | {day: n for day, n in tally["days"].items() if n > row["days"].get(day, 0)}
    first, last = min(row["first"], tally["first"]), max(row["last"], tally["last"])
    changes = (days, first, last) != (row["days"], row["first"], row["last"])
    return {**row, "days": days, "first": first, "last": last, "rev": row["rev"] + changes}
