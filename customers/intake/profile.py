"""How often what happened to a customer, in his profile."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from customers.banks.bank import Bank
from customers.intake.rows import EVENT_TALLIES, TallyRow, tally_of
from customers.profiles.source import Batch, Part, Source
from customers.rules.days import MOST_WINDOW, number_of
from customers.rules.vocabulary import map_key


async def tallies_of(
    bank: Bank, batch: Batch, names: Sequence[str] = ()
) -> Mapping[str, list[TallyRow]]:
    """What is counted of each customer of a batch, by cid; of events of these names alone, if any
    are given."""
    found: defaultdict[str, list[TallyRow]] = defaultdict(list)
    for query in batch.among("cid"):
        for row in await bank.db[EVENT_TALLIES].find(query, limit=None):
            cid = batch.owners.get(row["cid"])
            if cid is not None and (not names or row["name"] in names):
                found[cid].append(tally_of(row))
    return found


async def _read(bank: Bank, batch: Batch) -> Mapping[str, Part]:
    found: defaultdict[str, defaultdict[str, list[TallyRow]]]
    found = defaultdict(lambda: defaultdict(list))
    for cid, tallies in (await tallies_of(bank, batch)).items():
        for row in tallies:
            found[cid][map_key(row["name"])].append(row)
    since = number_of(bank.today()) - MOST_WINDOW
    return {
        cid: {"events": {name: _tally(rows, since) for name, rows in sorted(names.items())}}
        for cid, names in found.items()
    }


def _tally(rows: Sequence[TallyRow], since: int) -> Mapping[str, object]:
    """What is known of one event, also of whoever was merged into him; days `since` then."""
    days: Counter[str] = Counter()
    for row in rows:
        days.update(row["days"])
    return {
        "n": sum(days.values()),
        "first": min(row["first"] for row in rows),
        "last": max(row["last"] for row in rows),
        "days": {day: days[day] for day in sorted(days, key=int) if int(day) > since},
    }


SOURCE = Source("events", {EVENT_TALLIES: "cid"}, _read, part=("events",))
