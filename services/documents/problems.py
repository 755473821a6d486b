"""What is wrong with a document that a person wrote: where, what was read, and what to write.

A problem is a code with data; it is said in a language by the catalogues of web/locale (`problem_…`).
`found` turns what pydantic tells into problems, each type of error under its own code.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from typing_extensions import override

from services.texts import Language, sentence

Place = tuple[Any, ...]
"""Keys and positions that lead to a part of the document."""
Fault = tuple[Place, str, Mapping[str, Any]]
"""A part of a document, the code of what is wrong with it, and the data of its sentence."""

MOST_TOLD = 50
"""problems of one document; the rest is counted"""
_SHOWN = 40
"""characters of what was read"""
_SEPARATOR: Mapping[Language, str] = {"zh": "、", "en": ", "}


def fault(place: Place, code: str, /, **data: Any) -> Fault:
    """What is wrong at `place`: the sentence `problem_<code>` says it, with `data` in its places."""
    return place, code, data


@dataclass(frozen=True)
class Read:
    """A value as it was read, to be shown."""

    value: Any

    def say(self, language: Language) -> str:
        """The kind of the value and its beginning."""
        return sentence(f"read_{self._kind}", language, value=shortened(self.value))

    @property
    def _kind(self) -> str:
        match self.value:
            case None:
                return "nothing"
            case bool():
                return "switch"
            case int() | float():
                return "number"
            case str():
                return "text"
            case list() | tuple():
                return "list"
        return "mapping"


@dataclass(frozen=True)
class Fix:
    """What to write instead; nothing is said without a code."""

    code: str = ""
    value: str = ""

    def say(self, language: Language) -> str:
        return sentence(f"fix_{self.code}", language, value=self.value) if self.code else ""


class _Names(list[str]):
    """Names in a sentence: in a row, or as a list with `!r`; in a row, none are said as `none`."""

    def __init__(self, names: Iterable[Any], separator: str, none: str) -> None:
        super().__init__(map(str, names))
        self._separator, self._none = separator, none

    @override
    def __format__(self, spec: str) -> str:
        return self._separator.join(self) or self._none


@dataclass(frozen=True)
class Problem:
    """What is wrong in `source` at which line (from 1), as a code and the data of its sentence."""

    line: int
    code: str
    data: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""

    def say(self, language: Language) -> str:
        """The sentence; `msg` of the data where the catalogues have none."""
        data = {name: _said(value, language) for name, value in self.data.items()}
        code = f"problem_{self.code}"
        said = sentence(code, language, **data)
        return said if said != code else str(data.get("msg", self.code))

    @property
    def message(self) -> str:
        """The sentence in English, as the command line says it."""
        return self.say("en")

    @override
    def __str__(self) -> str:
        return f"{self.source}:{self.line}: {self.message}"


def _said(value: Any, language: Language) -> Any:
    if isinstance(value, Read | Fix):
        return value.say(language)
    if isinstance(value, list | tuple):
        return _Names(value, _SEPARATOR[language], sentence("names_none", language))
    if isinstance(value, Mapping) and "zh" in value:
        return value.get(language) or value["zh"]
    return value


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """By line, each once; after MOST_TOLD of them, how many more there are."""
    each = {(one.line, one.code, repr(one.data)): one for one in problems}
    by_line = sorted(each.values(), key=lambda one: one.line)
    first = by_line[: 10 * MOST_TOLD]
    told = {(one.line, one.message): one for one in first}
    shown = [told[key] for key in sorted(told)][:MOST_TOLD]
    more = len(by_line) - len(first) + len(told) - len(shown)
    if not more:
        return shown
    return [*shown, Problem(shown[-1].line, "more", {"n": more}, shown[-1].source)]


def found(details: Sequence[ErrorDetails], model: type[BaseModel]) -> list[Fault]:
    """What pydantic found wrong with a document of `model`; `details` are its errors."""
    return [_fault_of(one, model) for one in _told(details)]


def _told(details: Sequence[ErrorDetails]) -> Iterator[ErrorDetails]:
    """Of what is a word or a list, one error: that of the words for a text which is nearly one of
    them, and otherwise that of the list."""
    lists = {_dotted(one["loc"]) for one in details if "list[" in str(one["loc"])}
    for one in details:
        kind, place = one["type"], _dotted(one["loc"])
        word = any(
            _dotted(other["loc"]) == place and _is_near_word(other)
            for other in details
            if other["type"] == "literal_error"
        )
        if kind == "literal_error" and any(_within(each, place) for each in lists) and not word:
            continue
        if kind == "list_type" and word:
            continue
        yield one


def _is_near_word(detail: ErrorDetails) -> bool:
    return bool(_as_literal(detail["input"], detail.get("ctx", {})).code)


def _within(inner: str, place: str) -> bool:
    return inner == place or inner.startswith(f"{place}.")


def _fault_of(detail: ErrorDetails, model: type[BaseModel]) -> Fault:
    kind, place = _KINDS.get(detail["type"], detail["type"]), detail["loc"]
    message = detail["msg"].removeprefix("Value error, ")
    data = {**detail.get("ctx", {}), "msg": message, "place": _dotted(place)}
    if kind == "extra_forbidden":
        return _unknown_key(model, place, data)
    if kind != "missing" and is_secret(model, place):
        return fault(place, "secret", **data)
    code = kind if _has_sentence(kind) else "value"
    return fault(place, code, **_with_value(kind, detail["input"], data))


def _with_value(kind: str, value: Any, data: Mapping[str, Any]) -> dict[str, Any]:
    """The data of a wrong value's sentence: what was read, and what to write instead."""
    told = {"read": Read(value), "fix": _fix(kind, value, data), **data}
    if kind == "literal_error":
        told["expected"] = _literals(data)
    if kind == "string_pattern_mismatch":
        told["rule"] = Fix(_PATTERNS.get(str(data.get("pattern")), "pattern"))
    return told


def _unknown_key(model: type[BaseModel], place: Place, data: Mapping[str, Any]) -> Fault:
    """What is wrong with a key that the model does not know; nothing of one that may hold a
    secret."""
    known = _keys_at(model, place[:-1])
    hidden = _with_secret(model, place, known or ())
    if hidden is not None:
        return fault(place, "secret", **{**data, "place": _dotted(hidden)})
    if _FULL_WIDTH.search(str(place[-1])):
        return fault(place, "yaml_full_width", why=f"unknown key {shortened(place[-1])}")
    if known is None:
        return fault(place, "extra_forbidden_own", **data)
    return fault(place, "extra_forbidden", **data, expected=known, fix=_nearest(place[-1], known))


def _with_secret(model: type[BaseModel], place: Place, known: Sequence[str]) -> Place | None:
    """The part of an unknown key's place that may be shown, where the key may hold a secret: behind
    a colon without its blank, or as the key itself; None where it holds none."""
    around, key = place[:-1], str(place[-1])
    begin = (*around, re.split(r"[\s:：=]", key)[0])
    if is_secret(model, begin):
        return begin
    longest = max(map(len, known), default=0)
    among = any(is_secret(model, (*around, one)) for one in known)
    return around if among and len(key) > longest else None


def _dotted(place: Place) -> str:
    """The place as people write it, without pydantic's names for the members of a union."""
    parts = [shortened(part).rstrip("_") for part in place if part != "[key]"]
    return ".".join(part for part in parts if not re.match(r"\w+\[", part)) or "document"


def _has_sentence(kind: str) -> bool:
    code = f"problem_{kind}"
    return sentence(code) != code


_FULL_WIDTH = re.compile("[\\uff00-\\uff5e\\u3000\\u00a0\\u2000-\\u200f\\u202f\\ufeff“”‘’]")
"""Punctuation and spaces that are none in YAML."""

_KINDS: Mapping[str, str] = {
    "invalid_key": "extra_forbidden",
    "int_parsing": "int_type",
    "int_parsing_size": "int_type",
    "int_from_float": "int_type",
    "float_parsing": "float_type",
    "bool_parsing": "bool_type",
    "tuple_type": "list_type",
    "dict_type": "mapping_type",
    "model_type": "mapping_type",
    "model_attributes_type": "mapping_type",
    "enum": "literal_error",
}
"""Types of pydantic's errors that are said like another."""

_PATTERNS: dict[str, str] = {}
"""What a pattern of a text allows, as the code of a sentence (`fix_<code>`)."""


def pattern(text: str, code: str) -> str:
    """`text`, a pattern of a model's field; `fix_<code>` says what it allows."""
    _PATTERNS[text] = code
    return text


def quoted(text: Any) -> str:
    """As a text in quotes is written in YAML."""
    return '"' + str(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def shortened(value: Any) -> str:
    """The beginning of a value, for a sentence."""
    text = ("true" if value else "false") if isinstance(value, bool) else str(value)
    text = text.replace("\n", " ")
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _fix(kind: str, value: Any, data: Mapping[str, Any]) -> Fix:
    if kind.startswith("string_") and isinstance(value, bool | int | float):
        return Fix("write", quoted(shortened(value)))
    make = _FIXES.get(kind.split("_", 1)[0])
    return make(value, data) if make is not None else Fix()


def _as_number(value: Any, _: Mapping[str, Any]) -> Fix:
    """A whole number that was written as a text, with separators or full-width digits."""
    if isinstance(value, bool) or not isinstance(value, str | float) or len(str(value)) > _SHOWN:
        return Fix()
    plain = re.sub(r"[\s,_'’]", "", unicodedata.normalize("NFKC", str(value)))
    match = re.fullmatch(r"\+?(-?)0*(\d{1,14})(?:\.0+)?(万?)[张个份名人次件位]?", plain)
    if match is None:
        match = re.fullmatch(r"\+?(-?)0*(\d{1,18})(?:\.0+)?()", plain)
    return Fix("write", f"{match[1]}{match[2]}{'0000' if match[3] else ''}") if match else Fix()


def _as_switch(value: Any, _: Mapping[str, Any]) -> Fix:
    said = str(value).strip().lower()
    if said in {"yes", "on", "y", "1", "true", "是", "开", "对"}:
        return Fix("write", "true")
    if said in {"no", "off", "n", "0", "false", "否", "关", "不"}:
        return Fix("write", "false")
    return Fix("switch")


def _as_day(value: Any, _: Mapping[str, Any]) -> Fix:
    numbers = re.findall(r"\d+", unicodedata.normalize("NFKC", str(value))[:_SHOWN])[:3]
    if len(numbers) == 1 and len(numbers[0]) == 8:
        numbers = [numbers[0][:4], numbers[0][4:6], numbers[0][6:]]
    try:
        year, month, day = map(int, numbers)
        return Fix("write", date(year, month, day).isoformat())
    except (ValueError, OverflowError):
        return Fix("like", "2027-01-31")


def _as_literal(value: Any, data: Mapping[str, Any]) -> Fix:
    return _nearest(value, _literals(data))


def _literals(data: Mapping[str, Any]) -> list[str]:
    """The texts of a Literal, as pydantic tells them."""
    return re.findall(r"'([^']*)'", str(data.get("expected", "")))


def _as_list(value: Any, _: Mapping[str, Any]) -> Fix:
    """One text where a list of them is wanted."""
    one = isinstance(value, str) and value.strip() and len(value) <= _SHOWN
    return Fix("write", f"[{value}]") if one else Fix()


_FIXES: Mapping[str, Callable[[Any, Mapping[str, Any]], Fix]] = {
    "int": _as_number,
    "bool": _as_switch,
    "day": _as_day,
    "literal": _as_literal,
    "list": _as_list,
}


def _nearest(name: Any, known: Sequence[str] | None) -> Fix:
    """The known name that was meant, as far as that can be guessed."""
    text = unicodedata.normalize("NFKC", str(name)).strip().lower()[:_SHOWN]
    near = difflib.get_close_matches(text, known or [], n=1, cutoff=0.6)
    return Fix("meant", near[0]) if near else Fix()


def is_secret(model: type[BaseModel], place: Place) -> bool:
    """Whether what stands there is kept out of every output (`repr=False` of its field)."""
    return any(field is not None and not field.repr for field, _ in _walk(model, place))


def _keys_at(model: type[BaseModel], place: Place) -> list[str] | None:
    """The keys that the document knows at a place; None where names are the writer's own."""
    *_, (_, at) = [(None, model), *_walk(model, place)]
    if not hasattr(at, "model_fields"):
        return None
    return [one.alias or name for name, one in at.model_fields.items()]


def _walk(model: Any, place: Place) -> Iterator[tuple[FieldInfo | None, Any]]:
    """(the field, the model in it) for each key that leads to a place."""
    for part in place:
        if isinstance(part, int) or not hasattr(model, "model_fields"):
            continue
        by_alias = {one.alias or name: one for name, one in model.model_fields.items()}
        field = by_alias.get(part)
        if field is not None:
            model = _model_in(field.annotation)
            yield field, model


def _model_in(annotation: Any) -> Any:
    if hasattr(annotation, "model_fields"):
        return annotation
    inner = [_model_in(argument) for argument in getattr(annotation, "__args__", ())]
    return next((model for model in reversed(inner) if hasattr(model, "model_fields")), None)
