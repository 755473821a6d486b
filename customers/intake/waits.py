"""Waiting for customers who are not known yet.

What waits is in the store before its customer is waited for, and he is looked for again after that:
so one who became known in between is found by whoever made him known or by whoever waits. The row
that waits goes when nothing is left that waits under it, unless somebody woke it in that moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from customers.banks.bank import Bank
from customers.identity import awaited
from customers.identity.awaited import WaitRow
from customers.intake import joining
from customers.intake.joining import Found


async def wait_for(bank: Bank, waiting: Mapping[str, str], found: Mapping[str, Found]) -> None:
    """Has these customers waited for (the row, and the kind of id), under whose rows there is
    something that waits; `found` is what was known before. Whoever became known since is joined at
    once."""
    if not waiting:
        return
    now = bank.now()
    rows = [
        awaited.row_of(one, by, now, found.get(one, Found()).reason) for one, by in waiting.items()
    ]
    await awaited.add(bank, rows)
    await _look_again(bank, rows)


async def _look_again(bank: Bank, rows: Sequence[WaitRow]) -> None:
    """Wakes the rows of those who became known meanwhile; one that is gone by now is put back."""
    since = await joining.find(bank, [row["_id"] for row in rows])
    known = [row for row in rows if (who := since.get(row["_id"])) is not None and who.cid]
    wanted = [row["_id"] for row in known]
    if known and await awaited.wake(bank, wanted) < len(known):
        await awaited.add(bank, known)
        await awaited.wake(bank, wanted)
