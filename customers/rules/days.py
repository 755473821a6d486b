"""Whole days of the bank's zone, as numbers since 1970-01-01, and spans of them."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Literal

EPOCH = date(1970, 1, 1)
SECONDS = 86_400
MOST_SPAN = 36_500
"""days in the longest span of a rule: a hundred years"""
MOST_WINDOW = 400
"""days that are kept of what happened"""
Unit = Literal["d", "mo", "y"]


def number_of(day: date) -> int:
    return (day - EPOCH).days


def date_of(number: int) -> date:
    return EPOCH + timedelta(days=number)


@lru_cache(maxsize=4096)
def iso(number: int) -> str:
    """The day as documents have it: YYYY-MM-DD."""
    return date_of(number).isoformat()


def read_iso(text: object) -> int | None:
    """The number of a day that is written YYYY-MM-DD; None for whatever is none."""
    if not isinstance(text, str) or len(text) != 10:
        return None
    try:
        return number_of(date.fromisoformat(text))
    except ValueError:
        return None


def day_at(seconds: float, offset: int) -> int:
    """The day in which a moment (seconds since the epoch, UTC) falls, `offset` seconds east."""
    return int((seconds + offset) // SECONDS)


def begin(number: int, offset: int) -> int:
    """The moment when the day begins."""
    return number * SECONDS - offset


@dataclass(frozen=True, slots=True)
class Span:
    """So many days, months or years."""

    count: int
    unit: Unit

    def shift(self, number: int, sign: int = 1) -> int:
        """The day that lies so much later, or earlier with `sign` -1. Of a month that is too short
        it is the last day."""
        if self.unit == "d":
            return number + sign * self.count
        day = date_of(number)
        months = self.count * (12 if self.unit == "y" else 1)
        at = day.year * 12 + day.month - 1 + sign * months
        year, month = at // 12, at % 12 + 1
        last = calendar.monthrange(year, month)[1]
        return number_of(date(year, month, min(day.day, last)))

    def first(self, today: int) -> int:
        """The first day of the window of this length that ends with today: 7d are today and the
        six days before."""
        return self.shift(today, -1) + 1

    @property
    def longest(self) -> int:
        """How many days it may have at most."""
        return self.count * {"d": 1, "mo": 31, "y": 366}[self.unit]

    @property
    def written(self) -> str:
        return f"{self.count}{self.unit}"


@dataclass(frozen=True, slots=True)
class Day:
    """A day of a rule: `number`, or today shifted by a span; then `plus` days."""

    number: int | None = None
    span: Span | None = None
    sign: int = 1
    plus: int = 0

    def on(self, today: int) -> int:
        """The day it is when the clock's day is `today`."""
        if self.number is not None:
            return self.number + self.plus
        shifted = self.span.shift(today, self.sign) if self.span is not None else today
        return shifted + self.plus

    @property
    def moves(self) -> bool:
        return self.number is None


@lru_cache(maxsize=1024)
def month_days(first: int, last: int) -> frozenset[str]:
    """MM-DD of every day from first to last; the 29th of February falls on the 28th where there is
    none."""
    found = set()
    for number in range(first, min(last, first + 366) + 1):
        day = date_of(number)
        found.add(day.isoformat()[5:])
        if (day.month, day.day) == (2, 28) and not calendar.isleap(day.year):
            found.add("02-29")
    return frozenset(found)
