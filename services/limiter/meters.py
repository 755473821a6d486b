"""Counting calls in Redis, for all processes, and in this process, for when Redis is away."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from services import lua
from services.limiter.blocks import HOLD_SECONDS, LOOK_SECONDS, PROBE_MOST, PROBE_SECONDS
from services.limiter.limits import Rule

BUCKETS = 200
"""A window is counted in this many parts; each part counts until the whole of it is older than the
window."""

LATE_SECONDS = 2.0
"""A call without an answer may reach the platform after we gave up: it is counted as if it were
answered so much later."""

POLL_SECONDS = 0.02
REGROW_SECONDS = 5.0

ALIVE = "limit:alive:"
ALIVE_SECONDS = 4.0
"""A process that has not been heard of for so long is dead, and its calls are over; while it calls
it is heard of each second."""

HEARD = "limit:heard:"
HEARD_SECONDS = 3600
"""For so long Redis keeps the number of the last question that a process asked about an API: when
it is older than the last that was answered, Redis has lost what came after it."""

_PROBES = {
    "PROBE": PROBE_SECONDS,
    **{f"MOST{place}": most for place, most in enumerate(PROBE_MOST, 1)},
}

ASK = lua.script(
    "services.limiter",
    "ask",
    BUCKETS=BUCKETS,
    LATE=LATE_SECONDS,
    POLL=POLL_SECONDS,
    REGROW=REGROW_SECONDS,
    ALIVE=ALIVE,
    ALIVE_MS=int(ALIVE_SECONDS * 1000),
    HEARD=HEARD,
    HEARD_SECONDS=HEARD_SECONDS,
    HOLD=HOLD_SECONDS,
    LOOK=LOOK_SECONDS,
    **_PROBES,
)
"""What one process asks about one API: scripts/ask.lua says what it takes and answers."""

BLOCK = lua.script("services.limiter", "block", **_PROBES)
"""A drawn 45009: scripts/block.lua."""

ANSWERED = lua.script("services.limiter", "answered")
"""A probe that was not refused: scripts/answered.lua."""

CUT = lua.script("services.limiter", "cut", REGROW=REGROW_SECONDS)
"""A drawn 45033: scripts/cut.lua."""


class _Window:
    """One rule's calls of this process, by parts of its window."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._width = seconds / BUCKETS
        self._parts: deque[list[int]] = deque()
        self._sum = 0

    def add(self, now: float) -> None:
        index = int(now // self._width)
        if self._parts and self._parts[-1][0] == index:
            self._parts[-1][1] += 1
        else:
            self.used(now)
            self._parts.append([index, 1])
        self._sum += 1

    def used(self, now: float) -> int:
        """Calls that may lie in the last window."""
        while self._parts and (self._parts[0][0] + 1) * self._width <= now - self._seconds:
            self._sum -= self._parts.popleft()[1]
        return self._sum

    def frees(self, now: float) -> float:
        """Seconds until fewer are used."""
        return (
            (self._parts[0][0] + 1) * self._width + self._seconds - now
            if self._parts
            else POLL_SECONDS
        )


class Meter:
    """What one process knows of a thing that is counted: an API of a corp, or a source address.

    The shared count is in Redis under `key`. Times here are the event loop's.
    """

    def __init__(self, key: str, rules: Sequence[Rule]) -> None:
        self.key = key
        self.rules = tuple(rules)
        self.flying = 0
        self._windows = [_Window(rule.seconds) for rule in rules]
        self._missed = [0] * len(self.rules)

    def ended(self, now: float, *, shared: bool) -> None:
        """A call of this process was answered; Redis is not told otherwise when it is not
        `shared`."""
        for position, window in enumerate(self._windows):
            window.add(now)
            self._missed[position] += not shared

    def forgotten(self, now: float) -> None:
        """Redis has lost its memory: it must be told everything again."""
        self._missed = [window.used(now) for window in self._windows]

    def lost(self, ended: int) -> None:
        """Redis does not know of so many calls that have ended, though they were shared."""
        self._missed = [missed + ended for missed in self._missed]

    def question(self, now: float) -> dict[str, Any]:
        """The meter for ASK, with what Redis was not told; that counts as told from here on."""
        missed = [
            min(missed, window.used(now))
            for missed, window in zip(self._missed, self._windows, strict=True)
        ]
        self._missed = [0] * len(self.rules)
        return {
            "rules": [
                {
                    "name": f"{rule.seconds:g}",
                    "seconds": rule.seconds,
                    "most": rule.most,
                    "missed": missed_,
                }
                for rule, missed_ in zip(self.rules, missed, strict=True)
            ]
        }

    def unheard(self, question: dict[str, Any]) -> None:
        """Redis may not have heard the question: what it was told is told again."""
        for position, rule in enumerate(question["rules"]):
            self._missed[position] += rule["missed"]

    def room(self, now: float, lane: int, share: float) -> tuple[int, float]:
        """How many calls this process may begin on its own with its share, and after how many
        seconds there is more."""
        room, wait = 1_000_000, 0.0
        for rule, window in zip(self.rules, self._windows, strict=True):
            left = max(1, int(rule.most[lane] * share)) - window.used(now) - self.flying
            if left < room:
                room, wait = left, window.frees(now)
        return room, wait
