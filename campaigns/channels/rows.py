"""The rows of channels: their collections, indexes, and what is fixed about them."""

from __future__ import annotations

from services.store.rows import Rows

CHANNELS = Rows(
    "channels",
    indexes=((("tenant", 1), ("open", 1), ("due", 1)),),
)
"""The ways through which customers come: live codes, acquisition links, group codes."""
ARRIVALS = Rows(
    "arrivals",
    indexes=((("tenant", 1), ("day", 1), ("state", 1), ("userid", 1)),),
)
"""Adds that count for an RM's daily cap."""
ACQUISITION_LINKS = Rows(
    "acquisition_links",
)
"""Acquisition links as WeCom has them."""
ACQUISITION_BALANCE = Rows(
    "acquisition_balance",
)
"""What is left of the bank's acquisition quota."""
