"""A rule as a MongoDB filter over the documents of customers, on a day."""

from __future__ import annotations

import re
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
    Tree,
    Within,
)
from customers.rules.vocabulary import Name, map_key

Filter = dict[str, Any]
NOBODY: Filter = {"_id": {"$in": []}}
_SIZES = {"<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}
_TYPES = {"number": "number", "money": "number", "moment": "number", "bool": "bool"}


def to_filter(tree: Tree, today: int) -> Filter:
    """What finds the documents that meet the rule on the day; understood by MongoDB 6 and by the
    embedded store."""
    match tree:
        case Constant():
            return {} if tree.value else NOBODY
        case All():
            return {"$and": [to_filter(part, today) for part in tree.parts]}
        case Either():
            return {"$or": [to_filter(part, today) for part in tree.parts]}
    return _MAKERS[type(tree)](tree, today)


def _at(name: Name) -> str:
    return ".".join(name.path)


def _type(name: Name) -> str:
    return _TYPES.get(name.kind, "string")


def _met(name: Name, condition: Filter, *, negated: bool) -> Filter:
    """The condition on the name's value, or that the value is there and does not meet it."""
    if not negated:
        return {_at(name): condition}
    return {_at(name): {"$type": _type(name), "$not": condition}}


def _equals(node: Equals, today: int) -> Filter:
    return _met(node.name, {"$in": list(node.values)}, negated=node.negated)


def _contains(node: Contains, today: int) -> Filter:
    if node.name.kind == "texts":
        return {_at(node.name): {"$ne" if node.negated else "$eq": node.value}}
    condition = {"$regex": re.escape(node.value)}
    return _met(node.name, condition, negated=node.negated)


def _compared(node: Compared, today: int) -> Filter:
    return {_at(node.name): {_SIZES[node.size]: node.value}}


def _between(node: Between, today: int) -> Filter:
    return _met(node.name, {"$gte": node.low, "$lte": node.high}, negated=node.negated)


def _within(node: Within, today: int) -> Filter:
    low = _edge(node, node.low.on(today)) if node.low is not None else None
    after = _edge(node, node.high.on(today) + 1) if node.high is not None else None
    if node.name.earliest:
        return _earliest(node, low, after)
    ends = {"$gte": low, "$lt": after}
    condition = {end: value for end, value in ends.items() if value is not None}
    return _met(node.name, condition, negated=node.negated)


def _edge(node: Within, number: int) -> str | int:
    """The beginning of a day, as documents have it."""
    return days.iso(number) if node.name.kind == "date" else days.begin(number, node.offset)


def _earliest(node: Within, low: Any, after: Any) -> Filter:
    """Where the earliest of several moments lies: one of them is early enough, and none is too
    early."""
    at = _at(node.name)
    early = {at: {"$lt": after}} if after is not None else {at: {"$type": "number"}}
    too_early = {at: {"$lt": low}} if low is not None else NOBODY
    if node.negated:
        late = {"$and": [{at: {"$type": "number"}}, {"$nor": [early]}]}
        return {"$or": [too_early, late]}
    return {"$and": [early, {"$nor": [too_early]}]}


def _counted(node: Counted, today: int) -> Filter:
    if node.span is None:
        count: Any = {"$ifNull": [f"$events.{map_key(node.event)}.n", 0]}
    else:
        count = _count(map_key(node.event), node.span.first(today), today)
    ends = (("$gte", node.low), ("$lte", node.high))
    inside = {"$and": [{end: [count, value]} for end, value in ends if value is not None]}
    return {"$expr": {"$not": [inside]} if node.negated else inside}


def _count(event: str, first: int, last: int) -> Filter:
    """How often it happened from the first day to the last: the days are a map, whose keys have
    five digits."""
    inside = [{"$gte": ["$$one.k", str(first)]}, {"$lte": ["$$one.k", str(last)]}]
    every = {"$objectToArray": {"$ifNull": [f"$events.{event}.days", {}]}}
    those = {"$filter": {"input": every, "as": "one", "cond": {"$and": inside}}}
    return {"$sum": {"$map": {"input": those, "as": "one", "in": "$$one.v"}}}


def _known(node: Known, today: int) -> Filter:
    there = {"$type": _type(node.name)}
    return {_at(node.name): {"$not": there} if node.negated else there}


def _member(node: Member, today: int) -> Filter:
    at = ".".join(MEMBERS[node.function])
    return {at: {"$ne" if node.negated else "$eq": node.value}}


def _entered(node: Entered, today: int) -> Filter:
    condition: Filter = {"$exists": True}
    if node.span is not None:
        condition = {"$gte": days.begin(node.span.first(today), node.offset)}
    at = f"campaigns.{map_key(node.campaign)}"
    return {at: {"$not": condition} if node.negated else condition}


def _holds(node: Holds, today: int) -> Filter:
    condition = {"$gt": 0}
    at = f"rewards.{map_key(node.reward)}.n"
    return {at: {"$not": condition} if node.negated else condition}


def _anniversary(node: Anniversary, today: int) -> Filter:
    path = f"${_at(node.name)}"
    is_text = {"$eq": [{"$type": path}, "string"]}
    listed = sorted(days.month_days(*node.ends(today)))
    inside: Filter = {"$in": [{"$substrCP": [path, 5, 5]}, listed]}
    met = {"$not": [inside]} if node.negated else inside
    return {"$expr": {"$cond": [is_text, met, False]}}


_MAKERS: Mapping[type, Callable[[Any, int], Filter]] = {
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
