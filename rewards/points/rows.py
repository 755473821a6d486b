"""The rows of points: the bank's programme as it holds, its versions, and corrections."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict

from services.store.mongo import Doc
from services.store.rows import Rows


class ProgramRow(TypedDict):
    """The programme that holds: `version` is its number, 0 for none yet; `submitted` is the highest
    number that there ever was."""

    _id: str
    version: int
    document: Doc | None
    submitted: int
    since: datetime | None


class VersionRow(TypedDict):
    """A version of the programme that a clerk submitted; `base` is the version that he changed.
    `state` is `submitted`, `live`, `over` (another took its place), `rejected`, `replaced` or
    `lapsed`."""

    _id: str
    version: int
    base: int
    document: Doc
    state: str
    author: str
    at: datetime
    decided_by: str
    decided_at: datetime | None
    reason: str


POINTS_PROGRAMS = Rows("points_programs")
"""The programme of a bank as it holds: one row."""
POINTS_VERSIONS = Rows("points_versions", indexes=((("tenant", 1), ("version", -1)),))
"""What was ever submitted of it."""


def version_id(tenant: str, version: int) -> str:
    return f"{tenant}:{version}"
