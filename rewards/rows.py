"""The rows of rewards: their collections, indexes, and what is fixed about them."""

from __future__ import annotations

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
