"""What a bank's file declares of the bank's own: fields of customers, events, and the systems that
send them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from config import bounds
from customers.rules.days import MOST_WINDOW
from services.documents.problems import Fault, Place, fault, pattern
from services.security import sm2

FIELD_KEY = r"^[a-z][a-z0-9_]{0,39}$"
EVENT_NAME = r"^[a-z][a-z0-9_]{0,30}(\.[a-z][a-z0-9_]{0,30}){1,2}$"
BUILT_IN = frozenset(
    {
        "added_at",
        "bound",
        "created_at",
        "external_userid",
        "id",
        "name",
        "number",
        "phone",
        "unionid",
    }
)
"""Keys that fields may not have: a customer has these of his own."""
_KEY = pattern(FIELD_KEY, "field_key")
_EVENT = pattern(EVENT_NAME, "event_name")
_VALUE = pattern(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$", "choice_value")
_SYSTEM = pattern(r"^[a-z0-9][a-z0-9-]{0,18}$", "branch_id")

FieldType = Literal["text", "choice", "number", "money", "date", "bool"]
Writer = Literal["bank", "rm"]


class Declared(BaseModel):
    """No unknown keys, no changes, and no value of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class Label(Declared):
    """What it is called in both languages."""

    zh: bounds.Name
    en: bounds.Name


class Choice(Declared):
    value: str = Field(pattern=_VALUE)
    label: Label


class FieldEntry(Declared):
    """A field of customers. `money` is in fen, a `date` is a day. `class` is how much it says of a
    person, `sealed` that it lies encrypted and may only be compared whole. `moves`
    are the values that a choice may change to, by the value before; without them it changes freely.
    What is kept under a `consent` goes when that is withdrawn. A `removed` field is none any more, and its values are deleted."""

    key: str = Field(pattern=_KEY)
    name: Label
    type: FieldType
    choices: bounds.Few[Choice] = []
    level: Literal["C1", "C2", "C3"] = Field("C2", alias="class")
    sealed: bool = False
    written_by: Annotated[list[Writer], Field(min_length=1, max_length=2)] = ["bank"]
    moves: bounds.Entries[bounds.Word, bounds.Few[bounds.Word]] = {}
    consent: Literal["phone"] | None = None
    removed: bool = False

    @property
    def values(self) -> list[str]:
        """What a choice may be."""
        return [choice.value for choice in self.choices]

    def label_of(self, value: Any, language: Literal["zh", "en"]) -> str:
        """What a value of a choice is called; as it is without a label."""
        labels: Mapping[Any, Label] = {one.value: one.label for one in self.choices}
        return str(getattr(labels[value], language)) if value in labels else str(value)


class EventData(Declared):
    """What an event says besides its name: one of its data."""

    key: str = Field(pattern=_KEY)
    type: Literal["text", "number", "money", "date", "bool"] = "text"
    name: Label | None = None


class EventEntry(Declared):
    """An event that the bank's systems send."""

    name: str = Field(pattern=_EVENT)
    label: Label
    data: bounds.Few[EventData] = []

    @property
    def amounts(self) -> list[str]:
        """Which of its data are money."""
        return [one.key for one in self.data if one.type == "money"]


class RfmEntry(Declared):
    """By what the bank ranks its customers against each other: how recently and how often one of
    these `events` happened to each in the last `days`, and what they came to. `amounts` says which of
    an event's data that is; an event without one comes to nothing."""

    events: Annotated[bounds.Few[bounds.Name], Field(min_length=1)]
    amounts: Annotated[bounds.Entries[bounds.Name, bounds.Name], Field(min_length=1)]
    days: int = Field(365, ge=1, le=MOST_WINDOW)


class SystemEntry(Declared):
    """A program of the bank that sends events or what the bank knows of customers. It signs with a
    secret (`hmac-sha256`; the first one may be here, `manage.py partner secret` makes another), or
    with a key of its own of which `public_key` is here (`sm2-sm3`: PEM, or the point in hex; two
    after each other while one is changed for the other)."""

    id: str = Field(pattern=_SYSTEM)
    name: bounds.Name
    may: Annotated[list[Literal["events", "customers"]], Field(min_length=1, max_length=2)]
    algorithm: Literal["hmac-sha256", "sm2-sm3"] = "hmac-sha256"
    public_key: bounds.Pem | None = None
    secret: str | None = Field(None, pattern=r"^[A-Za-z0-9_-]{32,128}$", repr=False)


def faults(
    fields: Sequence[FieldEntry],
    events: Sequence[EventEntry],
    systems: Sequence[SystemEntry],
    rfm: RfmEntry | None = None,
) -> Iterator[Fault]:
    """What is wrong with these together, by their places in the file."""
    yield from _twice("fields", "key", [one.key for one in fields])
    yield from _twice("events", "name", [one.name for one in events])
    yield from _twice("systems", "id", [one.id for one in systems])
    for index, one in enumerate(fields):
        yield from _field(("fields", index), one)
    for index, event in enumerate(events):
        for place, data in enumerate(event.data):
            if data.key in [before.key for before in event.data[:place]]:
                yield fault(("events", index, "data", place, "key"), "named_twice", name=data.key)
    for index, system in enumerate(systems):
        yield from _system(("systems", index), system)
    if rfm is not None:
        yield from _rfm(rfm, {event.name: event for event in events})


def _field(at: Place, one: FieldEntry) -> Iterator[Fault]:
    if one.key in BUILT_IN:
        yield fault((*at, "key"), "field_built_in", name=one.key)
    if one.level == "C3" and not one.sealed:
        yield fault((*at, "sealed"), "field_c3_open", name=one.key)
    if (one.type == "choice") != bool(one.choices):
        yield fault((*at, "choices"), "field_choices", name=one.key)
    yield from _choices(at, one)
    if one.moves and one.type != "choice":
        yield fault((*at, "moves"), "field_moves", name=one.key)


def _choices(at: Place, one: FieldEntry) -> Iterator[Fault]:
    for index, value in enumerate(one.values):
        if value in one.values[:index]:
            yield fault((*at, "choices", index, "value"), "named_twice", name=value)
    for before, after in one.moves.items():
        for value in (before, *after):
            if one.choices and value not in one.values:
                place = (*at, "moves", before)
                yield fault(place, "unknown_choice", name=value, expected=one.values)


def _rfm(rfm: RfmEntry, events: Mapping[str, EventEntry]) -> Iterator[Fault]:
    for index, name in enumerate(rfm.events):
        if name in rfm.events[:index]:
            yield fault(("rfm", "events", index), "named_twice", name=name)
        elif name not in events:
            yield fault(
                ("rfm", "events", index), "unknown_event", name=name, expected=sorted(events)
            )
    for name, key in rfm.amounts.items():
        if name not in rfm.events:
            yield fault(("rfm", "amounts", name), "rfm_event", name=name, expected=rfm.events)
        elif name in events and key not in events[name].amounts:
            known = events[name].amounts
            yield fault(("rfm", "amounts", name), "rfm_amount", name=key, expected=known)


def _system(at: Place, one: SystemEntry) -> Iterator[Fault]:
    if one.algorithm == "hmac-sha256" and one.public_key is not None:
        yield fault((*at, "public_key"), "system_key_unused", name=one.id)
    if one.algorithm == "sm2-sm3" and one.secret is not None:
        yield fault((*at, "secret"), "system_secret_unused", name=one.id)
    if one.algorithm == "sm2-sm3" and not _are_keys(one.public_key or ""):
        yield fault((*at, "public_key"), "system_key", name=one.id)


def _are_keys(text: str) -> bool:
    """Whether the text is one SM2 key, or several while one is changed for another."""
    try:
        return bool([sm2.read_key(one) for one in sm2.split_keys(text)])
    except ValueError:
        return False


def _twice(group: str, key: str, names: Sequence[str]) -> Iterator[Fault]:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield fault((group, index, key), "named_twice", name=name)
        seen.add(name)
