"""The rows of wecom mirror: their collections, indexes, and what is fixed about them."""

from __future__ import annotations

from services.store.rows import Rows

CORP_TAGS = Rows(
    "corp_tags",
)
"""Corp tags as WeCom has them."""
MEMBERS = Rows(
    "members",
)
"""Members as WeCom has them."""
DEPARTMENTS = Rows(
    "departments",
)
"""Departments as WeCom has them."""
GROUPS = Rows(
    "groups",
)
"""Customer groups as WeCom has them."""
GROUP_MEMBERS = Rows(
    "group_members",
    indexes=((("tenant", 1), ("chat_id", 1), ("active", 1)),),
)
"""Who is in a customer group."""
SYNC_ERRORS = Rows(
    "sync_errors",
    indexes=((("tenant", 1), ("last", -1)),),
)
"""An object that a sync could not bring in."""
SYNC_DIFFERENCES = Rows(
    "sync_differences",
    indexes=((("tenant", 1), ("number", 1)),),
)
"""What a comparison found different, before it was mended."""
