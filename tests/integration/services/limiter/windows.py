"""A platform that counts, in every way a platform may: what it refuses is what a limiter must never let happen."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from typing import Protocol

from redis.asyncio import Redis


class Window(Protocol):
    def take(self, now: float) -> bool:
        """Whether a call at `now` is within the limit; a refused one is not counted."""


class Fixed:
    """`limit` calls in each span of `seconds`, the first of which begins at `phase`."""

    def __init__(self, limit: int, seconds: float, phase: float = 0.0) -> None:
        self.limit, self.seconds, self.phase = limit, seconds, phase
        self.span, self.used = 0, 0

    def take(self, now: float) -> bool:
        span = int((now - self.phase) // self.seconds)
        if span != self.span:
            self.span, self.used = span, 0
        self.used += 1
        return self.used <= self.limit


class Sliding:
    """`limit` calls in the last `seconds`, whenever one looks."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit, self.seconds = limit, seconds
        self.taken: deque[float] = deque()

    def take(self, now: float) -> bool:
        while self.taken and self.taken[0] <= now - self.seconds:
            self.taken.popleft()
        if len(self.taken) >= self.limit:
            return False
        self.taken.append(now)
        return True


class Bucket:
    """A token bucket that holds `limit` and refills evenly in `seconds`."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit, self.rate = limit, limit / seconds
        self.tokens, self.at = float(limit), 0.0

    def take(self, now: float) -> bool:
        self.tokens = min(self.limit, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class Simulated:
    """Counts a call at a random moment between its arrival and its answer, in all `windows` at once."""

    def __init__(self, *windows: Window, latency: tuple[float, float] = (0.001, 0.01), at_once: int = 10) -> None:
        self.windows = windows
        self.latency = latency
        self.at_once = at_once
        self.under_way = self.most_under_way = 0
        self.times: list[float] = []
        self.overruns = self.crowded = 0
        self.stalled = 0.0

    async def call(self) -> bool:
        """Whether the platform took the call."""
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            self.crowded += self.under_way > self.at_once
            seconds = random.uniform(*self.latency)
            before = random.uniform(0, seconds)
            await asyncio.sleep(before)
            now = time.time()
            self.times.append(now)
            taken = all([window.take(now) for window in self.windows])
            self.overruns += not taken
            await asyncio.sleep(seconds - before)
        finally:
            self.under_way -= 1
        return taken

    async def watch_stalls(self, redis: Redis | None) -> None:
        """Adds up the time in which the machine did not let us, or Redis, run: it does not count as allowance."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            if redis is not None:
                await redis.ping()
            late = time.monotonic() - before - 0.01
            self.stalled += late if late > 0.01 else 0.0

    def ran(self, seconds: float) -> float:
        """What part of so many seconds we could run."""
        return max(0.0, 1.0 - self.stalled / seconds)

    def share(self, limit: int, seconds: float) -> float:
        """What part of the allowance was used, from the first call on, over whole windows and while we could run."""
        spans = int((self.times[-1] - self.times[0]) // seconds)
        used = sum(1 for at in self.times if at < self.times[0] + spans * seconds)
        return used / max(1.0, limit * spans * self.ran(spans * seconds))
