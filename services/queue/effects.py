"""Effect kinds: how one kind of outbox row is tried, how often, and what it leaves in the customer's
timeline.

Each room declares its kinds beside the functions that perform them, and
`campaigns/delivery/kinds.py` lists all of them: whoever asks for an effect and whoever performs it
meet in the kind's name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from services.queue.outbox import EFFECTS, Effect
from services.queue.retry import FAIL, Retry

State = Literal["done", "failed", "expired", "later"]
Bank = TypeVar("Bank")
"""What use-cases take first: services know no bank."""

RETRY = Retry(tries=12, first=0.25, most=300.0, then=FAIL)
"""The policy of every kind: a platform's refusal and a fault of ours end after the same number of
tries."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a try: `done`, `failed` and `expired` end the effect, `later` tries again in
    `seconds` at the earliest. A try that was never `begun` does not count as one. `behind` is the
    path of the API that has no room for it, if that is why. A failure that is `the_customers` is
    about him alone, such as that he is no friend any more: nobody has to mend anything. After a
    `quiet` end nobody has to do anything instead."""

    state: State
    reason: str = ""
    seconds: float = 0.0
    begun: bool = True
    behind: str = ""
    the_customers: bool = False
    quiet: bool = False


def _nothing(_: Effect) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, kw_only=True)
class EffectKind(Generic[Bank]):
    """One kind of effect.

    `execute` tries it once, is safe to repeat, and knows what an unknown outcome means. Returning
    nothing is `done`; a platform's refusal and a Conflict that it raises are read by
    `campaigns/delivery/perform.py`. `story` is the kind of story that tells that it was done (empty:
    it tells its own), with `details` of the effect; a failure is told as `NAME.failed` or
    `NAME.expired`. `unsent` is done when it ended without success. `is_app_message` says that what a
    timer asked for can wait a few minutes (contract/wechat B10).
    """

    name: str
    execute: Callable[[Bank, Effect], Awaitable[Outcome | None]]
    lane: str = EFFECTS
    retry: Retry = RETRY
    story: str = ""
    details: Callable[[Effect], Mapping[str, Any]] = _nothing
    unsent: Callable[[Bank, Effect], Awaitable[None]] | None = None
    is_app_message: bool = False
