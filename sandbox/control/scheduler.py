"""What happens by itself when its time comes: transfers, moments, verdicts, notifications."""

from __future__ import annotations

import asyncio

from sandbox.core.sandbox import Sandbox
from sandbox.wechat import content_check
from sandbox.wecom import handovers, message_archive, moments

TICK_SECONDS = 1.0


def settle(box: Sandbox) -> None:
    """Do everything that is due by the sandbox's clock."""
    handovers.settle(box)
    moments.settle(box)
    content_check.settle(box)
    message_archive.settle(box)


async def keep_settling(box: Sandbox) -> None:
    """`settle` every second until cancelled."""
    while True:
        await asyncio.sleep(TICK_SECONDS)
        settle(box)
