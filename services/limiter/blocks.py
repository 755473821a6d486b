"""An API that the platform closed with 45009: how long it says we must wait, and how that is found
out to be over before its time.

The text of a 45009 does not say which of a platform's windows was overrun, and the answer itself may
be a mistake (contract/wechat D1). So what is blocked is probed: one call at a time over all
processes, which is a call that somebody waits for anyway, at intervals that grow with each refusal.
A call that passes ends the block for everybody. Each lane has a longest interval of its own, since a
welcome code dies after 20 s.
"""

from __future__ import annotations

from dataclasses import dataclass

PROBE_SECONDS = 2.0
"""From a refusal to the first probe; each further refusal doubles it."""
PROBE_MOST = (4.0, 30.0, 120.0)
"""By lane, the longest from one probe to the next."""
HOLD_SECONDS = 3.0
"""A probe that is not answered after so long leaves the place to another."""

LOOK_SECONDS = 0.1
"""While a probe is under way, others look so often whether it has passed."""

HOUR_FACTOR, DAY, MONTH = 60, 86_400, 30 * 86_400
_BEIJING = 8 * 3600
HIGHEST = {"wechat": 2, "wecom": 3}
"""The longest wait by platform: until the next day, or a month (contract/wechat D1)."""


@dataclass(slots=True)
class Block:
    """One process's own picture of a block, for when Redis is away: what scripts/ask.lua and
    scripts/block.lua keep for all. Times are the event loop's, but for `clock` (seconds UTC)."""

    over: float
    refused: float
    level: int = 0
    refusals: int = 1
    probing: float = 0.0

    def wait(self, lane: int, now: float) -> float:
        """Seconds until a call of the lane may be tried; 0 when one may be now."""
        gap = min(PROBE_SECONDS * 2.0 ** (self.refusals - 1), PROBE_MOST[lane])
        due = min(self.refused + gap, max(self.over, self.refused))
        return max(0.0, due - now, min(self.probing - now, LOOK_SECONDS))

    def refused_again(self, now: float, base: float, highest: int, clock: float) -> None:
        """A probe was refused: after the wait was over, the next one is longer."""
        self.refusals, self.refused, self.probing = self.refusals + 1, now, 0.0
        if now >= self.over:
            self.level = min(self.level + 1, highest)
            self.over = now + length(self.level, base, clock)


def length(level: int, base: float, clock: float) -> float:
    """Seconds of a wait: `base`, an hour for its minute, until the platforms' midnight, a month."""
    until_midnight = DAY - (clock + _BEIJING) % DAY
    return (base, base * HOUR_FACTOR, until_midnight, float(MONTH))[level]
