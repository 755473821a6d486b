"""The rows of events: dead letters."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict

from services.queue.retry import DEAD_LETTER
from services.store.rows import Rows

DEAD_LETTERS = Rows(
    "dead_letters",
    indexes=(
        (("tenant", 1), ("state", 1), ("at", -1)),
        (("tenant", 1), ("state", 1), ("since", 1)),
    ),
)
"""Events that wait for a person."""

DEAD = DEAD_LETTER
"""An event that could not be handled."""
UNKNOWN = "unknown"
"""An event of a kind that nobody knows."""


class DeadLetter(TypedDict):
    """An event that a person should look at; `_id` and `at` are its inbox row's, `state` is DEAD or
    UNKNOWN. `name` is the platform's name of an unknown one, `reason` why another could not be
    handled, `token` tells letters of one event apart. `since` (seconds UTC) is when it was put
    there: of those that are tried again it is the order."""

    _id: str
    tenant: str
    state: str
    at: datetime
    name: str
    reason: str
    token: str
    since: float
