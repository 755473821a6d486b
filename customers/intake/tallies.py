"""How often something happened to a customer, by the day, and what it came to.

A count is never added to: the rows of a day are counted anew whenever one comes, and the larger count
stays. So counting twice, or after a kill, changes nothing, and of two who count at once the one whose
row went in last counts them all. What is deleted after its time does not take the counts with it.
Sums are those of the rows that were counted, and are written together with the count or not at all:
a sum says nothing of which is the later one, since amounts may be below zero.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any, cast

from customers.banks.bank import IDS_AT_ONCE, Bank
from customers.intake.rows import BANK_EVENTS, EVENT_TALLIES, EventRow, TallyRow
from services import ids
from services.store.mongo import Doc

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
        known = tallies.get(row_id)
        if known is None:
            known = tallies[row_id] = {
                "_id": row_id,
                "cid": row["cid"],
                "name": row["name"],
                "days": {},
                "first": row["at"],
                "last": row["at"],
            }
        day, counted = str(row["day"]), counts[row["bucket"]]
        known["days"][day] = counted.n
        for key, fen in counted.sums.items():
            known.setdefault("sums", {}).setdefault(key, {})[day] = fen
        known["first"] = min(known["first"], row["at"])
        known["last"] = max(known["last"], row["at"])
    await _write(bank, list(tallies.values()))


async def _counts(bank: Bank, buckets: Iterable[str]) -> defaultdict[str, _Day]:
    counts: defaultdict[str, _Day] = defaultdict(_Day)
    wanted = sorted(buckets)
    for start in range(0, len(wanted), IDS_AT_ONCE):
        some = {"bucket": {"$in": wanted[start : start + IDS_AT_ONCE]}}
        fields = {"bucket": 1, "amounts": 1}
        for row in await bank.db[BANK_EVENTS].find(some, fields=fields, limit=None):
            counts[row["bucket"]].n += 1
            counts[row["bucket"]].sums.update(row.get("amounts", {}))
    return counts


async def _write(bank: Bank, tallies: Sequence[TallyRow]) -> None:
    rows = bank.db[EVENT_TALLIES]
    there = await rows.insert_new(cast("Sequence[Doc]", tallies))
    await rows.bulk_update([one for place in sorted(there) for one in _raise(tallies[place])])


def _raise(tally: TallyRow) -> Iterator[tuple[Doc, Any]]:
    """Raises the counts; those of days with sums only together with these."""
    summed = {day for days in tally.get("sums", {}).values() for day in days}
    days = {f"days.{day}": n for day, n in tally["days"].items() if day not in summed}
    change = {"$max": {**days, "last": tally["last"]}, "$min": {"first": tally["first"]}}
    yield {"_id": tally["_id"]}, change
    for day in sorted(summed):
        n = tally["days"][day]
        fewer = [{f"days.{day}": {"$lt": n}}, {f"days.{day}": {"$exists": False}}]
        sums = {f"sums.{key}.{day}": at[day] for key, at in tally["sums"].items() if day in at}
        yield {"_id": tally["_id"], "$or": fewer}, {"$set": {f"days.{day}": n, **sums}}
