"""Time as an argument, so that tests and rehearsals can move it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], float]
"""Seconds since the epoch, UTC."""

system_clock: Clock = time.time


def utc(seconds: float) -> datetime:
    """The aware datetime of `seconds` since the epoch, to the millisecond that MongoDB keeps."""
    return datetime.fromtimestamp(int(seconds * 1000) / 1000, UTC)
