"""An RM who goes to another branch takes his customers' profiles along."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from customers import relationships
from customers.banks.bank import Bank
from customers.banks.rows import STAFF
from customers.profiles.source import Source, nothing
from services.store.mongo import Change

PAGE = 500


async def _customers(bank: Bank, changes: Sequence[Change]) -> Iterable[str]:
    """Those who are friends of the staff that changed."""
    rows = await bank.by_id(STAFF, sorted({str(change.id) for change in changes}), {"userid": 1})
    return {
        friend["cid"]
        for row in rows.values()
        async for page in relationships.pages_of_staff(bank, row["userid"], PAGE)
        for friend in page
    }


SOURCE = Source("staff", {STAFF: _customers}, nothing)
