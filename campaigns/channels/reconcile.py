"""Looks after the channels: each is a row that is due again and again, and who holds its lease
brings it up to the published document. What is done may be done twice."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from campaigns import live
from campaigns.channels import acquisition, group_codes, rosters
from campaigns.channels.rows import CHANNELS, CODE, GROUP, LINK, Channel
from campaigns.document.model import Campaign
from customers.alerts import alarms
from customers.banks.bank import Bank
from services.queue.retry import ERROR, Retry
from services.store import leases
from services.store.mongo import Doc
from services.wechat.core.errors import PlatformError, behind

LEASE_SECONDS = 60.0
RETRY = Retry(tries=12, first=1.0, most=600.0, then=ERROR)
"""What WeCom refuses is looked at again and again; a fault of ours ends, and somebody is told."""
Reconciler = Callable[[Bank, Any, Campaign], Awaitable[float]]
"""Brings a channel's row of its kind up to the document; the seconds until the next look. Raises
PlatformError."""
RECONCILERS: dict[str, Reconciler] = {
    CODE: rosters.reconcile_live_code,
    LINK: acquisition.reconcile_link,
    GROUP: group_codes.reconcile_group_code,
}
log = logging.getLogger(__name__)


async def reconcile_channel(bank: Bank, owner: str, row: Channel) -> None:
    """Looks at a channel that is due and leased to `owner`, and says when to look again."""
    seconds, fields = await _reconcile(bank, row)
    due = bank.now() + seconds
    await leases.put_back(bank.db[CHANNELS], owner, [row["_id"]], due, **fields)


async def _reconcile(bank: Bank, row: Channel) -> tuple[float, Doc]:
    """Seconds until the next look, and what the row keeps: how many looks failed in a row, and what
    it waits behind."""
    campaign = await live.published(bank, row["campaign"])
    if campaign is None:
        return rosters.LOOK_SECONDS, {"attempts": 0}
    try:
        return await RECONCILERS[row["kind"]](bank, row, campaign), {"attempts": 0}
    except PlatformError as error:
        fields = {"channel": row["_id"], "why": error.code}
        log.warning("a channel was not brought up", extra={"fields": fields})
        if error.action in ("give_up", "page"):
            await _refused(bank, row, error)
        seconds = RETRY.delay(row["attempts"], at_least=error.retry_after)
        return seconds, {"attempts": row["attempts"], **behind(error)}


async def _refused(bank: Bank, row: Channel, error: PlatformError) -> None:
    """WeCom will not do it however often it is asked: somebody must look, and is told once a
    day."""
    day = rosters.day_of(row["tz"], bank.now())
    head = bank.heads.get(row["branch"])
    await alarms.raise_alarm(
        bank,
        "channel.refused",
        f"{row['state']}:{day}",
        userids=[head] if head else [],
        state=row["state"],
        why=error.reason,
    )
