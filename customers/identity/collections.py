"""The rows of identity: their collections, indexes, and what is fixed about them."""

from __future__ import annotations

from services.store.rows import Rows

CUSTOMERS = Rows(
    "customers",
    indexes=((("tenant", 1), ("phone_index", 1)),),
)
"""One person: his facts, sealed, and his tags."""
IDENTITIES = Rows(
    "identities",
)
"""An id of a person, and the customer that it leads to."""
MERGES = Rows(
    "merges",
    indexes=(
        (("tenant", 1), ("winner", 1)),
        (("tenant", 1), ("loser", 1)),
    ),
)
"""Two customers who became one, with what it takes to undo that."""
REVIEW_TASKS = Rows(
    "review_tasks",
    indexes=(
        (("tenant", 1), ("state", 1), ("at", -1)),
        (("tenant", 1), ("cids", 1)),
    ),
)
"""Questions of identity that two clerks decide."""
CONVERSIONS = Rows(
    "conversions",
)
"""Asking WeCom who a mini-program's customer is."""
