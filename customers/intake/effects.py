"""What follows from events whose customers are known: counts, the customers' timelines, and whoever
listens. Everything may be done again, and is there once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from customers import happenings, timeline
from customers.banks.bank import Bank
from customers.intake import tallies
from customers.intake.rows import EventRow

AT_ONCE = 500
TOLD_AS = "bank."
"""What the name of an event begins with where others listen for it (customers/happenings.py)."""


async def follow(bank: Bank, rows: Sequence[EventRow]) -> None:
    """Does what follows from these joined events. Safe to repeat."""
    for start in range(0, len(rows), AT_ONCE):
        some = rows[start : start + AT_ONCE]
        entries = [
            timeline.entry(bank, row["cid"], "bank.event", row["_id"], _said(row), row["at"])
            for row in some
        ]
        await asyncio.gather(tallies.count(bank, some), timeline.record_many(bank, entries))
        await _tell(bank, some)


async def _tell(bank: Bank, rows: Sequence[EventRow]) -> None:
    """Tells whoever listens for events of these names."""
    wanted = await happenings.asked_for(bank, {TOLD_AS + row["name"] for row in rows})
    await asyncio.gather(
        *(
            happenings.tell(bank, TOLD_AS + row["name"], row["cid"], row["_id"], at=row["at"])
            for row in rows
            if TOLD_AS + row["name"] in wanted
        )
    )


def _said(row: EventRow) -> dict[str, str]:
    return {"event": row["name"], "system": row["system"]}
