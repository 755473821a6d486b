"""The language of rules once more, written from docs/campaigns.md alone: a parser and an answer for
one customer. It shares no line with the product and is no faster than it reads.

An answer is True, False or None: "What is missing is neither true nor false". Only True is met.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

Answer = bool | None
Ask = Callable[["Customer", "Moment"], Any]
"""Something of a customer on a day: a value, or an answer."""

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    | (?P<span>\d+(?:d|mo|y)\b)
    | (?P<number>-?\d+(?:\.\d+)?)
    | (?P<word>[A-Za-z_][A-Za-z_0-9.]*)
    | (?P<sign>==|!=|<=|>=|[<>()\[\],-])
    )""",
    re.VERBOSE,
)
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_NEVER_MISSING = ("tag", "segment", "list", "rm", "branch", "reward")


@dataclass(frozen=True)
class Moment:
    """The day on which a rule is asked, and the bank's zone."""

    today: date
    zone: tzinfo


@dataclass
class Customer:
    """What is known of a customer. What is not known is not in `fields`; a moment has a zone."""

    fields: dict[str, Any] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)
    segments: set[str] = field(default_factory=set)
    lists: set[str] = field(default_factory=set)
    rewards: set[str] = field(default_factory=set)
    rms: list[tuple[str, str, datetime]] = field(default_factory=list)
    events: dict[str, list[datetime]] = field(default_factory=dict)
    campaigns: dict[str, list[datetime]] = field(default_factory=dict)

    def value(self, name: str) -> Any:
        if name == "rm.since":
            return min((since for _, _, since in self.rms), default=None)
        return self.fields.get(name)

    def has(self, function: str, name: str) -> bool:
        if function in ("rm", "branch"):
            return any(name == rm[function == "branch"] for rm in self.rms)
        held = {"tag": self.tags, "segment": self.segments, "list": self.lists, "reward": self.rewards}
        return name in held[function]


@dataclass(frozen=True)
class Span:
    """So many days, months or years."""

    n: int
    unit: str

    def before(self, day: date) -> date:
        return self._moved(day, -self.n)

    def after(self, day: date) -> date:
        return self._moved(day, self.n)

    def _moved(self, day: date, n: int) -> date:
        if self.unit == "d":
            return day + timedelta(n)
        months = day.year * 12 + day.month - 1 + n * (12 if self.unit == "y" else 1)
        year, month = divmod(months, 12)
        return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def day_of(value: Any, at: Moment) -> Any:
    """A moment's day in the bank's time; whatever else, as it is."""
    return value.astimezone(at.zone).date() if isinstance(value, datetime) else value


def is_met(rule: str, customer: Customer, at: Moment) -> bool:
    """Whether the customer meets the rule on that day."""
    return _Parser(rule).whole()(customer, at) is True


class _Parser:
    def __init__(self, rule: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        place = 0
        while rule[place:].strip():
            found = _TOKEN.match(rule, place)
            if found is None or found.lastgroup is None:
                raise ValueError(f"{rule!r} at {place}")
            self.tokens.append((found.lastgroup, found[found.lastgroup]))
            place = found.end()
        self.tokens.append(("end", ""))

    @property
    def next(self) -> str:
        kind, token = self.tokens[0]
        return token if kind in ("word", "sign") else ""

    def take(self, *wanted: str) -> str:
        kind, token = self.tokens.pop(0)
        if wanted and (token not in wanted or kind == "text"):
            raise ValueError(f"{token!r}, not one of {wanted}")
        return token

    def whole(self) -> Ask:
        found = self.either()
        if self.tokens[0][0] != "end":
            raise ValueError(f"{self.tokens[0][1]!r} is left")
        return found

    # and, or, not

    def either(self) -> Ask:
        parts = [self.both()]
        while self.next == "or":
            self.take()
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else lambda who, at: _any([part(who, at) for part in parts])

    def both(self) -> Ask:
        parts = [self.no()]
        while self.next == "and":
            self.take()
            parts.append(self.no())
        return parts[0] if len(parts) == 1 else lambda who, at: _not(_any([_not(part(who, at)) for part in parts]))

    def no(self) -> Ask:
        if self.next == "not":
            self.take()
            denied = self.no()
            return lambda who, at: _not(denied(who, at))
        if self.next == "(":
            self.take()
            inner = self.either()
            self.take(")")
            return inner
        return self.comparison()

    # one comparison

    def comparison(self) -> Ask:
        if self.next == "anniversary":
            return self.anniversary()
        if self.is_literal():
            literal, sign = self.literal(), self.take(*_MIRRORED, "in")
            asked = self.operand()
            return _contains(asked, literal) if sign == "in" else _compared(asked, _MIRRORED[sign], literal)
        asked = self.operand()
        return self.compared(asked, self.next)

    def compared(self, asked: Ask, word: str) -> Ask:
        if word in _MIRRORED:
            sign = self.take()
            return _compared(asked, sign, self.literal())
        if word == "between":
            self.take()
            least = self.literal()
            self.take("and")
            low, high = _compared(asked, ">=", least), _compared(asked, "<=", self.literal())
            return lambda who, at: _not(_any([_not(low(who, at)), _not(high(who, at))]))
        if word == "not":
            self.take()
            among = self.among(asked)
            return lambda who, at: _not(among(who, at))
        if word == "in":
            return self.among(asked)
        if word == "contains":
            self.take()
            return _contains(asked, self.literal())
        if word in ("older", "newer"):
            self.take()
            self.take("than")
            return _aged(asked, word, self.span())
        return asked

    def among(self, asked: Ask) -> Ask:
        self.take("in")
        end = {"[": "]", "(": ")"}[self.take("[", "(")]
        each = [_compared(asked, "==", self.literal())]
        while self.take(",", end) == ",":
            each.append(_compared(asked, "==", self.literal()))
        return lambda who, at: _any([one(who, at) for one in each])

    def anniversary(self) -> Ask:
        self.take()
        self.take("(")
        asked = self.operand()
        for word in (")", "in"):
            self.take(word)
        way, span = self.take("next", "last"), self.span()
        return lambda who, at: _comes(day_of(asked(who, at), at), way, span, at.today)

    # values

    def is_literal(self) -> bool:
        return self.tokens[0][0] in ("text", "number") or self.next in ("today", "true", "false", "True", "False")

    def literal(self) -> Ask:
        kind, token = self.tokens.pop(0)
        if kind == "text":
            text = re.sub(r"\\(.)", r"\1", token[1:-1])
            return lambda who, at: text
        if kind == "number":
            number = float(token) if "." in token else int(token)
            return lambda who, at: number
        if token in ("true", "True", "false", "False"):
            return lambda who, at: token.lower() == "true"
        if token != "today":
            raise ValueError(f"{token!r} is no value")
        if self.next != "-":
            return lambda who, at: at.today
        self.take()
        span = self.span()
        return lambda who, at: span.before(at.today)

    def span(self) -> Span:
        kind, token = self.tokens.pop(0)
        found = re.fullmatch(r"(\d+)(d|mo|y)", token)
        if kind != "span" or found is None:
            raise ValueError(f"{token!r} is no span")
        return Span(int(found[1]), found[2])

    def operand(self) -> Ask:
        word = self.take()
        if self.next != "(":
            return lambda who, at: who.value(word)
        self.take("(")
        asked = self.function(word)
        self.take(")")
        return asked

    def function(self, word: str) -> Ask:
        if word in _NEVER_MISSING:
            name = self.name()
            return lambda who, at: who.has(word, name)
        if word in ("event", "campaign"):
            name, window = self.name(), self.window()
            return lambda who, at: _count(_happened(word, who).get(name, []), window, at) > 0
        if word == "known":
            known = self.operand()
            return lambda who, at: known(who, at) is not None
        for token in ("event", "("):
            self.take(token)
        name = self.name()
        self.take(")")
        if word == "count":
            window = self.window()
            return lambda who, at: _count(who.events.get(name, []), window, at)
        chosen = {"first": min, "last": max}[word]
        return lambda who, at: chosen(who.events.get(name, []), default=None)

    def name(self) -> str:
        kind, token = self.tokens.pop(0)
        if kind != "text":
            raise ValueError(f"{token!r} is no name")
        return re.sub(r"\\(.)", r"\1", token[1:-1])

    def window(self) -> Span | None:
        if self.next != ",":
            return None
        self.take()
        return self.span()


def _not(answer: Answer) -> Answer:
    return None if answer is None else not answer


def _any(answers: list[Answer]) -> Answer:
    """True if one is; otherwise not known if one is not."""
    return True if True in answers else None if None in answers else False


def _happened(word: str, who: Customer) -> Mapping[str, list[datetime]]:
    return who.events if word == "event" else who.campaigns


def _count(moments: list[datetime], window: Span | None, at: Moment) -> int:
    if window is None:
        return len(moments)
    return sum(window.before(at.today) < day_of(one, at) <= at.today for one in moments)


def _compared(asked: Ask, sign: str, literal: Ask) -> Ask:
    def answer(who: Customer, at: Moment) -> Answer:
        mine, other = day_of(asked(who, at), at), literal(who, at)
        if mine is None:
            return None
        if isinstance(mine, date) and isinstance(other, str):
            other = date.fromisoformat(other)
        if sign in ("==", "!="):
            return (mine == other) == (sign == "==")
        return bool({"<": mine < other, "<=": mine <= other, ">": mine > other, ">=": mine >= other}[sign])

    return answer


def _contains(asked: Ask, literal: Ask) -> Ask:
    def answer(who: Customer, at: Moment) -> Answer:
        mine = asked(who, at)
        return None if mine is None else literal(who, at) in mine

    return answer


def _aged(asked: Ask, word: str, span: Span) -> Ask:
    def answer(who: Customer, at: Moment) -> Answer:
        day = day_of(asked(who, at), at)
        if day is None:
            return None
        since = span.before(at.today)
        return bool(day < since if word == "older" else day > since)

    return answer


def _comes(day: date | None, way: str, span: Span, today: date) -> Answer:
    """Whether the day of the year is one of those days; the window's far end is no part of it."""
    if day is None:
        return None
    step = 1 if way == "next" else -1
    end = span.after(today) if way == "next" else span.before(today)
    one, leap = today, (day.month, day.day) == (2, 29)
    while one != end:
        here = (one.month, one.day)
        if here == (day.month, day.day) or (leap and here == (2, 28) and not calendar.isleap(one.year)):
            return True
        one += timedelta(step)
    return False
