"""The rows of points: the bank's programme as it holds, its versions, and corrections."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict

from services import ids
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


class CapsRow(TypedDict):
    """What a customer earned by one rule: `used` by span (`day-20261130`, `month-202611`, `ever`),
    `pending` what is set aside for happenings whose points are not posted yet. `rev` counts the
    changes."""

    _id: str
    rule: str
    cid: str
    used: dict[str, int]
    pending: dict[str, int]
    rev: int


POINTS_CAPS = Rows("points_caps")
"""How much a customer earned by a rule, as far as caps ask for it."""


def caps_id(tenant: str, rule: str, cid: str) -> str:
    return ids.tenant_id(tenant, "caps", rule, cid)


class NightRow(TypedDict):
    """The bank's night: a waiting row (services/store/leases.py) that is due at each midnight, and
    never ends. `cursor` is the last account that was seen to in this one."""

    _id: str
    open: bool
    due: float
    owner: str | None
    attempts: int
    state: str
    cursor: str


class NoticeRow(TypedDict):
    """A customer was told that `points` expire at `expires`. `how` is `sent`, why no message could be
    sent (`no_openid`), or `shown` where the programme has none: the mini-program and the side panel
    show it."""

    _id: str
    cid: str
    expires: datetime
    points: int
    how: str
    at: datetime


POINTS_NIGHTS = Rows("points_nights", indexes=((("tenant", 1), ("open", 1), ("due", 1)),))
"""When points expire, and how far the night is: one row."""
POINTS_NOTICES = Rows("points_notices")
"""Who was told that points of his are about to expire."""


def notice_id(tenant: str, cid: str, expires: datetime) -> str:
    return ids.tenant_id(tenant, "points_notice", cid, expires.isoformat())


class CorrectionRow(TypedDict):
    """A correction that a clerk asked for: `points` more, or fewer where it is below zero; `of` is the
    transfer that is given back, empty for a correction of its own. `state` is `submitted`, `applied`,
    `rejected` or `lapsed`; `transfer` is what it became in the ledger."""

    _id: str
    cid: str
    points: int
    of: str
    reason: str
    state: str
    author: str
    at: datetime
    decided_by: str
    decided_at: datetime | None
    note: str
    transfer: str


POINTS_CORRECTIONS = Rows(
    "points_corrections",
    indexes=((("tenant", 1), ("at", -1)), (("tenant", 1), ("cid", 1), ("at", -1))),
)
"""Corrections of customers' points."""
