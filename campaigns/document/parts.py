"""What the parts of a campaign document are made of: the words that its verbs share with the rest."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator

from config import bounds
from services.documents.parts import Date, Key, Part, Zone, wrong
from services.documents.problems import Fix

Event = Literal["reward.claimed", "customer.blocked"]
"""What a wait or an exit rule may be told of."""
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Userid = Annotated[str, Field(min_length=1, max_length=64)]


class Template(Part):
    """A message text; {{customer.name}}, {{staff.name}}, {{branch.name}} and {{bank.name}} are
    filled in. A group's greeting knows {{bank.name}} only, and WeCom fills in %NICKNAME%."""

    zh: bounds.LongText = Field(min_length=1)
    en: bounds.LongText = ""


class Window(Part):
    """Days in the time zone `tz`; `to` is the last day."""

    from_: Date = Field(alias="from")
    to: Date
    tz: Zone = "Asia/Shanghai"

    @model_validator(mode="after")
    def _usable(self) -> Window:
        try:
            ordered = 0 < self.starts.timestamp() < self.ends.timestamp()
        except (ValueError, OverflowError, OSError):
            raise wrong("window_unreadable") from None
        if not ordered:
            raise wrong("window_order")
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
    when: bounds.Text | None = None
    note: bounds.Text = ""

    @model_validator(mode="after")
    def _one_verb(self) -> Step:
        found = [name for name in self._verbs() if getattr(self, name) is not None]
        if len(found) != 1:
            raise wrong("verb_count", verbs=self._verbs(), had=found or Fix("none"))
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
