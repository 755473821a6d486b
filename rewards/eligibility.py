"""Who may claim: the rule of a reward over the facts of a claim, at the moment of the claim.

One row of `FACTS` makes a fact known to the checker of documents, to whoever reads its value, and to
the table of docs/campaigns.md.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from customers.segments.rules import compile_rule


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
NAMES = frozenset(fact.name for fact in FACTS)


def check(rule: str, codes: Mapping[str, Collection[str]]) -> None:
    """Raises RuleError for what is no rule over these facts; `codes` are the campaign's code groups
    by name."""
    compile_rule(rule, codes, NAMES)


def unmet(rule: str, codes: Mapping[str, Collection[str]], scene: Scene) -> str:
    """The part of the rule that the scene does not meet, as it is written; empty when it meets it
    all. Of parts that are joined by `and` it is the first."""
    facts = {fact.name: fact.source(scene) for fact in FACTS}
    return next((part for part in _parts(rule) if not compile_rule(part, codes, NAMES)(facts)), "")


def _parts(rule: str) -> list[str]:
    """The parts of a rule that must all be met."""
    text = rule.strip()
    tree = ast.parse(text, mode="eval").body
    if not (isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And)):
        return [text]
    return [ast.get_source_segment(text, part) or text for part in tree.values]
