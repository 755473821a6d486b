"""Looks after the channels: each is a row that is due again and again, and who holds its lease
brings it up to the published document. What is done may be done twice."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from campaigns import live
from campaigns.channels import acquisition, group_codes, rosters
from campaigns.channels.live_codes import CODE, GROUP, LINK
from campaigns.channels.provisioning import MADE
from campaigns.channels.rows import CHANNELS
from campaigns.document.model import Campaign
from customers.alerts import alarms
from customers.banks.bank import Bank
from services.cache import cached
from services.errors import Unavailable
from services.store import leases
from services.store.mongo import Doc
from services.wechat.core.errors import PlatformError

LEASE_SECONDS = 60.0
AT_ONCE = 8
MOST_WAIT = 600.0
FORGET_SECONDS = 3600.0
Keeper = Callable[[Bank, Doc, Campaign], Awaitable[float]]
"""Does what is to be done for a channel; the seconds until it is looked at again. Raises
PlatformError."""

KEEPERS: dict[str, Keeper] = {CODE: rosters.keep, LINK: acquisition.keep, GROUP: group_codes.keep}
log = logging.getLogger(__name__)


async def work(bank: Bank, until: float) -> None:
    """Looks at every channel of the bank that is due; takes nothing new after `until` (seconds
    UTC)."""
    rows = bank.db[CHANNELS]

    async def handle(owner: str, row: Doc) -> None:
        seconds, attempts = await _look(bank, row)
        due = bank.now() + seconds
        await leases.put_back(rows, owner, [row["_id"]], due, attempts=attempts)

    await cached(
        bank.services,
        f"old_arrivals:{bank.id}",
        FORGET_SECONDS,
        lambda: rosters.forget_old(bank),
    )
    only_made = {"made": MADE}
    await leases.pump(
        bank.services.clock,
        rows,
        handle,
        limit=AT_ONCE,
        seconds=LEASE_SECONDS,
        query=only_made,
        until=until,
    )


async def _look(bank: Bank, row: Doc) -> tuple[float, int]:
    """Seconds until the next look, and how many looks failed in a row."""
    campaign = await live.published(bank, row["campaign"])
    if campaign is None:
        return rosters.LOOK_SECONDS, 0
    pause, fields = leases.backoff(row["attempts"], most=MOST_WAIT), {"channel": row["_id"]}
    try:
        return await KEEPERS[row["kind"]](bank, row, campaign), 0
    except PlatformError as error:
        log.warning("a channel was not brought up", extra={"fields": {**fields, "why": error.code}})
        if error.action in ("give_up", "page"):
            await _refused(bank, row, error)
        return max(float(error.retry_after), pause), row["attempts"]
    except Unavailable:
        raise
    except Exception as error:
        log.error("a channel could not be looked after", extra={"fields": fields}, exc_info=error)
        return pause, row["attempts"]


async def _refused(bank: Bank, row: Doc, error: PlatformError) -> None:
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
        why=f"{error.code}:{error.errcode}",
    )
