"""wait: for a time, until a moment, or for an event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from campaigns.document.parts import Event
from campaigns.engine.verbs.verb import Move, Verb
from config import bounds
from services.documents.parts import Duration, Moment, Part, seconds_of, wrong
from services.documents.problems import Read

if TYPE_CHECKING:  # the document's Step has this block as a field, and completes it
    from campaigns.document.parts import Step


class Wait(Part):
    """One of `for`, `until`, `event`; an event needs a timeout, and `else` runs when it comes
    first."""

    for_: Duration | None = Field(None, alias="for")
    until: Moment | None = None
    event: Event | None = None
    timeout: Duration | None = None
    else_: bounds.Several[Step] = Field([], alias="else")

    @model_validator(mode="after")
    def _one_kind(self) -> Wait:
        if sum(value is not None for value in (self.for_, self.until, self.event)) != 1:
            raise wrong("wait_kind")
        if (self.event is None) != (self.timeout is None):
            raise wrong("wait_timeout")
        if self.else_ and self.event is None:
            raise wrong("wait_else")
        if self.until is not None and self.until.tzinfo is None:
            raise wrong("wait_zone", read=Read(self.until.isoformat()))
        return self


def _move(wait: Wait, now: float) -> Move:
    if wait.until is not None:
        wake = wait.until.timestamp()
    else:
        wake = now + seconds_of(wait.for_ or wait.timeout or "0s")
    return Move("waiting", wake=wake, waiting=wait.event)


def _otherwise(wait: Wait) -> list[Step]:
    return wait.else_


WAIT = Verb(name="wait", model=Wait, move=_move, waits=True, otherwise=_otherwise)
