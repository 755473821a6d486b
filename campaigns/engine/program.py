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


@dataclass(frozen=True)
class Op:
    """One step in its place: where to go on, and where when its wait's timeout comes first."""

    step: Step
    verb: Verb[Any]
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


def compile_program(campaign: Campaign, version: int, codes: Mapping[str, list[str]]) -> Program:
    """The program of a checked document; `codes` are the states of its live codes by group."""
    ops: dict[str, Op] = {}
    fields = facts.known(facts.RULE)

    def predicate(rule: str | None) -> Predicate:
        return compile_rule(rule, codes, fields) if rule is not None else _always

    def place(steps: list[Step], after: str | None) -> str | None:
        for step in reversed(steps):
            verb = BY_NAME[step.verb]
            inside = verb.otherwise(step.body)
            otherwise = place(inside, after) if inside else None
            ops[step.id] = Op(step, verb, predicate(step.when), after, otherwise)
            after = step.id
        return after

    first = place(campaign.steps, None)
    enters = predicate(campaign.entry.when) if campaign.entry is not None else _never
    return Program(campaign, version, ops, first, enters)


def _always(_: Mapping[str, Any]) -> bool:
    return True


def _never(_: Mapping[str, Any]) -> bool:
    return False
