"""What the bank owes in points: how many there are, what they cost, when they expire, and how many
ever do (breakage)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from customers.banks.bank import Bank
from rewards.ledger import accounts as guarded
from rewards.ledger import statement
from rewards.ledger.rows import Lot
from rewards.points import accounts, program
from rewards.points.document import Program
from services import sheets

AT_ONCE = 500
LATER = "later"
"""The row of what never expires."""


@dataclass(frozen=True, slots=True)
class Month:
    """Points that can be used until some day of `month` (`2027-11`; LATER: for good), of how many
    customers' accounts, and what they cost in fen."""

    month: str
    points: int
    accounts: int
    cost: int


@dataclass
class Report:
    """What is owed at a time. `outstanding` are the points that may be used, with those that are set
    aside (`held`); `expired_today` have expired, and tonight's job takes them off the books. `issued`,
    `spent`, `expired` and `corrected` are since the programme began."""

    at: datetime
    program: Program
    outstanding: int = 0
    held: int = 0
    expired_today: int = 0
    holders: int = 0
    months: list[Month] = field(default_factory=list)
    issued: int = 0
    spent: int = 0
    expired: int = 0
    corrected: int = 0

    @property
    def cost(self) -> int:
        """What the outstanding points cost, in fen."""
        return self.program.cost_of(self.outstanding)

    @property
    def breakage(self) -> float | None:
        """Of the points that came to an end, the share that expired; None where none did."""
        ended = self.spent + self.expired
        return self.expired / ended if ended else None

    @property
    def expected_cost(self) -> int:
        """What the outstanding points cost when as many of them expire as so far, in fen."""
        rate = self.breakage or 0.0
        return self.program.cost_of(round(self.outstanding * (1.0 - rate)))

    @property
    def ties(self) -> bool:
        """Whether the customers' accounts hold what the programme's accounts say. While points are
        being posted, the two may be read a moment apart."""
        books = self.issued + self.corrected - self.spent - self.expired
        return books == self.outstanding + self.expired_today


async def report(bank: Bank) -> Report:
    """What is owed now. Raises Conflict `points_none`."""
    live = await program.live(bank)
    found = Report(bank.utc(), live.program)
    by_month: dict[str, int] = {}
    holders: dict[str, int] = {}
    after = ""
    while some := await guarded.some_of(bank, "points", after, AT_ONCE):
        for row in some:
            months = _of_account(bank, row["lots"], found)
            for month, n in months.items():
                by_month[month] = by_month.get(month, 0) + n
                holders[month] = holders.get(month, 0) + 1
            found.held += row["held"]
            found.holders += bool(months)
        after = some[-1]["_id"]
    found.months = [
        Month(month, n, holders[month], live.program.cost_of(n))
        for month, n in sorted(by_month.items())
    ]
    await _since_it_began(bank, found)
    return found


def _of_account(bank: Bank, lots: list[Lot], found: Report) -> Mapping[str, int]:
    """The account's points by the month in which they expire."""
    months: dict[str, int] = {}
    for lot in lots:
        at = lot["expires"]
        if at is not None and at <= found.at:
            found.expired_today += lot["left"]
        elif lot["left"]:
            last = None if at is None else at.astimezone(bank.tz) - timedelta(seconds=1)
            month = LATER if last is None else f"{last:%Y-%m}"
            months[month] = months.get(month, 0) + lot["left"]
            found.outstanding += lot["left"]
    return months


async def _since_it_began(bank: Bank, found: Report) -> None:
    name, until = found.program.id, bank.utc() + timedelta(minutes=1)

    async def holds(account: str) -> int:
        return (await statement.turnover(bank, account, until)).balance

    found.issued = -await holds(accounts.issued(name))
    found.spent = await holds(accounts.spent(name))
    found.expired = await holds(accounts.expired(name))
    found.corrected = -await holds(accounts.adjusted(name))


async def file(bank: Bank, by: str) -> bytes:
    """The report of now as CSV, for the bank's books; that `by` took it is in the audit trail. Raises
    as `report`."""
    found = await report(bank)
    await bank.audit(by, "points.downloaded", found.program.id, rows=len(found.months))
    return as_csv(found)


def as_csv(found: Report) -> bytes:
    """The report for the bank's books: a line for each month, and the sums."""
    rate = "" if found.breakage is None else f"{found.breakage:.4f}"
    sums = [found.issued, found.spent, found.expired, found.corrected, found.held]
    lines: list[Sequence[str | int]] = [
        ("month", "points", "accounts", "cost_fen"),
        *((row.month, row.points, row.accounts, row.cost) for row in found.months),
        ("total", found.outstanding, found.holders, found.cost),
        (),
        ("at", "issued", "spent", "expired", "corrected", "held", "breakage", "expected_cost_fen"),
        (found.at.isoformat(), *sums, rate, found.expected_cost),
    ]
    return sheets.csv_file(lines)
