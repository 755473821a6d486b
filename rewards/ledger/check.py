"""The ledger's proof: what P1 promises, counted from the rows (contract/rewards 3).

The transfers are read once, as a stream; what is kept of them is one number an account. The
rewards' and the accounts' documents carry the running balances, and the pages the lines. All are
brought together while work goes on: what nobody changed meanwhile must agree exactly, with what is
under open leases; what changed must lie between what it was before and after. Whatever does not fit
at first is looked at a second time, by itself.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import chain
from typing import Any, cast

from customers.banks.bank import Bank
from rewards.ledger import accounts
from rewards.ledger.chart import CHART, Kind
from rewards.ledger.lines import (
    CANCEL,
    CONFIRM,
    EXPIRE,
    HOLD,
    REFUND,
    legs_of,
    moved_by,
    totals_in,
)
from rewards.ledger.rows import ACCOUNTS, LEDGER_BATCHES, LEDGER_PAGES, AccountRow, Page
from rewards.rows import (
    REWARDS,
    TRANSFERS,
    UNSETTLED,
    Grant,
    RewardRow,
    StockLine,
    grant_ids,
    stock_line_id,
)
from rewards.shipping import proof as parcels
from rewards.vouchers import proof
from rewards.vouchers.proof import Units
from services.store.mongo import Doc

MOST_REWARDS = 10_000
CHECKS = 3
"""How often rewards that change while they are checked are looked at again."""
REPORT_ROWS = 1_000
"""The progress is told each time that so many transfers are read."""
MOST_PROBLEMS = 1_000
ENDS = (CONFIRM, CANCEL, EXPIRE)

PAGE, HELD = 1 << 60, 1 << 120
"""An account's three differences in one number: transfers less document, transfers less pages, and
what is held by transfers less what the document says."""

Progress = Callable[[int, int], None]
"""Is told (transfers read so far, about how many there are)."""


@dataclass
class _Counted:
    """What the transfers say of one reward: units supplied and retired, grants altogether and under
    the leases that are open, the stock's last line if it is there, hashes of (customer, key) where a
    customer may have several, and the customers whose grants are to be counted."""

    supplied: int = 0
    retired: int = 0
    grants: int = 0
    batches: Counter[str] = field(default_factory=Counter)
    told: bool = False
    keys: array[int] = field(default_factory=lambda: array("Q"))
    suspects: set[str] = field(default_factory=set)


class _Books:
    """What the transfers say, in little memory, and what is wrong with single ones."""

    def __init__(self, tenant: str, rewards: Mapping[str, RewardRow], *, lined: bool) -> None:
        self.lined = lined
        self.about = sum(row["granted"] for row in rewards.values())
        """How many transfers there are about: the grants, and half of the accounts' changes. The
        embedded store would read all of them to count them."""
        self._each = 1 + PAGE if lined else 1
        self.rewards: dict[str, _Counted] = defaultdict(_Counted)
        self.balances: Counter[str] = Counter()
        self.unlined: Counter[str] = Counter()
        self.differences: dict[int, int] = {}
        self.problems: list[str] = []
        self._tenant = tenant
        self._known = rewards
        moving = {name: row["move"] for name, row in rewards.items() if "move" in row}
        self._to_come = {name: stock_line_id(tenant, name, move) for name, move in moving.items()}

    def differ(self, account: str, difference: int) -> None:
        """Adds to an account's differences; one that is even again is forgotten."""
        name = hashed(account)
        value = self.differences.pop(name, 0) + difference
        if value:
            self.differences[name] = value

    def line(self, account: str, difference: int) -> None:
        """What a page says of an account less than the transfers must."""
        if account.endswith(":*"):
            return
        if _kind(account).guarded:
            self.differ(account, PAGE * difference)
        else:
            self.unlined[account] += difference

    def add(self, row: Doc) -> None:
        """One transfer."""
        for leg in moved_by(row):
            if _kind(leg.debit).currency != _kind(leg.credit).currency:
                self._wrong(f"transfer {row['_id']} moves {leg.debit} to {leg.credit}")
            self._move(row, leg.debit, -leg.amount)
            self._move(row, leg.credit, leg.amount)
        kind = row["kind"]
        if kind == HOLD:
            for leg in legs_of(row):
                self.differ(leg.debit, HELD * leg.amount if _kind(leg.debit).guarded else 0)
        elif kind in ENDS:
            self._end(row)
        elif kind == REFUND and row["before"] + row["amount"] > row["of_amount"]:
            self._wrong(f"refund {row['_id']} gives back more than was moved")
        elif kind == "grant":
            self._grant(cast("Grant", row))
        elif kind in ("stock", "retire"):
            self._stock(cast("StockLine", row))

    def _move(self, row: Doc, account: str, amount: int) -> None:
        kind = _kind(account)
        if kind is UNKNOWN:
            self._wrong(f"transfer {row['_id']} names account {account}, which there is not")
        elif kind.guarded:
            self.differ(account, amount * self._each)
        else:
            self.balances[account] += amount
            self.unlined[account] += amount

    def _end(self, row: Doc) -> None:
        held = sum(one["n"] for one in row["held"])
        if row["held"] and row["amount"] > held:
            self._wrong(f"{row['_id']} confirms more than was held")
        for one in row["held"]:
            self.differ(one["account"], -HELD * one["n"])

    def _stock(self, row: StockLine) -> None:
        counted = self.rewards[row["reward"]]
        if row["kind"] == "stock":
            counted.supplied += row["amount"]
        else:
            counted.retired += row["amount"]
        if row["_id"] == self._to_come.get(row["reward"]):
            counted.told = True

    def _grant(self, row: Grant) -> None:
        counted, known = self.rewards[row["reward"]], self._known.get(row["reward"])
        counted.grants += 1
        if known is None:
            return
        if row["batch"] in known["leases"]:
            counted.batches[row["batch"]] += 1
        if row["_id"] not in grant_ids(self._tenant, known, [row["cid"]]):
            counted.suspects.add(row["cid"])
        if known["slots"] > 1:
            counted.keys.append(hashed(f"{row['cid']} {row['key']}"))

    def _wrong(self, problem: str) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)


def hashed(text: str) -> int:
    """64 bits that stand for a text while all is counted."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())


UNKNOWN = Kind("", "unit", "", CHART["fee"].title)
"""The kind of an account that the chart does not have."""


def _kind(account: str) -> Kind:
    return CHART.get(account.partition(":")[0], UNKNOWN)


async def check(bank: Bank, progress: Progress | None = None, *, lined: bool = False) -> list[str]:
    """Every violation of P1 as a sentence; an empty list when the ledger holds. `lined`: the lines
    of the accounts as well, which are made from the transfers."""
    problems: list[str] = []
    for _ in range(CHECKS):
        vouchers = await _units(bank)
        before, quiet = await _rewards(bank), await _quiet(bank)
        books = _Books(bank.id, before, lined=lined)
        problems = [problem async for problem in _own_problems(bank, books)]
        await _count(bank, books, progress)
        after = await _rewards(bank)
        problems += books.problems
        problems += _reward_problems(bank, before, after, books)
        vouchers = vouchers.between(await _units(bank))
        problems += _voucher_problems(vouchers, books.balances)
        problems += [problem async for problem in _suspects(bank, before, books)]
        if books.differences:
            problems += await _second_look(bank, set(books.differences), lined=lined)
        if lined and not problems and quiet and await _quiet(bank) and before == after:
            problems += _unlined(books)
        if not problems:
            break
    return problems


async def _quiet(bank: Bank) -> bool:
    """Whether nothing is under way."""
    if await bank.db[LEDGER_BATCHES].find({}, limit=1):
        return False
    return not await bank.db[REWARDS].find(UNSETTLED, limit=1)


async def _rewards(bank: Bank) -> dict[str, RewardRow]:
    rows = await bank.db[REWARDS].find({}, sort=[("reward", 1)], limit=MOST_REWARDS)
    return {row["reward"]: cast("RewardRow", row) for row in rows}


async def _own_problems(bank: Bank, books: _Books) -> AsyncIterator[str]:
    """What is wrong within the accounts' own documents; their balances go into the books, and the
    pages' totals."""
    async for doc in bank.db[ACCOUNTS].scan():
        row = cast("AccountRow", doc)
        books.about += row["rev"] // 2
        books.differ(row["account"], -row["posted"] - HELD * row["held"])
        for problem in account_problems(row):
            yield f"account {row['account']}: {problem}"
    if not books.lined:
        return
    async for page in bank.db[LEDGER_PAGES].scan():
        for account, debits, credits_ in totals_in(cast("Page", page)):
            books.line(account, debits - credits_)


def account_problems(row: AccountRow) -> Iterator[str]:
    """What is wrong within an account's own document."""
    kind = _kind(row["account"])
    lowest = min(row["posted"], row["posted"] - row["held"] - row["taken"])
    if lowest < 0 and not kind.below:
        yield f"{row['posted']} posted, {row['held'] + row['taken']} of it held: below nothing"
    for name in ("held", "taken", "debited"):
        if cast("Doc", row)[name] < 0:
            yield f"{name} is {cast('Doc', row)[name]}"
    leased = sum(accounts.taken_by(row, batch) for batch in row["leases"])
    if row["taken"] != leased:
        yield f"taken {row['taken']}, but the leases take {leased}"
    if kind.lots:
        yield from _lot_problems(row)


def _lot_problems(row: AccountRow) -> Iterator[str]:
    left, aside = (sum(cast("Doc", lot)[name] for lot in row["lots"]) for name in ("left", "aside"))
    if left != row["posted"]:
        yield f"the lots have {left}, not {row['posted']}"
    if aside != row["held"] + row["taken"]:
        yield f"of the lots {aside} are set aside, not {row['held'] + row['taken']}"
    if any(not 0 <= lot["aside"] <= lot["left"] for lot in row["lots"]):
        yield "more of a lot is set aside than it has"


async def _count(bank: Bank, books: _Books, progress: Progress | None) -> None:
    n = 0
    async for row in bank.db[TRANSFERS].scan():
        books.add(row)
        n += 1
        if progress is not None and n % REPORT_ROWS == 0:
            progress(n, max(n, books.about))
    if progress is not None:
        progress(n, n)


def _reward_problems(
    bank: Bank,
    before: Mapping[str, RewardRow],
    after: Mapping[str, RewardRow],
    books: _Books,
) -> Iterator[str]:
    for name in sorted(books.rewards.keys() - before.keys()):
        yield f"transfers of {name} have no reward"
    for name, row in before.items():
        counted = books.rewards.get(name, _Counted())
        same = row == after.get(name)
        problems = chain(
            _sum_problems(row),
            _exact_problems(row, counted) if same else _bounds(row, after.get(name, row), counted),
            _balance_problems(name, _wanted(row, counted, same=same), books.balances),
        )
        yield from (f"{name}: {problem}" for problem in problems)
    for account, value in books.balances.items():
        kind, _, owner = account.partition(":")
        if value and _kind(kind).owner == "reward" and owner not in before:
            yield f"account {account} of no reward holds {value}"


def _sum_problems(row: RewardRow) -> Iterator[str]:
    """What is wrong within the reward's own document."""
    parts = {
        "available": row["available"],
        "held": row["held"],
        "granted": row["granted"],
        "retired": row["retired"],
    }
    if row["total"] != sum(parts.values()):
        yield f"total {row['total']} is not the sum of {parts}"
    for part, value in parts.items():
        if value < 0:
            yield f"{part} is {value}"
    leased = sum(lease["n"] for lease in row["leases"].values())
    if row["held"] != leased:
        yield f"held {row['held']}, but the leases hold {leased}"


def _exact_problems(row: RewardRow, counted: _Counted) -> Iterator[str]:
    """What the ledger was told otherwise than the reward's document has it."""
    told = _told(row, counted)
    if (counted.supplied, counted.retired) != told:
        ledger = f"{counted.supplied} supplied and {counted.retired} retired"
        yield f"the ledger has {ledger}, the reward {row['total']} and {row['retired']}"
    under_leases = counted.batches.total()
    if counted.grants - under_leases != row["granted"]:
        grants = f"{counted.grants} grants ({under_leases} under open leases)"
        yield f"{grants}, but granted is {row['granted']}"


def _bounds(before: RewardRow, after: RewardRow, counted: _Counted) -> Iterator[str]:
    """What cannot be, even though the reward was claimed while it was counted."""
    most = after["granted"] + after["held"]
    if not before["granted"] <= counted.grants <= most:
        yield f"{counted.grants} grants, but granted was {before['granted']} to {most}"


def _told(row: RewardRow, counted: _Counted) -> tuple[int, int]:
    """What the ledger must have been told of supply and retirement: all, or all but the change
    whose line is still to come."""
    to_come = 0 if counted.told or "move" not in row else row["move"]["difference"]
    return row["total"] - max(0, to_come), row["retired"] - max(0, -to_come)


def _wanted(row: RewardRow, counted: _Counted, *, same: bool) -> dict[str, int]:
    """What each account of the reward must hold by its document or, when that changed meanwhile, by
    the lines of each kind; `issued` with what was issued and is something else by now."""
    if not same:
        stock = counted.supplied - counted.retired - counted.grants
        given = {"stock": stock, "issued": counted.grants}
        return {"supply": -counted.supplied, **given, "retired": counted.retired}
    supplied, retired = _told(row, counted)
    under_leases = counted.batches.total()
    moving = row["total"] - supplied - (row["retired"] - retired)
    return {
        "supply": -supplied,
        "stock": row["available"] + row["held"] - under_leases - moving,
        "issued": row["granted"] + under_leases,
        "retired": retired,
    }


def _balance_problems(
    name: str, wanted: Mapping[str, int], balances: Mapping[str, int]
) -> Iterator[str]:
    """Accounts of the reward that hold something else than they must."""
    given = [kind.name for kind in CHART.values() if kind.owner == "reward" and not kind.in_stock]
    out = {kind: balances.get(f"{kind}:{name}", 0) for kind in given}
    later = sum(out.values()) - out["issued"]
    for kind, value in wanted.items():
        account, more = f"{kind}:{name}", later if kind == "issued" else 0
        if balances.get(account, 0) != value - more:
            yield f"account {account} holds {balances.get(account, 0)}, not {value - more}"
    below = (kind for kind, value in out.items() if value < 0 and not CHART[kind].below)
    yield from (f"account {kind}:{name} holds {out[kind]}: below nothing" for kind in below)


async def _units(bank: Bank) -> Units:
    """What became of the units that customers hold: of vouchers, and of what is sent to them."""
    found = await proof.units(bank)
    await parcels.add_units(bank, found)
    return found


def _voucher_problems(vouchers: Units, balances: Mapping[str, int]) -> Iterator[str]:
    """Accounts that have something else than what became of the vouchers."""
    kinds = {kind.name for kind in CHART.values() if kind.owner == "reward" and not kind.in_stock}
    theirs = {account for account in balances if account.partition(":")[0] in kinds}
    for account in sorted({*theirs, *vouchers.most}):
        kind, _, reward = account.partition(":")
        least, most = vouchers.least[account], vouchers.most[account]
        holds = balances.get(account, 0)
        if kind != "issued" and not least <= holds <= most:
            said = f"{most}" if least == most else f"between {least} and {most}"
            yield f"{reward}: account {account} holds {holds}, but of the vouchers it is {said}"


async def _suspects(
    bank: Bank, rewards: Mapping[str, RewardRow], books: _Books
) -> AsyncIterator[str]:
    """Customers who were granted more than they may have, or twice under one key."""
    for name, counted in books.rewards.items():
        twice = _twice(counted.keys)
        if name not in rewards or not (counted.suspects or twice):
            continue
        grants: Counter[str] = Counter()
        keys: Counter[tuple[str, str]] = Counter()
        async for row in bank.db[TRANSFERS].scan({"kind": "grant", "reward": name}):
            if row["cid"] in counted.suspects:
                grants[row["cid"]] += 1
            if hashed(f"{row['cid']} {row['key']}") in twice:
                keys[row["cid"], row["key"]] += 1
        for cid, n in grants.items():
            if n > rewards[name]["slots"]:
                yield f"{name}: customer {cid} has {n} grants, more than {rewards[name]['slots']}"
        for (cid, _), n in keys.items():
            if n > 1:
                yield f"{name}: customer {cid} has {n} grants under one key"


def _twice(keys: array[int]) -> set[int]:
    """Those that are there more than once."""
    ordered = sorted(keys)
    return {one for one, following in zip(ordered, ordered[1:], strict=False) if one == following}


def _unlined(books: _Books) -> Iterator[str]:
    """Accounts whose pages say something else than the transfers."""
    for account, difference in books.unlined.items():
        if difference:
            yield f"account {account}: the lines differ from the transfers by {difference}"


@dataclass
class _Looked:
    """An account that is looked at by itself: what the transfers brought and took, what they hold,
    how much of it is under the leases that were open, and what the pages say."""

    row: AccountRow
    credits: int = 0
    debits: int = 0
    held: int = 0
    leased: int = 0
    leased_held: int = 0
    lined: int = 0


async def _second_look(bank: Bank, candidates: set[int], *, lined: bool) -> list[str]:
    """What is wrong with accounts that differed at first: those that somebody changed meanwhile may
    be right."""
    quiet = lined and await _quiet(bank)
    looked: dict[str, _Looked] = {}

    def of(account: str) -> _Looked | None:
        if account not in looked:
            if not _kind(account).guarded or hashed(account) not in candidates:
                return None
            looked[account] = _Looked(accounts.blank(account))
        return looked[account]

    async for doc in bank.db[ACCOUNTS].scan():
        if one := of(doc["account"]):
            one.row = cast("AccountRow", doc)
    async for page in bank.db[LEDGER_PAGES].scan() if lined else _none():
        for account, debits, credits_ in totals_in(cast("Page", page)):
            if one := of(account):
                one.lined += credits_ - debits
    async for row in bank.db[TRANSFERS].scan():
        _look_at(row, of)
    after = await accounts.read(bank, looked)
    quiet = quiet and await _quiet(bank)
    return [
        f"account {name}: {problem}"
        for name, one in looked.items()
        for problem in _looked_problems(one, after[name], quiet=quiet)
    ]


async def _none() -> AsyncIterator[Doc]:
    for doc in cast("list[Doc]", []):
        yield doc


def _look_at(row: Doc, of: Callable[[str], _Looked | None]) -> None:
    for leg in moved_by(row):
        if one := of(leg.debit):
            one.debits += leg.amount
            one.leased -= leg.amount if row.get("batch") in one.row["leases"] else 0
        if one := of(leg.credit):
            one.credits += leg.amount
            one.leased += leg.amount if row.get("batch") in one.row["leases"] else 0
    held = [(leg.debit, leg.amount) for leg in legs_of(row)] if row["kind"] == HOLD else []
    held += [(each["account"], -each["n"]) for each in row.get("held", ())]
    for account, amount in held:
        if one := of(account):
            one.held += amount
            one.leased_held += amount if row["batch"] in one.row["leases"] else 0


def _looked_problems(one: _Looked, after: AccountRow, *, quiet: bool) -> Iterator[str]:
    before, net = one.row, one.credits - one.debits
    if before["rev"] != after["rev"]:
        most = after["debited"] + after["taken"]
        if not before["debited"] <= one.debits <= most:
            yield f"the transfers take {one.debits}, but it says {before['debited']} to {most}"
        return
    if net - one.leased != before["posted"]:
        yield f"the transfers bring {net - one.leased}, not {before['posted']}"
    if one.held - one.leased_held != before["held"]:
        yield f"the transfers hold {one.held - one.leased_held}, not {before['held']}"
    if quiet and one.lined != net:
        yield f"the lines differ from the transfers by {net - one.lined}"


async def summary(bank: Bank) -> list[dict[str, Any]]:
    """The balances of every reward, and how many leases are on it, for people."""
    names = ("reward", "total", "available", "held", "granted", "retired")
    rows = cast("list[Doc]", list((await _rewards(bank)).values()))
    return [{**{name: row[name] for name in names}, "leases": len(row["leases"])} for row in rows]
