"""Segments inside segments never lead back to themselves."""

from __future__ import annotations

from collections.abc import Mapping

from customers.rules.errors import RuleError
from customers.rules.tree import Member, Tree, leaves


def check_circle(segment: str, found: Tree, uses: Mapping[str, frozenset[str]]) -> None:
    """Raises RuleError `rule_circle` where the segment's rule leads back to itself; `uses` are the
    segments that each other segment's rule names."""
    for leaf in leaves(found):
        if isinstance(leaf, Member) and leaf.function == "segment":
            way = _way(leaf.value, segment, uses)
            if way:
                raise RuleError("rule_circle", leaf.column, way=" → ".join([segment, *way]))


def _way(start: str, goal: str, uses: Mapping[str, frozenset[str]]) -> list[str]:
    """The segments from start to goal; empty where none leads there."""
    before: dict[str, str] = {start: ""}
    waiting = [start]
    for at in waiting:
        if at == goal:
            way = [at]
            while before[way[0]]:
                way.insert(0, before[way[0]])
            return way
        for one in sorted(uses.get(at, frozenset())):
            if one not in before:
                before[one] = at
                waiting.append(one)
    return []
