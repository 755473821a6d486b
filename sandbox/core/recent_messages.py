"""What went out to members lately, which the limits of app messages need (contract/wechat B10,
D1)."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class RecentMessages:
    """What went out lately: by member for the silent limit, by day for the quota, by content for
    duplicates."""

    to_member: dict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))
    of_day: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    alike: dict[str, tuple[float, str]] = field(default_factory=dict)
