"""The scarce thing: taking n from a reward's stock, and settling what became of them.

Taking is one conditional write on one document, which also writes the batch's lease into it. A
lease is settled when the batch's grants are in; if the process dies first, claims.settle_stale does
it: it voids the ids whose grants never arrived, so that a write that is still on its way cannot
arrive later, counts the others, and gives the rest back.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from customers.banks.bank import Bank
from rewards import catalogue
from rewards.rows import REWARDS
from services.clock import utc
from services.errors import NotFound
from services.store.mongo import Doc, TenantStore

LEASE_SECONDS = 5.0
"""After this a lease is taken for dead. Short is safe: the voids guard against a writer who is only
slow."""
BANK_TIME = timezone(timedelta(hours=8), "Asia/Shanghai")


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
    reward: Doc
    in_doubt: bool


def day_of(now: datetime) -> str:
    """The bank's day that `now` belongs to, as a field name."""
    return f"{now.astimezone(BANK_TIME):%Y%m%d}"


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
    now = utc(bank.now())
    day = day_of(now)
    rows = bank.db[REWARDS]
    row_id = catalogue.doc_id(bank.id, reward)
    row = await rows.update_and_get(
        {"_id": row_id, f"leases.{batch}": {"$exists": False}},
        _taking(batch, list(grant_ids), now, day),
    ) or await rows.find_one({"_id": row_id})
    if row is None:
        raise NotFound("reward_unknown", "no such reward")
    n = row["leases"].get(batch, {}).get("n", 0)
    reason = "" if n == len(grant_ids) else catalogue.why_closed(row, now, day) or "sold_out"
    in_doubt = reason == "sold_out" and any(
        other != batch and other not in ours for other in row["leases"]
    )
    return Taken(batch, n, reason, row, in_doubt)


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


async def settle(bank: Bank, reward: str, batch: str, day: str, granted: int) -> bool:
    """Ends a lease: `granted` of its units were given out, the rest go back. False when it was
    settled already."""
    rows = bank.db[REWARDS]
    back = {"$subtract": ["$ending.n", granted]}
    return await rows.update(
        {"_id": catalogue.doc_id(bank.id, reward), f"leases.{batch}": {"$exists": True}},
        [
            {"$set": {"ending": f"$leases.{batch}"}},
            {
                "$set": {
                    "available": {"$add": ["$available", back]},
                    "held": {"$subtract": ["$held", "$ending.n"]},
                    "granted": {"$add": ["$granted", granted]},
                    f"days.{day}": {"$subtract": [f"$days.{day}", back]},
                }
            },
            {"$unset": [f"leases.{batch}", "ending"]},
        ],
    )


async def stale_leases(db: TenantStore, now: datetime) -> list[tuple[Doc, str, Doc]]:
    """(reward, batch, lease) of every lease older than LEASE_SECONDS."""
    rows = [row async for row in db[REWARDS].scan({"held": {"$gt": 0}})]
    oldest = now - timedelta(seconds=LEASE_SECONDS)
    return [
        (row, batch, lease)
        for row in rows
        for batch, lease in row["leases"].items()
        if lease["at"] < oldest
    ]


def void(tenant: str, reward: str, grant_id: str, batch: str, now: datetime) -> dict[str, Any]:
    """The row that stands where a grant never arrived: it moves nothing, and no write of its `dead`
    batches may replace it."""
    row = {
        "_id": grant_id,
        "tenant": tenant,
        "kind": "void",
        "reward": reward,
        "batch": batch,
        "cid": None,
        "at": now,
    }
    return {
        **row,
        "dead": [batch],
        "debit": f"stock:{reward}",
        "credit": f"stock:{reward}",
        "amount": 0,
    }
