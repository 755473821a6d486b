"""The rows of engine: their collections, indexes, and what is fixed about them."""

from __future__ import annotations

from services.store.rows import Rows

RUNS = Rows(
    "runs",
    indexes=(
        (("tenant", 1), ("open", 1), ("due", 1)),
        (("tenant", 1), ("status", 1), ("cid", 1)),
    ),
)
"""A customer's way through a campaign."""
