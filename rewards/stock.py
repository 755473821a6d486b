"""The scarce thing: taking n from a reward's stock, and settling what became of them.

Taking is one conditional write on one document, which also writes the batch's lease into it. A
lease is settled when the batch's grants are in; if the process dies first, claims.settle_stale does
it: it voids the ids whose grants never arrived, so that a write that is still on its way cannot
arrive later, counts the others, and gives the rest back.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from customers.banks.bank import Bank
from rewards import catalogue
from rewards.rows import REWARDS, Lease, RewardRow, doc_id
from services.errors import NotFound
from services.store.mongo import Doc

LEASE_SECONDS = 5.0
"""After this a lease is taken for dead. Short is safe: the voids guard against a writer who is only
slow."""


@dataclass(frozen=True)
class Taken:
    """`n` units under lease `batch`; `reason` says why there were not more (empty when there were
    enough).

    `in_doubt`: the stock is empty, but a lease of somebody else, who may be dead, may give units
    back.
    """

    batch: str
    n: int
    reason: str
    reward: RewardRow
    in_doubt: bool


def today(bank: Bank) -> str:
    """The bank's day, as a field name."""
    return f"{bank.today():%Y%m%d}"


async def take(
    bank: Bank,
    reward: str,
    batch: str,
    grant_ids: Sequence[str],
    ours: Collection[str] = (),
) -> Taken:
    """Takes as many of `grant_ids`' units as the reward has and allows today, in one write.
    Repeating it with the same batch takes nothing more. `ours` are the batches that this process
    has under way."""
    now = bank.utc()
    day = today(bank)
    row = await _take(bank, reward, batch, _taking(batch, list(grant_ids), now, day))
    lease = row["leases"].get(batch)
    n = lease["n"] if lease else 0
    reason = ""
    if n < len(grant_ids):
        reason = catalogue.why_closed(row, now, day) or "sold_out"
    theirs = row["leases"].keys() - {batch, *ours}
    return Taken(batch, n, reason, row, in_doubt=reason == "sold_out" and bool(theirs))


async def _take(bank: Bank, reward: str, batch: str, change: list[Doc]) -> RewardRow:
    """The reward after the write; as it is where the batch has its lease already."""
    rows, row_id = bank.db[REWARDS], doc_id(bank.id, reward)
    new_batch = {"_id": row_id, f"leases.{batch}": {"$exists": False}}
    row = await rows.update_and_get(new_batch, change) or await rows.find_one({"_id": row_id})
    if row is None:
        raise NotFound("reward_unknown", "no such reward")
    return cast("RewardRow", row)


def _taking(batch: str, grant_ids: list[str], now: datetime, day: str) -> list[Doc]:
    """The pipeline: n = min(wanted, available, left of today) while the reward is open, else 0;
    move n to `held` and lease it."""
    used = {"$ifNull": [f"$days.{day}", 0]}
    today = {
        "$cond": [{"$eq": ["$per_day", None]}, "$available", {"$subtract": ["$per_day", used]}]
    }
    is_open = {
        "$and": [{"$eq": ["$state", "live"]}, {"$lte": ["$starts", now]}, {"$gt": ["$ends", now]}]
    }
    n = {"$cond": [is_open, {"$max": [0, {"$min": [len(grant_ids), "$available", today]}]}, 0]}
    lease = {
        "n": "$taking",
        "at": now,
        "day": day,
        "cost": "$cost",
        "ids": {"$slice": [grant_ids, {"$max": [1, "$taking"]}]},
    }
    return [
        {"$set": {"taking": n}},
        {
            "$set": {
                "available": {"$subtract": ["$available", "$taking"]},
                "held": {"$add": ["$held", "$taking"]},
                f"days.{day}": {"$add": [used, "$taking"]},
                f"leases.{batch}": {"$cond": [{"$gt": ["$taking", 0]}, lease, "$$REMOVE"]},
            }
        },
        {"$unset": "taking"},
    ]


@dataclass(frozen=True, slots=True)
class End:
    """Of the units that `batch` took on the bank's `day`, `granted` were given out."""

    batch: str
    day: str
    granted: int


async def settle(bank: Bank, reward: str, ends: Sequence[End]) -> bool:
    """Ends leases of a reward: what was given out is counted, the rest goes back. False when one of
    them had been settled before; those that had not are settled all the same."""
    leased = {f"leases.{end.batch}": {"$exists": True} for end in ends}
    row: Doc = {"_id": doc_id(bank.id, reward), **leased}
    if await bank.db[REWARDS].update(row, _settling(ends)):
        return True
    if len(ends) > 1:
        for end in ends:
            await settle(bank, reward, [end])
    return False


def _settling(ends: Sequence[End]) -> list[Doc]:
    """The pipeline that ends these leases, all of which are there."""
    units = [f"$leases.{end.batch}.n" for end in ends]
    days = sorted({end.day for end in ends})
    fields: Doc = {
        "available": {"$add": ["$available", *map(_back, ends)]},
        "held": {"$subtract": ["$held", {"$add": units}]},
        "granted": {"$add": ["$granted", sum(end.granted for end in ends)]},
    }
    for day in days:
        of_it = [end for end in ends if end.day == day]
        spent = {"$ifNull": [f"$spent.{day}", 0]}
        fields[f"days.{day}"] = {"$subtract": [f"$days.{day}", {"$add": list(map(_back, of_it))}]}
        fields[f"spent.{day}"] = {"$add": [spent, *map(_cost, of_it)]}
    return [{"$set": fields}, {"$unset": [f"leases.{end.batch}" for end in ends]}]


def _back(end: End) -> Doc:
    return {"$subtract": [f"$leases.{end.batch}.n", end.granted]}


def _cost(end: End) -> Doc:
    return {"$multiply": [end.granted, {"$ifNull": [f"$leases.{end.batch}.cost", "$cost"]}]}


async def stale_leases(bank: Bank) -> list[tuple[RewardRow, str, Lease]]:
    """(reward, batch, lease) of every lease older than LEASE_SECONDS."""
    oldest = bank.utc() - timedelta(seconds=LEASE_SECONDS)
    held = [cast("RewardRow", row) async for row in bank.db[REWARDS].scan({"held": {"$gt": 0}})]
    leases = [(row, batch, lease) for row in held for batch, lease in row["leases"].items()]
    return [one for one in leases if one[2]["at"] < oldest]
