"""The lines of each account: what the transfers say, ordered by account and time.

Transfers are found by their ids alone, so that writing them costs one index. Behind the answers the
lines of a batch are written once more, as one page an account: a hot account has a page for many
transfers, and a page's totals spare reading its lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from customers.banks.bank import Bank
from rewards.ledger.chart import in_books
from rewards.ledger.rows import (
    LEDGER_CLOSINGS,
    LEDGER_NAMES,
    LEDGER_PAGES,
    PageLine,
    PageRow,
    account_id,
    page_id,
)
from services.cache import Slot
from services.store.mongo import Doc

HOLD, CONFIRM, CANCEL, EXPIRE = "hold", "hold.confirm", "hold.cancel", "hold.expire"
REFUND, VOID = "refund", "void"
RESERVED = frozenset(
    {
        HOLD,
        CONFIRM,
        CANCEL,
        EXPIRE,
        REFUND,
        VOID,
        "grant",
        "stock",
        "retire",
        "voucher",
        "made_good",
    }
)
"""Kinds of transfers that no entry may have."""
UNMOVED = frozenset({HOLD, CANCEL, EXPIRE, VOID})
"""Kinds of transfers that move nothing: what a hold sets aside is still there."""

CLOSED_AFTER = timedelta(days=1)
"""No day is closed sooner than so long after its end; a line that comes later opens it again."""
_NAMED: Slot[set[tuple[str, str]]] = Slot("ledger.named", set)


@dataclass(frozen=True, slots=True)
class Leg:
    """`amount` goes from account `debit` to account `credit`."""

    debit: str
    credit: str
    amount: int


def legs_of(row: Mapping[str, Any]) -> Iterator[Leg]:
    """What a transfer says, also what a hold would move."""
    if row["amount"]:
        yield Leg(row["debit"], row["credit"], row["amount"])
    for leg in row.get("legs", ()):
        yield Leg(leg["debit"], leg["credit"], leg["amount"])


def moved_by(row: Mapping[str, Any]) -> Iterator[Leg]:
    """What a transfer moves."""
    return iter(()) if row["kind"] in UNMOVED else legs_of(row)


def changes_of(row: Mapping[str, Any]) -> dict[str, int]:
    """What a transfer brings each account; below zero what it takes."""
    changes: dict[str, int] = {}
    for leg in moved_by(row):
        changes[leg.debit] = changes.get(leg.debit, 0) - leg.amount
        changes[leg.credit] = changes.get(leg.credit, 0) + leg.amount
    return changes


def pages_of(tenant: str, batch: str, rows: Iterable[Mapping[str, Any]]) -> list[PageRow]:
    """The batch's lines, a page an account; `batch` names them, so telling it twice is once. Where
    the books have one account for many, that has a page with the totals."""
    lines: dict[str, list[PageLine]] = {}
    for row in rows:
        for account, amount in changes_of(row).items():
            line: PageLine = {
                "id": row["_id"],
                "at": row["at"],
                "kind": row.get("what", row["kind"]),
                "amount": amount,
            }
            lines.setdefault(account, []).append(line)
            if (together := in_books(account)) != account:
                lines.setdefault(together, []).append(line)
    return [_page(tenant, batch, account, found) for account, found in lines.items()]


def _page(tenant: str, batch: str, account: str, lines: list[PageLine]) -> PageRow:
    lines.sort(key=lambda line: (line["at"], line["id"]))
    amounts = [line["amount"] for line in lines]
    return {
        "_id": page_id(tenant, account, batch),
        "account": account,
        "at": lines[0]["at"],
        "debits": -sum(amount for amount in amounts if amount < 0),
        "credits": sum(amount for amount in amounts if amount > 0),
        "lines": lines,
    }


async def write(bank: Bank, batch: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes the lines of a batch's transfers. Repeating it adds nothing."""
    await put_in(bank, pages_of(bank.id, batch, rows))


async def write_each(bank: Bank, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes the lines of transfers that are each a batch of their own, whoever tells of them
    together. Repeating it adds nothing."""
    await put_in(bank, [page for row in rows for page in pages_of(bank.id, row["_id"], [row])])


async def put_in(bank: Bank, pages: Sequence[PageRow]) -> None:
    """Puts pages into the books, with the names of their accounts; what comes late opens the days
    again that were closed without it."""
    await bank.db[LEDGER_PAGES].insert_new(cast("list[Doc]", list(pages)))
    await name_all(bank, pages)
    first: dict[str, str] = {}
    for page in pages:
        if page["at"] < bank.utc() - CLOSED_AFTER:
            day = f"{page['at'].astimezone(bank.tz):%Y%m%d}"
            first[page["account"]] = min(day, first.get(page["account"], day))
    for account, day in first.items():
        await bank.db[LEDGER_CLOSINGS].delete({"account": account, "day": {"$gte": day}})


async def name_all(bank: Bank, pages: Iterable[PageRow]) -> None:
    """Keeps the names of accounts that the books have not had yet."""
    known = bank.services.cache.of(_NAMED)
    names = {
        (bank.id, page["account"])
        for page in pages
        if page["account"].endswith(":*") or in_books(page["account"]) == page["account"]
    }
    rows = [{"_id": account_id(bank.id, name), "account": name} for _, name in names - known]
    await bank.db[LEDGER_NAMES].insert_new(rows)
    known |= names


async def newest(
    bank: Bank, accounts: Sequence[str], limit: int, before: datetime | None = None
) -> list[PageLine]:
    """At least `limit` lines of these accounts, as far as there are so many, newest first; with
    `before`, those of that moment and earlier."""
    wanted: Doc = {"account": {"$in": list(accounts)}}
    if before is not None:
        wanted["at"] = {"$lte": before}
    found = await bank.db[LEDGER_PAGES].find(wanted, sort=[("at", -1)], limit=limit)
    lines = [line for page in cast("list[PageRow]", found) for line in page["lines"]]
    return sorted(lines, key=lambda line: (line["at"], line["id"]), reverse=True)
