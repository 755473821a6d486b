"""Work that computes for longer than the event loop may be held: in a thread, one piece at a time, so
that whoever submits much delays others of his kind and nobody else (promise P10)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from services.cache import HasCache, Slot
from services.errors import Unavailable

Result = TypeVar("Result")

MOST_SECONDS = 10.0
"""With the time that it waits for its turn. What is handed in must be bounded: nothing stops a
thread."""
_TURN: Slot[asyncio.Semaphore] = Slot("aside", lambda: asyncio.Semaphore(1))


async def aside(services: HasCache, work: Callable[[], Result]) -> Result:
    """What `work` returns or raises; Unavailable `busy` when it takes longer than MOST_SECONDS."""
    try:
        async with asyncio.timeout(MOST_SECONDS), services.cache.of(_TURN):
            return await asyncio.to_thread(work)
    except TimeoutError:
        raise Unavailable(
            "busy", "too much is being read at once; try again", retry_after=5
        ) from None
