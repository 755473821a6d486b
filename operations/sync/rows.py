"""The rows of sync: their collections, indexes, and what is fixed about them."""

from __future__ import annotations

from services.store.rows import Rows

SYNCS = Rows(
    "syncs",
    indexes=(
        (("tenant", 1), ("open", 1), ("due", 1)),
        (("tenant", 1), ("number", -1)),
    ),
)
"""A sync, and how far it is."""
