"""What a customer's own row says in his profile."""

from __future__ import annotations

from collections.abc import Mapping

from customers.banks.bank import Bank
from customers.identity.rows import CUSTOMERS
from customers.profiles.source import Batch, Part, Source


async def _read(bank: Bank, batch: Batch) -> Mapping[str, Part]:
    return {
        cid: {
            "tags": sorted(row["tags"]),
            "bound": bool(row.get("phone")),
            "created_at": row["created_at"].timestamp(),
        }
        for cid, row in batch.rows.items()
    }


SOURCE = Source("customers", {CUSTOMERS: "_id"}, _read)
