"""The lines of each account: what the transfers say, ordered by account and time.

Transfers are found by their ids alone, so that writing them costs one index. Behind the answers the
lines of a batch are written once more, as one page an account: a hot account has a page for many
transfers, and a page's totals spare reading its lines. Accounts to which all transfers of the batch
did the same share one page, a sheet: a hundred grants of a reward are one document.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from typing_extensions import TypeIs

from customers.banks.bank import Bank
from rewards.ledger.chart import in_books
from rewards.ledger.rows import (
    LEDGER_CLOSINGS,
    LEDGER_NAMES,
    LEDGER_PAGES,
    Page,
    PageLine,
    PageRow,
    SheetRow,
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


def _is_sheet(page: Page) -> TypeIs[SheetRow]:
    return not isinstance(page["account"], str)


def accounts_in(page: Page) -> list[str]:
    """The accounts whose lines the page has."""
    return page["account"] if _is_sheet(page) else [page["account"]]


def totals_in(page: Page) -> Iterator[tuple[str, int, int]]:
    """(account, debits, credits) of each account that the page is of."""
    if not _is_sheet(page):
        yield page["account"], page["debits"], page["credits"]
        return
    for account, each in zip(page["account"], page["each"], strict=True):
        yield account, max(0, -each) * page["n"], max(0, each) * page["n"]


def lines_in(page: Page, account: str) -> list[PageLine]:
    """The account's lines in the page, in their order."""
    if not _is_sheet(page):
        return page["lines"]
    amount = page["each"][page["account"].index(account)]
    return [_line(one, page["at"], page["kind"], amount) for one in page["ids"]]


def _line(transfer: str, at: datetime, kind: str, amount: int) -> PageLine:
    return {"id": transfer, "at": at, "kind": kind, "amount": amount}


def pages_of(
    tenant: str, batch: str, rows: Iterable[Mapping[str, Any]], only: Set[str] | None = None
) -> list[Page]:
    """The batch's lines, a page an account, and one for all accounts to which its transfers did the
    same; `batch` names them, so telling it twice is once. Where the books have one account for many,
    that has a page with the totals. With `only`, those of these accounts."""
    moved = list(_moved_by_each(rows, only))
    alike = _alike(moved)
    lines: dict[str, list[PageLine]] = {}
    for row, found in moved:
        for account, amount in found:
            if account not in alike:
                line = _line(row["_id"], row["at"], _kind(row), amount)
                lines.setdefault(account, []).append(line)
    pages: list[Page] = [_page(tenant, batch, account, each) for account, each in lines.items()]
    return [_sheet(tenant, batch, alike, [row for row, _ in moved]), *pages] if alike else pages


_Moved = Sequence[tuple[str, int]]
"""What a transfer brought each account of the books; below zero what it took."""


def _moved_by_each(
    rows: Iterable[Mapping[str, Any]], only: Set[str] | None
) -> Iterator[tuple[Mapping[str, Any], _Moved]]:
    """The transfers with what each moved; those of one batch mostly move the same."""
    before: tuple[object, ...] = ()
    moved: list[tuple[str, int]] = []
    for row in rows:
        says = (row["kind"], row["debit"], row["credit"], row["amount"], row.get("legs"))
        if says != before:
            before, moved = says, []
            for account, amount in changes_of(row).items():
                names = dict.fromkeys((account, in_books(account)))
                moved += [(name, amount) for name in names if only is None or name in only]
        yield row, moved


def _alike(moved: Sequence[tuple[Mapping[str, Any], _Moved]]) -> dict[str, int]:
    """The accounts on which every one of the transfers is a line with the same amount, if they are
    several and the lines differ in nothing else."""
    if not moved:
        return {}
    first, found = moved[0]
    alike = dict(found)
    if len(alike) < len(found):  # two lines on one account
        return {}
    for row, same in moved:
        twice = same is not found and len(dict(same)) < len(same)
        if twice or row["at"] != first["at"] or _kind(row) != _kind(first):
            return {}
        if same is not found:
            alike = {account: amount for account, amount in same if alike.get(account) == amount}
    return alike if len(alike) > 1 else {}


def _kind(row: Mapping[str, Any]) -> str:
    return str(row.get("what", row["kind"]))


def _sheet(
    tenant: str, batch: str, alike: Mapping[str, int], rows: Sequence[Mapping[str, Any]]
) -> SheetRow:
    """Its name is that of a page of its first account."""
    accounts = sorted(alike)
    return {
        "_id": page_id(tenant, accounts[0], batch),
        "account": accounts,
        "at": rows[0]["at"],
        "kind": _kind(rows[0]),
        "each": [alike[account] for account in accounts],
        "n": len(rows),
        "ids": sorted(row["_id"] for row in rows),
    }


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


async def put_in(bank: Bank, pages: Sequence[Page]) -> None:
    """Puts pages into the books, with the names of their accounts; what comes late opens the days
    again that were closed without it."""
    await bank.db[LEDGER_PAGES].insert_new(cast("list[Doc]", list(pages)))
    await name_all(bank, pages)
    first: dict[str, str] = {}
    for page in pages:
        if page["at"] < bank.utc() - CLOSED_AFTER:
            day = f"{page['at'].astimezone(bank.tz):%Y%m%d}"
            first |= {one: min(day, first.get(one, day)) for one in accounts_in(page)}
    for account, day in first.items():
        await bank.db[LEDGER_CLOSINGS].delete({"account": account, "day": {"$gte": day}})


async def name_all(bank: Bank, pages: Iterable[Page]) -> None:
    """Keeps the names of accounts that the books have not had yet."""
    known = bank.services.cache.of(_NAMED)
    names = {
        (bank.id, account)
        for page in pages
        for account in accounts_in(page)
        if account.endswith(":*") or in_books(account) == account
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
    lines = [
        line
        for page in cast("list[Page]", found)
        for account in accounts_in(page)
        if account in accounts
        for line in lines_in(page, account)
    ]
    return sorted(lines, key=lambda line: (line["at"], line["id"]), reverse=True)
