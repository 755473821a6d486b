"""The accounts of points, and what a customer has under all of his ids.

Each id of a customer has an account of its own, for good. While two are one customer their accounts
read and spend as one, soonest to expire first, whosever it is; what comes in goes to who he is then.
So undoing a merge moves no points: each goes on with what is left on his own accounts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from customers.banks.bank import Bank
from rewards.ledger import accounts as guarded
from rewards.ledger.accounts import FOREVER
from rewards.ledger.entries import transfer_id
from rewards.ledger.lines import VOID
from rewards.ledger.rows import AccountRow
from rewards.rows import TRANSFERS
from services.store.mongo import Doc


@dataclass(frozen=True, slots=True)
class Expiring:
    """So many points that can be used until before `at` (None: for good)."""

    points: int
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Points:
    """What a customer has: `available` may be spent now, `held` is set aside, and `lots` are the
    available ones by when they expire, soonest first."""

    available: int
    held: int
    lots: tuple[Expiring, ...]


def of(cid: str) -> str:
    """The account of one of a customer's ids."""
    return f"points:{cid}"


def cid_of(account: str) -> str:
    return account.partition(":")[2]


def issued(program: str) -> str:
    return f"points_issued:{program}"


def spent(program: str) -> str:
    return f"points_spent:{program}"


def expired(program: str) -> str:
    return f"points_expired:{program}"


def adjusted(program: str) -> str:
    return f"points_adjusted:{program}"


async def read(bank: Bank, cids: Sequence[str]) -> dict[str, AccountRow]:
    """The accounts of these ids by name."""
    return await guarded.read(bank, [of(cid) for cid in cids])


async def find(bank: Bank, key: str) -> Doc | None:
    """The transfer that was posted under this key, if it was."""
    row_id = transfer_id(bank.id, key)
    row = (await bank.by_id(TRANSFERS, [row_id])).get(row_id)
    return None if row is None or row["kind"] == VOID else row


def _free(rows: Mapping[str, AccountRow], now: datetime) -> Iterator[tuple[datetime, str, int]]:
    """(expires, account, points) of all lots that may be spent now."""
    for account, row in rows.items():
        for lot in row["lots"]:
            expires, free = lot["expires"] or FOREVER, lot["left"] - lot["aside"]
            if expires > now and free > 0:
                yield expires, account, free


def together(rows: Mapping[str, AccountRow], now: datetime) -> Points:
    """What the accounts hold as one."""
    lots: dict[datetime, int] = {}
    for expires, _, free in _free(rows, now):
        lots[expires] = lots.get(expires, 0) + free
    told = [Expiring(lots[at], None if at == FOREVER else at) for at in sorted(lots)]
    held = sum(row["held"] + row["taken"] for row in rows.values())
    return Points(sum(lots.values()), held, tuple(told))


def split(rows: Mapping[str, AccountRow], amount: int, now: datetime) -> dict[str, int]:
    """How much each account gives when `amount` is spent: what expires first is spent first. What
    none of them has is asked of the first, for the book to decide."""
    gives: dict[str, int] = {}
    for _, account, free in sorted(_free(rows, now)):
        n = min(free, amount)
        if n > 0:
            gives[account] = gives.get(account, 0) + n
            amount -= n
    if amount:
        first = next(iter(rows))
        gives[first] = gives.get(first, 0) + amount
    return gives
