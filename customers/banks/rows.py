"""The rows of banks: their collections, indexes, and what is fixed about them."""

from __future__ import annotations

from services.store.rows import Rows

TENANTS = Rows("tenants", of_bank=False)
"""The banks of this installation."""
STAFF = Rows(
    "staff",
)
"""RMs, and the branch of each."""
CLERKS = Rows(
    "clerks",
)
"""Clerks of the console, their roles and the hash of each password."""
