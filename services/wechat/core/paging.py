"""Lists that a platform answers page by page, each page with the cursor of the next."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TypeVar

Page = TypeVar("Page", bound=Mapping[str, object])


async def pages(ask: Callable[[str], Awaitable[Page]]) -> AsyncIterator[Page]:
    """Every page, asked for when the one before has been dealt with: `ask(cursor)` answers one,
    and the cursor "" stands for the first. A short or empty page is not the end; one without
    `next_cursor`, or with `is_last`, is. What `ask` raises is raised."""
    cursor = ""
    while True:
        page = await ask(cursor)
        yield page
        cursor = str(page.get("next_cursor") or "")
        if not cursor or page.get("is_last"):
            return
