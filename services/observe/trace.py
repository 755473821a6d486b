"""What was asked of the platforms, and what was decided, while one thing was handled.

A trace follows its context: tasks that are created inside `collect` write into it too. Outside,
nothing is kept. A trace may be stored and shown, so what goes into it holds no person's data.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from services.clock import system_clock

MOST = 200


@dataclass(slots=True)
class Story:
    """The first MOST calls ({path, errcode, ms, at}) and the first MOST notes ({kind, at, …}), each
    in their order."""

    calls: list[dict[str, Any]] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)
    dropped: int = 0
    """How many more there were."""

    def _keep(self, rows: list[dict[str, Any]], row: dict[str, Any]) -> None:
        if len(rows) < MOST:
            rows.append(row)
        else:
            self.dropped += 1


_story: ContextVar[Story | None] = ContextVar("trace", default=None)


@contextmanager
def collect() -> Iterator[Story]:
    """Collects everything inside, except what an inner `collect` takes for itself."""
    story = Story()
    before = _story.set(story)
    try:
        yield story
    finally:
        _story.reset(before)


def note(kind: str, **data: Any) -> None:
    """A decision, such as `note("reaction.skipped", why="older")`; `data` has values that MongoDB
    and JSON take."""
    if (story := _story.get()) is not None:
        story._keep(story.notes, {**data, "kind": kind, "at": system_clock()})


def call(path: str, errcode: int | str, seconds: float) -> None:
    """A platform call that has just ended: `errcode` is 0, the platform's code, or the name of an
    error without one."""
    if (story := _story.get()) is not None:
        at = system_clock() - seconds
        story._keep(
            story.calls,
            {"path": path, "errcode": errcode, "ms": round(seconds * 1000, 1), "at": at},
        )
