"""What an inbox row and an effect keep of how they were handled: for "why?"
(operations/events/explain.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.observe.trace import Story
from services.store.mongo import Doc

MOST_TRIES = 12


def told(story: Story) -> Doc:
    """What was decided and called, as it is kept with the row that ends."""
    return {"decided": story.notes, "called": story.calls, "dropped": story.dropped}


def tried(row: Mapping[str, Any], at: float, reason: str, story: Story) -> list[Doc]:
    """The row's tries that came to nothing, with this one; the newest MOST_TRIES. `at` in seconds
    UTC."""
    failed = {"at": at, "reason": reason, "called": story.calls}
    return [*row.get("tries", []), failed][-MOST_TRIES:]
