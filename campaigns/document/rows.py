"""The rows of document: their collections, indexes, and what is fixed about them."""

from __future__ import annotations

from services.store.rows import Rows

CAMPAIGNS = Rows(
    "campaigns",
)
"""A campaign: its state, its live version, and what counts against its caps."""
CAMPAIGN_VERSIONS = Rows(
    "campaign_versions",
    indexes=((("tenant", 1), ("campaign", 1), ("version", -1)),),
)
"""A version of a campaign's document; it never changes."""
