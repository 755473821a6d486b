"""What customers are ranked by: the last day on which one of the events happened to each, how often
they did, and what they came to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from customers.banks.bank import Bank
from customers.intake.profile import tallies_of
from customers.intake.rows import TallyRow
from customers.profiles.source import Batch
from customers.rfm.cuts import fifth
from customers.rfm.rows import Ranking


@dataclass(frozen=True, slots=True)
class Measured:
    """A customer's last day (counted from 1970), how often, and how much (fen)."""

    r: int
    f: int
    m: int


async def measure(bank: Bank, batch: Batch, by: Ranking) -> dict[str, Measured]:
    """What is to be ranked of each customer of the batch, by cid; nothing of one to whom none of the
    events happened in the window. Who was merged into him counts with him."""
    found = await tallies_of(bank, batch, by["events"])
    measured = ((cid, _measured(rows, by)) for cid, rows in found.items())
    return {cid: one for cid, one in measured if one is not None}


def _measured(rows: Iterable[TallyRow], by: Ranking) -> Measured | None:
    since, last, n, fen = by["since"], 0, 0, 0
    for row in rows:
        sums = row["sums"].get(by["amounts"].get(row["name"], ""), {})
        for day, times in row["days"].items():
            if int(day) >= since:
                last, n, fen = max(last, int(day)), n + times, fen + sums.get(day, 0)
    return Measured(last, n, fen) if n else None


async def ranks(bank: Bank, batch: Batch, live: Ranking | None) -> Mapping[str, dict[str, int]]:
    """In which fifths each customer of the batch is, by cid; nothing of who is in none."""
    if live is None or not live["ranked"]:
        return {}
    cuts = live["cuts"]
    return {
        cid: {
            "r": fifth(one.r, cuts["r"]),
            "f": fifth(one.f, cuts["f"]),
            "m": fifth(one.m, cuts["m"]),
        }
        for cid, one in (await measure(bank, batch, live)).items()
    }
