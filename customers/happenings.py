"""What customers do, told to whoever listens: a kind of the timeline that somebody at this bank asked
for goes into the inbox, and a worker hands it on.

Nobody listens to most of them: what is not asked for costs one look at a cached row. Who asks for a
kind hears of it CACHE_SECONDS later at most.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypedDict, cast

import orjson

from customers.banks.bank import Bank
from customers.banks.tasks import HANDLE_INBOX
from services.cache import cached, invalidate
from services.queue import inbox
from services.store.rows import Rows

CACHE_SECONDS = 1.0
LISTENERS = Rows("listeners")
"""The kinds of happenings that a bank's programmes ask for: one row."""


class Happened(TypedDict):
    """A message of the inbox: `kind` and `key` are those of the timeline's entry, `at` is in seconds
    UTC."""

    kind: str
    cid: str
    key: str
    at: float


async def listen(bank: Bank, kinds: Collection[str]) -> None:
    """From now on these kinds are told of, and no others."""
    row = {"_id": bank.id}
    await bank.db[LISTENERS].update(row, {"$set": {"kinds": sorted(set(kinds))}}, upsert=True)
    invalidate(bank.services, _cache_key(bank))


def _cache_key(bank: Bank) -> str:
    return f"listeners:{bank.id}"


async def _asked_for(bank: Bank) -> frozenset[str]:
    async def load() -> frozenset[str]:
        row = await bank.db[LISTENERS].find_one({"_id": bank.id})
        return frozenset(row["kinds"] if row else ())

    return await cached(bank.services, _cache_key(bank), CACHE_SECONDS, load)


async def asked_for(bank: Bank, kinds: Collection[str]) -> frozenset[str]:
    """Those of these kinds that somebody asked for."""
    return await _asked_for(bank) & frozenset(kinds)


async def tell(bank: Bank, kind: str, cid: str, key: str, *, at: float | None = None) -> None:
    """Tells that it happened, durably, where somebody asked for it; telling it again with the same
    `key` and `at` (seconds UTC; now) adds nothing."""
    if kind not in await _asked_for(bank):
        return
    when = bank.now() if at is None else at
    message: Happened = {"kind": kind, "cid": cid, "key": key, "at": when}
    await inbox.receive(
        bank.services, inbox.Arrival(bank.id, inbox.HAPPENED, orjson.dumps(message))
    )
    bank.signal(HANDLE_INBOX)


def read(message: bytes) -> Happened:
    """What a message of `tell` says."""
    said: dict[str, Any] = orjson.loads(message)
    return cast("Happened", said)
