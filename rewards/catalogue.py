"""The rewards of a bank: what they are, who may claim them, and their stock, in one document each.

Definition and stock are one document on purpose: "is it open, is there one left, is today's share
used up" and the taking are a single conditional write (docs/invariants.md). `slots` is the highest
`per_customer` there ever was: grants are looked for in all of them. At every moment total =
available + held + granted + retired.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from customers.banks.bank import Bank
from rewards.rows import REWARDS, TRANSFERS
from services import ids
from services.cache import cached, invalidate
from services.clock import utc
from services.errors import Conflict, NotFound
from services.store.mongo import Doc, Duplicate, TenantStore

CACHE_SECONDS = 1.0


@dataclass(frozen=True)
class Definition:
    """A reward as a campaign declares it. `cost` in fen; `open_to`: `offered` (a campaign's grant
    step) or `anyone`."""

    key: str
    kind: str
    title: Mapping[str, str]
    text: Mapping[str, str]
    cost: int
    stock: int
    per_customer: int
    per_day: int | None
    open_to: str
    starts: datetime
    ends: datetime


def reward_id(campaign: str, key: str) -> str:
    """The id that the mini-program uses: unique within the bank, fit for a path."""
    return f"{campaign}.{key}"


def doc_id(tenant: str, reward: str) -> str:
    return f"{tenant}:{reward}"


async def put(bank: Bank, campaign: str, definition: Definition) -> None:
    """Creates the reward or brings it to its new definition; raises Conflict `stock_in_use` when
    fewer are left than are to be taken away. Running it again changes nothing: the stock moves by
    the difference to `declared`."""
    reward = reward_id(campaign, definition.key)
    fields = _fields(campaign, reward, definition)
    now = utc(bank.now())
    fresh: Doc = {
        "_id": doc_id(bank.db.tenant, reward),
        **fields,
        "slots": definition.per_customer,
        "declared": 0,
        "total": 0,
        "available": 0,
        "held": 0,
        "granted": 0,
        "retired": 0,
        "leases": {},
        "days": {},
        "moves": 0,
        "state": "live",
        "created_at": now,
    }
    try:
        await bank.db[REWARDS].insert(fresh)
    except Duplicate:
        change = {"$set": fields, "$max": {"slots": definition.per_customer}}
        await bank.db[REWARDS].update({"_id": fresh["_id"]}, change)
    await _restock(bank.db, fresh["_id"], reward, definition.stock, now)
    invalidate(bank.services, f"rewards:{bank.db.tenant}")


def _fields(campaign: str, reward: str, definition: Definition) -> Doc:
    return {
        "reward": reward,
        "campaign": campaign,
        "kind": definition.kind,
        "title": dict(definition.title),
        "text": dict(definition.text),
        "cost": definition.cost,
        "per_customer": definition.per_customer,
        "per_day": definition.per_day,
        "open_to": definition.open_to,
        "starts": definition.starts,
        "ends": definition.ends,
    }


async def _restock(db: TenantStore, row_id: str, reward: str, wanted: int, now: datetime) -> None:
    """Moves the stock from what was declared to `wanted`: one conditional write, then the ledger's
    line for that move."""
    row = await db[REWARDS].find_one({"_id": row_id})
    if row is None:
        raise NotFound("reward_unknown", f"no reward {reward}")
    if row.get("move"):  # an earlier change was cut short before its line was written
        await write_move(db, row, now)
    difference = wanted - row["declared"]
    if difference:
        guard: Doc = {"_id": row_id, "declared": row["declared"], "moves": row["moves"]}
        change: Doc = {"declared": difference, "moves": 1, "available": difference}
        if difference > 0:
            change["total"] = difference
        else:
            guard["available"] = {"$gte": -difference}
            change["retired"] = -difference
        pending = {"n": row["moves"] + 1, "difference": difference}
        if not await db[REWARDS].update(guard, {"$inc": change, "$set": {"move": pending}}):
            raise Conflict(
                "stock_in_use",
                f"{reward}: fewer than {-difference} are left, or the stock was just changed",
            )
        await write_move(db, {**row, "move": pending}, now)


async def write_move(db: TenantStore, row: Doc, now: datetime) -> None:
    """Writes the ledger's line of a stock change that the reward's document still carries as
    `move`."""
    await db[TRANSFERS].insert_new([stock_line(db.tenant, row["reward"], row["move"], now)])
    await db[REWARDS].update(
        {"_id": row["_id"], "move.n": row["move"]["n"]}, {"$unset": {"move": ""}}
    )


def stock_line(tenant: str, reward: str, move: Doc, now: datetime) -> Doc:
    """The ledger's line of the n-th change of a reward's stock; its id comes from n, so telling it
    twice is once."""
    difference = move["difference"]
    source, target = (
        (f"supply:{reward}", f"stock:{reward}")
        if difference > 0
        else (f"stock:{reward}", f"retired:{reward}")
    )
    return {
        "_id": ids.tenant_id(tenant, "stock", reward, move["n"]),
        "kind": "stock" if difference > 0 else "retire",
        "reward": reward,
        "debit": source,
        "credit": target,
        "amount": abs(difference),
        "cid": None,
        "at": now,
    }


async def set_state(bank: Bank, campaign: str, state: str) -> None:
    """Opens (`live`) or closes (`paused`) all rewards of a campaign to claims, but those that a
    later version dropped."""
    await bank.db[REWARDS].update_many(
        {"campaign": campaign, "state": {"$ne": "ended"}}, {"$set": {"state": state}}
    )
    invalidate(bank.services, f"rewards:{bank.db.tenant}")


async def end_others(bank: Bank, campaign: str, keys: list[str]) -> None:
    """Ends the campaign's rewards that its document does not name any more; a reward that is named
    again is open again."""
    named = [reward_id(campaign, key) for key in keys]
    await bank.db[REWARDS].update_many(
        {"campaign": campaign, "reward": {"$nin": named}}, {"$set": {"state": "ended"}}
    )
    again = {"campaign": campaign, "reward": {"$in": named}, "state": "ended"}
    await bank.db[REWARDS].update_many(again, {"$set": {"state": "live"}})
    invalidate(bank.services, f"rewards:{bank.db.tenant}")


async def all_rewards(bank: Bank) -> dict[str, Doc]:
    """Every reward of the bank by id, at most CACHE_SECONDS old. For showing; claims look at the
    document itself."""

    async def load() -> dict[str, Doc]:
        rows = await bank.db[REWARDS].find({}, fields={"leases": 0}, limit=None)
        return {row["reward"]: row for row in rows}

    return await cached(bank.services, f"rewards:{bank.id}", CACHE_SECONDS, load)


def why_closed(row: Mapping[str, Any], now: datetime, day: str) -> str:
    """The reason code for which the reward gives nothing at `now`, or an empty string
    (contract/rewards 2)."""
    if now < row["starts"]:
        return "not_started"
    if now >= row["ends"] or row["state"] == "ended":
        return "ended"
    if row["state"] != "live":
        return "paused"
    if row["available"] <= 0:
        return "sold_out"
    if row["per_day"] is not None and row["days"].get(day, 0) >= row["per_day"]:
        return "quota_day"
    return ""
