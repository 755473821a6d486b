"""YAML as a person writes it: YAML 1.2's plain values, without what programs need (decision 0039).

libyaml splits the text into events, in bounded memory; what they mean is decided here. A value that
two readers could understand differently (`0100`, `yes`, `10:00`) is no value but a problem, which
shows what to write. So are tags, anchors, keys that stand twice, and whatever is over `Bounds`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from config.bounds import DOCUMENT_BYTES
from services.documents.problems import Place, Problem, quoted, shortened

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Value: TypeAlias = "None | bool | int | float | str | list[Value] | dict[Any, Value]"


@dataclass(frozen=True)
class Bounds:
    """`size` in bytes of UTF-8; `depth` of mappings and lists in each other; `entries` of one
    mapping; `items` of one list."""

    size: int = DOCUMENT_BYTES
    depth: int = 32
    entries: int = 100
    items: int = 500


@dataclass
class Document:
    """What a text says. `unclear` are the values, by place, that could be read in two ways; each
    stands in `value` as it was written."""

    value: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unclear: dict[Place, Problem] = field(default_factory=dict)

    def line(self, place: Place) -> int:
        """The line of a place, or of the nearest part around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


class _Refused(Exception):
    """Nothing can be read behind this line."""

    def __init__(self, line: int, code: str, **data: Any) -> None:
        super().__init__(code)
        self.line, self.code, self.data = line, code, data


def parse(text: str, source: str = "", bounds: Bounds | None = None) -> Document:
    """What `text` says, with every problem that its YAML has. Never raises; takes time and memory
    in proportion to the text, up to the bounds."""
    reader = _Reader(source, bounds or Bounds())
    try:
        reader.read(text.removeprefix("\ufeff"))
    except _Refused as error:
        reader.tell(error.line, error.code, **error.data)
    return reader.document


class _Reader:
    def __init__(self, source: str, bounds: Bounds) -> None:
        self.document = Document()
        self._source = source
        self._bounds = bounds

    def tell(self, line: int, code: str, **data: Any) -> None:
        self.document.problems.append(Problem(line, code, data, self._source))

    def read(self, text: str) -> None:
        size = len(text.encode("utf-8", "replace"))
        if size > self._bounds.size:
            raise _Refused(1, "too_big", kb=-(-size // 1024), most=self._bounds.size // 1024)
        line_end = _LINE_ENDS.search(text)
        if line_end:
            line = text.count("\n", 0, line_end.start()) + 1
            raise _Refused(line, "yaml_characters", why=f"U+{ord(line_end[0]):04X} ends a line")
        events = _events(text)
        for event in events:
            if isinstance(event, DocumentStartEvent):
                self._begin(event)
                self.document.value = self._value(next(events), events, ())

    def _begin(self, event: DocumentStartEvent) -> None:
        line = _line(event)
        if event.version or event.tags:
            raise _Refused(line, "yaml_directive")
        if self.document.lines:
            raise _Refused(line, "yaml_second")

    def _value(self, event: yaml.Event, events: Iterator[yaml.Event], place: Place) -> Value:
        line = _line(event)
        self.document.lines.setdefault(place, line)
        if len(place) > self._bounds.depth:
            raise _Refused(line, "too_deep", most=self._bounds.depth)
        if isinstance(event, AliasEvent):
            self.tell(line, "yaml_alias")
            return None
        self._check_plain(event, line)
        match event:
            case MappingStartEvent():
                return self._mapping(events, place)
            case SequenceStartEvent():
                return self._list(events, place)
            case ScalarEvent():
                return self._scalar(event, place)
        return None

    def _check_plain(self, event: Any, line: int) -> None:
        """Anchors and tags are for programs."""
        if event.anchor is not None:
            self.tell(line, "yaml_alias")
        if event.tag is not None:
            self.tell(line, "yaml_tag", tag=shortened(event.tag.rpartition(":")[2]))

    def _mapping(self, events: Iterator[yaml.Event], place: Place) -> Value:
        found: dict[Any, Value] = {}
        seen: set[str] = set()
        for event in events:
            if isinstance(event, MappingEndEvent):
                break
            key = self._key(event, place, seen)
            here = (*place, key)
            if found and _is_rest_of_number(event, next(reversed(found.values()))):
                self.tell(_line(event), "yaml_thousands", rest=str(key))
            self.document.lines.setdefault(here, _line(event))
            found[key] = self._value(next(events), events, here)
        return found

    def _key(self, event: yaml.Event, place: Place, seen: set[str]) -> Any:
        line = _line(event)
        if len(seen) >= self._bounds.entries:
            raise _Refused(line, "too_many_keys", most=self._bounds.entries)
        if not isinstance(event, ScalarEvent):
            raise _Refused(line, "yaml_key")
        self._check_plain(event, line)
        if event.value == "<<" and not event.style:
            self.tell(line, "yaml_merge")
        if event.value in seen:
            self.tell(line, "yaml_twice", key=shortened(event.value))
        seen.add(event.value)
        if not event.value and not event.style:
            self.tell(line, "yaml_empty_key")
        return self._name(event)

    def _name(self, event: ScalarEvent) -> str | int:
        """What a key says: a text, or a whole number. A plain one that two readers could
        understand differently is a problem, with the quotes that it wants."""
        text: str = event.value
        if event.style or not text:
            return text
        value = _plain(text)
        if _unclear(text) or not isinstance(value, str | int) or isinstance(value, bool):
            data = {"text": shortened(text), "quoted": quoted(shortened(text))}
            self.tell(_line(event), "unclear_key", **data)
            return text
        return value

    def _list(self, events: Iterator[yaml.Event], place: Place) -> Value:
        found: list[Value] = []
        for event in events:
            if isinstance(event, SequenceEndEvent):
                break
            if len(found) >= self._bounds.items:
                line = _line(event)
                raise _Refused(line, "too_many_items", most=self._bounds.items)
            found.append(self._value(event, events, (*place, len(found))))
        return found

    def _scalar(self, event: ScalarEvent, place: Place) -> Value:
        text: str = event.value
        if event.style:
            return text
        code = _unclear(text)
        if code is None:
            return _plain(text)
        line = _line(event)
        self.document.unclear[place] = Problem(line, *_explained(code, text), self._source)
        return text


_LINE_ENDS = re.compile("[\\u0085\\u2028\\u2029]")
"""Ends of lines for YAML 1.1, and characters like any other for YAML 1.2."""


def _events(text: str) -> Iterator[yaml.Event]:
    """The text's events; raises _Refused where it is no YAML."""
    loader = None
    try:
        loader = _LOADER(text)
        while loader.check_event():
            yield loader.get_event()
    except yaml.YAMLError as error:
        raise _not_yaml(text, error) from None
    except (ValueError, RecursionError) as error:  # a lone surrogate, or libyaml's own depth
        raise _Refused(1, "yaml_characters", why=shortened(error)) from None
    finally:
        if loader is not None:
            loader.dispose()


def _not_yaml(text: str, error: yaml.YAMLError) -> _Refused:
    mark = getattr(error, "problem_mark", None)
    if "quoted scalar" in str(getattr(error, "context", "")):
        mark = getattr(error, "context_mark", None) or mark  # where the quote opens
    position = getattr(error, "position", None)
    line = 1
    if mark is not None:
        line = mark.line + 1
    elif isinstance(position, int):
        line = text.count("\n", 0, position) + 1
    why = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
    line = min(line, text.count("\n") + 1)
    return _Refused(line, _syntax(text, line, why), why=why)


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


_MARKS = re.compile(
    r"^[^'\"]*[:\[{,]\s*[\"'][^\"']*[“”‘’＂]|^[\s-]*[^\s\"'#:]{1,40}[：]"
    r"|^[^｛｝［］，]*+[｛｝［］，].*[:：]|^[^\S\n]*[\u3000\u00a0]"
)


def _syntax(text: str, line: int, why: str) -> str:
    """The code of what makes a text no YAML, as far as its line tells."""
    around = text.splitlines()[max(0, line - 2) : line]
    if any("\t" in one[: len(one) - len(one.lstrip())] for one in around):
        return "yaml_tab"
    if any(_MARKS.search(one) for one in around):
        return "yaml_full_width"
    for part, code in _SYNTAX.items():
        if part in why:
            return code
    return "yaml"


_SYNTAX: Mapping[str, str] = {
    "cannot start any token": "yaml_token",
    "mapping values are not allowed": "yaml_colon",
    "found unexpected ':'": "yaml_colon",
    "did not find expected <document start>": "yaml_second",
    "unexpected end of stream": "yaml_open_quote",
    "unexpected end": "yaml_open_quote",
    "',' or": "yaml_open_bracket",
    "could not find expected ':'": "yaml_no_colon",
    "did not find expected key": "yaml_indent",
    "expected '-' indicator": "yaml_indent",
    "control characters": "yaml_characters",
    "special characters": "yaml_characters",
    "escape": "yaml_escape",
}

_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+")
_SWITCH = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_QUOTED = re.compile(r"“[^“”]*”|‘[^‘’]*’|＂[^＂]*＂|＇[^＇]*＇")
_UNCLEAR: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("switch", re.compile(r"(?i:yes|no|on|off)")),
    ("nothing", re.compile(r"~|Null|NULL")),
    ("clock", re.compile(r"[-+]?[0-9][0-9_]*(?::[0-9]{1,2})+(?:\.[0-9_]*)?")),
    ("zeros", re.compile(r"[-+]?0[0-9_]+")),
    ("base", re.compile(r"[-+]?0[xXoObB][0-9a-fA-F_]+")),
    ("underscore", re.compile(r"[-+]?[0-9][0-9_]*_[0-9_]*(?:\.[0-9_]*)?")),
    ("plus", re.compile(r"\+[0-9]+(?:\.[0-9]+)?")),
    ("exponent", re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+")),
    ("point", re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+\.|0[0-9]+\.[0-9]+|\+[0-9]+\.[0-9]+)")),
    ("endless", re.compile(r"(?i:[-+]?\.(?:inf|nan)|nan|[-+]?inf(?:inity)?)")),
    ("long", re.compile(r"[-+]?[0-9]{19,}(?:\.[0-9]+)?")),
    ("quotes", _QUOTED),
)
_EMPTY = {"", "null"}
_LONGEST = 60
"""characters of a value that may be a number, a time or a switch"""
_LONG = re.compile(r"[-+]?[0-9][0-9_:.]*")


def _is_rest_of_number(key: Any, before: Value) -> bool:
    """Whether a key is what stands behind the comma of a number such as 1,000."""
    is_number = isinstance(before, int) and not isinstance(before, bool)
    return is_number and not key.style and bool(re.fullmatch(r"[0-9]{3}", key.value))


def _unclear(text: str) -> str | None:
    """Why a plain value could be read in two ways; None when it cannot."""
    if text in _EMPTY:
        return None
    if len(text) > _LONGEST and not _QUOTED.fullmatch(text):
        return "long" if _LONG.fullmatch(text) else None
    return next((code for code, form in _UNCLEAR if form.fullmatch(text)), None)


def _plain(text: str) -> Value:
    """What a plain value that is clear says."""
    if text in _EMPTY:
        return None
    if text in _SWITCH:
        return _SWITCH[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if len(text) < _LONGEST and _DECIMAL.fullmatch(text) else text


def _explained(code: str, text: str) -> tuple[str, dict[str, Any]]:
    """The problem's code and data: what was read, the text in quotes, and the number or switch that
    may be meant."""
    data: dict[str, Any] = {"text": shortened(text), "quoted": quoted(shortened(text)), "other": ""}
    digits = text.replace("_", "").lstrip("+")
    if code == "switch":
        data["other"] = "true" if text.lower() in {"yes", "on"} else "false"
    elif code in {"zeros", "underscore", "plus"}:
        sign, digits = ("-", digits[1:]) if digits.startswith("-") else ("", digits)
        data["other"] = sign + (digits.lstrip("0") or "0") if digits.isdigit() else sign + digits
    elif code == "quotes":
        data |= {"quoted": quoted(shortened(text[1:-1])), "other": quoted(shortened(text))}
    elif code in {"base", "exponent", "point"} and len(text) < 20:
        data["other"] = _number(text)
    return f"unclear_{code}", data


def _number(text: str) -> str:
    """The number that such a notation means, in digits."""
    try:
        plain = text.replace("_", "")
        if "." not in plain and re.match(r"[-+]?0[xob]", plain, re.IGNORECASE):
            return str(int(plain, 0))
        value = float(plain)
        return (
            str(int(value))
            if value.is_integer() and abs(value) < 1e15
            else f"{value:f}".rstrip("0")
        )
    except (ValueError, OverflowError):
        return ""
