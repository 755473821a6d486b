"""Who was waited for: what came before he was known is his as soon as he is.

A row of `awaited` is somebody's (customers/identity/awaited.py). Its events keep `wait` until all that
follows from them is done, so that whoever is killed here is followed by another who does it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

from customers.banks.bank import IDS_AT_ONCE, Bank
from customers.identity import awaited
from customers.identity.awaited import WaitRow
from customers.intake import effects, joining, tallies, telling
from customers.intake.joining import Found
from customers.intake.rows import BANK_EVENTS, BANK_TOLD, EventRow, ToldRow
from services.queue.retry import FAIL, Retry

LEASE_SECONDS = 20.0
RETRY = Retry(tries=20, first=5.0, most=3_600.0, then=FAIL)
MOST = 1_000
"""So many events of one customer are joined under one lease."""


async def look(bank: Bank, owner: str, row: WaitRow) -> None:
    """Looks whether somebody is known by now, and joins what waits for him; until then the row is
    looked at more and more seldom."""
    found = (await joining.find(bank, [row["_id"]])).get(row["_id"], Found())
    if found.cid:
        await _join(bank, owner, row, found.cid)
    elif await _is_waited_for(bank, row["_id"]):
        await awaited.look_later(bank, owner, row, found.reason)
    else:
        await awaited.end(bank, owner, row)


async def _is_waited_for(bank: Bank, wait: str) -> bool:
    """Whether anything still waits: what came too long ago was deleted."""
    for rows in (BANK_EVENTS, BANK_TOLD):
        if await bank.db[rows].find({"wait": wait}, fields={"_id": 1}, limit=1):
            return True
    return False


async def _join(bank: Bank, owner: str, row: WaitRow, cid: str) -> None:
    joined = await _join_events(bank, row["_id"], cid)
    told = await _write_told(bank, row["_id"], cid)
    if MOST in (joined, told):
        await awaited.go_on(bank, owner, row)
    else:
        await awaited.end(bank, owner, row)


async def _join_events(bank: Bank, wait: str, cid: str) -> int:
    """Joins what waits to the customer, and does what follows; how many there were, MOST at most."""
    found = await bank.db[BANK_EVENTS].find({"wait": wait}, limit=MOST)
    events = cast("list[EventRow]", found)
    for event in events:
        event["cid"] = cid
        event["bucket"] = tallies.bucket_of(cid, event["name"], event["day"])
    await _write(bank, events)
    await effects.follow(bank, events)
    for some in _some([event["_id"] for event in events]):
        await bank.db[BANK_EVENTS].update_many({"_id": {"$in": some}}, {"$unset": {"wait": ""}})
    return len(events)


async def _write_told(bank: Bank, wait: str, cid: str) -> int:
    """Writes what was told of the customer; how much there was, MOST at most."""
    told = cast("list[ToldRow]", await bank.db[BANK_TOLD].find({"wait": wait}, limit=MOST))
    await telling.write(bank, [(cid, telling.opened(bank, one)) for one in told])
    for some in _some([one["_id"] for one in told]):
        await bank.db[BANK_TOLD].delete({"_id": {"$in": some}})
    return len(told)


async def _write(bank: Bank, events: Sequence[EventRow]) -> None:
    """Says whose they are; those of one name and day alike."""
    alike: dict[str, list[str]] = {}
    for event in events:
        alike.setdefault(event["bucket"], []).append(event["_id"])
    cids = {event["bucket"]: event["cid"] for event in events}
    for bucket, row_ids in alike.items():
        his = {"$set": {"cid": cids[bucket], "bucket": bucket}}
        for some in _some(row_ids):
            await bank.db[BANK_EVENTS].update_many({"_id": {"$in": some}}, his)


def _some(row_ids: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(row_ids), IDS_AT_ONCE):
        yield list(row_ids[start : start + IDS_AT_ONCE])
