"""What the parts of a campaign document are made of: the words that its verbs share with the rest."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from config import bounds
from services.documents.problems import Fix, pattern

Key = Annotated[str, Field(pattern=pattern(r"^[a-z0-9][a-z0-9_-]{0,39}$", "name"))]
Event = Literal["reward.claimed", "customer.blocked"]
"""What a wait or an exit rule may be told of."""

_DURATION = re.compile(r"^(\d{1,6})(s|m|h|d)$", re.ASCII)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_DAY_TIME = re.compile(r"(\d{1,2})[:：](\d{2})(?::00)?")


def wrong(code: str, **data: Any) -> PydanticCustomError:
    """The error of a part that is not what it should be: the sentence `problem_<code>` says it."""
    return PydanticCustomError(code, code, data)


def seconds_of(duration: str) -> int:
    """Seconds of `90s`, `15m`, `2h`, `7d`; raises PydanticCustomError."""
    match = _DURATION.match(duration)
    if match is None:
        raise wrong("duration")
    return int(match[1]) * _UNITS[match[2]]


_SPELLED = {"天": "d", "日": "d", "小时": "h", "时": "h", "分钟": "m", "分": "m", "秒": "s"}


def _duration(value: Any) -> Any:
    if isinstance(value, str) and _DURATION.match(value):
        return value
    raise wrong("duration", fix=_spelled(value))


def _spelled(value: Any) -> Fix:
    """The duration that is meant."""
    text = unicodedata.normalize("NFKC", str(value)).strip().lower()
    match = re.fullmatch(r"(\d{1,6})\s*([a-z]*|\D{1,2})", text)
    unit = "" if match is None else _SPELLED.get(match[2], match[2][:1])
    return Fix("write", f"{match[1]}{unit}") if match and unit in _UNITS else Fix()


def _day(value: Any) -> Any:
    """A day as it is written, never a number of seconds."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        if isinstance(value, str) and _DAY.fullmatch(value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise wrong("day")


def _moment(value: Any) -> Any:
    if isinstance(value, datetime):
        return value
    try:
        if isinstance(value, str):
            return datetime.fromisoformat(re.sub(r" (?=[+-]\d)", "", value))
    except ValueError:
        pass
    raise wrong("moment")


def _day_time(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", value, re.ASCII):
        return value
    raise wrong("day_time", fix=_clock(value))


def _clock(value: Any) -> Fix:
    """The hour and minute that are meant."""
    match = _DAY_TIME.fullmatch(unicodedata.normalize("NFKC", str(value)))
    if match is None or int(match[1]) > 24 or int(match[2]) > 59:
        return Fix("like", '"09:00"')
    if int(match[1]) == 24:
        return Fix("midnight" if int(match[2]) == 0 else "write", '"00:00"')
    return Fix("write", f'"{int(match[1]):02d}:{int(match[2]):02d}"')


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise wrong("zone", fix=_zone_meant(name)) from None
    return name


def _zone_meant(name: str) -> Fix:
    """The time zone that is meant: of a name in another case, or China's of whatever says so."""
    text = unicodedata.normalize("NFKC", name).strip().lower().replace(" ", "_")
    if re.search(r"北京|上海|中国|东八|china|beijing|prc|^(utc|gmt)?\+?0?8(:?00)?$", text):
        return Fix("write", "Asia/Shanghai")
    zone = next((one for one in available_timezones() if one.lower() == text), "")
    return Fix("write", zone) if zone else Fix("like", "Asia/Shanghai")


Duration = Annotated[str, Field(max_length=16), BeforeValidator(_duration)]
Date = Annotated[date, BeforeValidator(_day)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
DayTime = Annotated[str, Field(max_length=16), BeforeValidator(_day_time)]
Zone = Annotated[bounds.Word, AfterValidator(_zone)]
Amount = Annotated[int, Field(gt=0, le=10**15)]
"""A number of things or of fen, as far as the stores can count."""
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Userid = Annotated[str, Field(min_length=1, max_length=64)]


class Part(BaseModel):
    """Every part of the document: no unknown keys, no changes, and no value of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, strict=True)


class Text(Part):
    zh: bounds.Text = Field(min_length=1)
    en: bounds.Text = ""


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
