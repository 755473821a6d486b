"""The rows of the ledger besides its transfers (rewards/rows.py): guarded accounts, what is under
way, holds that wait for their end, and the accounts' pages."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NotRequired, TypedDict

from services import ids
from services.store.rows import Rows

ACCOUNTS = Rows("accounts")
"""Guarded accounts: what each holds, and who takes from it at this moment."""
LEDGER_BATCHES = Rows("ledger_batches")
"""What is under way: written before the first account is touched, gone when all is counted."""
HOLDS = Rows("holds", indexes=((("tenant", 1), ("open", 1), ("due", 1)),))
"""Holds that wait for their end."""
LEDGER_PAGES = Rows("ledger_pages", indexes=((("tenant", 1), ("account", 1), ("at", 1)),))
"""The lines of each account, those of a batch together, and those of several accounts where they are
alike."""
LEDGER_CLOSINGS = Rows("ledger_closings", indexes=((("tenant", 1), ("account", 1), ("day", 1)),))
"""What an account had at the end of a day."""
LEDGER_NAMES = Rows("ledger_names")
"""The accounts that the books name one by one; those of customers, staff and quotas are one each."""


LEDGER_ADJUSTMENTS = Rows("ledger_adjustments")
"""What clerks asked to post by hand."""


class Lot(TypedDict):
    """What an account holds that `expires` at one moment (None: never): `left`, of which `aside`
    is held or being taken."""

    expires: datetime | None
    left: int
    aside: int


class LotChange(TypedDict):
    """`take` is set aside with the lease; `left` and `aside` change when the row arrives."""

    expires: datetime | None
    take: int
    left: int
    aside: int


class Piece(TypedDict):
    """What the transfer `id` does to an account: `take` is set aside with the lease; `posted`,
    `debited` and `held` change when the row arrives."""

    id: str
    take: int
    debited: int
    posted: int
    held: int
    lots: list[LotChange]


class PieceLease(TypedDict):
    """The book's lease."""

    at: datetime
    pieces: list[Piece]


class TakeLease(TypedDict):
    """`each` for the first `n` of the rows `ids`."""

    at: datetime
    n: int
    each: int
    ids: list[str]


class AccountRow(TypedDict):
    """A guarded account. `posted` is what the transfers say that are counted, `debited` what they
    took in all, `held` is under holds and `taken` under leases. `rev` counts the changes. `dead` are
    batches that may take no lease any more, since their processes were taken for dead."""

    _id: str
    account: str
    posted: int
    debited: int
    held: int
    taken: int
    lots: list[Lot]
    leases: dict[str, Any]
    rev: int
    dead: NotRequired[list[str]]


class BatchRow(TypedDict):
    """`ids`: the transfers that the batch is about to write, where the sweep writes their lines
    too (the book's batches)."""

    _id: str
    batch: str
    accounts: list[str]
    ids: list[str]
    at: datetime


class PageLine(TypedDict):
    """A transfer as one account has it: `amount` is what it brought, below zero what it took."""

    id: str
    at: datetime
    kind: str
    amount: int


class PageRow(TypedDict):
    """The lines of one batch on an account, in their order; `at` is that of the first."""

    _id: str
    account: str
    at: datetime
    debits: int
    credits: int
    lines: list[PageLine]


class SheetRow(TypedDict):
    """The lines of one batch on several accounts to which its transfers did all the same: each of
    the `n` transfers `ids`, all of one `kind` and moment, brought each `account` what `each` has at
    the same place."""

    _id: str
    account: list[str]
    at: datetime
    kind: str
    each: list[int]
    n: int
    ids: list[str]


Page = PageRow | SheetRow


class ClosingRow(TypedDict):
    """What was debited and credited to an account before `at`, the end of the bank's `day`."""

    _id: str
    account: str
    day: str
    at: datetime
    debits: int
    credits: int


class HoldRow(TypedDict):
    """A waiting row (services/store/leases.py) from the moment a hold was made."""

    _id: str
    open: bool
    due: float
    owner: str | None
    attempts: int
    state: NotRequired[str]


def account_id(tenant: str, account: str) -> str:
    return f"{tenant}:{account}"


def page_id(tenant: str, account: str, batch: str) -> str:
    return ids.tenant_id(tenant, "page", account, batch)


def closing_id(tenant: str, account: str, day: str) -> str:
    return ids.tenant_id(tenant, "closing", account, day)
