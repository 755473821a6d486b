"""The rows of what clerks do with corp tags, where it takes a while or two of them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NotRequired, TypedDict

from services.store.rows import Rows

Act = Literal["rename", "merge", "delete"]

TAG_ACTS = Rows(
    "tag_acts",
    indexes=(
        (("tenant", 1), ("open", 1), ("due", 1)),
        (("tenant", 1), ("state", 1), ("at", -1)),
    ),
)
"""What clerks do with corp tags: renaming, merging, deleting."""

SUBMITTED, RUNNING, DELETING = "submitted", "running", "deleting"
DONE, REJECTED, CANCELLED, FAILED = "done", "rejected", "cancelled", "failed"
UNFINISHED = (SUBMITTED, RUNNING, DELETING)


class TagAct(TypedDict):
    """What becomes of the tag or the group `subject`, called `name`: all its `tags`, by id.

    `into` takes a merged tag's place, `names` are old and new names of what is renamed (`to` is the
    new one). `used` says which campaigns and segments used it when it was asked for, and `forced` that it is to
    go all the same. A waiting row (services/store/leases.py) once it runs: `done` of `total`
    customers, `left_out` of them are no friends any more at WeCom; the walk over them is behind
    `after` and has changed `changed`.
    """

    _id: str
    act: Act
    subject: str
    name: str
    tags: list[str]
    strategy: bool
    into: str
    into_name: str
    to: str
    names: list[list[str]]
    used: list[str]
    forced: bool
    reason: str
    author: str
    state: str
    why: str
    at: datetime
    open: bool
    due: float
    owner: str | None
    attempts: int
    total: int
    done: int
    left_out: int
    after: str
    changed: int
    settled: bool
    decided_by: NotRequired[str]
    decided_at: NotRequired[datetime]
