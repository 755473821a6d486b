"""The rows of archive: their collections, indexes, and what is fixed about them."""

from __future__ import annotations

from services.store.rows import Rows

ARCHIVE = Rows(
    "archive",
    indexes=(
        (("tenant", 1), ("seq", -1)),
        (("tenant", 1), ("state", 1), ("seq", 1)),
        (("tenant", 1), ("userids", 1), ("at", 1)),
        (("tenant", 1), ("at", 1)),
    ),
)
"""Archived messages, sealed."""
ARCHIVE_PULLS = Rows(
    "archive_pulls",
    indexes=((("tenant", 1), ("open", 1), ("due", 1)),),
)
"""How far the archive's pull is."""
ARCHIVE_CONSENTS = Rows(
    "archive_consents",
)
"""Who agreed that his messages are archived."""
