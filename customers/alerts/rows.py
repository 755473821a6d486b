"""The rows of alerts: what somebody must know of, and who is told."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NotRequired, TypedDict

from services.store.rows import Rows

ALARMS = Rows(
    "alarms",
    indexes=((("tenant", 1), ("state", 1), ("at", -1)),),
    sealed=("said",),
)
"""What a person at the bank must know of soon."""
NOTICES = Rows(
    "notices",
    indexes=((("tenant", 1), ("userid", 1), ("card", 1)),),
)
"""Who is told of an alarm."""


class Alarm(TypedDict):
    """`key` tells alarms of one kind apart; `data` is what their sentence says of it, `said` what
    the customer wrote, sealed. One that `gathers` stands for everything of that name until its
    `data` has the `end`. Until the
    stories and the audit trail have it, whoever dealt with it finds it `unrecorded`."""

    _id: str
    kind: str
    key: str
    state: str
    at: datetime
    cid: str
    data: Mapping[str, Any]
    userids: list[str]
    said: NotRequired[bytes]
    handled_by: NotRequired[str]
    how: NotRequired[str]
    cause: NotRequired[str]
    handled_at: NotRequired[datetime]
    gathers: NotRequired[str]
    unrecorded: NotRequired[bool]


class Notice(TypedDict):
    """`card` is the effect that tells the member, empty while none does."""

    _id: str
    userid: str
    alarm: str
    card: str
