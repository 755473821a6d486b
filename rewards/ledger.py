"""The ledger's proof: what P1 promises, counted from the rows (contract/rewards 3).

A transfer is one row {debit, credit, amount} and is never changed; grants are transfers from a
reward's stock to what was issued. The reward's document carries the running balances. Here both are
brought together, row by row, while claims go on: a lease that is still open accounts for the grants
that its reward does not count yet.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from customers.banks.bank import Bank
from rewards import catalogue
from rewards.rows import REWARDS, TRANSFERS
from services.store.mongo import Doc


@dataclass
class _Tally:
    """What the transfers say of one reward."""

    supplied: int = 0
    retired: int = 0
    grants: int = 0
    per_customer: Counter[str] = field(default_factory=Counter)
    keys: Counter[tuple[str, str]] = field(default_factory=Counter)
    batches: Counter[str] = field(default_factory=Counter)
    moves: set[str] = field(default_factory=set)


async def check(bank: Bank) -> list[str]:
    """Every violation of P1 as a sentence; an empty list when the ledger holds."""
    db = bank.db
    for _ in range(3):
        before = {row["reward"]: row for row in await db[REWARDS].find({}, limit=10_000)}
        tallies, balances = await _tally(bank)
        after = {row["reward"]: row for row in await db[REWARDS].find({}, limit=10_000)}
        problems = _prove(before, tallies, balances)
        if not problems or before == after:
            return problems
    return problems


async def _tally(bank: Bank) -> tuple[dict[str, _Tally], Counter[str]]:
    tallies: dict[str, _Tally] = defaultdict(_Tally)
    balances: Counter[str] = Counter()
    async for row in bank.db[TRANSFERS].scan():
        balances[row["debit"]] -= row["amount"]
        balances[row["credit"]] += row["amount"]
        tally = tallies[row["reward"]]
        if row["kind"] == "stock":
            tally.supplied += row["amount"]
            tally.moves.add(row["_id"])
        elif row["kind"] == "retire":
            tally.retired += row["amount"]
            tally.moves.add(row["_id"])
        elif row["kind"] == "grant":
            tally.grants += 1
            tally.per_customer[row["cid"]] += 1
            tally.keys[row["cid"], row["key"]] += 1
            tally.batches[row["batch"]] += 1
    return tallies, balances


def _prove(
    rewards: dict[str, Doc], tallies: dict[str, _Tally], balances: Counter[str]
) -> list[str]:
    problems = [f"transfers of {name} have no reward" for name in tallies if name not in rewards]
    known: set[str] = set()
    for name, row in rewards.items():
        tally = tallies.get(name, _Tally())
        accounts = _accounts(row, tally)
        known |= accounts.keys()
        problems += [f"{name}: {problem}" for problem in _prove_reward(row, tally)]
        problems += [
            f"{name}: account {account} holds {balances[account]}, not {wanted}"
            for account, wanted in accounts.items()
            if balances[account] != wanted
        ]
    problems += [
        f"account {name} of no reward holds {value}"
        for name, value in balances.items()
        if value and name not in known
    ]
    return problems


def _accounts(row: Doc, tally: _Tally) -> dict[str, int]:
    """What each account of the reward must hold by its document; together they are zero."""
    name, under_leases = row["reward"], sum(tally.batches[batch] for batch in row["leases"])
    to_come, to_go = (
        now - told
        for now, told in zip((row["total"], row["retired"]), _told(row, tally), strict=True)
    )
    return {
        f"supply:{name}": to_come - row["total"],
        f"stock:{name}": row["available"] + row["held"] - under_leases - to_come + to_go,
        f"issued:{name}": row["granted"] + under_leases,
        f"retired:{name}": row["retired"] - to_go,
    }


def _prove_reward(row: Doc, tally: _Tally) -> list[str]:
    problems = []
    parts = {part: row[part] for part in ("available", "held", "granted", "retired")}
    if row["total"] != sum(parts.values()):
        problems.append(f"total {row['total']} is not the sum of {parts}")
    problems += [f"{part} is {value}" for part, value in parts.items() if value < 0]
    leased = sum(lease["n"] for lease in row["leases"].values())
    if row["held"] != leased:
        problems.append(f"held {row['held']}, but the leases hold {leased}")
    if (tally.supplied, tally.retired) != _told(row, tally):
        ledger = f"{tally.supplied} supplied and {tally.retired} retired"
        problems.append(f"the ledger has {ledger}, the reward {row['total']} and {row['retired']}")
    in_leases = sum(tally.batches[batch] for batch in row["leases"])
    if tally.grants - in_leases != row["granted"]:
        problems.append(
            f"{tally.grants} grants ({in_leases} under open leases), but granted is {row['granted']}"
        )
    limit = row["slots"]
    problems += [
        f"customer {cid} has {n} grants, more than {limit}"
        for cid, n in tally.per_customer.items()
        if n > limit
    ]
    problems += [
        f"customer {cid} has {n} grants under one key"
        for (cid, _), n in tally.keys.items()
        if n > 1
    ]
    return problems


def _told(row: Doc, tally: _Tally) -> tuple[int, int]:
    """What the ledger must have been told of supply and retirement: all, or all but the change
    whose line is still to come."""
    move = row.get("move")
    if (
        not move
        or catalogue.stock_line(row["tenant"], row["reward"], move, row["created_at"])["_id"]
        in tally.moves
    ):
        return row["total"], row["retired"]
    return row["total"] - max(0, move["difference"]), row["retired"] - max(0, -move["difference"])


async def summary(bank: Bank) -> list[dict[str, Any]]:
    """The balances of every reward, for people."""
    rows = await bank.db[REWARDS].find({}, sort=[("reward", 1)], limit=10_000)
    names = ("reward", "total", "available", "held", "granted", "retired")
    return [{**{name: row[name] for name in names}, "leases": len(row["leases"])} for row in rows]
