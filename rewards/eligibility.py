"""Who may claim: the rule of a reward over the facts of a claim, at the moment of the claim.

One row of `FACTS` makes a fact known to the checker of documents, to whoever reads its value, and to
the table of docs/campaigns.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from customers.rules.days import number_of
from customers.rules.errors import RuleError
from customers.rules.predicate import predicate
from customers.rules.reading import read_rule
from customers.rules.tree import All, Predicate
from customers.rules.vocabulary import Kind, Vocabulary, of_facts


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A claim of the customer `cid` at `now`, in the bank's time. `channel` is the state of the code
    by which he came, `staff` and `branch` whose customer he is; empty where that is not known.
    `tags` are the names of his corp tags."""

    cid: str
    now: datetime
    channel: str = ""
    branch: str = ""
    staff: str = ""
    friend: bool = False
    bound: bool = False
    tags: Collection[str] = field(default=())


@dataclass(frozen=True)
class Fact:
    """`source` reads it from a scene."""

    name: str
    type: type[str] | type[int] | type[bool] | type[list[str]]
    source: Callable[[Scene], Any]


FACTS = (
    Fact("customer.id", str, lambda scene: scene.cid),
    Fact("customer.bound", bool, lambda scene: scene.bound),
    Fact("customer.friend", bool, lambda scene: scene.friend),
    Fact("customer.tags", list[str], lambda scene: list(scene.tags)),
    Fact("channel.code", str, lambda scene: scene.channel or None),
    Fact("follow.userid", str, lambda scene: scene.staff or None),
    Fact("claim.branch", str, lambda scene: scene.branch or None),
    Fact("claim.hour", int, lambda scene: scene.now.hour),
    Fact("claim.weekday", int, lambda scene: scene.now.isoweekday()),
)
_KINDS: Mapping[Any, Kind] = {str: "text", int: "number", bool: "bool", list[str]: "texts"}
Codes = Mapping[str, Collection[str]]


def _vocabulary(codes: Codes) -> Vocabulary:
    return of_facts({fact.name: _KINDS[fact.type] for fact in FACTS}, codes)


def check(rule: str, codes: Codes) -> None:
    """Raises RuleError for what is no rule over these facts; `codes` are the campaign's code groups
    by name."""
    read_rule(rule, _vocabulary(codes))


def unmet(rule: str, codes: Codes, scene: Scene) -> str:
    """The part of the rule that the scene does not meet, as it is written; empty when it meets it
    all. Of parts that are joined by `and` it is the first. What an earlier release took as a rule and
    this one does not is met by nobody."""
    facts = {fact.name: fact.source(scene) for fact in FACTS}
    today = number_of(scene.now.date())
    try:
        parts = _parts(rule, tuple((name, tuple(states)) for name, states in codes.items()))
    except RuleError:
        return rule
    return next((text for text, holds in parts if not holds(facts, today)), "")


@lru_cache(maxsize=256)
def _parts(
    rule: str, codes: tuple[tuple[str, tuple[str, ...]], ...]
) -> list[tuple[str, Predicate]]:
    """The parts of a rule that must all be met, as they are written. Every claim asks."""
    tree = read_rule(rule, _vocabulary(dict(codes)))
    parts = tree.parts if isinstance(tree, All) else (tree,)
    return [(part.text, predicate(part)) for part in parts]
