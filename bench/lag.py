"""How long an event loop is held by one callback: the processor time that it took, and the time on
the clock.

While a callback runs nothing else does (promise P10: at most 50 ms). Processor time says what our
own code did; time on the clock also counts what other processes of a busy machine took meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

MOST_MS = 50.0


@dataclass
class Worst:
    """The longest callbacks so far, in milliseconds, and which took the most processor time."""

    cpu_ms: float = 0.0
    wall_ms: float = 0.0
    what: str = ""
    callbacks: int = 0


@contextmanager
def watched() -> Iterator[Worst]:
    """Measures every callback of every loop of this process until the block ends."""
    worst = Worst()
    handle: Any = asyncio.events.Handle
    plain = handle._run

    def run(self: Any) -> None:
        cpu, wall = time.thread_time(), time.perf_counter()
        plain(self)
        took = (time.thread_time() - cpu) * 1000
        worst.callbacks += 1
        worst.wall_ms = max(worst.wall_ms, (time.perf_counter() - wall) * 1000)
        if took > worst.cpu_ms:
            worst.cpu_ms, worst.what = took, repr(self)[:300]

    handle._run = run
    try:
        yield worst
    finally:
        handle._run = plain
