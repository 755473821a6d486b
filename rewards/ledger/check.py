"""The ledger's proof: what P1 promises, counted from the rows (contract/rewards 3).

A transfer is one row {debit, credit, amount} and is never changed; grants are transfers from a
reward's stock to what was issued. The reward's document carries the running balances. Here both are
brought together, row by row, while claims go on: a lease that is still open accounts for the grants
that its reward does not count yet.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, cast

from customers.banks.bank import Bank
from rewards import catalogue
from rewards.ledger.chart import CHART
from rewards.ledger.lines import changes_of
from rewards.rows import REWARDS, TRANSFERS, Grant, RewardRow, StockLine
from rewards.vouchers import proof
from rewards.vouchers.proof import Units
from services.store.mongo import Doc

MOST_REWARDS = 10_000
OF_REWARDS = frozenset(kind.name for kind in CHART.values() if kind.owner == "reward")
CHECKS = 3
"""How often rewards that change while they are checked are looked at again."""


@dataclass
class _Counted:
    """What the transfers say of one reward: units supplied and retired, grants altogether, by
    customer, by (customer, key) and by batch, and the ids of the stock's lines."""

    supplied: int = 0
    retired: int = 0
    grants: int = 0
    per_customer: Counter[str] = field(default_factory=Counter)
    keys: Counter[tuple[str, str]] = field(default_factory=Counter)
    batches: Counter[str] = field(default_factory=Counter)
    lines: set[str] = field(default_factory=set)

    def add(self, row: StockLine | Grant) -> None:
        if row["kind"] == "grant":
            self.grants += 1
            self.per_customer[row["cid"]] += 1
            self.keys[row["cid"], row["key"]] += 1
            self.batches[row["batch"]] += 1
        elif row["kind"] == "stock":
            self.supplied += row["amount"]
            self.lines.add(row["_id"])
        elif row["kind"] == "retire":
            self.retired += row["amount"]
            self.lines.add(row["_id"])

    def under_leases(self, row: RewardRow) -> int:
        """Grants that the reward does not count yet."""
        return sum(self.batches[batch] for batch in row["leases"])


@dataclass
class _Transfers:
    """All transfers of a bank: what they say of each reward, and what each account holds."""

    rewards: dict[str, _Counted] = field(default_factory=lambda: defaultdict(_Counted))
    balances: Counter[str] = field(default_factory=Counter)

    def add(self, row: Doc) -> None:
        for account, amount in changes_of(row).items():
            self.balances[account] += amount
        if row["kind"] in ("stock", "retire", "grant"):
            self.rewards[row["reward"]].add(cast("StockLine | Grant", row))


async def check(bank: Bank) -> list[str]:
    """Every violation of P1 as a sentence; an empty list when the ledger holds."""
    problems: list[str] = []
    for _ in range(CHECKS):
        vouchers = await proof.units(bank)
        before = await _rewards(bank)
        transfers = await _count(bank)
        vouchers = vouchers.between(await proof.units(bank))
        problems = list(_prove(bank, before, transfers, vouchers))
        if not problems or before == await _rewards(bank):
            break
    return problems


async def _rewards(bank: Bank) -> dict[str, RewardRow]:
    rows = await bank.db[REWARDS].find({}, sort=[("reward", 1)], limit=MOST_REWARDS)
    return {row["reward"]: cast("RewardRow", row) for row in rows}


async def _count(bank: Bank) -> _Transfers:
    counted = _Transfers()
    async for row in bank.db[TRANSFERS].scan():
        counted.add(row)
    return counted


def _prove(
    bank: Bank, rewards: Mapping[str, RewardRow], transfers: _Transfers, vouchers: Units
) -> Iterator[str]:
    for name in sorted(transfers.rewards.keys() - rewards.keys()):
        yield f"transfers of {name} have no reward"
    accounts: dict[str, int] = {}
    for name, row in rewards.items():
        counted = transfers.rewards.get(name, _Counted())
        told = _told(bank, row, counted)
        problems = chain(
            _sum_problems(row),
            _transfer_problems(row, counted, told),
            _limit_problems(row, counted),
        )
        yield from (f"{name}: {problem}" for problem in problems)
        accounts |= _accounts(row, counted, told)
    yield from _account_problems(accounts, transfers.balances, vouchers)


def _told(bank: Bank, row: RewardRow, counted: _Counted) -> tuple[int, int]:
    """What the ledger must have been told of supply and retirement: all, or all but the change
    whose line is still to come."""
    move = row.get("move")
    if move is None or catalogue.stock_line_id(bank.id, row["reward"], move) in counted.lines:
        return row["total"], row["retired"]
    to_come = move["difference"]
    return row["total"] - max(0, to_come), row["retired"] - max(0, -to_come)


def _accounts(row: RewardRow, counted: _Counted, told: tuple[int, int]) -> dict[str, int]:
    """What each account of the reward must hold by its document; together they are zero."""
    name = row["reward"]
    supplied, retired = told
    under_leases = counted.under_leases(row)
    to_come = row["total"] - supplied
    to_go = row["retired"] - retired
    return {
        f"supply:{name}": -supplied,
        f"stock:{name}": row["available"] + row["held"] - under_leases - to_come + to_go,
        f"issued:{name}": row["granted"] + under_leases,
        f"retired:{name}": retired,
    }


def _account_problems(
    accounts: Mapping[str, int], balances: Counter[str], vouchers: Units
) -> Iterator[str]:
    """Accounts that hold something else than the rewards' documents and vouchers say."""
    for account in {**accounts, **vouchers.most}:
        wanted, holds = accounts.get(account, 0), balances[account]
        least, most = wanted + vouchers.least[account], wanted + vouchers.most[account]
        if not least <= holds <= most:
            reward = account.partition(":")[2]
            said = f"{most}" if least == most else f"between {least} and {most}"
            yield f"{reward}: account {account} holds {holds}, not {said}"
    for account, value in balances.items():
        known = account in accounts or account in vouchers.most
        if value and not known and account.partition(":")[0] in OF_REWARDS:
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


def _transfer_problems(row: RewardRow, counted: _Counted, told: tuple[int, int]) -> Iterator[str]:
    """What the ledger was told otherwise than the reward's document has it."""
    if (counted.supplied, counted.retired) != told:
        ledger = f"{counted.supplied} supplied and {counted.retired} retired"
        yield f"the ledger has {ledger}, the reward {row['total']} and {row['retired']}"
    under_leases = counted.under_leases(row)
    if counted.grants - under_leases != row["granted"]:
        grants = f"{counted.grants} grants ({under_leases} under open leases)"
        yield f"{grants}, but granted is {row['granted']}"


def _limit_problems(row: RewardRow, counted: _Counted) -> Iterator[str]:
    """Customers who were granted more than they may have, or twice under one key."""
    for cid, n in counted.per_customer.items():
        if n > row["slots"]:
            yield f"customer {cid} has {n} grants, more than {row['slots']}"
    for (cid, _), n in counted.keys.items():
        if n > 1:
            yield f"customer {cid} has {n} grants under one key"


async def summary(bank: Bank) -> list[dict[str, Any]]:
    """The balances of every reward, and how many leases are on it, for people."""
    names = ("reward", "total", "available", "held", "granted", "retired")
    rows = cast("list[Doc]", list((await _rewards(bank)).values()))
    return [{**{name: row[name] for name in names}, "leases": len(row["leases"])} for row in rows]
