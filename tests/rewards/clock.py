"""A clock that a test can move."""

from __future__ import annotations

import time


class MovedClock:
    """The present time plus what was added."""

    def __init__(self) -> None:
        self.offset = 0.0

    def __call__(self) -> float:
        return time.time() + self.offset

    def advance(self, seconds: float) -> None:
        self.offset += seconds
