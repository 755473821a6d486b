"""A campaign's steps as a flat program, and the one pure function that moves a run along it.

`advance(state, cause) → state` decides; it reads no clock and calls nobody. What must happen
outside comes back as effects, whose ids are made of run and step, so that deciding twice asks for
the same effects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from campaigns.document.model import Campaign, Step, seconds_of
from customers.segments.rules import Predicate, compile_rule

START, TIMER = "start", "timer"
"""Causes of an advance; any other cause is the name of an event."""


@dataclass(frozen=True)
class Op:
    """One step in its place: where to go on, and where when its wait's timeout comes first."""

    step: Step
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


@dataclass(frozen=True)
class State:
    """Where a run is. `wake` in seconds UTC; `waiting` the event it waits for; `effects` what to do
    because of this move."""

    position: str | None
    status: str = "active"
    reason: str = ""
    wake: float | None = None
    waiting: str | None = None
    trail: tuple[tuple[str, str], ...] = ()
    effects: tuple[Step, ...] = field(default=())


def compile_program(campaign: Campaign, version: int, codes: Mapping[str, list[str]]) -> Program:
    """The program of a checked document; `codes` are the states of its live codes by group."""
    ops: dict[str, Op] = {}

    def predicate(rule: str | None) -> Predicate:
        return compile_rule(rule, codes) if rule is not None else _always

    def place(steps: list[Step], after: str | None) -> str | None:
        for step in reversed(steps):
            otherwise = place(step.wait.else_, after) if step.wait is not None else None
            ops[step.id] = Op(step, predicate(step.when), after, otherwise)
            after = step.id
        return after

    first = place(campaign.steps, None)
    enters = predicate(campaign.entry.when) if campaign.entry is not None else _never
    return Program(campaign, version, ops, first, enters)


def _always(_: Mapping[str, Any]) -> bool:
    return True


def _never(_: Mapping[str, Any]) -> bool:
    return False


def advance(
    program: Program, state: State, cause: str, facts: Mapping[str, Any], now: float
) -> State:
    """The state after `cause` (START, TIMER or an event's name) at `now`; unchanged when the cause
    does not concern it."""
    if state.status != "active":
        return state
    for rule in program.campaign.exit:
        if cause == rule.event:
            return replace(
                state, status="exited", reason=rule.as_, wake=None, waiting=None, effects=()
            )
    if cause == START:
        return _walk(program, replace(state, position=program.first, effects=()), facts, now)
    op = program.ops.get(state.position or "")
    if op is None or (cause == TIMER and (state.wake is None or state.wake > now)):
        return state
    if cause not in (TIMER, state.waiting):
        return state
    timed_out = cause == TIMER and state.waiting is not None
    decision = "timeout" if timed_out else cause
    target = op.otherwise if timed_out and op.otherwise is not None else op.next
    trail = (*state.trail, (op.step.id, decision))
    return _walk(
        program,
        replace(state, position=target, wake=None, waiting=None, trail=trail, effects=()),
        facts,
        now,
    )


def _walk(program: Program, state: State, facts: Mapping[str, Any], now: float) -> State:
    """Goes from step to step until one waits or the run ends. Forward only, so it ends."""
    while state.position is not None:
        op = program.ops[state.position]
        if not op.when(facts):
            state = _passed(state, op, "skipped")
            continue
        verb = _VERBS.get(op.step.verb, _act)
        state = verb(state, op, now)
        if state.wake is not None or state.status != "active":
            return state
    return replace(state, status="done")


def _passed(state: State, op: Op, decision: str) -> State:
    return replace(state, position=op.next, trail=(*state.trail, (op.step.id, decision)))


def _act(state: State, op: Op, _: float) -> State:
    return replace(_passed(state, op, op.step.verb), effects=(*state.effects, op.step))


def _wait(state: State, op: Op, now: float) -> State:
    wait = op.step.wait
    if wait is None:
        raise ValueError(f"{op.step.id} is no wait")
    if wait.until is not None:
        wake = wait.until.timestamp()
    else:
        wake = now + seconds_of(wait.for_ or wait.timeout or "0s")
    return replace(
        state, wake=wake, waiting=wait.event, trail=(*state.trail, (op.step.id, "waiting"))
    )


def _exit(state: State, op: Op, _: float) -> State:
    return replace(
        _passed(state, op, "exit"), position=None, status="exited", reason=op.step.exit or ""
    )


_VERBS: dict[str, Callable[[State, Op, float], State]] = {"wait": _wait, "exit": _exit}
