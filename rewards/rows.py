"""The rows of rewards: their collections, indexes, and what is fixed about them."""

from __future__ import annotations

from collections.abc import Sequence

from customers.banks.bank import Bank
from services.store.rows import Rows

REWARDS = Rows(
    "rewards",
)
"""A reward and its stock, in one document."""
TRANSFERS = Rows(
    "transfers",
    unique="idem",
)
"""The ledger's transfers: each is the grant of a unit to a customer."""
OFFERS = Rows(
    "offers",
)
"""The right of one customer to claim one reward."""


async def customers(bank: Bank, rewards: Sequence[str]) -> int:
    """How many customers were granted one of these rewards."""
    counted = await bank.db[TRANSFERS].aggregate(
        [
            {"$match": {"kind": "grant", "reward": {"$in": list(rewards)}}},
            {"$group": {"_id": "$cid"}},
            {"$group": {"_id": None, "customers": {"$sum": 1}}},
        ]
    )
    return int(counted[0]["customers"]) if counted else 0
