"""The ledger for people: whose accounts these are, and a month as a file for the bank's books."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from customers.banks.bank import Bank
from customers.identity import resolution
from rewards.ledger import accounts, statement
from rewards.ledger.accounts import Balance
from rewards.ledger.chart import kind_of, owner_of
from services import sheets
from services.errors import NotFound

Cell = str | int
Named = Callable[[str], str]
"""An account's name, or a label's text, in the reader's language."""


async def customers_of(bank: Bank, names: Iterable[str]) -> dict[str, str]:
    """The masked names of the customers whose accounts are among these, by their ids."""
    cids = {owner_of(name) for name in names if kind_of(name).owner == "customer"}
    found = {}
    for cid in sorted(cids - {"*"}):
        try:
            person = await resolution.customer(bank, cid)
        except NotFound:
            continue
        found[cid] = resolution.mask_name(person.name)
    return found


async def balance(bank: Bank, account: str) -> Balance:
    """What the account has now."""
    if kind_of(account).guarded:
        return await accounts.balance(bank, account)
    held = await statement.balance_at(bank, account, bank.utc())
    return Balance(held, 0, held)


async def month_file(
    bank: Bank, by: str, month: str, account: str, named: Named, label: Named
) -> bytes:
    """A month as a table in UTF-8 with a mark, for spreadsheets: of all accounts, or of one with its
    lines, both with totals that tie. That `by` took it is in the audit trail. Raises InvalidInput
    `month_invalid`, `account_unknown`."""
    statement.month_of(bank, month)
    rows = (
        await _lines(bank, month, account, label)
        if account
        else _turnovers(await statement.month(bank, month), named, label)
    )
    table = list(rows)
    await bank.audit(by, "ledger.downloaded", account or "books", month=month, rows=len(table) - 1)
    return sheets.csv_file(table)


def _turnovers(
    months: Iterable[statement.Month], named: Named, label: Named
) -> Iterator[list[Cell]]:
    heads = ("account", "name", "currency", "opening", "debits", "credits", "closing")
    yield [label(head) for head in heads]
    totals: dict[str, list[int]] = {}
    for one in months:
        turnover = one.turnover
        figures = [one.opening, turnover.debits, turnover.credits, one.closing]
        currency: str = one.kind.currency
        totals[currency] = [
            a + b for a, b in zip(totals.get(currency, [0] * 4), figures, strict=True)
        ]
        yield [one.account, named(one.account), label(currency), *figures]
    for currency, figures in totals.items():
        yield ["", label("total"), label(currency), *figures]


async def _lines(bank: Bank, month: str, account: str, label: Named) -> list[list[Cell]]:
    since, until = statement.month_of(bank, month)
    opening = (await statement.turnover(bank, account, since)).balance
    rows: list[list[Cell]] = [
        [label(head) for head in ("time", "transfer", "kind", "debit", "credit", "balance")],
        ["", "", label("opening"), "", "", opening],
    ]
    debits = credits_ = 0
    async for line in statement.lines(bank, account, since, until):
        debit, credit = max(0, -line.amount), max(0, line.amount)
        debits, credits_ = debits + debit, credits_ + credit
        time = f"{line.at.astimezone(bank.tz):%Y-%m-%d %H:%M:%S}"
        either: list[Any] = [debit or "", credit or ""]
        rows.append([time, line.id, label(f"kind_{line.kind}"), *either, line.balance])
    rows.append(["", "", label("total"), debits, credits_, opening + credits_ - debits])
    return rows
