"""What may come in: each item of a request held against what the bank's file declares.

A request may have hundreds of items, so they are looked at by plain functions that were made from the
declarations once, and not by models; what is wrong is told as a code and the field.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from config import bounds
from config.bounds import MOST_FEN
from customers.banks.bank import Bank
from customers.banks.declarations import EventEntry
from customers.fields import checks as fields_checks
from services import phones
from services.cache import Slot
from services.errors import InvalidInput

Wrong = tuple[str, str]
"""A code and the field that is wrong."""
AHEAD_SECONDS = 300.0
"""So far into the future an event may be: clocks differ."""
DAY_SECONDS = 86_400.0
TEXT_LENGTH = 500

Matches = Callable[[str], object]
_WORD = r"[A-Za-z0-9_-]{1,64}"
_PATTERNS = {
    "number": r"[A-Za-z0-9-]{4,32}",
    "unionid": _WORD,
    "openid": _WORD,
    "external_userid": _WORD,
}
_EVENT_ID = r"[A-Za-z0-9_.:-]{1,64}"
_MAINLAND = r"\+861[3-9][0-9]{9}"  # of no other script's digits, which phones.read refuses


def _one(pattern: str) -> Matches:
    return re.compile(pattern).fullmatch


def _lines(pattern: str) -> Matches:
    """Of lines that each end in a line feed; never goes back over one that fits."""
    return re.compile(rf"(?:{pattern}\n)*+").fullmatch


_ID = _one(_EVENT_ID)
_MOBILE = _one(_MAINLAND)
_IDS: Mapping[str, Matches] = {kind: _one(pattern) for kind, pattern in _PATTERNS.items()}
KINDS = (*_IDS, "phone")
"""By what an item names its customer."""
_ID_LINES = _lines(_EVENT_ID)
_USUAL_LINES: Mapping[str, Matches] = {
    "phone": _lines(_MAINLAND),
    **{kind: _lines(pattern) for kind, pattern in _PATTERNS.items() if kind != "openid"},
}
"""What nearly every id fits, and nothing that is none."""
_EVENT_KEYS = frozenset({"id", "name", "at", "customer", "data"})
_TOLD_KEYS = frozenset({"customer", "fields", "at"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FEW = 8
"""So few events are not halved any more to find the odd one among them."""


def _is_text(value: Any) -> bool:
    return (
        type(value) is str
        and len(value) <= TEXT_LENGTH
        and (value.isprintable() or _is_clean(value))
    )


def _is_clean(text: str) -> bool:
    try:
        bounds.clean(text)
    except ValueError:
        return False
    return True


def _is_number(value: Any) -> bool:
    return (type(value) is int and abs(value) < 2**53) or (
        type(value) is float and math.isfinite(value)
    )


def _is_money(value: Any) -> bool:
    return type(value) is int and abs(value) <= MOST_FEN


def _is_date(value: Any) -> bool:
    return fields_checks.read_day(value) is not None


def _is_bool(value: Any) -> bool:
    return type(value) is bool


_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "text": _is_text,
    "number": _is_number,
    "money": _is_money,
    "date": _is_date,
    "bool": _is_bool,
}


def read_time(text: Any) -> float | None:
    """The moment that `text` says, an ISO 8601 time with its offset, in seconds UTC; None for what
    is none."""
    if type(text) is not str:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.timestamp() if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True)
class Ages:
    """When something may have happened, in seconds UTC."""

    since: float
    until: float

    def wrong(self, value: Any) -> Wrong | None:
        at = read_time(value)
        if at is None:
            return "at_wrong", "at"
        if at > self.until:
            return "at_future", "at"
        return ("at_too_old", "at") if at < self.since else None

    def hold(self, texts: Sequence[str]) -> bool:
        """Whether each of these times is taken; raises what reading them raises."""
        parse = datetime.fromisoformat
        since = [parse(text) - _EPOCH for text in texts]  # no time without its offset has one
        return self.since <= min(since).total_seconds() and max(since).total_seconds() <= self.until


def ages(bank: Bank) -> Ages:
    """What is taken now: what the bank keeps raw events of, and nothing of the future."""
    now = bank.now()
    kept = bank.services.settings.bank_events_days * DAY_SECONDS
    return Ages(now - kept, now + AHEAD_SECONDS)


def _wrong_customer(item: Mapping[str, Any], appids: frozenset[str], region: str) -> Wrong | None:
    """What is wrong with how an item names its customer: by one id, an openid with its
    mini-program."""
    customer = item.get("customer")
    if type(customer) is not dict or not customer:
        return "customer_missing", "customer"
    kind = next(iter(customer))
    if "openid" in customer:
        kind = "openid"
        appid = customer.get("appid")
        if type(appid) is not str or appid not in appids:
            return "appid_unknown", "customer.appid"
    if len(customer) != (2 if kind == "openid" else 1) or kind not in KINDS:
        return "customer_wrong", "customer"
    value = customer[kind]
    if type(value) is not str:
        return "customer_wrong", f"customer.{kind}"
    good: object = (
        _MOBILE(value) or _is_phone(value, region) if kind == "phone" else _IDS[kind](value)
    )
    return None if good else ("customer_wrong", f"customer.{kind}")


def _is_phone(text: str, region: str) -> bool:
    try:
        return len(text) <= 64 and bool(phones.read(text, region))
    except InvalidInput:
        return False


def _fit(lines: Matches, values: Sequence[str]) -> bool:
    """Whether each of these, and there are some, is such a word. One look at a text of as many lines
    takes a third of the time."""
    text = "\n".join(values) + "\n"
    return text.count("\n") == len(values) and lines(text) is not None


def _name_customers(customers: Sequence[dict[str, str]]) -> bool:
    """Whether each of these names a customer by one id of the usual ones."""
    if not all(customers) or sum(map(len, customers)) != len(customers):
        return False
    return all(
        _fit(_USUAL_LINES[kind], [one[kind] for one in customers if kind in one])
        for kind in set().union(*customers)
    )


class Events:
    """Says what is wrong with events."""

    def __init__(self, bank: Bank) -> None:
        self._declared = {name: _data(entry) for name, entry in bank.events.items()}
        self._appids = frozenset(bank.miniprograms)
        self._region = bank.region

    def all_wrong(self, items: Sequence[Any], taken: Ages) -> dict[int, Wrong]:
        """What is wrong with each that is not as it should be, by its place. Nearly all are, so all
        are looked at together first, and one by one only where an odd one is among them."""
        if self._are_usual(items, taken):
            return {}
        if len(items) > _FEW:
            half = len(items) // 2
            later = self.all_wrong(items[half:], taken)
            wrong = self.all_wrong(items[:half], taken)
            return wrong | {half + place: found for place, found in later.items()}
        each = ((place, self.wrong(item, taken)) for place, item in enumerate(items))
        return {place: found for place, found in each if found is not None}

    def _are_usual(self, items: Sequence[Any], taken: Ages) -> bool:
        """True only if nothing is wrong with any of these: what nearly every event is like is asked
        of a whole column at once. It says nothing of what it says no to."""
        try:
            if not (
                _name_customers([item["customer"] for item in items])
                and _fit(_ID_LINES, [item["id"] for item in items])
                and taken.hold([item["at"] for item in items])
            ):
                return False
            return self._are_declared(items)
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
            return False

    def _are_declared(self, items: Sequence[dict[str, Any]]) -> bool:
        """Whether these events, which have the four keys that each needs, have besides them only
        data, and tell what the bank's file declares."""
        declared = self._declared
        told = [(declared[item["name"]], item["data"]) for item in items if "data" in item]
        return (
            {item["name"] for item in items} <= declared.keys()
            and sum(map(len, items)) == 4 * len(items) + len(told)
            and all([fits[key](value) for fits, data in told for key, value in data.items()])
        )

    def wrong(self, item: Any, taken: Ages) -> Wrong | None:
        """None for an event as it should be."""
        if type(item) is not dict:
            return "item_unreadable", ""
        event_id, name = item.get("id"), item.get("name")
        if type(event_id) is not str or not _ID(event_id):
            return "id_wrong", "id"
        declared = self._declared.get(name) if type(name) is str else None
        if declared is None:
            return "event_undeclared", "name"
        if not item.keys() <= _EVENT_KEYS:
            return "key_unknown", _first_beyond(item, _EVENT_KEYS)
        return (
            taken.wrong(item.get("at"))
            or _wrong_customer(item, self._appids, self._region)
            or (_wrong_data(item["data"], declared) if "data" in item else None)
        )


def _data(entry: EventEntry) -> dict[str, Callable[[Any], bool]]:
    return {one.key: _TYPES[one.type] for one in entry.data}


def _wrong_data(data: Any, declared: Mapping[str, Callable[[Any], bool]]) -> Wrong | None:
    if type(data) is not dict:
        return "data_wrong", "data"
    for key, value in data.items():
        fits = declared.get(key)
        if fits is None:
            return "data_unknown", f"data.{key[:64]}"
        if not fits(value):
            return "data_wrong", f"data.{key}"
    return None


def _first_beyond(item: Mapping[str, Any], known: frozenset[str]) -> str:
    return next(str(key)[:64] for key in item if key not in known)


class Customers:
    """Says what is wrong with what is told of one customer."""

    def __init__(self, bank: Bank) -> None:
        self._fields = bank.fields
        self._appids = frozenset(bank.miniprograms)
        self._region = bank.region

    def all_wrong(self, items: Sequence[Any], taken: Ages) -> dict[int, Wrong]:
        """What is wrong with each that is not as it should be, by its place."""
        found = ((place, self.wrong(item, taken)) for place, item in enumerate(items))
        return {place: wrong for place, wrong in found if wrong is not None}

    def wrong(self, item: Any, taken: Ages) -> Wrong | None:
        """None for what is as it should be."""
        if type(item) is not dict:
            return "item_unreadable", ""
        if not item.keys() <= _TOLD_KEYS:
            return "key_unknown", _first_beyond(item, _TOLD_KEYS)
        return (
            (taken.wrong(item["at"]) if "at" in item else None)
            or _wrong_customer(item, self._appids, self._region)
            or self._wrong_fields(item.get("fields"))
        )

    def _wrong_fields(self, fields: Any) -> Wrong | None:
        if type(fields) is not dict or not fields:
            return "fields_missing", "fields"
        for key, value in fields.items():
            declared = self._fields.get(key)
            if declared is None:
                return "field_unknown", f"fields.{key[:64]}"
            if "bank" not in declared.written_by:
                return "field_writer", f"fields.{key}"
            try:
                fields_checks.check(declared, value)
            except InvalidInput as error:
                return error.code, f"fields.{key}"
        return None


Checker = Events | Customers
_CHECKERS: Slot[dict[tuple[str, str], tuple[object, Checker]]] = Slot("intake.checkers", dict)


def checker(bank: Bank, kind: str) -> Checker:
    """What looks at items of that kind, made once for what the bank declares now."""
    kept = bank.services.cache.of(_CHECKERS)
    declared = bank.events if kind == "events" else bank.fields
    known = kept.get((bank.id, kind))
    if known is not None and known[0] is declared:
        return known[1]
    made: Checker = Events(bank) if kind == "events" else Customers(bank)
    kept[bank.id, kind] = declared, made
    return made
