"""Facts: what rules, tags, keys and message texts may ask of a customer's coming.

One row of `FACTS` makes a fact known to the rule checker, to the placeholders that may name it, to
whoever reads its value, and to the tables of docs/campaigns.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from customers.banks.bank import Bank
from customers.banks.staff import Staff
from customers.identity.facts import Customer
from customers.rules.vocabulary import Kind, Vocabulary, of_facts
from services.documents.placeholders import PLACEHOLDER

When = Literal["rule", "key", "message", "group"]
RULE: When = "rule"
"""In rules; the facts are those of the moment of entry."""
KEY: When = "key"
"""In tags and in the entry's key."""
MESSAGE: When = "message"
"""In a text to the customer or to his RM; the names are those of the moment of sending."""
GROUP: When = "group"
"""In a group's greeting, when nobody is known."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What facts are read from: who came (`customer`, under the id `cid`), to whom (`staff`,
    `userid`) and how."""

    bank: Bank
    cid: str | None = None
    customer: Customer | None = None
    staff: Staff | None = None
    userid: str = ""
    state: str | None = None
    branch: str | None = None
    add_way: int | None = None


@dataclass(frozen=True)
class Fact:
    """`source` reads it from a scene; where the scene does not know it, it is None."""

    name: str
    type: type[str] | type[int] | type[bool]
    source: Callable[[Scene], Any]
    known_when: frozenset[When]


def _name(scene: Scene) -> str | None:
    return scene.customer.name if scene.customer is not None else None


def _branch_name(scene: Scene) -> str | None:
    return scene.bank.branches.get(scene.staff.branch, "") if scene.staff is not None else None


_ENTRY = frozenset({RULE, KEY, MESSAGE})

FACTS = (
    Fact("channel.code", str, lambda scene: scene.state, _ENTRY),
    Fact("channel.branch", str, lambda scene: scene.branch, _ENTRY),
    Fact("follow.userid", str, lambda scene: scene.userid, _ENTRY),
    Fact("follow.add_way", int, lambda scene: scene.add_way, frozenset({RULE})),
    Fact("customer.id", str, lambda scene: scene.cid, _ENTRY),
    Fact("customer.name", str, _name, frozenset({RULE, MESSAGE})),
    Fact(
        "customer.bound",
        bool,
        lambda scene: scene.customer is not None and bool(scene.customer.phone),
        frozenset({RULE}),
    ),
    Fact("staff.name", str, lambda scene: scene.staff and scene.staff.name, frozenset({MESSAGE})),
    Fact("branch.name", str, _branch_name, frozenset({MESSAGE})),
    Fact(
        "bank.name", str, lambda scene: scene.bank.name.get("zh", ""), frozenset({MESSAGE, GROUP})
    ),
)


def known(when: When) -> frozenset[str]:
    """The names of the facts that are known then."""
    return frozenset(fact.name for fact in FACTS if when in fact.known_when)


_KINDS: Mapping[type, Kind] = {str: "text", int: "number", bool: "bool"}


def vocabulary(codes: Mapping[str, Collection[str]]) -> Vocabulary:
    """What rules may ask; `codes` are the states of the campaign's codes and links by group."""
    kinds = {fact.name: _KINDS[fact.type] for fact in FACTS if RULE in fact.known_when}
    return of_facts(kinds, codes)


def at_entry(scene: Scene) -> dict[str, Any]:
    """The facts that a run keeps, for its rules, tags and keys."""
    return {fact.name: fact.source(scene) for fact in FACTS if RULE in fact.known_when}


def for_message(kept: Mapping[str, Any], scene: Scene) -> dict[str, Any]:
    """A run's facts as a message needs them: its names are today's."""
    names = (fact for fact in FACTS if MESSAGE in fact.known_when and KEY not in fact.known_when)
    return {**kept, **{fact.name: fact.source(scene) for fact in names}}


def for_group(bank: Bank) -> dict[str, Any]:
    """The facts of a group's greeting."""
    scene = Scene(bank=bank)
    return {fact.name: fact.source(scene) for fact in FACTS if GROUP in fact.known_when}


def fill(template: str, facts: Mapping[str, Any]) -> str:
    """The template with its placeholders filled; what is not known is left out."""
    return PLACEHOLDER.sub(lambda match: str(facts.get(match[1]) or ""), template)


def unfillable(texts: Iterable[str], when: When) -> list[str]:
    """Those texts that have a placeholder which nobody can fill then."""
    names = known(when)
    return [
        text
        for text in texts
        if set(PLACEHOLDER.findall(text)) - names or "{{" in PLACEHOLDER.sub("", text)
    ]


_LONGEST: Mapping[str, str] = {
    "customer.name": "𠮷" * 64,
    "staff.name": "𠮷" * 64,
    "branch.name": "𠮷" * 64,
    "bank.name": "𠮷" * 64,
    "channel.code": "c" * 30,
    "channel.branch": "b" * 19,
    "follow.userid": "u" * 64,
    "customer.id": "c" * 64,
}
"""What a placeholder is filled with at most: names of 64 characters (contract/wechat B), one of
which has up to four bytes, and ids of ours."""


def longest(branches: Mapping[str, str] | None) -> dict[str, str]:
    """fact → the longest value that a text can be filled with; the bank's `branches` are known
    exactly."""
    known = dict(_LONGEST)
    if branches:
        known["channel.branch"] = max(branches, key=len)
        known["branch.name"] = max(branches.values(), key=lambda name: len(name.encode()))
    return known
