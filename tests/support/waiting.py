"""Waiting for a condition instead of for a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


async def until(holds: Callable[[], Awaitable[object]], seconds: float = 20.0) -> None:
    """Returns when `holds()` does; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not await holds():
        if time.monotonic() > end:
            raise AssertionError(f"still not so after {seconds} s: {holds}")
        await asyncio.sleep(0.02)
