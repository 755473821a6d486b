"""The rows of the message archive: messages, how far the pull is, and who agreed."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypedDict

from services.store.rows import Rows

ARCHIVE = Rows(
    "archive",
    indexes=(
        (("tenant", 1), ("seq", -1)),
        (("tenant", 1), ("state", 1), ("seq", 1)),
        (("tenant", 1), ("userids", 1), ("at", 1)),
        (("tenant", 1), ("at", 1)),
    ),
    sealed=("body", "record"),
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


class ArchivedRow(TypedDict):
    """One message. `customers` and `room` are blind indexes, `cids` the customers whom we know; of
    `body` (the message) and `record` (as it came, while it cannot be read) one is there."""

    _id: str
    seq: int
    msgid: str
    key_version: int
    state: Literal["read", "kept"]
    reason: str
    at: datetime
    sender: str
    action: str
    msgtype: str
    userids: list[str]
    customers: list[str]
    room: str
    cids: list[str]
    recalls: str
    body: bytes | None
    record: bytes | None


class PullRow(TypedDict):
    """A waiting row, one a bank. `news` counts what WeCom told, `notified` and `newest` are the
    times (seconds UTC) of the last of that and of the newest message; since `behind_since` there
    are messages that we do not have. `walk` is the pair (userid, cid) after which consents are
    asked for, from `walk_due` on."""

    _id: str
    open: bool
    due: float
    owner: str | None
    attempts: int
    news: int
    notified: float
    newest: float
    behind_since: float | None
    more: bool
    pulled: datetime | None
    reason: str
    failures: int
    walk: list[str]
    walk_due: float
