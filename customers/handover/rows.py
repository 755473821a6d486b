"""The rows of handover: their collections, indexes, and what is fixed about them."""

from __future__ import annotations

from services.store.rows import Rows

HANDOVER_BATCHES = Rows(
    "handover_batches",
    indexes=(
        (("tenant", 1), ("open", 1), ("due", 1)),
        (("tenant", 1), ("at", -1)),
    ),
)
"""A hand-over that one clerk asked for and another decides."""
HANDOVERS = Rows(
    "handovers",
    indexes=(
        (("tenant", 1), ("batch", 1), ("state", 1)),
        (("tenant", 1), ("takeover_userid", 1), ("target_index", 1)),
    ),
)
"""One customer or group of a hand-over."""
