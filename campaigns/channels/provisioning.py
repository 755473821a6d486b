"""Things that are made at WeCom once, and looked after from then on.

A row says `wanted` before WeCom is asked, and `made` after; whoever is killed in between leaves a
row that somebody else takes over after MAKING_SECONDS. A made channel is a waiting row
(services/store/leases.py) that campaigns/channels/reconcile.py looks at when it is due.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from campaigns.channels.rows import CHANNELS
from customers.banks.bank import Bank
from services.errors import Unavailable
from services.store.mongo import Collection, Doc
from services.wechat.core.errors import PlatformError

MAKING_SECONDS = 10.0
TASK = "campaigns.channels"
"""The task that looks after channels."""
WANTED, MADE = "wanted", "made"


async def once(
    bank: Bank, rows: Collection, row: Doc, make: Callable[[bool], Awaitable[Doc]]
) -> bool:
    """True when this call had the thing of `row` made; False when it is there already.

    `make(again)` asks WeCom and answers the fields to keep; `again` says that an earlier try may
    have made it. Raises PlatformError, and Unavailable `live_code_busy` while somebody else is
    making it.
    """
    first = not await rows.insert_new([{**row, "made": WANTED, "since": bank.now()}])
    if not first and not await _take_over(bank, rows, row["_id"]):
        return False
    try:
        made = await make(not first)
    except PlatformError:
        await rows.update(
            {"_id": row["_id"], "made": WANTED}, {"$set": {"since": 0.0}}
        )  # the next may try at once
        raise
    await rows.update({"_id": row["_id"]}, {"$set": {**made, "made": MADE}})
    return True


async def _take_over(bank: Bank, rows: Collection, row_id: str) -> bool:
    """Whether what is not the first's to make is ours now: False when it is made."""
    now = bank.now()
    stale = {"_id": row_id, "made": WANTED, "since": {"$lt": now - MAKING_SECONDS}}
    if await rows.update(stale, {"$set": {"since": now}}):
        return True
    if await rows.find_one({"_id": row_id, "made": MADE}, {"_id": 1}) is not None:
        return False
    raise Unavailable(
        "live_code_busy",
        "somebody else is making this live code; try again",
        retry_after=int(MAKING_SECONDS),
    )


def looked_after(due: float) -> Doc:
    """The fields with which a channel that was made waits for its first look, at `due` (seconds
    UTC)."""
    return {"open": True, "due": due, "owner": None, "attempts": 0}


async def wake(bank: Bank, query: Mapping[str, Any]) -> bool:
    """Has these channels looked at now, also those that somebody is looking at: what he read may be
    old. False for none."""
    now = {"$set": {"due": bank.now(), "owner": None}}
    woken = await bank.db[CHANNELS].update_many({**query, "made": MADE, "open": True}, now)
    if woken:
        bank.signal(TASK)
    return bool(woken)
