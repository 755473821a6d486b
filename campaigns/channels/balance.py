"""What is left of the bank's balance of acquisition customers (contract/wechat B6), and the alarms
when it is low, gone, or about to expire. WeCom tells it by events; what is read every hour tells
the same if an event was lost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import cast

from campaigns.channels.rows import ACQUISITION_BALANCE, LINK, Balance, Expiring, channels
from customers.alerts import alarms
from customers.banks.bank import Bank
from services.clock import utc
from services.observe import trace
from services.store.mongo import Doc
from services.wechat import events
from services.wechat.core.errors import PlatformError
from services.wechat.wecom.acquisition import Quota

READ_SECONDS = 1800.0
LOW_BALANCE = 20
WARNED_DAYS = (1, 2, 3, 7, 14)
OK, LOW, EXHAUSTED = "ok", "low", "exhausted"
ALARMS_OF = {LOW: "links.balance_low", EXHAUSTED: "links.balance_exhausted"}
LEVELS = {"low": LOW, "exhausted": EXHAUSTED, "increased": OK}


async def known(bank: Bank) -> Balance:
    """What is known of the bank's balance."""
    row = await bank.db[ACQUISITION_BALANCE].find_one({"_id": _row_id(bank)})
    return cast("Balance", row) if row is not None else _unknown(bank)


async def read(bank: Bank) -> None:
    """Reads what is left, once in half an hour for all links, and raises what an event may have
    failed to tell. Raises PlatformError."""
    now = bank.now()
    if not await _begin(bank, now):
        return
    try:
        quota = await bank.wecom.links.get_quota()
    except PlatformError:
        await _change(bank, {"asked": now}, {"asked": 0.0})
        raise
    number, parts = int(quota.get("balance") or 0), _parts(quota)
    counted = {"balance": number, "total": int(quota.get("total") or 0), "expiring": parts}
    await _change(bank, {"asked": now}, counted)
    level = EXHAUSTED if number == 0 else LOW if number < LOW_BALANCE else OK
    if level != OK or (await known(bank))["level"] != OK:
        await _reach(bank, level, now, _row_id(bank))
    for part in parts:
        await _warn(bank, utc(part["at"]), part["number"], now)


async def _begin(bank: Bank, now: float) -> bool:
    """Whether the balance is to be read, and nobody else is reading it."""
    await _put_unknown(bank)
    return await _change(bank, {"asked": {"$lte": now - READ_SECONDS}}, {"asked": now})


def _parts(quota: Quota) -> list[Expiring]:
    """The parts of the balance, those first that expire first."""
    parts: list[Expiring] = [
        {"at": int(one.get("expire_date") or 0), "number": int(one.get("balance") or 0)}
        for one in quota.get("quota_list") or []
    ]
    return sorted(parts, key=lambda part: (part["at"], part["number"]))


def _row_id(bank: Bank) -> str:
    return f"{bank.id}:balance"


def _unknown(bank: Bank) -> Balance:
    return {
        "_id": _row_id(bank),
        "level": OK,
        "at": 0.0,
        "cleared": 0.0,
        "asked": 0.0,
        "balance": None,
        "total": None,
        "expiring": [],
    }


async def _put_unknown(bank: Bank) -> None:
    await bank.db[ACQUISITION_BALANCE].insert_new([cast("Doc", _unknown(bank))])


async def _change(bank: Bank, condition: Doc, fields: Doc) -> bool:
    """False when the row is not as `condition` says."""
    query = {"_id": _row_id(bank), **condition}
    return await bank.db[ACQUISITION_BALANCE].update(query, {"$set": fields})


async def changed(bank: Bank, event: events.AcquisitionBalance, at: float, cause: str) -> None:
    """WeCom tells that the balance is low, gone or back since `at` (seconds UTC)."""
    await _reach(bank, LEVELS[event.level], at, cause)


async def expires(bank: Bank, event: events.QuotaExpiring, at: float) -> None:
    """WeCom tells that part of the balance ends soon."""
    if event.expire_time is not None:
        await _warn(bank, event.expire_time, event.expire_quota_num, at)


async def _reach(bank: Bank, level: str, at: float, cause: str) -> None:
    """The balance is at that level since `at` (seconds UTC), unless something newer is known. Each
    level is told once until the balance is back, which ends the alarms."""
    await _put_unknown(bank)
    fields: Doc = {"level": level, "at": at}
    if level == OK:
        fields["cleared"] = at
    if not await _change(bank, {"at": {"$lte": at}}, fields):
        trace.note("balance.newer_known")
    elif level == OK:
        over = await alarms.open_since(bank, list(ALARMS_OF.values()), utc(at))
        await alarms.handle(bank, over, "wecom", "refilled", cause)
    else:
        since = int((await known(bank))["cleared"])
        heads = await heads_of_links(bank)
        await alarms.raise_alarm(bank, ALARMS_OF[level], str(since), userids=heads, at=at)


async def _warn(bank: Bank, ends: datetime, number: int, now: float) -> None:
    """Part of the balance ends soon: told once for each of the days ahead on which WeCom tells it
    too."""
    left = math.ceil((ends.timestamp() - now) / 86400)
    ahead = next((days for days in WARNED_DAYS if left <= days), None)
    if ahead is None or left < 0 or not number:
        return
    await alarms.raise_alarm(
        bank,
        "links.quota_expiring",
        f"{int(ends.timestamp())}:{ahead}",
        userids=await heads_of_links(bank),
        at=now,
        number=number,
        days=ahead,
        expires=ends,
    )


async def heads_of_links(bank: Bank) -> Sequence[str]:
    """The heads of the branches that have links, or of all when a link is of no branch."""
    branches = {row["branch"] for row in await channels(bank, {"kind": LINK})}
    heads = bank.heads.items()
    return sorted({head for branch, head in heads if branch in branches or "" in branches})
