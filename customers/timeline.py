"""A customer's timeline: one append-only row for everything that happened to him, from every room, in
one order.

The bank's webhooks are told of an entry right before it is written: so none is in the timeline of
which they were not told, wherever a process was killed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NotRequired, TypedDict, cast

from customers.banks.bank import Bank
from customers.webhooks import telling
from customers.webhooks.telling import Happened
from services import ids
from services.clock import utc
from services.store.mongo import Doc
from services.store.rows import Rows


class Entry(TypedDict):
    """One happening of a customer's story. `data` carries no person's data in clear."""

    _id: str
    tenant: NotRequired[str]
    cid: str
    kind: str
    at: datetime
    data: dict[str, Any]


TIMELINE = Rows(
    "timeline",
    indexes=((("tenant", 1), ("cid", 1), ("at", 1)),),
    shard="cid",
)
"""A customer's story, append-only."""


def entry_id(tenant: str, cid: str, kind: str, key: str) -> str:
    return ids.tenant_id(tenant, "timeline", cid, kind, key)


def entry(
    bank: Bank,
    cid: str,
    kind: str,
    key: str,
    data: dict[str, Any],
    at: float | None = None,
) -> Entry:
    """The row of one happening, for callers that write many at once. `at` is in seconds UTC
    (now)."""
    when = utc(bank.now() if at is None else at)
    return {
        "_id": entry_id(bank.id, cid, kind, key),
        "tenant": bank.id,
        "cid": cid,
        "kind": kind,
        "at": when,
        "data": data,
    }


async def record(
    bank: Bank,
    cid: str,
    kind: str,
    key: str,
    *,
    at: float | None = None,
    **data: Any,
) -> bool:
    """Writes one row; `key` tells repeated tellings of the same happening apart from new ones.
    False when told already.

    `data` carries no person's data in clear.
    """
    row = entry(bank, cid, kind, key, data, at)
    await _tell(bank, [row])
    return await bank.insert(TIMELINE, cast("Doc", row))


async def record_many(bank: Bank, entries: Sequence[Entry]) -> None:
    """Writes entries of one or of several customers at once; those that were told already stay as
    they are."""
    await _tell(bank, entries)
    await bank.db[TIMELINE].insert_new(cast("Sequence[Doc]", entries))


async def _tell(bank: Bank, entries: Sequence[Entry]) -> None:
    if bank.webhooks:
        some = [Happened(one["_id"], *_facts(one)) for one in entries]
        await telling.tell(bank, some)


def _facts(one: Entry) -> tuple[str, str, datetime, dict[str, Any]]:
    return one["kind"], one["cid"], one["at"], one["data"]


async def of_kinds(
    bank: Bank, cids: Sequence[str], kinds: Sequence[str], limit: int = 1_000
) -> list[Entry]:
    """The newest `limit` entries of these kinds, newest first, of customers."""
    wanted = {"cid": {"$in": list(cids)}, "kind": {"$in": list(kinds)}}
    found = await bank.db[TIMELINE].find(wanted, sort=[("at", -1), ("_id", -1)], limit=limit)
    return cast("list[Entry]", found)


async def story(bank: Bank, cids: Sequence[str], limit: int = 100) -> list[Entry]:
    """The newest `limit` entries, newest first, of a customer; `cids` are his and those of whom he
    was before a merge."""
    newest_first = [("at", -1), ("_id", -1)]
    rows = bank.db[TIMELINE]
    found = await rows.find({"cid": {"$in": list(cids)}}, sort=newest_first, limit=limit)
    return cast("list[Entry]", found)
