"""A campaign's steps as a flat program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from campaigns.document.model import Campaign, Step
from campaigns.engine import facts
from campaigns.engine.verbs import BY_NAME
from campaigns.engine.verbs.verb import Verb
from customers.rules.predicate import predicate
from customers.rules.reading import read_rule

Codes = Mapping[str, list[str]]
When = Callable[[Mapping[str, Any]], bool]
"""Whether a run's facts meet a rule."""


@dataclass(frozen=True)
class Op:
    """One step in its place, with what its verb says (`body`): where to go on, and where when its
    wait's timeout comes first."""

    step: Step
    verb: Verb[Any]
    body: Any
    when: When
    next: str | None
    otherwise: str | None


@dataclass(frozen=True)
class Program:
    """`ops` by step id; a run's position is a step id, so a new version that keeps its ids keeps
    positions."""

    campaign: Campaign
    version: int
    ops: Mapping[str, Op]
    first: str | None
    enters: When


def compile_program(campaign: Campaign, version: int, codes: Codes) -> Program:
    """The program of a checked document; `codes` are the states of its live codes by group."""
    ops: dict[str, Op] = {}
    first = _place(campaign.steps, None, ops, codes)
    enters = _rule(campaign.entry.when, codes) if campaign.entry is not None else _never
    return Program(campaign, version, ops, first, enters)


def _place(steps: list[Step], after: str | None, ops: dict[str, Op], codes: Codes) -> str | None:
    """Puts steps into `ops`, the last before `after`; the id of the first."""
    for step in reversed(steps):
        verb, body = BY_NAME[step.verb], step.body
        inside = verb.otherwise(body)
        otherwise = _place(inside, after, ops, codes) if inside else None
        ops[step.id] = Op(step, verb, body, _rule(step.when, codes), after, otherwise)
        after = step.id
    return after


def _rule(text: str | None, codes: Codes) -> When:
    """The rule as a function of facts. None of them is a day, so it does not matter which it is."""
    if text is None:
        return _always
    holds = predicate(read_rule(text, facts.vocabulary(codes)))
    return lambda known: holds(known, 0)


def _always(_: Mapping[str, Any]) -> bool:
    return True


def _never(_: Mapping[str, Any]) -> bool:
    return False
