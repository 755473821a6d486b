"""The budget of a campaign, in fen: what its rewards may cost together, and the guard that stops them
at exactly that.

Where all units that there ever were cannot cost more than the budget, the stock is guard enough, and
a grant's cost goes from the campaign's funds to what is spent (docs/decisions/0046). Otherwise the
budget is *opened*: what is not spent yet goes from the funds into a guarded account, and each grant
draws on that (rewards/limits.py). A budget that was opened stays open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import NotRequired, TypedDict, cast

from customers.banks.bank import Bank
from rewards import catalogue
from rewards.catalogue import Definition
from rewards.ledger import accounts, book
from rewards.ledger.book import Entry, Leg
from rewards.ledger.lines import changes_of
from rewards.rows import REWARDS, TRANSFERS, Reward, RewardRow
from services.errors import Conflict, Unavailable
from services.store.mongo import Doc
from services.store.rows import Rows

BUDGETS = Rows("budgets")
"""What each campaign's budget is, and how much of it is in its account."""
PATIENCE = 8.0
"""Seconds that an opening waits for claims that are under way."""


class Opening(TypedDict):
    """The `n`-th change of the budget, to `declared`."""

    n: int
    declared: int


class Budget(TypedDict):
    """`declared` by the document. One that is `guarded` had spent `before` when it was opened, and
    `funded` went into its account since; `move` is a change that is under way, `moves` how many
    there were (fen all)."""

    _id: str
    campaign: str
    declared: int
    guarded: bool
    before: NotRequired[int]
    funded: int
    moves: int
    move: NotRequired[Opening]


def _budget_id(bank: Bank, campaign: str) -> str:
    return f"{bank.id}:{campaign}"


async def find(bank: Bank, campaign: str) -> Budget | None:
    """The campaign's budget; None before one was published."""
    row = await bank.db[BUDGETS].find_one({"_id": _budget_id(bank, campaign)})
    return cast("Budget | None", row)


async def put(bank: Bank, campaign: str, declared: int, wanted: Iterable[Definition]) -> bool:
    """Brings the budget to `declared` before the rewards are brought to what is `wanted`; whether
    their grants must draw on it. Running it again changes nothing. Raises Conflict `budget_in_use`
    when more is spent already, and Unavailable while claims of before are under way."""
    row = await _known(bank, campaign)
    if "move" in row:  # an earlier change was cut short
        await _finish(bank, row)
        row = await _known(bank, campaign)
    rewards = await _rewards(bank, campaign)
    if not row["guarded"] and _most(rewards, campaign, wanted) <= declared:
        await bank.db[BUDGETS].update({"_id": row["_id"]}, {"$set": {"declared": declared}})
        return False
    if row["guarded"] and row["declared"] == declared:
        return True
    if await spent_so_far(bank, campaign) > declared:
        raise _in_use(campaign)
    move: Opening = {"n": row["moves"] + 1, "declared": declared}
    unchanged = {"_id": row["_id"], "moves": row["moves"], "move": {"$exists": False}}
    begun = {"$set": {"move": move, "moves": move["n"]}}
    if not await bank.db[BUDGETS].update(unchanged, begun):
        raise Unavailable("busy", "somebody else is changing this budget; try again")
    await _finish(bank, await _known(bank, campaign))
    return True


async def _known(bank: Bank, campaign: str) -> Budget:
    fresh: Budget = {
        "_id": _budget_id(bank, campaign),
        "campaign": campaign,
        "declared": 0,
        "guarded": False,
        "funded": 0,
        "moves": 0,
    }
    await bank.db[BUDGETS].insert_new([cast("Doc", fresh)])
    return await find(bank, campaign) or fresh


async def _rewards(bank: Bank, campaign: str) -> dict[str, RewardRow]:
    """The rewards that the campaign has and had, as they are at this moment."""
    rows = await bank.db[REWARDS].find({"campaign": campaign}, limit=None)
    return {row["reward"]: cast("RewardRow", row) for row in rows}


def _most(rewards: Mapping[str, RewardRow], campaign: str, wanted: Iterable[Definition]) -> int:
    """What all units that there ever were, and those that are to come, can have cost at the most."""
    changes = {catalogue.reward_id(campaign, one.key): one for one in wanted}
    most = 0
    for name in rewards.keys() | changes.keys():
        row, change = rewards.get(name), changes.get(name)
        most += _units(row, change) * _dearest(row, change)
    return most


def _units(row: RewardRow | None, change: Definition | None) -> int:
    """The units of a reward that were or may be given."""
    if row is None:
        return change.stock if change is not None else 0
    if change is None and row["state"] == "ended":
        return row["granted"] + row["held"]
    to_come = change.stock - row["declared"] if change is not None else 0
    return row["total"] - row["retired"] + max(0, to_come)


def _dearest(row: RewardRow | None, change: Definition | None) -> int:
    costs = [change.item.cost] if change is not None else []
    if row is not None:
        costs += [row["cost"], row.get("dearest", 0)]
    return max(costs)


async def spent_so_far(bank: Bank, campaign: str) -> int:
    """What the campaign has spent by the ledger's rows, with grants of before costs had a leg."""
    account = f"spent:{campaign}"
    ends = ("debit", "credit", "legs.debit", "legs.credit")
    spent = 0
    async for row in bank.db[TRANSFERS].scan({"$or": [{end: account} for end in ends]}):
        spent += changes_of(row).get(account, 0)
    rewards = list(await _rewards(bank, campaign))
    old = {"kind": "grant", "reward": {"$in": rewards}, "legs": {"$exists": False}}
    async for row in bank.db[TRANSFERS].scan(old, {"cost": 1}):
        spent += int(row["cost"])
    return spent


async def pays_for(bank: Bank, rewards: Iterable[Reward]) -> dict[str, int]:
    """How many of each reward the money pays for now, of those that draw on a budget."""
    guarded = [one for one in rewards if one.get("guarded") and one["cost"]]
    names = {f"budget:{one['campaign']}" for one in guarded}
    rows = await accounts.read(bank, names) if names else {}
    free = {name: accounts.available(row, bank.utc()) for name, row in rows.items()}
    return {
        one["reward"]: max(0, free[f"budget:{one['campaign']}"]) // one["cost"] for one in guarded
    }


def _in_use(campaign: str) -> Conflict:
    return Conflict("budget_in_use", f"{campaign}: more than that is spent already")


async def _finish(bank: Bank, row: Budget) -> None:
    """Carries out the change that the row has under way."""
    campaign, move = row["campaign"], row["move"]
    if not row["guarded"]:
        row["before"] = await _guard(bank, campaign)
    difference = move["declared"] - row.get("before", 0) - row["funded"]
    try:
        await _fund(bank, campaign, move["n"], difference)
    except Conflict:
        await _give_up(bank, row)
        raise _in_use(campaign) from None
    done = {
        "declared": move["declared"],
        "guarded": True,
        "before": row.get("before", 0),
        "funded": row["funded"] + difference,
    }
    carried = {"_id": row["_id"], "move.n": move["n"]}
    await bank.db[BUDGETS].update(carried, {"$set": done})
    await _mark(bank, campaign, {"$unset": {"opening": ""}})
    await bank.db[BUDGETS].update(carried, {"$unset": {"move": ""}})


async def _guard(bank: Bank, campaign: str) -> int:
    """Has every grant from now on draw on the account; what was spent before that. Claims wait until
    the account is funded."""
    await _mark(bank, campaign, {"$set": {"guarded": True, "opening": True}})
    under_way = _batches(await _rewards(bank, campaign))
    until = asyncio.get_running_loop().time() + PATIENCE
    while under_way & _batches(await _rewards(bank, campaign)):
        if asyncio.get_running_loop().time() >= until:
            why = "claims of before are still under way; try again in some seconds"
            raise Unavailable("busy", why, retry_after=5)
        await asyncio.sleep(0.05)
    return await spent_so_far(bank, campaign)


def _batches(rewards: Mapping[str, RewardRow]) -> set[str]:
    return {batch for row in rewards.values() for batch in row["leases"]}


async def _fund(bank: Bank, campaign: str, n: int, difference: int) -> None:
    """Moves money between the campaign's funds and its budget, once under the change's number."""
    if not difference:
        return
    funds, account = f"funds:{campaign}", f"budget:{campaign}"
    debit, credit = (funds, account) if difference > 0 else (account, funds)
    leg = Leg(debit, credit, abs(difference))
    await book.post(bank, Entry(f"budget:{campaign}:{n}", "fund", [leg]))


async def _give_up(bank: Bank, row: Budget) -> None:
    """Leaves the budget as it was."""
    carried = {"_id": row["_id"], "move.n": row["move"]["n"]}
    await bank.db[BUDGETS].update(carried, {"$unset": {"move": ""}})
    if not row["guarded"]:
        await _mark(bank, row["campaign"], {"$unset": {"guarded": "", "opening": ""}})


async def _mark(bank: Bank, campaign: str, change: Doc) -> None:
    await bank.db[REWARDS].update_many({"campaign": campaign}, change)
    catalogue.drop_cached(bank)


async def finish_all(bank: Bank) -> None:
    """Carries out changes that were cut short; what cannot be carried out yet waits for the next
    time."""
    for row in await bank.db[BUDGETS].find({"move": {"$exists": True}}):
        with suppress(Conflict, Unavailable):
            await _finish(bank, cast("Budget", row))
