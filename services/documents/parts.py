"""What the parts of every document that a person writes are made of: texts, days, durations, amounts,
and the base that takes nothing else."""

from __future__ import annotations

import re
import unicodedata
from datetime import date, datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from config import bounds
from services.documents.problems import Fix, pattern

Key = Annotated[str, Field(pattern=pattern(r"^[a-z0-9][a-z0-9_-]{0,39}$", "name"))]

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


class Part(BaseModel):
    """Every part of the document: no unknown keys, no changes, and no value of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, strict=True)


class Text(Part):
    zh: bounds.Text = Field(min_length=1)
    en: bounds.Text = ""
