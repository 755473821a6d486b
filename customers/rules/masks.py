"""A rule as a mask over columns: where it is met, on a day."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from customers.rules import days
from customers.rules.columns import NO_CODE, NO_DAY, Codes, Columns, Mask
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
    Tree,
    Within,
)
from customers.rules.vocabulary import Name, map_key

_SIZES: Mapping[str, Callable[[Any, Any], Mask]] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}
_TEXTS = frozenset({"text", "choice", "sealed"})


def mask(tree: Tree, columns: Columns, today: int) -> Mask:
    """Which places meet the rule on the day."""
    match tree:
        case Constant():
            return np.full(columns.size, tree.value, dtype=np.bool_)
        case All():
            return reduce(np.logical_and, (mask(part, columns, today) for part in tree.parts))
        case Either():
            return reduce(np.logical_or, (mask(part, columns, today) for part in tree.parts))
    return _MAKERS[type(tree)](tree, columns, today)


def _met(inside: Mask, there: Mask, *, negated: bool) -> Mask:
    return there & ~inside if negated else there & inside


def _flipped(met: Mask, negated: bool) -> Mask:
    return ~met if negated else met


def _equals(node: Equals, columns: Columns, today: int) -> Mask:
    name = node.name
    if name.kind == "bool":
        flags = columns.flags(name.path)
        return _met(flags == int(node.values[0]), flags >= 0, negated=node.negated)
    if name.kind == "date":
        numbers = columns.days(name.path)
        read = (days.read_iso(str(value)) for value in node.values)
        wanted = [number for number in read if number is not None]
        return _met(np.isin(numbers, wanted), numbers > NO_DAY, negated=node.negated)
    if name.kind in _TEXTS:
        values = frozenset(node.values)
        return _of_texts(columns.codes(name.path), values.__contains__, node.negated)
    found = columns.numbers(name.path)
    return _met(np.isin(found, node.values), ~np.isnan(found), negated=node.negated)


def _of_texts(column: Codes, meets: Callable[[str], bool], negated: bool) -> Mask:
    """Each text is asked once, and then each place by its code; the last answer is that of no
    text."""
    met = np.zeros(len(column.texts) + 1, dtype=np.bool_)
    for code, text in enumerate(column.texts):
        met[code] = meets(text) is not negated
    met[NO_CODE] = False
    found: Mask = met[column.codes]
    return found


def _contains(node: Contains, columns: Columns, today: int) -> Mask:
    if node.name.kind == "texts":
        return _flipped(columns.members(node.name.path, node.value), node.negated)
    part = node.value
    return _of_texts(columns.codes(node.name.path), lambda text: part in text, node.negated)


def _compared(node: Compared, columns: Columns, today: int) -> Mask:
    return _SIZES[node.size](columns.numbers(node.name.path), node.value)


def _between(node: Between, columns: Columns, today: int) -> Mask:
    found = columns.numbers(node.name.path)
    inside = (found >= node.low) & (found <= node.high)
    return _met(inside, ~np.isnan(found), negated=node.negated)


def _within(node: Within, columns: Columns, today: int) -> Mask:
    found = columns.days(node.name.path)
    inside = np.full(columns.size, True)
    if node.low is not None:
        inside &= found >= node.low.on(today)
    if node.high is not None:
        inside &= found <= node.high.on(today)
    return _met(inside, found > NO_DAY, negated=node.negated)


def _counted(node: Counted, columns: Columns, today: int) -> Mask:
    event = map_key(node.event)
    found: NDArray[Any]
    if node.span is None:
        found = np.nan_to_num(columns.numbers(("events", event, "n")))
    else:
        found = _count(columns, event, node.span.first(today), today)
    inside = np.full(columns.size, True)
    if node.low is not None:
        inside &= found >= node.low
    if node.high is not None:
        inside &= found <= node.high
    return _flipped(inside, node.negated)


def _count(columns: Columns, event: str, first: int, last: int) -> NDArray[np.int64]:
    """How often it happened from the first day to the last."""
    tally = columns.tally(event)
    counts = np.where((tally.days >= first) & (tally.days <= last), tally.counts, 0)
    until = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(counts, dtype=np.int64)))
    return until[tally.starts[1:]] - until[tally.starts[:-1]]


def _known(node: Known, columns: Columns, today: int) -> Mask:
    return _flipped(_there(node.name, columns), node.negated)


def _there(name: Name, columns: Columns) -> Mask:
    if name.kind == "bool":
        return columns.flags(name.path) >= 0
    if name.kind in _TEXTS:
        return columns.codes(name.path).codes > NO_CODE
    if name.kind in ("date", "moment"):
        return columns.days(name.path) > NO_DAY
    return ~np.isnan(columns.numbers(name.path))


def _member(node: Member, columns: Columns, today: int) -> Mask:
    return _flipped(columns.members(MEMBERS[node.function], node.value), node.negated)


def _entered(node: Entered, columns: Columns, today: int) -> Mask:
    found = columns.days(("campaigns", map_key(node.campaign)))
    first = node.span.first(today) if node.span is not None else NO_DAY + 1
    return _flipped(found >= first, node.negated)


def _holds(node: Holds, columns: Columns, today: int) -> Mask:
    held = columns.numbers(("rewards", map_key(node.reward), "n"))
    return _flipped(held > 0, node.negated)


def _anniversary(node: Anniversary, columns: Columns, today: int) -> Mask:
    found = columns.days(node.name.path)
    there = found > NO_DAY
    numbers = np.where(there, found, 0).astype("datetime64[D]")
    months = numbers.astype("datetime64[M]")
    month = months.astype(np.int64) % 12
    day = (numbers - months.astype("datetime64[D]")).astype(np.int64)
    wanted = np.zeros((12, 31), dtype=np.bool_)
    for text in days.month_days(*node.ends(today)):
        wanted[int(text[:2]) - 1, int(text[3:]) - 1] = True
    return _met(wanted[month, day], there, negated=node.negated)


_MAKERS: Mapping[type, Callable[[Any, Columns, int], Mask]] = {
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
