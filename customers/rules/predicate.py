"""A rule as a function of a document: closures that know all there is to know before the document
comes, since it is asked for every change of every customer.

What is missing compares as false by itself where that is cheaper than asking.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from customers.rules import days
from customers.rules.tree import (
    MEMBERS,
    All,
    Anniversary,
    Between,
    Compared,
    Constant,
    Contains,
    Counted,
    Either,
    Entered,
    Equals,
    Holds,
    Known,
    Member,
    Predicate,
    Tree,
    Within,
)
from customers.rules.vocabulary import Kind, Name, Path, map_key

Read = Callable[[Any], Any]
NOTHING: Mapping[str, Any] = {}
_SIZES = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_NUMBERS: frozenset[Kind] = frozenset({"number", "money", "moment"})


def predicate(tree: Tree) -> Predicate:
    """Whether a document meets the rule, as a function of the document and the day."""
    return _MAKERS[type(tree)](tree)


def reader(path: Path) -> Read:
    """What a document has at the path; None where it has nothing."""
    if len(path) == 1:
        (only,) = path
        return lambda document: document.get(only)
    if len(path) == 2:
        part, key = path
        return lambda document: document.get(part, NOTHING).get(key)
    part, key, last = path
    return lambda document: document.get(part, NOTHING).get(key, NOTHING).get(last)


def value_of(name: Name) -> Read:
    """The name's value in a document, as the rule sees it; None where it is missing."""
    read, is_one = reader(name.path), is_kind(name.kind)
    if name.earliest:
        return _earliest(name.path)
    if name.kind == "texts":
        return lambda document: read(document) or ()

    def value(document: Any) -> Any:
        found = read(document)
        return found if is_one(found) else None

    return value


def is_kind(kind: Kind) -> Callable[[Any], bool]:
    """Whether a value is one of that kind."""
    if kind == "bool":
        return lambda value: type(value) is bool
    if kind in _NUMBERS:
        return lambda value: type(value) is int or type(value) is float or _is_long(value)
    return lambda value: type(value) is str


def _is_long(value: Any) -> bool:
    """Whether it is a whole number of 2^31 or more as the database gives it out: of a class of its
    own."""
    return isinstance(value, int) and type(value) is not bool


def _earliest(path: Path) -> Read:
    rows, key = path

    def value(document: Any) -> Any:
        return min((row[key] for row in document.get(rows, ())), default=None)

    return value


def _constant(node: Constant) -> Predicate:
    value = node.value
    return lambda document, today: value


def _all(node: All) -> Predicate:
    parts = [predicate(part) for part in node.parts]
    while len(parts) > 5:
        parts[-5:] = [_all_of(parts[-5:])]
    return _all_of(parts)


def _all_of(parts: list[Predicate]) -> Predicate:
    """Two to five parts, asked without a loop."""
    match parts:
        case [a, b]:
            return lambda one, today: a(one, today) and b(one, today)
        case [a, b, c]:
            return lambda one, today: a(one, today) and b(one, today) and c(one, today)
        case [a, b, c, d]:
            return lambda one, today: (
                a(one, today) and b(one, today) and c(one, today) and d(one, today)
            )
    a, b, c, d, e = parts
    return lambda one, today: (
        a(one, today) and b(one, today) and c(one, today) and d(one, today) and e(one, today)
    )


def _either(node: Either) -> Predicate:
    parts = tuple(predicate(part) for part in node.parts)
    if len(parts) == 2:
        first, second = parts
        return lambda document, today: first(document, today) or second(document, today)

    def holds(document: Any, today: int) -> bool:
        for part in parts:
            if part(document, today):
                return True
        return False

    return holds


def _equals(node: Equals) -> Predicate:
    if node.name.kind == "bool":
        return _flag(node)
    values = frozenset(node.values)
    if node.negated or node.name.kind in _NUMBERS or len(node.name.path) != 2:
        value, wanted = value_of(node.name), not node.negated

        def holds(document: Any, today: int) -> bool:
            found = value(document)
            return found is not None and (found in values) is wanted

        return holds
    part, key = node.name.path
    if len(values) == 1:
        (one,) = values
        return lambda document, today: document.get(part, NOTHING).get(key) == one
    return lambda document, today: document.get(part, NOTHING).get(key) in values


def _flag(node: Equals) -> Predicate:
    wanted = (node.values[0] is True) is not node.negated
    if len(node.name.path) == 2:
        part, key = node.name.path
        return lambda document, today: document.get(part, NOTHING).get(key) is wanted
    read = reader(node.name.path)
    return lambda document, today: read(document) is wanted


def _contains(node: Contains) -> Predicate:
    value, part, wanted = value_of(node.name), node.value, not node.negated

    def holds(document: Any, today: int) -> bool:
        found = value(document)
        return found is not None and (part in found) is wanted

    return holds


def _compared(node: Compared) -> Predicate:
    compare, bound = _SIZES[node.size], node.value
    if len(node.name.path) == 2:
        part, key = node.name.path

        def holds(document: Any, today: int) -> bool:
            found = document.get(part, NOTHING).get(key)
            is_number = type(found) is int or type(found) is float or _is_long(found)
            return is_number and compare(found, bound)

        return holds
    value = value_of(node.name)

    def holds_there(document: Any, today: int) -> bool:
        found = value(document)
        return found is not None and compare(found, bound)

    return holds_there


def _between(node: Between) -> Predicate:
    value, low, high, wanted = value_of(node.name), node.low, node.high, not node.negated

    def holds(document: Any, today: int) -> bool:
        found = value(document)
        return found is not None and (low <= found <= high) is wanted

    return holds


def _within(node: Within) -> Predicate:
    value, low, high, wanted = value_of(node.name), node.low, node.high, not node.negated
    first: Callable[[int], Any] = days.iso
    after: Callable[[int], Any] = days.iso
    if node.name.kind == "moment":
        offset = node.offset
        first = after = lambda number: days.begin(number, offset)

    def holds(document: Any, today: int) -> bool:
        found = value(document)
        if found is None:
            return False
        inside = (low is None or found >= first(low.on(today))) and (
            high is None or found < after(high.on(today) + 1)
        )
        return inside is wanted

    return holds


def _window(span: days.Span) -> Callable[[int], tuple[str, str]]:
    """The first and the last day of the window on a day, as documents have them; each is worked out
    once."""
    known: dict[int, tuple[str, str]] = {}

    def ends(today: int) -> tuple[str, str]:
        return known.get(today) or known.setdefault(today, (str(span.first(today)), str(today)))

    return ends


def times(event: str, span: days.Span | None) -> Callable[[Any, int], int]:
    """How often the event happened, in the window or ever."""
    key = map_key(event)
    if span is None:
        ever = reader(("events", key, "n"))
        return lambda document, today: ever(document) or 0
    ends, happened = _window(span), reader(("events", key, "days"))

    def count(document: Any, today: int) -> int:
        first, last = ends(today)
        found = happened(document) or NOTHING
        return sum([n for day, n in found.items() if first <= day <= last])

    return count


def _counted(node: Counted) -> Predicate:
    if node.span is not None and node.high is None and node.low is not None:
        return _often(node, node.span, node.low)
    count, wanted = times(node.event, node.span), not node.negated
    low = node.low if node.low is not None else -1
    if node.high is None:
        key = map_key(node.event)
        return lambda document, today: (
            (document.get("events", NOTHING).get(key, NOTHING).get("n", 0) >= low) is wanted
        )
    high = node.high
    return lambda document, today: (low <= count(document, today) <= high) is wanted


def _often(node: Counted, span: days.Span, least: int) -> Predicate:
    """At least so often in the window: counted backwards from the last day, until it is enough."""
    key, ends, wanted = map_key(node.event), _window(span), not node.negated
    if least <= 0:
        return lambda document, today: wanted

    def holds(document: Any, today: int) -> bool:
        first, last = ends(today)
        left = least
        found = document.get("events", NOTHING).get(key, NOTHING).get("days", NOTHING)
        for day in reversed(found):
            if first <= day <= last:
                left -= found[day]
                if left <= 0:
                    return wanted
        return not wanted

    return holds


def _known(node: Known) -> Predicate:
    value, wanted = value_of(node.name), not node.negated
    return lambda document, today: (value(document) is not None) is wanted


def _member(node: Member) -> Predicate:
    path, value, wanted = MEMBERS[node.function], node.value, not node.negated
    if len(path) == 1:
        (part,) = path
        if wanted:
            return lambda document, today: value in document.get(part, ())
        return lambda document, today: value not in document.get(part, ())
    rows, key = path

    def holds(document: Any, today: int) -> bool:
        for row in document.get(rows, ()):
            if row[key] == value:
                return wanted
        return not wanted

    return holds


def _entered(node: Entered) -> Predicate:
    read, wanted = reader(("campaigns", map_key(node.campaign))), not node.negated
    span, offset = node.span, node.offset
    if span is None:
        return lambda document, today: (read(document) is not None) is wanted

    def holds(document: Any, today: int) -> bool:
        at = read(document)
        entered = at is not None and at >= days.begin(span.first(today), offset)
        return entered is wanted

    return holds


def _holds(node: Holds) -> Predicate:
    held, wanted = reader(("rewards", map_key(node.reward), "n")), not node.negated
    return lambda document, today: ((held(document) or 0) > 0) is wanted


def _anniversary(node: Anniversary) -> Predicate:
    value, wanted = value_of(node.name), not node.negated

    def holds(document: Any, today: int) -> bool:
        found = value(document)
        return found is not None and (found[5:] in days.month_days(*node.ends(today))) is wanted

    return holds


_MAKERS: Mapping[type, Callable[[Any], Predicate]] = {
    Constant: _constant,
    All: _all,
    Either: _either,
    Equals: _equals,
    Contains: _contains,
    Compared: _compared,
    Between: _between,
    Within: _within,
    Counted: _counted,
    Known: _known,
    Member: _member,
    Entered: _entered,
    Holds: _holds,
    Anniversary: _anniversary,
}
