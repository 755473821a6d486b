"""Making vouchers of grants. Whoever needs one first makes it: the worker that is told of a claim,
the customer's page, a counter. The `_id` is the grant's, so there is one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import cast

import orjson

from customers.banks.bank import Bank
from customers.webhooks import telling
from rewards import catalogue
from rewards.item import Item
from rewards.pools.codes import codes_of
from rewards.rows import TRANSFERS, Code, Grant, Reward
from rewards.vouchers import codes, life
from rewards.vouchers.rows import GRANTED, VOUCHER_ACTS, VOUCHERS, Voucher, find_vouchers
from services.documents.parts import Text
from services.store.mongo import Doc

KINDS = frozenset({"code", "code_pool", "right"})
"""The kinds of rewards of which there are vouchers."""
TRIES = 5
"""So many codes are tried until one is nobody else's."""
AT_ONCE = 500


def item_of(reward: Reward) -> Item:
    """What the reward is; of one from before this was kept, what its row says besides."""
    item = reward.get("item")
    if item is not None:
        return _read(orjson.dumps(item))
    return Item.model_construct(
        kind="code",
        title=Text.model_validate(reward["title"]),
        text=Text.model_validate(reward["text"]),
        cost=reward["cost"],
    )


@lru_cache(maxsize=1024)
def _read(item: bytes) -> Item:
    return Item.model_validate(orjson.loads(item))


def expires(bank: Bank, reward: Reward, item: Item, at: datetime) -> datetime:
    """Until when a voucher granted `at` may be used: the end of a day in the bank's time, or of
    the reward."""
    days: list[date] = []
    if item.valid_days is not None:
        days.append(at.astimezone(bank.tz).date() + timedelta(days=item.valid_days))
    if item.valid_until is not None:
        days.append(item.valid_until)
    if not days:
        return reward["ends"]
    after = datetime.combine(min(days) + timedelta(days=1), time(), bank.tz)
    return after.astimezone(at.tzinfo)


def fresh(bank: Bank, reward: Reward, voucher: str, cid: str, at: datetime) -> Voucher:
    """A voucher as it is made: granted `at`, found under its first code."""
    row = _unindexed(bank, reward, voucher, cid, at)
    row["index"] = codes.index_of(bank.vault, codes.code_of(bank.vault, voucher, 0))
    row["indexes"] = [row["index"]]
    return row


def _unindexed(bank: Bank, reward: Reward, voucher: str, cid: str, at: datetime) -> Voucher:
    item = item_of(reward)
    row: Voucher = {
        "_id": voucher,
        "cid": cid,
        "reward": reward["reward"],
        "campaign": reward["campaign"],
        "kind": reward["kind"],
        "index": "",
        "indexes": [],
        "nth": 0,
        "state": GRANTED,
        "at": at,
        "expires": None,
        "uses": item.uses,
        "uses_per": item.uses_per,
        "used": 0,
        "period": "",
        "recent": [],
        "undone": [],
        "seen": [],
        "steps": [],
        "last_step": 0,
        "due": None,
        "remind": None,
        "version": 0,
        "held": [],
        "cost": reward["cost"],
    }
    end(row, item, expires(bank, reward, item, at))
    return row


def end(row: Voucher, item: Item, at: datetime) -> None:
    """The voucher, which nobody has yet, ends `at`, and its customer is reminded before."""
    remind = (at - timedelta(days=item.remind_days)).timestamp()
    in_time = item.remind_days and remind > row["at"].timestamp()
    row["expires"], row["remind"] = at, remind if in_time else None
    row["due"] = life.next_look(row)


async def ensure(bank: Bank, grants: Sequence[Grant], *, new: bool = False) -> dict[str, Voucher]:
    """The vouchers of these grants by id, made where there is none yet; grants of what is no
    voucher have none. Of `new` grants nobody was ever shown a code in the form of before."""
    rewards = await catalogue.all_rewards(bank)
    wanted = {
        grant["_id"]: grant
        for grant in grants
        if grant["reward"] in rewards and rewards[grant["reward"]]["kind"] in KINDS
    }
    found = {} if new else await find_vouchers(bank, list(wanted))
    missing = [grant for voucher, grant in wanted.items() if voucher not in found]
    pooled = await codes_of(bank, missing)
    rows = []
    for grant in missing:
        row = of_grant(bank, rewards[grant["reward"]], grant)
        if grant["_id"] in pooled:
            row["indexes"].append(codes.pool_index_of(bank.vault, pooled[grant["_id"]]))
        elif not new:
            old = codes.old_code_of(bank.vault, grant["_id"])
            row["indexes"].append(codes.index_of(bank.vault, old))
        rows.append(row)
    return {**found, **await add(bank, rows)} if rows else found


def of_grant(bank: Bank, reward: Reward, grant: Grant) -> Voucher:
    """The voucher of a grant as it is made. One whose code came out of a pool is over when that
    is."""
    row = fresh(bank, reward, grant["_id"], grant["cid"], grant["at"])
    return _granted(reward, row, grant)


def to_show(bank: Bank, reward: Reward, grant: Grant) -> Voucher:
    """The same for its first answer: without what it is found under, which costs as much as the
    rest."""
    row = _unindexed(bank, reward, grant["_id"], grant["cid"], grant["at"])
    return _granted(reward, row, grant)


def _granted(reward: Reward, row: Voucher, grant: Grant) -> Voucher:
    row["cost"] = grant["cost"]
    if "instead_of" in grant:
        row["asked_for"] = grant["instead_of"]
    code = grant.get("code")
    if code is not None:
        show(row, item_of(reward), code)
    return row


def show(row: Voucher, item: Item, code: Code) -> None:
    """Has the voucher, which nobody has yet, show a code out of a pool: it is over when that is."""
    row["code"] = code
    ends = [one for one in (row["expires"], code["expires"]) if one is not None]
    end(row, item, min(ends))


async def add(bank: Bank, rows: Sequence[Voucher]) -> dict[str, Voucher]:
    """Puts these vouchers in; those that are there already stay as they are. A code that another
    voucher has is replaced by the next."""
    there: dict[str, Voucher] = {}
    for _ in range(TRIES):
        refused: list[Voucher] = []
        for start in range(0, len(rows), AT_ONCE):
            some = rows[start : start + AT_ONCE]
            double = await bank.db[VOUCHERS].insert_new(cast("list[Doc]", list(some)))
            refused += [some[place] for place in sorted(double)]
            there |= {row["_id"]: row for n, row in enumerate(some) if n not in double}
        found = await find_vouchers(bank, [row["_id"] for row in refused]) if refused else {}
        there |= found
        rows = [_with_next_code(bank, row) for row in refused if row["_id"] not in found]
        if not rows:
            await _recall_late(bank, list(there.values()))
            return there
    raise RuntimeError("no free code for a voucher")


async def _recall_late(bank: Bank, made: Sequence[Voucher]) -> None:
    """Of a campaign whose vouchers were recalled in the meantime, these are too: the recall looks
    again, whether it is at it or was done."""
    if not made:
        return
    begun: Doc = {"act": "recall_campaign", "state": {"$in": ["approved", "done"]}}
    begun["subject"] = {"$in": sorted({row["campaign"] for row in made})}
    begun["at"] = {"$gte": min(row["at"] for row in made)}
    again = {"state": "approved", "open": True, "due": bank.now(), "owner": None, "attempts": 0}
    await bank.db[VOUCHER_ACTS].update_many(begun, {"$set": again})


def _with_next_code(bank: Bank, row: Voucher) -> Voucher:
    nth = row["nth"] + 1
    index = codes.index_of(bank.vault, codes.code_of(bank.vault, row["_id"], nth))
    others = [one for one in row["indexes"] if one != row["index"]]
    return cast("Voucher", {**row, "nth": nth, "index": index, "indexes": [index, *others]})


async def of_claims(bank: Bank, grant_ids: Sequence[str]) -> None:
    """Makes the vouchers of grants that a worker is told of."""
    rows = await bank.by_id(TRANSFERS, list(grant_ids))
    grants = [cast("Grant", row) for row in rows.values() if row["kind"] == "grant"]
    made = await ensure(bank, grants, new=True)
    for row in made.values():
        about = {"voucher": row["_id"], "reward": row["reward"]}
        at = row["at"].timestamp()
        await telling.tell_of(bank, "voucher.granted", row["cid"], row["_id"], at=at, **about)


async def of_grant_id(bank: Bank, voucher: str) -> Voucher | None:
    """The voucher of the grant with that id, made if it has to be."""
    found = (await find_vouchers(bank, [voucher])).get(voucher)
    if found is not None:
        return found
    grant = await bank.db[TRANSFERS].find_one({"_id": voucher, "kind": "grant"})
    if grant is None:
        return None
    return (await ensure(bank, [cast("Grant", grant)])).get(voucher)
