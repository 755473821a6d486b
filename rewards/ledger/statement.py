"""What the books say: a balance at any time, an account's lines, the trial balance, a month.

A balance at a past time is the last closing before it and the pages since. A day is closed when
somebody asks for a time after it: so an account with a million lines answers from one closing and
the pages of some days.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, cast

from customers.banks.bank import Bank
from rewards.ledger import entries
from rewards.ledger import lines as book_lines
from rewards.ledger.chart import CHART, MOST_NAME, Kind, kind_of
from rewards.ledger.lines import CLOSED_AFTER, HOLD, VOID, Leg, legs_of
from rewards.ledger.rows import (
    LEDGER_CLOSINGS,
    LEDGER_NAMES,
    LEDGER_PAGES,
    ClosingRow,
    Page,
    PageLine,
    closing_id,
)
from rewards.rows import TRANSFERS
from services.errors import InvalidInput, NotFound
from services.store.mongo import Doc

SPREAD = timedelta(minutes=1)
"""The lines of one page are at most so far apart."""
CLOSE_PAGES = 200
"""So many pages are added up before a day is closed."""
TOTALS = dict.fromkeys(("account", "at", "debits", "credits", "each", "n"), 1)
MOST_LINES = 200
MOMENT = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Turnover:
    """What was debited and credited to an account."""

    debits: int = 0
    credits: int = 0

    @property
    def balance(self) -> int:
        """What it brought the account."""
        return self.credits - self.debits

    def plus(self, debits: int, credits_: int) -> Turnover:
        return Turnover(self.debits + debits, self.credits + credits_)


@dataclass(frozen=True, slots=True)
class Line:
    """A transfer as one account has it; `balance` is what the account has after it."""

    id: str
    at: datetime
    kind: str
    amount: int
    balance: int


@dataclass(frozen=True, slots=True)
class TrialLine:
    """An account of the books, and what it held: a debit balance or a credit balance."""

    account: str
    kind: Kind
    turnover: Turnover

    @property
    def debit(self) -> int:
        return max(0, -self.turnover.balance)

    @property
    def credit(self) -> int:
        return max(0, self.turnover.balance)


def known_account(account: str) -> str:
    """The account's name; raises InvalidInput `account_unknown`. `kind:*` is all of the customers,
    the staff or the quotas together."""
    kind_of(account)
    return account


def end_of(bank: Bank, day: date) -> datetime:
    """The end of a day of the bank's."""
    return datetime.combine(day + timedelta(days=1), time(), bank.tz)


def month_of(bank: Bank, month: str) -> tuple[datetime, datetime]:
    """The beginning and the end of a month `2026-11` in the bank's time; raises InvalidInput
    `month_invalid`."""
    try:
        first = date.fromisoformat(f"{month}-01")
        following = (first + timedelta(days=31)).replace(day=1)
    except (ValueError, OverflowError) as error:
        problem = f"{month[:MOST_NAME]} is no month like 2026-11"
        fields = {"month": "month_invalid"}
        raise InvalidInput("month_invalid", problem, fields=fields) from error
    return datetime.combine(first, time(), bank.tz), datetime.combine(following, time(), bank.tz)


async def turnover(bank: Bank, account: str, until: datetime) -> Turnover:
    """What was debited and credited to the account before `until`."""
    closing = await _closing(bank, account, until)
    if closing is None:
        since, found = None, Turnover()
    else:
        since, found = closing["at"], Turnover(closing["debits"], closing["credits"])
    added, pages = await _between(bank, account, since, until)
    if pages >= CLOSE_PAGES:
        await _close(bank, account, until)
    return found.plus(added.debits, added.credits)


async def balance_at(bank: Bank, account: str, at: datetime) -> int:
    """What the account held when everything up to and with `at` was posted."""
    return (await turnover(bank, account, at + MOMENT)).balance


async def _closing(bank: Bank, account: str, until: datetime) -> ClosingRow | None:
    """The last closing that is not after `until`."""
    day = (until.astimezone(bank.tz) - timedelta(days=1)).date()
    closed = {"account": account, "day": {"$lte": f"{day:%Y%m%d}"}}
    found = await bank.db[LEDGER_CLOSINGS].find(closed, sort=[("day", -1)], limit=1)
    return cast("ClosingRow", found[0]) if found else None


async def _between(
    bank: Bank, account: str, since: datetime | None, until: datetime
) -> tuple[Turnover, int]:
    """The turnover from `since` until before `until`, and of how many pages. Only at both edges a
    page's lines are read; within, its totals."""
    pages = bank.db[LEDGER_PAGES]
    first = {} if since is None else {"$gte": since + SPREAD}
    within = {"account": account, "at": {**first, "$lt": until - SPREAD}}
    edges: list[Doc] = [{"$gte": until - SPREAD, "$lt": until}]
    if since is not None and since + SPREAD > until - SPREAD:
        edges, within = [{"$gte": since - SPREAD, "$lt": until}], {}
    elif since is not None:
        edges.append({"$gte": since - SPREAD, "$lt": since + SPREAD})
    total, n = Turnover(), 0
    async for page in pages.scan(within, TOTALS) if within else _none():
        for one, debits, credits_ in book_lines.totals_in(cast("Page", page)):
            total = total.plus(debits, credits_) if one == account else total
        n += 1
    for edge in edges:
        async for page in pages.scan({"account": account, "at": edge}):
            n += 1
            for line in book_lines.lines_in(cast("Page", page), account):
                if line["at"] < until and (since is None or line["at"] >= since):
                    total = total.plus(max(0, -line["amount"]), max(0, line["amount"]))
    return total, n


async def _none() -> AsyncIterator[Doc]:
    for doc in cast("list[Doc]", []):
        yield doc


async def _close(bank: Bank, account: str, until: datetime) -> None:
    """Closes the last day before `until` whose lines are all there. If one came at the same moment,
    the closing is taken back."""
    last = min(until, bank.utc() - CLOSED_AFTER).astimezone(bank.tz)
    day = (last - timedelta(days=1)).date()
    end = end_of(bank, day)
    earlier = await _closing(bank, account, end)
    if earlier is not None and earlier["day"] >= f"{day:%Y%m%d}":
        return
    since = None if earlier is None else earlier["at"]
    before = Turnover() if earlier is None else Turnover(earlier["debits"], earlier["credits"])
    added, _ = await _between(bank, account, since, end)
    total = before.plus(added.debits, added.credits)
    row: ClosingRow = {
        "_id": closing_id(bank.id, account, f"{day:%Y%m%d}"),
        "account": account,
        "day": f"{day:%Y%m%d}",
        "at": end,
        "debits": total.debits,
        "credits": total.credits,
    }
    await bank.db[LEDGER_CLOSINGS].insert_new([cast("Doc", row)])
    if (await _between(bank, account, since, end))[0] != added:
        await bank.db[LEDGER_CLOSINGS].delete({"_id": row["_id"]})


async def lines(bank: Bank, account: str, since: datetime, until: datetime) -> AsyncIterator[Line]:
    """The account's lines from `since` until before `until`, the oldest first, with the balance
    after each."""
    balance = (await turnover(bank, account, since)).balance
    for found in [one async for one in _pages(bank, account, since, until)]:
        balance += found["amount"]
        yield Line(found["id"], found["at"], found["kind"], found["amount"], balance)


async def _pages(
    bank: Bank, account: str, since: datetime, until: datetime
) -> AsyncIterator[PageLine]:
    """The lines of these pages in the order of time, read page after page."""
    edge = {"account": account, "at": {"$gte": since - SPREAD, "$lt": until}}
    waiting: list[PageLine] = []
    pages = await bank.db[LEDGER_PAGES].find(edge, sort=[("at", 1)], limit=None)
    for page in cast("list[Page]", pages):
        ready = [line for line in waiting if line["at"] < page["at"]]
        waiting = [line for line in waiting if line["at"] >= page["at"]]
        for line in sorted(ready, key=lambda one: (one["at"], one["id"])):
            yield line
        mine = book_lines.lines_in(page, account)
        waiting += [line for line in mine if since <= line["at"] < until]
    for line in sorted(waiting, key=lambda one: (one["at"], one["id"])):
        yield line


async def latest(
    bank: Bank, account: str, until: datetime, most: int = 50
) -> tuple[list[Line], datetime | None]:
    """The account's last lines before `until`, the newest first, and where the next older ones
    begin, if there are any: ask again with that."""
    for days in (1, 7, 31, 366, 36_600):
        since = until - timedelta(days=days)
        found = [one async for one in lines(bank, account, since, until)]
        if len(found) > most:
            break
    shown = found[-most:]
    older = shown[0].at if len(found) > most and shown else None
    if older is not None:  # lines of one moment are not torn apart
        shown = [one for one in found if one.at >= older]
    return shown[::-1], older


async def trial(bank: Bank, at: datetime | None = None) -> list[TrialLine]:
    """The trial balance: every account of the books, and what it held at that time. In each currency
    debit and credit balances are even."""
    until = (at or bank.utc()) + MOMENT
    names = [row["account"] async for row in bank.db[LEDGER_NAMES].scan()]
    order = list(CHART)
    names.sort(key=lambda name: (order.index(name.partition(":")[0]), name))
    found = [TrialLine(one, kind_of(one), await turnover(bank, one, until)) for one in names]
    return [line for line in found if line.turnover != Turnover()]


@dataclass(frozen=True, slots=True)
class Month:
    """An account's month: what it held before, its turnover, and what it held after."""

    account: str
    kind: Kind
    opening: int
    turnover: Turnover

    @property
    def closing(self) -> int:
        return self.opening + self.turnover.balance


async def month(bank: Bank, wanted: str) -> list[Month]:
    """The month of every account of the books. In each currency debits and credits are even, and so
    are what all accounts held before and after: together nothing."""
    since, until = month_of(bank, wanted)
    ended = [line.account for line in await trial(bank, until)]
    found = []
    for account in ended:
        before, after = await turnover(bank, account, since), await turnover(bank, account, until)
        moved = Turnover(after.debits - before.debits, after.credits - before.credits)
        found.append(Month(account, kind_of(account), before.balance, moved))
    return found


@dataclass(frozen=True, slots=True)
class Linked:
    """A transfer with everything that is linked to it, in order of time; `ends` says what became of
    it if it is a hold."""

    row: Mapping[str, Any]
    linked: Sequence[Mapping[str, Any]]

    @property
    def legs(self) -> list[Leg]:
        return list(legs_of(self.row))


async def story(bank: Bank, transfer: str) -> Linked:
    """The transfer, the hold that it ends or its end, what it gives back and what was given back of
    it. Raises NotFound `transfer_unknown`."""
    row = await bank.db[TRANSFERS].find_one({"_id": transfer})
    if row is None or row["kind"] == VOID:
        raise NotFound("transfer_unknown", "no such transfer")
    wanted = [row["of"]] if row.get("of") else []
    roots = [transfer, *wanted]
    if row["kind"] == HOLD or wanted:
        roots += [entries.end_id(one) for one in [transfer, *wanted]]
    for root in roots:
        wanted += [root, *(entries.refund_id(root, number) for number in range(MOST_SHOWN))]
    found = await bank.by_id(TRANSFERS, list(dict.fromkeys(wanted)))
    linked = [one for one in found.values() if one["kind"] != VOID and one["_id"] != transfer]
    return Linked(row, sorted(linked, key=lambda one: (one["at"], one["_id"])))


MOST_SHOWN = 20
"""So many refunds of a transfer are shown with it."""
