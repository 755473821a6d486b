"""What the parts of a campaign document are made of: the words that its verbs share with the rest."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Place = tuple[Any, ...]
"""Keys and positions that lead to a part of the document."""

Key = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
Event = Literal["reward.claimed", "customer.blocked"]
"""What a wait or an exit rule may be told of."""

_DURATION = re.compile(r"^(\d{1,6})(s|m|h|d)$")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(duration: str) -> int:
    """Seconds of `90s`, `15m`, `2h`, `7d`; raises ValueError."""
    match = _DURATION.match(duration)
    if match is None:
        raise ValueError("expected a duration such as 90s, 15m, 2h or 7d")
    return int(match[1]) * _UNITS[match[2]]


def _check_duration(value: str) -> str:
    seconds_of(value)
    return value


Duration = Annotated[str, AfterValidator(_check_duration)]


def _from_yaml(value: Any) -> Any:
    """YAML reads an unquoted 18:00 as the number of its minutes."""
    return (
        f"{value // 60:02d}:{value % 60:02d}"
        if isinstance(value, int) and 0 <= value < 1440
        else value
    )


DayTime = Annotated[
    str, BeforeValidator(_from_yaml), Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")
]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Userid = Annotated[str, Field(min_length=1, max_length=64)]


class Part(BaseModel):
    """Every part of the document: no unknown keys, no changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Text(Part):
    zh: str = Field(min_length=1)
    en: str = ""


class Template(Part):
    """A message text; {{customer.name}}, {{staff.name}}, {{branch.name}} and {{bank.name}} are
    filled in. A group's greeting knows {{bank.name}} only, and WeCom fills in %NICKNAME%."""

    zh: str = Field(min_length=1)
    en: str = ""


class Window(Part):
    """Days in the time zone `tz`; `to` is the last day."""

    from_: date = Field(alias="from")
    to: date
    tz: str = "Asia/Shanghai"

    @model_validator(mode="after")
    def _usable(self) -> Window:
        try:
            ordered = 0 < self.starts.timestamp() < self.ends.timestamp()
        except (KeyError, ValueError, OverflowError, OSError):
            raise ValueError(
                "expected a time zone such as Asia/Shanghai, and days between 1970 and 9998"
            ) from None
        if not ordered:
            raise ValueError("the window ends before it begins")
        return self

    @property
    def starts(self) -> datetime:
        return datetime.combine(self.from_, time(), ZoneInfo(self.tz)).astimezone(UTC)

    @property
    def ends(self) -> datetime:
        return (
            datetime.combine(self.to, time(), ZoneInfo(self.tz)) + timedelta(days=1)
        ).astimezone(UTC)

    def is_open(self, now: float) -> bool:
        """Whether `now` (seconds UTC) is inside."""
        return self.starts.timestamp() <= now < self.ends.timestamp()

    def day_of(self, at: datetime) -> str:
        """The window's day that `at` belongs to, as a field name."""
        return f"{at.astimezone(ZoneInfo(self.tz)):%Y%m%d}"


class Step(Part):
    """What every step has besides its verb: an id that stays the same for ever, since it is the
    step's identity in runs, effects and statistics.

    `campaigns/document/model.py` adds a field for each verb of `campaigns/engine/verbs`.
    """

    id: Key
    when: str | None = None
    note: str = ""

    @model_validator(mode="after")
    def _one_verb(self) -> Step:
        found = [name for name in self._verbs() if getattr(self, name) is not None]
        if len(found) != 1:
            raise ValueError(
                f"expected exactly one verb of {', '.join(self._verbs())}, "
                f"found {', '.join(found) or 'none'}"
            )
        return self

    @classmethod
    def _verbs(cls) -> list[str]:
        return [name for name in cls.model_fields if name not in Step.model_fields]

    @property
    def verb(self) -> str:
        """The name of its verb."""
        return next(name for name in self._verbs() if getattr(self, name) is not None)

    @property
    def body(self) -> Any:
        """What its verb says."""
        return getattr(self, self.verb)
