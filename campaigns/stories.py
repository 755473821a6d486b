"""What an inbox row and an effect keep of how they were handled: for "why?" (campaigns/why.py)."""

from __future__ import annotations

from services.mongo import Doc
from services.trace import Story

MOST_TRIES = 12


def told(story: Story) -> Doc:
    """What was decided and called, as it is kept with the row that ends."""
    return {"decided": story.notes, "called": story.calls, "dropped": story.dropped}


def tried(row: Doc, at: float, reason: str, story: Story) -> list[Doc]:
    """The row's tries that came to nothing, with this one; the newest MOST_TRIES. `at` in seconds UTC."""
    failed = {"at": at, "reason": reason, "called": story.calls}
    return [*row.get("tries", []), failed][-MOST_TRIES:]
