"""Who is in which live segment: their rules over a profile, each after those that it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from customers.approvals.versioned import LIVE
from customers.profiles.rows import Profile
from customers.rules.errors import RuleError
from customers.rules.predicate import predicate
from customers.rules.reading import read_rule
from customers.rules.tree import Predicate, Tree
from customers.rules.vocabulary import Vocabulary
from customers.segments.document import FROZEN
from customers.segments.rows import SegmentRow

CACHE_SECONDS = 5.0


def cache_key(tenant: str) -> str:
    """Where a process keeps the judge of a bank's segments, for CACHE_SECONDS."""
    return f"segments:{tenant}"


@dataclass(frozen=True)
class Judge:
    """What the bank's segments say at a time. `trees` are the readable rules of segments in force,
    by id; `order` the predicates of the live ones, each after those that its rule names; `frozen`
    the versions in which frozen ones were taken. Of the `broken` ones, whose rules cannot be read
    any more, members stay as they were."""

    trees: Mapping[str, Tree]
    order: Sequence[tuple[str, Predicate]]
    frozen: Mapping[str, int]
    broken: frozenset[str]

    def segments_of(
        self, before: Profile | None, profile: Mapping[str, Any], day: int
    ) -> list[str]:
        """The segments of the customer whose profile this is, on a day. `profile` has the frozen
        ones already; `before` is how it was."""
        was = () if before is None else before["segments"]
        inside = [*profile["segments"], *(one for one in was if one in self.broken)]
        seen = {**profile, "segments": inside}
        for segment, is_met in self.order:
            if is_met(seen, day):
                inside.append(segment)
        return sorted(set(inside))


NOBODY = Judge({}, (), {}, frozenset())
"""The judge of a bank without segments."""


def make(segments: Sequence[SegmentRow], words: Vocabulary) -> Judge:
    """The judge of these segments."""
    in_force = {row["segment"]: row for row in segments if row["state"] == LIVE}
    trees: dict[str, Tree] = {}
    broken: set[str] = set()
    for key, row in in_force.items():
        try:
            trees[key] = read_rule(row["rule"], words)
        except RuleError:
            broken.add(key)
    live = {key for key in trees if in_force[key]["kind"] != FROZEN}
    order, circled = _ordered({key: set(in_force[key]["uses"]) & live for key in live})
    frozen = {
        key: row["live_version"] or 0 for key, row in in_force.items() if row["kind"] == FROZEN
    }
    return Judge(
        trees={key: tree for key, tree in trees.items() if key not in circled},
        order=[(key, predicate(trees[key])) for key in order],
        frozen=frozen,
        broken=frozenset(broken | circled),
    )


def _ordered(uses: dict[str, set[str]]) -> tuple[list[str], set[str]]:
    """The segments, each after those that it uses; and those apart that lead back to themselves, as
    two who were agreed to in the same moment may."""
    circled: set[str] = set()
    while True:
        try:
            return list(TopologicalSorter(uses).static_order()), circled
        except CycleError as error:
            circled |= set(error.args[1])
            uses = {key: used - circled for key, used in uses.items() if key not in circled}
