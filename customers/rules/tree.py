"""A checked rule as a tree. Negation stands at the leaves alone: both a leaf and its negation are
false where what they ask about is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from customers.rules.days import Day, Span
from customers.rules.vocabulary import Function, Name, Titles

Document = Mapping[str, Any]
Predicate = Callable[[Any, int], bool]
"""Whether a document meets the rule on a day (a number since 1970-01-01, in the bank's zone)."""
Scalar: TypeAlias = str | int | float | bool
Size = Literal["<", "<=", ">", ">="]


@dataclass(frozen=True, kw_only=True)
class Node:
    """`text` is the rule's own, `column` where it begins (from 1)."""

    text: str
    column: int


@dataclass(frozen=True, kw_only=True)
class Constant(Node):
    value: bool


@dataclass(frozen=True, kw_only=True)
class All(Node):
    parts: tuple[Tree, ...]


@dataclass(frozen=True, kw_only=True)
class Either(Node):
    """At least one of its parts."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True, kw_only=True)
class Leaf(Node):
    negated: bool = False


@dataclass(frozen=True, kw_only=True)
class Equals(Leaf):
    """The value is one of these; `group` is the group of codes whose states they are."""

    name: Name
    values: tuple[Scalar, ...]
    group: str = ""


@dataclass(frozen=True, kw_only=True)
class Contains(Leaf):
    """The text has this part, or the list this entry."""

    name: Name
    value: str


@dataclass(frozen=True, kw_only=True)
class Compared(Leaf):
    """The number against another; never negated."""

    name: Name
    size: Size
    value: float


@dataclass(frozen=True, kw_only=True)
class Between(Leaf):
    """The number from low to high, both included."""

    name: Name
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Within(Leaf):
    """The day of a date or a moment, from low to high, both included; None is no end. Negated only
    with both."""

    name: Name
    low: Day | None
    high: Day | None
    offset: int


@dataclass(frozen=True, kw_only=True)
class Counted(Leaf):
    """How often an event happened from low to high times, in the window or ever; None is no end.
    Never missing: what never happened happened 0 times."""

    event: str
    titles: Titles
    span: Span | None
    low: int | None
    high: int | None


@dataclass(frozen=True, kw_only=True)
class Known(Leaf):
    name: Name


@dataclass(frozen=True, kw_only=True)
class Member(Leaf):
    """Whether he has a tag, is in a segment or on a list, or has an RM or a branch. Never
    missing."""

    function: Function
    value: str
    titles: Titles


@dataclass(frozen=True, kw_only=True)
class Entered(Leaf):
    """Whether he entered a campaign, in the window or ever. Never missing."""

    campaign: str
    titles: Titles
    span: Span | None
    offset: int


@dataclass(frozen=True, kw_only=True)
class Holds(Leaf):
    """Whether he holds vouchers of a reward. Never missing."""

    reward: str
    titles: Titles


@dataclass(frozen=True, kw_only=True)
class Anniversary(Leaf):
    """The date's month and day fall on one of the days of the span, which begins (`ahead`) or ends
    with today."""

    name: Name
    span: Span
    ahead: bool

    def ends(self, today: int) -> tuple[int, int]:
        """The first and the last of those days."""
        if self.ahead:
            return today, self.span.shift(today) - 1
        return self.span.first(today), today


Named: TypeAlias = Equals | Contains | Compared | Between | Within | Known | Anniversary
"""Leaves about the value of a name."""
AnyLeaf: TypeAlias = Named | Counted | Member | Entered | Holds
Tree: TypeAlias = Constant | All | Either | AnyLeaf

MEMBERS: Mapping[str, tuple[str, ...]] = {
    "tag": ("tags",),
    "segment": ("segments",),
    "list": ("lists",),
    "rm": ("rms", "userid"),
    "branch": ("rms", "branch"),
}
"""Function → where a document has what it asks about."""


def leaves(tree: Tree) -> Iterator[Constant | AnyLeaf]:
    """Every leaf and constant, from left to right."""
    if isinstance(tree, All | Either):
        for part in tree.parts:
            yield from leaves(part)
    else:
        yield tree


def mentions(tree: Tree) -> frozenset[tuple[str, str]]:
    """What the rule uses, as (kind, name): `field`, `event`, `campaign`, `reward`, `codes`, and the
    functions of MEMBERS."""
    return frozenset(pair for leaf in leaves(tree) for pair in _uses(leaf))


def _uses(leaf: Constant | AnyLeaf) -> Iterator[tuple[str, str]]:
    match leaf:
        case Member():
            yield leaf.function, leaf.value
        case Counted():
            yield "event", leaf.event
        case Entered():
            yield "campaign", leaf.campaign
        case Holds():
            yield "reward", leaf.reward
        case Constant():
            pass
        case _:
            event = leaf.name.event
            yield ("event", event) if event else ("field", leaf.name.name)
            if isinstance(leaf, Equals) and leaf.group:
                yield "codes", leaf.group


def windowed(tree: Tree) -> bool:
    """Whether what the rule says of a customer may change because the day does."""
    return any(_moves(leaf) for leaf in leaves(tree))


def _moves(leaf: Tree) -> bool:
    match leaf:
        case Within():
            return any(end is not None and end.moves for end in (leaf.low, leaf.high))
        case Counted() | Entered():
            return leaf.span is not None
    return isinstance(leaf, Anniversary)
