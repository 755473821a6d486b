"""The rows of messaging: their collections, indexes, and what is fixed about them."""

from __future__ import annotations

from services.store.rows import Rows

SUBSCRIPTIONS = Rows(
    "subscriptions",
)
"""The allowance of a customer for a subscribe template."""
CONTENT_CHECKS = Rows(
    "content_checks",
)
"""Texts and pictures that WeChat checks."""
POSTER_CODES = Rows(
    "poster_codes",
)
"""What a code on a poster stands for."""
