"""The retry policy of waiting rows: how long until the next try, and what becomes of a row when
there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Then = Literal["dead", "failed", "error", "left_out"]

DEAD_LETTER: Then = "dead"
"""Kept aside with its reason, until a person has it tried again."""
FAIL: Then = "failed"
"""Ends as refused, with its reason."""
ERROR: Then = "error"
"""Stops where it is, with its reason."""
LEAVE_OUT: Then = "left_out"
"""The part that fails is left out, with its reason, and the rest goes on."""

_DOUBLINGS = 32


@dataclass(frozen=True, slots=True)
class Retry:
    """At most `tries` tries (None: as many as it takes). The pause after a failed one doubles from
    `first` up to `most` seconds; after the last one `then` says what happens."""

    tries: int | None = None
    first: float = 1.0
    most: float = 300.0
    then: Then = DEAD_LETTER

    def delay(self, attempt: int, *, at_least: float = 0.0) -> float:
        """Seconds to wait after the `attempt`-th failed try (from 1); `at_least` is what the other
        side asked for."""
        doublings = max(0, min(attempt, _DOUBLINGS) - 1)
        return max(at_least, min(self.most, self.first * 2.0**doublings))

    def is_over(self, attempt: int) -> bool:
        """Whether the `attempt`-th try was the last."""
        return self.tries is not None and attempt >= self.tries
