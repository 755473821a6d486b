"""The rewards of a bank: what they are, who may claim them, and their stock, in one document each.

Definition and stock are one document on purpose: "is it open, is there one left, is today's share
used up" and the taking are a single conditional write (docs/invariants.md). `slots` is the highest
`per_customer` there ever was: grants are looked for in all of them. At every moment total =
available + held + granted + retired.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from customers.banks.bank import Bank
from rewards.item import Item
from rewards.ledger import lines
from rewards.rows import (
    REWARDS,
    TRANSFERS,
    Limits,
    Move,
    Reward,
    RewardRow,
    StockLine,
    doc_id,
    stock_line_id,
)
from services.cache import cached, invalidate
from services.errors import Conflict, NotFound
from services.store.mongo import Doc, Duplicate

CACHE_SECONDS = 1.0


@dataclass(frozen=True)
class Definition:
    """A reward as a campaign declares it. `open_to`: `offered` (a campaign's grant
    step), `staff` (offered by RMs, each so many a month as `allowance` says of his role) or
    `anyone`. It may be claimed from `starts` until before `ends`; `terms` is what was published
    about it, and `limits` what else bounds the giving. Of one that is `guarded` each grant draws on
    the campaign's budget (rewards/budget.py). `of_item` is the item of the bank's catalogue that it
    is, in that version; empty for one that the campaign describes itself."""

    key: str
    item: Item
    stock: int
    per_customer: int
    per_day: int | None
    open_to: str
    starts: datetime
    ends: datetime
    terms: Mapping[str, str] = field(default_factory=dict)
    allowance: Mapping[str, int] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    guarded: bool = False
    of_item: str = ""
    item_version: int = 0


def reward_id(campaign: str, key: str) -> str:
    """The id that the mini-program uses: unique within the bank, fit for a path."""
    return f"{campaign}.{key}"


async def put(bank: Bank, campaign: str, definition: Definition) -> None:
    """Creates the reward or brings it to its new definition; a new one is closed until `set_state`
    opens it. Raises Conflict `stock_in_use` when fewer are left than are to be taken away. Running
    it again changes nothing: the stock moves by the difference to `declared`."""
    reward = reward_id(campaign, definition.key)
    fresh = _without_stock(bank, campaign, reward, definition)
    try:
        await bank.db[REWARDS].insert(fresh)
    except Duplicate:
        fields = _defined(campaign, reward, definition)
        dearest = max((await _row(bank, reward))["cost"], definition.item.cost)
        most = {"slots": definition.per_customer, "dearest": dearest}
        change = {"$set": fields, "$max": most}
        await bank.db[REWARDS].update({"_id": fresh["_id"]}, change)
    await _restock(bank, reward, definition.stock)
    drop_cached(bank)


def _without_stock(bank: Bank, campaign: str, reward: str, definition: Definition) -> Doc:
    """The row of a new reward, for `_restock` to fill."""
    return {
        "_id": doc_id(bank.id, reward),
        **_defined(campaign, reward, definition),
        "slots": definition.per_customer,
        "dearest": definition.item.cost,
        "vouchers": 1,
        "lined": 1,
        "declared": 0,
        "total": 0,
        "available": 0,
        "held": 0,
        "granted": 0,
        "retired": 0,
        "leases": {},
        "days": {},
        "moves": 0,
        "state": "paused",
        "created_at": bank.utc(),
    }


def _defined(campaign: str, reward: str, definition: Definition) -> Doc:
    item = definition.item
    return {
        "reward": reward,
        "campaign": campaign,
        "kind": item.kind,
        "title": item.title.model_dump(),
        "text": item.text.model_dump(),
        "cost": item.cost,
        "item": item.model_dump(mode="json"),
        "per_customer": definition.per_customer,
        "per_day": definition.per_day,
        "open_to": definition.open_to,
        "allowance": dict(definition.allowance),
        "starts": definition.starts,
        "ends": definition.ends,
        "terms": dict(definition.terms),
        "limits": dict(definition.limits),
        "guarded": definition.guarded,
        "of_item": definition.of_item,
        "item_version": definition.item_version,
    }


async def _restock(bank: Bank, reward: str, wanted: int) -> None:
    """Moves the stock from what was declared to `wanted`: one conditional write, then the ledger's
    line for that move."""
    row = await _row(bank, reward)
    if "move" in row:  # an earlier change was cut short before its line was written
        await _write_line(bank, reward, row["move"])
    move: Move = {"n": row["moves"] + 1, "difference": wanted - row["declared"]}
    if not move["difference"]:
        return
    if not await _move(bank, row, move):
        why = f"{reward}: fewer than {-move['difference']} are left, or the stock was just changed"
        raise Conflict("stock_in_use", why)
    await _write_line(bank, reward, move)


async def _row(bank: Bank, reward: str) -> RewardRow:
    row = await bank.db[REWARDS].find_one({"_id": doc_id(bank.id, reward)})
    if row is None:
        raise NotFound("reward_unknown", f"no reward {reward}")
    return cast("RewardRow", row)


async def _move(bank: Bank, row: RewardRow, move: Move) -> bool:
    """Changes the stock by one conditional write; False when somebody else just did, or when fewer
    are left than are to be taken away."""
    difference = move["difference"]
    unchanged: Doc = {"_id": row["_id"], "declared": row["declared"], "moves": row["moves"]}
    change: Doc = {"declared": difference, "moves": 1, "available": difference}
    if difference > 0:
        change["total"] = difference
    else:
        unchanged["available"] = {"$gte": -difference}
        change["retired"] = -difference
    return await bank.db[REWARDS].update(unchanged, {"$inc": change, "$set": {"move": move}})


async def finish_moves(bank: Bank) -> None:
    """Writes the ledger's lines of stock changes that were cut short."""
    for row in await bank.db[REWARDS].find({"move": {"$exists": True}}):
        await _write_line(bank, row["reward"], row["move"])


async def _write_line(bank: Bank, reward: str, move: Move) -> None:
    """Writes the ledger's line of a stock change that the reward's row still carries as `move`."""
    line = _stock_line(bank, reward, move)
    await bank.db[TRANSFERS].insert_new([cast("Doc", line)])
    await lines.write(bank, line["_id"], [line])
    carried = {"_id": doc_id(bank.id, reward), "move.n": move["n"]}
    await bank.db[REWARDS].update(carried, {"$unset": {"move": ""}})


def _stock_line(bank: Bank, reward: str, move: Move) -> StockLine:
    supplied = move["difference"] > 0
    return {
        "_id": stock_line_id(bank.id, reward, move),
        "kind": "stock" if supplied else "retire",
        "reward": reward,
        "debit": f"supply:{reward}" if supplied else f"stock:{reward}",
        "credit": f"stock:{reward}" if supplied else f"retired:{reward}",
        "amount": abs(move["difference"]),
        "cid": None,
        "at": bank.utc(),
    }


async def set_state(bank: Bank, campaign: str, state: str) -> None:
    """Opens (`live`) or closes (`paused`) all rewards of a campaign to claims, but those that a
    later version dropped."""
    kept = {"campaign": campaign, "state": {"$ne": "ended"}}
    await bank.db[REWARDS].update_many(kept, {"$set": {"state": state}})
    drop_cached(bank)


async def end_others(bank: Bank, campaign: str, keys: list[str]) -> None:
    """Ends the campaign's rewards that its document does not name any more; one that is named again
    is closed until `set_state` opens it, like a new one."""
    named = [reward_id(campaign, key) for key in keys]
    others = {"campaign": campaign, "reward": {"$nin": named}}
    await bank.db[REWARDS].update_many(others, {"$set": {"state": "ended"}})
    again = {"campaign": campaign, "reward": {"$in": named}, "state": "ended"}
    await bank.db[REWARDS].update_many(again, {"$set": {"state": "paused"}})
    drop_cached(bank)


async def of_items(bank: Bank) -> dict[str, list[Reward]]:
    """The rewards that campaigns give of each item of the catalogue, but those that are dropped."""
    wanted = {"of_item": {"$gt": ""}, "state": {"$ne": "ended"}}
    found: defaultdict[str, list[Reward]] = defaultdict(list)
    for row in await bank.db[REWARDS].find(wanted, fields={"leases": 0}, limit=None):
        found[row["of_item"]].append(cast("Reward", row))
    return found


async def of_item(bank: Bank, item: str) -> list[Reward]:
    """The same of one item."""
    return (await of_items(bank)).get(item, [])


async def reword(bank: Bank, item: str, words: Doc) -> list[str]:
    """Lets the rewards of an item say `words` (a part of its dump); their ids."""
    told = [row["reward"] for row in await of_item(bank, item)]
    change = {f"item.{name}": said for name, said in words.items()}
    change |= {name: said for name, said in words.items() if name in ("title", "text")}
    await bank.db[REWARDS].update_many({"of_item": item, "reward": {"$in": told}}, {"$set": change})
    drop_cached(bank)
    return sorted(told)


def drop_cached(bank: Bank) -> None:
    invalidate(bank.services, f"rewards:{bank.id}")


async def all_rewards(bank: Bank) -> dict[str, Reward]:
    """Every reward of the bank by id, at most CACHE_SECONDS old. For showing; claims look at the
    document itself."""

    async def load() -> dict[str, Reward]:
        rows = await bank.db[REWARDS].find({}, fields={"leases": 0}, limit=None)
        return {row["reward"]: cast("Reward", row) for row in rows}

    return await cached(bank.services, f"rewards:{bank.id}", CACHE_SECONDS, load)


def stand_ins(rewards: Mapping[str, Reward], reward: Reward) -> list[Reward]:
    """What is given when nothing is left of the reward, in order, as far as it is among
    `rewards`."""
    found = [reward]
    while True:
        name = (found[-1].get("limits") or Limits()).get("fallback", "")
        if name not in rewards or name in {one["reward"] for one in found}:
            return found[1:]
        found.append(rewards[name])


async def of_campaign(bank: Bank, campaign: str) -> list[str]:
    """The ids of the rewards that the campaign gives or gave, at most CACHE_SECONDS old."""
    rewards = await all_rewards(bank)
    return [name for name, row in rewards.items() if row["campaign"] == campaign]


async def find(bank: Bank, reward: str) -> Reward:
    """The reward, at most CACHE_SECONDS old; raises NotFound `reward_unknown`."""
    found = (await all_rewards(bank)).get(reward)
    if found is None:
        raise NotFound("reward_unknown", "no such reward")
    return found


def why_closed(row: Reward, now: datetime, day: str) -> str:
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
