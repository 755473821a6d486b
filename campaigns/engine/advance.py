"""The one pure function that moves a run along its program.

`advance(program, state, cause, facts, now) → state` decides; it reads no clock and calls nobody.
What must happen outside comes back as steps whose effects are asked for. An effect's id is made of
run and step, so that deciding twice asks for the same effects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from campaigns.document.model import Step
from campaigns.engine.program import Op, Program
from campaigns.engine.verbs.verb import Move

START, TIMER = "start", "timer"
"""Causes of an advance; any other cause is the name of an event."""


@dataclass(frozen=True)
class State:
    """Where a run is. `wake` in seconds UTC; `waiting` the event it waits for; `effects` the steps
    whose effects this move asks for."""

    position: str | None
    status: str = "active"
    reason: str = ""
    wake: float | None = None
    waiting: str | None = None
    trail: tuple[tuple[str, str], ...] = ()
    effects: tuple[Step, ...] = ()


def advance(
    program: Program, state: State, cause: str, facts: Mapping[str, Any], now: float
) -> State:
    """The state after `cause` (START, TIMER or an event's name) at `now`; unchanged when the cause
    does not concern it."""
    if state.status != "active":
        return state
    for rule in program.campaign.exit:
        if cause == rule.event:
            return _left(state, rule.as_)
    if cause == START:
        return _walk(program, replace(state, position=program.first, effects=()), facts, now)
    op = program.ops.get(state.position or "")
    if op is None or not _is_over(state, cause, now):
        return state
    return _walk(program, _woken(state, op, cause), facts, now)


def _left(state: State, reason: str) -> State:
    return replace(state, status="exited", reason=reason, wake=None, waiting=None, effects=())


def _is_over(state: State, cause: str, now: float) -> bool:
    """Whether the cause ends the state's wait."""
    if cause == TIMER:
        return state.wake is not None and state.wake <= now
    return cause == state.waiting


def _woken(state: State, op: Op, cause: str) -> State:
    """The state after the wait at `op`: on its timeout's way when that came before the event."""
    timed_out = cause == TIMER and state.waiting is not None
    decision = "timeout" if timed_out else cause
    target = op.otherwise if timed_out and op.otherwise is not None else op.next
    trail = (*state.trail, (op.step.id, decision))
    return replace(state, position=target, wake=None, waiting=None, trail=trail, effects=())


def _walk(program: Program, state: State, facts: Mapping[str, Any], now: float) -> State:
    """Goes from step to step until one waits or the run ends. Forward only, so it ends."""
    while state.position is not None:
        op = program.ops[state.position]
        move = op.verb.moves(op.body, now) if op.when(facts) else Move("skipped")
        state = _moved(state, op, move)
        if state.wake is not None or state.status != "active":
            return state
    return replace(state, status="done")


def _moved(state: State, op: Op, move: Move) -> State:
    trail = (*state.trail, (op.step.id, move.decision))
    if move.exit is not None:
        return replace(state, position=None, status="exited", reason=move.exit, trail=trail)
    if move.wake is not None:
        return replace(state, wake=move.wake, waiting=move.waiting, trail=trail)
    effects = (*state.effects, op.step) if move.asks else state.effects
    return replace(state, position=op.next, trail=trail, effects=effects)
