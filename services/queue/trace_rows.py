"""What an inbox row and an effect keep of how they were handled
(operations/events/explain.py shows it)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from services.observe.trace import Call, Trace

MOST_TRIES = 12


class TraceRow(TypedDict):
    """What was decided and called. A decision has its `kind`, `at` in seconds UTC, and what belongs
    to it; `dropped` is how much more there was."""

    decided: list[dict[str, Any]]
    called: list[Call]
    dropped: int


class TryRow(TypedDict):
    """A try that came to nothing: why, what was called, and `at` when, in seconds UTC."""

    at: float
    reason: str
    called: list[Call]


class Traced(TypedDict):
    """What rows keep of their handling: the trace of the last one, and the tries before it."""

    trace: NotRequired[TraceRow]
    tries: NotRequired[list[TryRow]]


def trace_row(trace: Trace) -> TraceRow:
    """What was decided and called, as it is kept with the row that ends."""
    return TraceRow(decided=trace.notes, called=trace.calls, dropped=trace.dropped)


def trace_of(row: TraceRow) -> Trace:
    """A trace that goes on after what was kept."""
    return Trace(list(row["called"]), list(row["decided"]), row["dropped"])


def tries_with(row: Mapping[str, Any], at: float, reason: str, trace: Trace) -> list[TryRow]:
    """The row's tries that came to nothing, with this one; the newest MOST_TRIES. `at` in seconds
    UTC."""
    failed = TryRow(at=at, reason=reason, called=trace.calls)
    return [*row.get("tries", []), failed][-MOST_TRIES:]
