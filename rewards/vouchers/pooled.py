"""The code of a voucher that takes another's place, where the reward's codes come from a pool.

It is taken as a claim takes its code (rewards/pools/taking.py): under a lease that names the row
which decides. That row is of the kind `made_good`, has the voucher's `_id`, moves nothing and never
changes, so the same make-good has the same code however often it is tried. Cut short before the row
is there, the sweep puts a void in its place and the code back.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import cast

from customers.banks.bank import Bank
from rewards.pools import taking
from rewards.rows import TRANSFERS, Code, MadeGood, Reward
from rewards.vouchers.rows import Voucher
from services.errors import Conflict, Unavailable
from services.store.mongo import Doc


@dataclass(frozen=True)
class Reserved:
    """The code that a make-good is about to show, under the lease `batch` until it is decided."""

    code: Code
    batch: str = ""


async def reserve(bank: Bank, reward: Reward, new: str) -> Reserved | None:
    """A code for the voucher `new`, or the one that it has already; None where the reward's codes
    come from no pool. Raises Conflict `pool_empty`, and Unavailable while others hold the last
    ones."""
    if not taking.pool_of(reward):
        return None
    decided = await _decided(bank, new)
    if decided is not None:
        return Reserved(decided["code"])
    batch = secrets.token_hex(8)
    taken = await taking.take(bank, reward, batch, [new])
    if new in taken.codes:
        return Reserved(taken.codes[new], batch)
    if taken.in_doubt:
        problem = "the last codes may come back in a moment; try again"
        raise Unavailable("stock_in_doubt", problem, retry_after=2)
    decided = await _decided(bank, new)
    if decided is not None:  # by another try that took the last code meanwhile
        return Reserved(decided["code"])
    raise Conflict("pool_empty", "the pool of this reward has no code left")


async def put_back(bank: Bank, reward: Reward, reserved: Reserved | None) -> None:
    """The voucher is not made good: the code goes back."""
    if reserved is not None and reserved.batch:
        await taking.settle(bank, reward, reserved.batch, [])


async def decide(
    bank: Bank, reward: Reward, reserved: Reserved | None, old: Voucher, new: str
) -> Code | None:
    """The code that the voucher `new` shows from now on. Raises Unavailable when the lease was taken
    for dead meanwhile: another try takes another code."""
    if reserved is None or not reserved.batch:
        return None if reserved is None else reserved.code
    row = _row(bank, reserved, old, new)
    if await bank.db[TRANSFERS].insert_new([cast("Doc", row)]):
        fields = {name: value for name, value in row.items() if name != "_id"}
        old_void = {"_id": new, "kind": "void", "dead": {"$ne": reserved.batch}}
        await bank.db[TRANSFERS].update(old_void, {"$set": fields, "$unset": {"dead": ""}})
    decided = await _decided(bank, new)
    if decided is None:
        raise Unavailable("posting_unknown", "try again")
    ours = [decided] if decided["batch"] == reserved.batch else []
    await taking.settle(bank, reward, reserved.batch, ours)
    return decided["code"]


def _row(bank: Bank, reserved: Reserved, old: Voucher, new: str) -> MadeGood:
    return {
        "_id": new,
        "tenant": bank.id,
        "kind": "made_good",
        "reward": old["reward"],
        "debit": "",
        "credit": "",
        "amount": 0,
        "cid": old["cid"],
        "instead_of": old["_id"],
        "code": reserved.code,
        "batch": reserved.batch,
        "at": bank.utc(),
    }


async def _decided(bank: Bank, new: str) -> MadeGood | None:
    row = await bank.db[TRANSFERS].find_one({"_id": new, "kind": "made_good"})
    return cast("MadeGood | None", row)
