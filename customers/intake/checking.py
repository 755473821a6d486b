"""What may come in: each item of a request held against what the bank's file declares.

A request may have hundreds of items, so they are looked at by plain functions that were made from the
declarations once, and not by models; what is wrong is told as a code and the field.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

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

_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}").fullmatch
_MOBILE = re.compile(r"\+861[3-9]\d{9}").fullmatch
_IDS: Mapping[str, Callable[[str], object]] = {
    "number": re.compile(r"[A-Za-z0-9-]{4,32}").fullmatch,
    "unionid": re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch,
    "openid": re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch,
    "external_userid": re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch,
}
_USUAL: Mapping[str, Callable[[str], object]] = {
    "phone": _MOBILE,
    **{kind: fits for kind, fits in _IDS.items() if kind != "openid"},
}
"""What nearly every id fits, and nothing that is none."""
KINDS = (*_IDS, "phone")
"""By what an item names its customer."""
_EVENT_KEYS = frozenset({"id", "name", "at", "customer", "data"})
_TOLD_KEYS = frozenset({"customer", "fields", "at"})


_SHOWN = re.compile(r"[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]{0,500}").fullmatch
"""A text that bounds.clean takes."""


def _is_text(value: Any) -> bool:
    return type(value) is str and _SHOWN(value) is not None


def _is_number(value: Any) -> bool:
    return (type(value) is int and abs(value) < 2**53) or (
        type(value) is float and math.isfinite(value)
    )


def _is_money(value: Any) -> bool:
    return type(value) is int and abs(value) <= MOST_FEN


def _is_date(value: Any) -> bool:
    if type(value) is not str or len(value) != 10:
        return False
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


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
        if customer.get("appid") not in appids:
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


class Events:
    """Says what is wrong with events."""

    def __init__(self, bank: Bank) -> None:
        self._declared = {name: _data(entry) for name, entry in bank.events.items()}
        self._appids = frozenset(bank.miniprograms)
        self._region = bank.region

    def all_wrong(self, items: Sequence[Any], taken: Ages) -> dict[int, Wrong]:
        """What is wrong with each that is not as it should be, by its place. Nearly all are, so each
        is first asked the few questions that such an event passes, and `wrong` only says what is
        wrong with one that does not."""
        wrong: dict[int, Wrong] = {}
        declared, parse = self._declared, datetime.fromisoformat
        since, until = taken.since, taken.until
        for place, item in enumerate(items):
            try:
                data, customer = item.get("data"), item["customer"]
                (kind,) = customer
                moment = parse(item["at"])
                if (
                    _ID(item["id"])
                    and _USUAL[kind](customer[kind])
                    and moment.tzinfo is not None
                    and since <= moment.timestamp() <= until
                    and len(item) == (4 if data is None else 5)
                ):
                    fits = declared[item["name"]]
                    if data is None or all([fits[key](value) for key, value in data.items()]):
                        continue
            except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
                pass  # whatever it is, it is said below
            found = self.wrong(item, taken)
            if found is not None:
                wrong[place] = found
        return wrong

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
