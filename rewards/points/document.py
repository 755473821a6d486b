"""The points programme of a bank, `points/v1`: what customers earn points for, how long these last,
and what they cost."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from config import bounds
from customers.banks.files import MiniProgram
from customers.messaging import subscriptions
from rewards.points.occasions import of_bank
from services.documents import yaml12
from services.documents.parts import Date, Key, Part, Text
from services.documents.problems import Fault, Place, Problem, fault, found, in_order
from services.errors import InvalidInput

Points = Annotated[int, Field(ge=1, le=1_000_000_000)]
Days = Annotated[int, Field(ge=1, le=3_650)]
FIELDS = ("program", "points", "date", "days")
"""What a field of the notice's template may say: the programme's name, how many points, the last
day on which they can be used, and how many days that is from now."""
PER = 1_000
"""Points whose cost the programme says in fen, so that a point may cost less than a fen."""


class Notice(Part):
    """The subscribe message that tells a customer of points that are about to expire, `days` before;
    `fields` says which of FIELDS stands in which field of the template."""

    days: Annotated[int, Field(ge=1, le=90)] = 30
    appid: bounds.Appid
    template: bounds.TemplateId
    fields: dict[bounds.Name, Literal["program", "points", "date", "days"]] = Field(
        min_length=1, max_length=10
    )


class Rule(Part):
    """So many `points` for each `event`, up to the caps: what would go over one is cut to what it
    leaves. `per_day` and `per_month` are the bank's days and months, `ever` is for good. The rule
    holds from the day `from` to the day `to`, both included, while it is `live`."""

    title: Text
    event: bounds.ShortText
    points: Points
    per_day: Points | None = None
    per_month: Points | None = None
    ever: Points | None = None
    lifetime: Days | None = None
    from_: Date | None = Field(None, alias="from")
    to: Date | None = None
    state: Literal["live", "paused"] = "live"

    def holds(self, day: date) -> bool:
        """Whether it gives points on that day of the bank's."""
        begun = self.from_ is None or self.from_ <= day
        return self.state == "live" and begun and (self.to is None or day <= self.to)

    def caps(self, day: date) -> dict[str, int]:
        """The caps that hold on that day, by the time that each is for: `day-20261130`,
        `month-202611`, `ever`."""
        spans = {
            f"day-{day:%Y%m%d}": self.per_day,
            f"month-{day:%Y%m}": self.per_month,
            "ever": self.ever,
        }
        return {span: cap for span, cap in spans.items() if cap is not None}


class Program(Part):
    """The whole document. `cost` is what 1,000 points cost the bank, in fen; `lifetime` how many
    days points can be used after the day on which they were earned."""

    kind: Literal["points/v1"]
    id: Key
    name: Text
    cost: Annotated[int, Field(ge=0, le=100_000_000)]
    lifetime: Days
    notice: Notice | None = None
    rules: bounds.Entries[Key, Rule] = {}

    def cost_of(self, points: int) -> int:
        """What so many points cost the bank, in whole fen, half a fen up."""
        return (points * self.cost * 2 + PER) // (2 * PER)

    def lifetime_of(self, rule: str) -> int:
        """How many days the points of a rule can be used; of none that there is, as all others."""
        own = self.rules[rule].lifetime if rule in self.rules else None
        return own or self.lifetime


class ProgramError(InvalidInput):
    """The programme cannot be used; nothing was submitted. `problems` say what is wrong with it,
    each with its line; in a form `places` are where in the document each is."""

    def __init__(self, problems: list[Problem], places: Sequence[Place] = ()) -> None:
        dotted = [".".join(map(str, place)) for place in places]
        named = dict(zip(dotted, (one.message for one in problems), strict=False))
        super().__init__("points_document", "\n".join(map(str, problems)), fields=named)
        self.problems = problems
        self.places = places


def expires(day: date, lifetime: int, tz: tzinfo) -> datetime:
    """When points that were earned on the bank's `day` expire: the midnight after the last of
    `lifetime` days."""
    return datetime.combine(day + timedelta(days=lifetime + 1), time(), tz)


def read(
    text: str, source: str, programs: Mapping[str, MiniProgram], events: Collection[str] = ()
) -> Program:
    """The programme that a file says; `programs` are the bank's mini-programs, `events` those that
    its own systems send. Raises ProgramError."""
    parsed = yaml12.parse(text, source)
    problems = [*parsed.problems, *parsed.unclear.values()]
    document, faults = None, list[Fault]()
    if not isinstance(parsed.value, dict):
        if not problems:
            faults = [fault((), "not_mapping", begin="kind: points/v1")]
    else:
        document, faults = _checked(parsed.value, programs, events)
    problems += [Problem(parsed.line(place), code, data, source) for place, code, data in faults]
    if document is None or problems:
        raise ProgramError(in_order(problems))
    return document


def check(
    value: Mapping[str, Any], programs: Mapping[str, MiniProgram], events: Collection[str] = ()
) -> Program:
    """The programme that a form made. Raises ProgramError, whose `fields` name what is wrong."""
    document, faults = _checked(dict(value), programs, events)
    if document is None or faults:
        problems = [Problem(0, code, data, "") for _, code, data in faults]
        raise ProgramError(problems, [place for place, _, _ in faults])
    return document


def _checked(
    value: dict[str, Any], programs: Mapping[str, MiniProgram], events: Collection[str]
) -> tuple[Program | None, list[Fault]]:
    try:
        document = Program.model_validate(value)
    except ValidationError as error:
        return None, found(error.errors(include_url=False), Program)
    return document, list(_faults(document, programs, of_bank(events)))


def _at(place: Place, code: str, **data: Any) -> Fault:
    return fault(place, code, **data, place=".".join(map(str, place)))


def _faults(
    document: Program, programs: Mapping[str, MiniProgram], occasions: Collection[str]
) -> Iterator[Fault]:
    for name, rule in document.rules.items():
        place = ("rules", name)
        if rule.event not in occasions:
            expected = list(occasions)
            yield _at((*place, "event"), "points_event", name=rule.event, expected=expected)
        if rule.from_ is not None and rule.to is not None and rule.to < rule.from_:
            yield _at((*place, "to"), "points_window", begin=rule.from_, end=rule.to)
        for cap in ("per_day", "per_month", "ever"):
            most = getattr(rule, cap)
            if most is not None and most < rule.points:
                yield _at((*place, cap), "points_cap", cap=cap, most=most, points=rule.points)
    if document.notice is not None:
        yield from _notice_faults(document.notice, programs)


def _notice_faults(notice: Notice, programs: Mapping[str, MiniProgram]) -> Iterator[Fault]:
    program = programs.get(notice.appid)
    if program is None:
        known = sorted(programs)
        yield _at(("notice", "appid"), "points_appid", name=notice.appid, expected=known)
        return
    templates = [*program.templates, *program.long_term_templates]
    if notice.template not in templates:
        yield _at(
            ("notice", "template"), "points_template", name=notice.template, expected=templates
        )
    longest = notice_values(notice, "积分", 9_999_999_999, date(2026, 12, 31), 90)
    try:
        subscriptions.check_values(longest)
    except InvalidInput as error:
        for key in error.fields:
            yield _at(("notice", "fields", key), "points_field", name=key)


def notice_values(
    notice: Notice, program: str, points: int, last: date, days: int
) -> dict[str, str]:
    """The values of the notice's template: `points` can be used until the end of the day `last`,
    which is `days` away."""
    said = {
        "program": program[:20],
        "points": str(points),
        "date": f"{last.year}年{last.month}月{last.day}日",
        "days": str(days),
    }
    return {key: said[wanted] for key, wanted in notice.fields.items()}


def changes(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """What is different between two documents: (where, before, after), in the order of the new."""
    before, after = _flat(old or {}), _flat(new)
    names = list(dict.fromkeys([*after, *before]))
    pairs = [(name, before.get(name), after.get(name)) for name in names]
    return [one for one in pairs if one[1] != one[2]]


def _flat(value: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, one in value.items():
        where = f"{place}.{key}" if place else str(key)
        if isinstance(one, Mapping):
            found |= _flat(one, where)
        elif one is not None:
            found[where] = one
    return found
