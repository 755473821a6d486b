"""What the ledger's accounts must hold by the vouchers' own rows: each voucher's unit is in the account
of its state."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import cast

from customers.banks.bank import Bank
from rewards.vouchers.life import ISSUED, MADE_GOOD, account
from rewards.vouchers.rows import OPEN, VOUCHERS, Voucher
from services.store.mongo import Doc


@dataclass
class Units:
    """How many units vouchers have brought each account, at least and at most: what has happened
    and is not told yet may be in the ledger or not."""

    least: Counter[str] = field(default_factory=Counter)
    most: Counter[str] = field(default_factory=Counter)

    def between(self, later: Units) -> Units:
        """What the accounts held at some moment between the two."""
        accounts = {*self.most, *self.least, *later.most, *later.least}
        least = {one: min(self.least[one], later.least[one]) for one in accounts}
        most = {one: max(self.most[one], later.most[one]) for one in accounts}
        return Units(Counter(least), Counter(most))


async def units(bank: Bank) -> Units:
    """The units of all vouchers that were told; of the others both of what they can be. What was
    granted and is neither used nor over is with its grant, and counts for nothing here."""
    found = Units()
    grouped: list[Doc] = [
        {"$match": {"steps": [], "state": {"$nin": list(OPEN)}}},
        {"$group": {"_id": {"reward": "$reward", "state": "$state"}, "n": {"$sum": 1}}},
    ]
    for row in await bank.db[VOUCHERS].aggregate(grouped):
        reward = row["_id"]["reward"]
        _move(found, f"{ISSUED}:{reward}", account(row["_id"]["state"], reward), row["n"])
    made_good: list[Doc] = [
        {"$match": {"instead_of": {"$exists": True}, "steps.n": {"$ne": 1}}},
        {"$group": {"_id": "$reward", "n": {"$sum": 1}}},
    ]
    for row in await bank.db[VOUCHERS].aggregate(made_good):
        _move(found, f"{MADE_GOOD}:{row['_id']}", f"{ISSUED}:{row['_id']}", row["n"])
    async for row in bank.db[VOUCHERS].scan({"steps": {"$ne": []}}):
        _add_untold(found, cast("Voucher", row))
    return found


def _move(found: Units, debit: str, credit: str, n: int) -> None:
    for counted in (found.least, found.most):
        counted[debit] -= n
        counted[credit] += n


def _add_untold(found: Units, row: Voucher) -> None:
    """The voucher's unit is in one of the accounts through which its steps lead."""
    issued = f"{ISSUED}:{row['reward']}"
    moves = [step for step in row["steps"] if step["debit"]]
    if "instead_of" in row and row["steps"][0]["n"] == 1:
        found.least[f"{MADE_GOOD}:{row['reward']}"] -= 1
        found.most[issued] += 1
        moves = moves[1:]
    now = account(row["state"], row["reward"])
    through = {now, *(one for step in moves for one in (step["debit"], step["credit"]))}
    for name in through - {issued}:
        found.most[name] += 1
        found.least[name] += int(through == {name})
    found.least[issued] -= int(through != {issued})
    found.most[issued] -= int(issued not in through)
