"""The rows of alerts: their collections, indexes, and what is fixed about them."""

from __future__ import annotations

from services.store.rows import Rows

ALARMS = Rows(
    "alarms",
    indexes=((("tenant", 1), ("state", 1), ("at", -1)),),
)
"""What a person at the bank must know of soon."""
NOTICES = Rows(
    "notices",
    indexes=((("tenant", 1), ("userid", 1), ("card", 1)),),
)
"""Who is told of an alarm."""
