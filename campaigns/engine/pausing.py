"""What a paused campaign leaves waiting: its effects and its runs sleep until it goes on, and nobody
looks at them meanwhile.

Whoever puts one aside looks at the campaign once more afterwards, and whoever lets the campaign go
on writes that first and wakes what sleeps afterwards: so one of the two sees the other.
"""

from __future__ import annotations

from campaigns import live
from campaigns.document import rows as campaigns
from campaigns.engine import rows as runs
from customers.banks.bank import Bank
from customers.banks.tasks import SEND_EFFECTS
from services.queue import outbox

SLEEP_SECONDS = 30 * 86_400.0
"""A paused campaign's work is due after so long: it is woken before."""
SOON = 1.0
"""Until then every process has heard that the campaign goes on (campaigns/live.py)."""
TOGETHER, AT_ONCE = 500, 2000
"""Rows that are woken in one write, and by whoever lets the campaign go on; the workers wake the
rest."""


async def goes_on(bank: Bank, campaign: str) -> bool:
    """Whether the campaign is not paused, as the database says now; then this process hears of
    it."""
    row = await campaigns.campaign(bank, campaign)
    if row is not None and row["state"] == "paused":
        return False
    live.invalidate(bank)
    return True


async def wake(bank: Bank, campaign: str, most: int = AT_ONCE) -> bool:
    """Makes due what sleeps for a campaign that goes on, at most so much; whether that was all."""
    woken = 0
    while woken < most:
        some = await outbox.wake(bank.db, campaign, bank.now(), TOGETHER)
        some += await runs.wake(bank, campaign, TOGETHER)
        if not some:
            await campaigns.change_campaign(bank, campaign, {"resumed": False}, state="live")
            break
        woken += some
        bank.signal(SEND_EFFECTS)
    return woken < most


async def finish(bank: Bank) -> None:
    """Wakes what still sleeps for campaigns that go on again."""
    for campaign in await campaigns.resumed(bank):
        await wake(bank, campaign)
