"""What happens by itself when its time comes: transfers, moments, verdicts, notifications."""

from __future__ import annotations

import asyncio

from sandbox.bank import living
from sandbox.core.sandbox import Sandbox
from sandbox.wechat import content_check
from sandbox.wecom import handovers, message_archive, moments

TICK_SECONDS = 1.0


def run_due(box: Sandbox) -> None:
    """Do everything that is due by the sandbox's clock."""
    handovers.run_due(box)
    moments.run_due(box)
    content_check.run_due(box)
    message_archive.run_due(box)


async def run_forever(box: Sandbox) -> None:
    """`run_due` every second until cancelled."""
    while True:
        await asyncio.sleep(TICK_SECONDS)
        run_due(box)
        living.run_due(box, TICK_SECONDS)
