"""The rows of events: their collections, indexes, and what is fixed about them."""

from __future__ import annotations

from services.store.rows import Rows

DEAD_LETTERS = Rows(
    "dead_letters",
    indexes=((("tenant", 1), ("state", 1), ("at", -1)),),
)
"""Events that wait for a person."""
