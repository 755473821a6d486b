"""The bounded logs that the control plane shows: API calls, deliveries, welcomes."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

KEPT_CALLS = 5_000
KEPT_DELIVERIES = 5_000
KEPT_WELCOMES = 100_000
KEPT_REQUESTS = 1_000
_SECRET = frozenset({"secret", "corpsecret", "access_token"})


@dataclass(slots=True)
class Journal:
    """What happened, oldest first, and how often each path was called."""

    calls: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=KEPT_CALLS))
    counts: Counter[str] = field(default_factory=Counter)
    deliveries: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=KEPT_DELIVERIES))
    welcomes: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=KEPT_WELCOMES))

    requests: OrderedDict[str, dict[str, Any]] = field(default_factory=OrderedDict)
    """Mini-program calls that drew an error, by the id in the error's text."""

    def refused(self, rid: str, request: dict[str, Any]) -> None:
        """Remember a mini-program call that drew an error."""
        self.requests[rid] = request
        while len(self.requests) > KEPT_REQUESTS:
            self.requests.popitem(last=False)

    def clear(self) -> None:
        """Forget calls, deliveries and welcomes, and begin the counts anew."""
        self.calls.clear()
        self.counts.clear()
        self.deliveries.clear()
        self.welcomes.clear()

    def adopt(self, other: Journal) -> None:
        """Begin with what another has noted."""
        self.clear()
        self.calls.extend(other.calls)
        self.counts.update(other.counts)
        self.deliveries.extend(other.deliveries)
        self.welcomes.extend(other.welcomes)

    def call(self, base: str, path: str, entry: dict[str, Any]) -> None:
        """Note one API call."""
        self.calls.append({"base": base, "path": path, **entry})
        self.counts[f"/{base}{path}"] += 1


def without_secrets(values: dict[str, Any]) -> dict[str, Any]:
    """A query or body without secrets and tokens."""
    return {key: value for key, value in values.items() if key not in _SECRET}
