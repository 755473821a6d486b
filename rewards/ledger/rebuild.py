"""Lines of transfers from before there were lines: what was granted and supplied then stands in the
ledger, and would be missing in the books.

The transfers are seen to some at a time, so that it needs no more memory for more of them. Each that has no line on one of
its accounts gets a page of its own there, named after it, so doing it twice is once. What is under way
is left alone: whoever writes it writes its lines before he ends its leases.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import cast

from customers.banks.bank import Bank
from rewards.ledger import lines
from rewards.ledger.chart import in_books
from rewards.ledger.lines import changes_of
from rewards.ledger.rows import LEDGER_BATCHES, LEDGER_PAGES, Page, page_id
from rewards.rows import REWARDS, TRANSFERS
from services.store.mongo import Doc

AT_ONCE = 1_000
SECONDS = 20.0
"""After this a round of the job takes no more; the next goes on."""
WITHOUT: Doc = {"lined": {"$exists": False}}
"""Rewards whose transfers may have no lines yet. Before there were lines only rewards had transfers."""

Progress = Callable[[int, int], None]
"""Is told (transfers seen to, about how many there are)."""


async def rebuild(bank: Bank, progress: Progress | None = None) -> int:
    """Writes the lines that are missing in the books; how many accounts' pages. Cut short anywhere,
    it is done again: what is there by then is left as it is."""
    known = await bank.db[REWARDS].find({}, fields={"granted": 1, "moves": 1}, limit=None)
    about = sum(row["granted"] + row["moves"] for row in known)
    seen, written = 0, 0
    async for rows in _all(bank):
        written += await _see_to(bank, rows)
        seen += len(rows)
        if progress is not None:
            progress(seen, max(seen, about))
    if progress is not None:
        progress(seen, seen)
    await bank.db[REWARDS].update_many(WITHOUT, {"$set": {"lined": 1}, "$unset": {"lining": ""}})
    return written


async def make_missing(bank: Bank) -> None:
    """The same for SECONDS at the most, once the first transfers are read; how far it is stands in
    the rewards' rows."""
    waiting = await bank.db[REWARDS].find(WITHOUT, fields={"lining": 1}, limit=None)
    if not waiting:
        return
    cursor = min(row.get("lining", "") for row in waiting)
    until: float | None = None
    async with aclosing(_all(bank, behind=cursor)) as every:
        async for rows in every:
            until = bank.now() + SECONDS if until is None else until
            await _see_to(bank, rows)
            await bank.db[REWARDS].update_many(WITHOUT, {"$set": {"lining": rows[-1]["_id"]}})
            if bank.now() >= until:
                return
    these = {**WITHOUT, "_id": {"$in": [row["_id"] for row in waiting]}}
    await bank.db[REWARDS].update_many(these, {"$set": {"lined": 1}, "$unset": {"lining": ""}})


async def _all(bank: Bank, behind: str | None = None) -> AsyncGenerator[list[Doc]]:
    """The transfers, AT_ONCE at a time; with `behind`, those behind that id, in the order of ids. They
    are asked for once, since the embedded store reads the whole collection for each question."""
    wanted: Doc = {} if behind is None else {"_id": {"$gt": behind}}
    sort = None if behind is None else [("_id", 1)]
    some: list[Doc] = []
    async with aclosing(bank.db[TRANSFERS].scan(wanted, sort=sort)) as every:
        async for row in every:
            some.append(row)
            if len(some) == AT_ONCE:
                yield some
                some = []
    if some:
        yield some


async def _see_to(bank: Bank, rows: Sequence[Doc]) -> int:
    """Writes the pages of these transfers that are missing; how many they were."""
    under_way = await _under_way(bank)
    settled = [row for row in rows if row.get("batch") not in under_way]
    there = await _covered(bank, settled)
    missing: list[Page] = []
    for row in settled:
        lacking = _accounts(row) - there[_batch(row)] - there[row["_id"]]
        missing += lines.pages_of(bank.id, row["_id"], [row], lacking)
    await lines.name_all(bank, [one for row in settled for one in _whole(bank, row)])
    await lines.put_in(bank, missing)
    return len(missing)


def _whole(bank: Bank, row: Doc) -> list[Page]:
    """All that the transfer has in the books."""
    return lines.pages_of(bank.id, row["_id"], [row])


async def _covered(bank: Bank, rows: Sequence[Doc]) -> defaultdict[str, set[str]]:
    """The accounts that have their lines in the books, by the batch or the transfer whose lines
    these are."""
    named = {
        page_id(bank.id, account, name): name
        for row in rows
        for account in _accounts(row)
        for name in (_batch(row), row["_id"])
    }
    found = await bank.by_id(LEDGER_PAGES, list(named), {"_id": 1, "account": 1})
    covered: defaultdict[str, set[str]] = defaultdict(set)
    for page in found.values():
        covered[named[page["_id"]]].update(lines.accounts_in(cast("Page", page)))
    return covered


async def _under_way(bank: Bank) -> set[str]:
    """The batches whose lines may not be written yet."""
    found = {row["batch"] async for row in bank.db[LEDGER_BATCHES].scan({}, {"batch": 1})}
    async for row in bank.db[REWARDS].scan({"held": {"$gt": 0}}, {"leases": 1}):
        found |= row["leases"].keys()
    return found


def _batch(row: Doc) -> str:
    return str(row.get("batch") or row["_id"])


def _accounts(row: Doc) -> set[str]:
    """The accounts of the books that the transfer changed."""
    return {name for account in changes_of(row) for name in (account, in_books(account))}
