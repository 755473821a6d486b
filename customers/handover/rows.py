"""The rows of handover: a request of one clerk, and each customer or group in it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypedDict

from services.store.rows import Rows

HANDOVER_BATCHES = Rows(
    "handover_batches",
    indexes=(
        (("tenant", 1), ("open", 1), ("due", 1)),
        (("tenant", 1), ("at", -1)),
    ),
    sealed=("message",),
)
"""A hand-over that one clerk asked for and another decides."""
HANDOVERS = Rows(
    "handovers",
    indexes=(
        (("tenant", 1), ("batch", 1), ("state", 1)),
        (("tenant", 1), ("takeover_userid", 1), ("target_index", 1)),
    ),
    sealed=("target",),
)
"""One customer or group of a hand-over."""

Mode = Literal["onjob", "resigned"]


class Batch(TypedDict):
    """A waiting row (services/store/leases.py) from the moment it is approved. `polls` counts the
    looks at WeCom's results."""

    _id: str
    mode: Mode
    handover_userid: str
    takeover_userid: str
    message: bytes
    customers: int
    groups: int
    state: str
    requested_by: str
    at: datetime
    decided_by: str
    decided_at: datetime | None
    reason: str
    polls: int
    open: bool
    due: float
    owner: str | None
    attempts: int


class Item(TypedDict):
    """`target` is an external_userid or a chat_id, and `target_index` its blind index; `cid` is
    empty for a group and for a customer whom nobody knows yet."""

    _id: str
    batch: str
    kind: Literal["customer", "group"]
    mode: Mode
    handover_userid: str
    takeover_userid: str
    target: bytes
    target_index: str
    cid: str
    state: str
    reason: str
    asked_at: datetime | None
