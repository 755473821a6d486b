"""What a verb is: everything that the document, the engine, the outbox and the statistics ask of
one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from campaigns.document.parts import Step, Template
from customers.banks.bank import Bank
from services.documents.problems import Fault
from services.queue.effects import EffectKind

Body = TypeVar("Body")


@dataclass(frozen=True)
class Move:
    """How a step moves its run. `decision` is what the run's trail says. A step that waits has
    `wake` (seconds UTC) and perhaps an event (`waiting`); `exit` ends the run with that reason;
    `asks` asks for the step's effect."""

    decision: str
    wake: float | None = None
    waiting: str | None = None
    exit: str | None = None
    asks: bool = False


@dataclass(frozen=True)
class Reference:
    """A name of `block` that a step uses under `key`; a template may have `most` bytes there when it
    is filled, `added` of which are ours."""

    key: str
    block: str
    name: str
    most: int | None = None
    added: int = 0


@dataclass(frozen=True)
class Cause:
    """What an effect is made from besides its step: the run's campaign, its facts, and what brought
    the customer (`context`)."""

    campaign: str
    templates: Mapping[str, Template]
    facts: Mapping[str, Any]
    context: Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """An effect to be: `deadline` (seconds UTC) is after which it must not be tried."""

    kind: EffectKind[Bank]
    args: Mapping[str, Any]
    deadline: float | None = None


def _none(_: Any) -> tuple[()]:
    return ()


def _no_steps(_: Any) -> list[Step]:
    return []


def _no_faults(_: Any, _after_wait: bool) -> tuple[()]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Verb(Generic[Body]):
    """One verb of campaigns. All but `kinds` is pure.

    `model` is the type of its block in the document, and `references` what the block names of other
    blocks; `lint(body, after_wait)` tells what else is wrong, each with its place in the block.
    `otherwise` are the steps that stand inside it, under `else`.

    Whoever has a `prepare` asks for an effect, of one of `kinds`, and goes on at once; the others
    `move` their run: `move(body, now)`, `now` in seconds UTC; `waits` says that it may wait there.
    `label` is the code of the stage's name in the funnel; a verb without one is no stage.
    """

    name: str
    model: type[Body]
    label: str = ""
    references: Callable[[Body], Iterable[Reference]] = _none
    lint: Callable[[Body, bool], Iterable[Fault]] = _no_faults
    otherwise: Callable[[Body], list[Step]] = _no_steps
    move: Callable[[Body, float], Move] | None = None
    waits: bool = False
    prepare: Callable[[Body, Cause], Asked] | None = None
    kinds: tuple[EffectKind[Bank], ...] = ()

    def moves(self, body: Body, now: float) -> Move:
        """How a step with this block moves its run."""
        return self.move(body, now) if self.move else Move(self.name, asks=True)
