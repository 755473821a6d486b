"""Clocks that a test can move; a folder or a file overrides the fixture `clock` with one of them."""

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


class StillClock:
    """A time that stands still until `now` (seconds UTC) is set; `step` is what passes each time somebody looks."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 1_800_000_000.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now
