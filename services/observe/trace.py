"""What was asked of the platforms, and what was decided, while one thing was handled.

A trace follows its context: tasks that are created inside `collect` write into it too. Outside,
nothing is kept. A trace may be stored and shown, so what goes into it holds no person's data.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypedDict, TypeVar

from services.clock import system_clock

MOST = 200
Kept = TypeVar("Kept")


class Call(TypedDict):
    """A platform call: `errcode` is 0, the platform's code, or the name of an error without one;
    `ms` is how long it took, `at` when it began, in seconds UTC."""

    path: str
    errcode: int | str
    ms: float
    at: float


@dataclass(slots=True)
class Trace:
    """The first MOST calls and the first MOST notes ({kind, at, …}), each in their order."""

    calls: list[Call] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)
    dropped: int = 0
    """How many more there were."""

    def _keep(self, rows: list[Kept], row: Kept) -> None:
        if len(rows) < MOST:
            rows.append(row)
        else:
            self.dropped += 1


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


@contextmanager
def collect(trace: Trace | None = None) -> Iterator[Trace]:
    """Collects everything inside, except what an inner `collect` takes for itself; after what is in
    `trace`, if that is given."""
    trace = trace or Trace()
    before = _current.set(trace)
    try:
        yield trace
    finally:
        _current.reset(before)


def note(kind: str, **data: Any) -> None:
    """A decision, such as `note("reaction.skipped", why="older")`; `data` has values that MongoDB
    and JSON take."""
    if (trace := _current.get()) is not None:
        trace._keep(trace.notes, {**data, "kind": kind, "at": system_clock()})


def call(path: str, errcode: int | str, seconds: float) -> None:
    """A platform call that has just ended after so many seconds."""
    if (trace := _current.get()) is not None:
        began = system_clock() - seconds
        ms = round(seconds * 1000, 1)
        trace._keep(trace.calls, Call(path=path, errcode=errcode, ms=ms, at=began))
