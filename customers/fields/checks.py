"""What a declared field may hold: values as they come from outside, and as texts of forms and
files."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from config import bounds
from customers.banks.declarations import FieldEntry, FieldType
from services.errors import InvalidInput

TEXT_LENGTH = 200
MOST_NUMBER = 2**53
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MONEY = re.compile(r"(-?)(\d{1,11})(?:\.(\d{1,2}))?", re.ASCII)
_WORDS = {"true": True, "1": True, "yes": True, "是": True}
_WORDS |= {"false": False, "0": False, "no": False, "否": False}


def check(field: FieldEntry, value: Any) -> Any:
    """The value as it is kept: texts without blanks around them, a day as 2027-01-31. None takes a
    value back. Raises InvalidInput `field_type`, or `field_choice` for a choice that there is not."""
    if value is None:
        return None
    kept = _CHECKS[field.type](value)
    if kept is None:
        raise InvalidInput("field_type", f"{field.key}: expected {_EXPECTED[field.type]}")
    if field.type == "choice" and kept not in field.values:
        raise InvalidInput("field_choice", f"{field.key}: expected one of {field.values}")
    return kept


def parse(field: FieldEntry, text: str) -> Any:
    """The value that a text of a form or a file says; an empty one takes it back. Money is said in
    yuan. Raises InvalidInput as `check` does."""
    said = text.strip()
    if not said:
        return None
    read = _PARSERS.get(field.type)
    value = said if read is None else read(said)
    if value is None:
        raise InvalidInput("field_type", f"{field.key}: expected {_EXPECTED[field.type]}")
    return check(field, value)


def canonical(value: Any) -> str:
    """A value as what its blind index is made of; equal values have equal ones."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, ensure_ascii=False)


def is_findable(field: FieldEntry) -> bool:
    """Whether rules may ask for it: a sealed one of few values has no blind index, since how often
    each comes would tell which it is (services/security/vault.py)."""
    return not field.sealed or field.type not in ("bool", "choice")


def _text(value: Any) -> str | None:
    if not isinstance(value, str) or not 0 < len(value.strip()) <= TEXT_LENGTH:
        return None
    try:
        return bounds.clean(value.strip())
    except ValueError:
        return None


def _number(value: Any) -> float | int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value if abs(value) <= MOST_NUMBER else None


def _fen(value: Any) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and abs(value) <= bounds.MOST_FEN else None


def read_day(value: Any) -> str | None:
    """A day like 2027-01-31 as it is kept; None for what is none."""
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        return None
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError:
        return None


def _switch(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


_CHECKS: Mapping[FieldType, Callable[[Any], Any]] = {
    "text": _text,
    "choice": _text,
    "number": _number,
    "money": _fen,
    "date": read_day,
    "bool": _switch,
}
_EXPECTED: Mapping[FieldType, str] = {
    "text": f"a text of at most {TEXT_LENGTH} characters",
    "choice": "the value of a choice",
    "number": "a number",
    "money": "a whole number of fen",
    "date": "a day like 2027-01-31",
    "bool": "true or false",
}


def _read_number(text: str) -> float | int | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if math.isfinite(value) and value.is_integer() else value


def _read_yuan(text: str) -> int | None:
    match = _MONEY.fullmatch(text)
    if match is None:
        return None
    fen = int(match[2]) * 100 + int((match[3] or "").ljust(2, "0"))
    return -fen if match[1] else fen


_PARSERS: Mapping[FieldType, Callable[[str], Any]] = {
    "number": _read_number,
    "money": _read_yuan,
    "bool": lambda text: _WORDS.get(text.lower()),
}
