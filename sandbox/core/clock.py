"""The sandbox's clock: every lifetime (codes, tokens, welcome codes) follows it."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """Wall-clock seconds plus an offset that the control plane can move forward."""

    def __init__(self, base: Callable[[], float] = time.time) -> None:
        self._base = base
        self.offset = 0.0

    def now(self) -> float:
        """Unix time in seconds as WeChat and WeCom see it."""
        return self._base() + self.offset

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass at once; time never runs backwards."""
        if seconds < 0:
            raise ValueError("time cannot run backwards")
        self.offset += seconds
