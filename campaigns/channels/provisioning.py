"""Things that are made at WeCom once, and looked after from then on.

A row says `wanted` before WeCom is asked, and `present` after; whoever is killed in between leaves
a row that somebody else takes over after PROVISIONING_SECONDS. A channel that is present is a
waiting row (services/store/leases.py) that campaigns/channels/reconcile.py looks at when it is due.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from campaigns.channels.rows import CHANNELS
from customers.banks.bank import Bank
from services.errors import Unavailable
from services.store.mongo import Collection, Doc
from services.wechat.core.errors import PlatformError

PROVISIONING_SECONDS = 10.0
TASK = "campaigns.channels"
"""The task that looks after channels."""
WANTED, PRESENT = "wanted", "present"
WANTED_AGAIN = {"at_wecom": WANTED, "since": 0.0}
"""What WeCom does not have any more: whoever comes first makes it."""
Create = Callable[[bool], Awaitable[Doc]]
"""Asks WeCom for something and answers the fields to keep; the argument says that an earlier try
may have made it. Raises PlatformError."""


async def provision(bank: Bank, rows: Collection, row: Doc, create: Create) -> bool:
    """True when this call had the thing of `row` made; False when it is there already. Raises
    PlatformError, and Unavailable `channel_busy` while somebody else is making it."""
    begun = {**row, "at_wecom": WANTED, "since": bank.now()}
    first = not await rows.insert_new([begun])
    if not first and not await _take_over(bank, rows, row["_id"]):
        return False
    try:
        fields = await create(not first)
    except PlatformError:
        unmade = {"_id": row["_id"], "at_wecom": WANTED}
        await rows.update(unmade, {"$set": {"since": 0.0}})  # the next may try at once
        raise
    await rows.update({"_id": row["_id"]}, {"$set": {**fields, "at_wecom": PRESENT}})
    return True


async def _take_over(bank: Bank, rows: Collection, row_id: str) -> bool:
    """Whether what is not the first's to make is ours now: False when it is present."""
    now = bank.now()
    old = {"$lt": now - PROVISIONING_SECONDS}
    abandoned = {"_id": row_id, "at_wecom": WANTED, "since": old}
    if await rows.update(abandoned, {"$set": {"since": now}}):
        return True
    if await rows.find_one({"_id": row_id, "at_wecom": PRESENT}, {"_id": 1}) is not None:
        return False
    raise Unavailable(
        "channel_busy",
        "somebody else is making this at WeCom; try again",
        retry_after=int(PROVISIONING_SECONDS),
    )


def first_look(due: float) -> Doc:
    """The fields with which a channel that was made waits for its first look, at `due` (seconds
    UTC)."""
    return {"open": True, "due": due, "owner": None, "attempts": 0}


async def wake(bank: Bank, query: Mapping[str, Any]) -> bool:
    """Has these channels looked at now, also those that somebody is looking at: what he read may be
    old. False for none."""
    present = {**query, "at_wecom": PRESENT, "open": True}
    now = {"$set": {"due": bank.now(), "owner": None}}
    woken = await bank.db[CHANNELS].update_many(present, now)
    if woken:
        bank.signal(TASK)
    return bool(woken)
