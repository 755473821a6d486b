"""What happens by itself when its time comes: transfers, moments, verdicts, notifications."""

from __future__ import annotations

import asyncio

from sandbox import archive, handover, moments, safety
from sandbox.core import Sandbox

TICK_SECONDS = 1.0


def settle(box: Sandbox) -> None:
    """Do everything that is due by the sandbox's clock."""
    handover.settle(box)
    moments.settle(box)
    safety.settle(box)
    archive.settle(box)


async def keep_settling(box: Sandbox) -> None:
    """`settle` every second until cancelled."""
    while True:
        await asyncio.sleep(TICK_SECONDS)
        settle(box)
