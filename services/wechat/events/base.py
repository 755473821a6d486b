"""What every event has, and the event that nobody knows yet."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.wechat.events.fields import Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`corp_id` is the corp's (the appid for a mini-program); `create_time` is None when
    unreadable."""

    corp_id: str
    create_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown(Event):
    """Anything else; kept so that a new event is recorded and not lost."""

    event: str
    change_type: str


Reader = Callable[[Fields], Event]


def head(fields: Fields) -> dict[str, Any]:
    """The arguments that every event takes."""
    return {"corp_id": fields.text("ToUserName"), "create_time": fields.time("CreateTime")}


def happened(event: Event, row: Mapping[str, Any]) -> float:
    """When it happened, in seconds UTC: as the event says, else when its inbox row was received."""
    return float((event.create_time or row["at"]).timestamp())


_WORD_START = re.compile(r"(?<=[a-z])(?=[A-Z])")


def kind(event: Event) -> str:
    """The event's type as a word for rows and pages, such as `external_contact_added`."""
    return _WORD_START.sub("_", type(event).__name__).lower()
