"""A campaign's steps as a flat program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from campaigns.document.model import Campaign, Step
from campaigns.engine import facts
from campaigns.engine.verbs import BY_NAME
from campaigns.engine.verbs.verb import Verb
from customers.segments.rules import Predicate, compile_rule

Codes = Mapping[str, list[str]]


@dataclass(frozen=True)
class Op:
    """One step in its place, with what its verb says (`body`): where to go on, and where when its
    wait's timeout comes first."""

    step: Step
    verb: Verb[Any]
    body: Any
    when: Predicate
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
    enters: Predicate


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


def _rule(text: str | None, codes: Codes) -> Predicate:
    return compile_rule(text, codes, facts.known(facts.RULE)) if text is not None else _always


def _always(_: Mapping[str, Any]) -> bool:
    return True


def _never(_: Mapping[str, Any]) -> bool:
    return False
