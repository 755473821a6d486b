"""The rows of community: their collections, indexes, and what is fixed about them."""

from __future__ import annotations

from services.store.rows import Rows

GROUP_GREETINGS = Rows(
    "group_greetings",
)
"""Greetings that groups may choose, as they were made at WeCom."""
