"""Taking codes from a pool, and settling what became of them.

A pool is one document. Whoever changes it reads it, works out what it is to be, and writes it in one
write whose filter wants the `moves` that he has seen: of two who began with the same, one begins
again. A batch of claims takes as many codes as it was given units of stock, under a lease; once its
grants are in, those codes are given out and the others go back. The rows of the grants decide: a
lease whose process died is settled by what arrived (claims.settle_stale does the same for the
stock).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, cast

from customers.alerts import alarms
from customers.banks.bank import Bank
from rewards import stock
from rewards.pools import spans
from rewards.pools.rows import CODE_POOLS, CODE_POPS, Pool, PoolLease, Span, pool_id
from rewards.rows import CODED, TRANSFERS, Code, Grant, MadeGood, Reward, void
from services import ids
from services.cache import Slot
from services.errors import NotFound, Unavailable
from services.store.mongo import Doc

TRIES = 200
"""How often a change is worked out anew because somebody else was first."""
PAUSE = 0.002
"""seconds: how long whoever was second waits at the most, times his tries so far."""
UNSETTLED = {
    "$or": [
        {"held": {"$gt": 0}},
        {"short": {"$in": ["unsaid", "over"]}},
    ]
}
"""Pools that the sweep may have to see to."""
_SEEN: Slot[dict[tuple[str, str], Pool]] = Slot("pools.seen", dict)
"""The pools as this process last wrote them: a guess that saves reading; the write says whether it
was right."""
LOW = "pool.low"
"""The alarm of a pool that runs short."""
log = logging.getLogger(__name__)

Change = Callable[[Pool], bool]
"""Changes the pool in place; False when there is nothing to change."""


@dataclass(frozen=True)
class Taken:
    """The codes of a batch's first grants, by grant; `in_doubt`: there were no more, but a lease of
    somebody else, who may be dead, may give some back."""

    codes: Mapping[str, Code] = field(default_factory=dict)
    in_doubt: bool = False


def pool_of(reward: Reward) -> str:
    """The pool that the reward's codes come from; empty for a reward of another kind."""
    return str(reward.get("item", {}).get("pool") or "") if reward["kind"] == "code_pool" else ""


async def find(bank: Bank, pool: str) -> Pool:
    """The pool; raises NotFound `pool_unknown`."""
    row = await bank.db[CODE_POOLS].find_one({"_id": pool_id(bank.id, pool)})
    if row is None:
        raise NotFound("pool_unknown", f"there is no code pool {pool}", data={"pool": pool})
    return cast("Pool", row)


async def change(bank: Bank, pool: str, work: Change, *, guess: bool = False) -> Pool:
    """The pool after `work` changed it, in one conditional write. `guess`: begin with the pool as
    this process last wrote it; what that says there is nothing to do is looked at again.

    Raises NotFound `pool_unknown`, and Unavailable when others are first again and again.
    """
    seen, place = bank.services.cache.of(_SEEN), (bank.id, pool)
    guessed = seen.pop(place, None) if guess else None
    row = await find(bank, pool) if guessed is None else _copied(guessed)
    for tries in range(TRIES):
        before, guessed_now = row["moves"], guessed is not None and tries == 0
        if work(row):
            if await _write(bank, row, before):
                seen[place] = _copied(row)
                return row
        elif not guessed_now:
            return row
        if tries:
            await asyncio.sleep(secrets.randbelow(1000) / 1000 * PAUSE * min(tries, 20))
        row = await find(bank, pool)
    raise Unavailable("pool_busy", "too many draw from this pool at once; try again")


async def _write(bank: Bank, row: Pool, before: int) -> bool:
    """Writes the pool if nobody else has written it since."""
    _weigh(row)
    row["moves"] = before + 1
    fields = {name: value for name, value in row.items() if name not in ("_id", "tenant")}
    unchanged = {"_id": row["_id"], "moves": before}
    return await bank.db[CODE_POOLS].update(unchanged, {"$set": fields})


def _copied(row: Pool) -> Pool:
    """A copy whose lists may be changed; spans themselves never are."""
    lists = {name: list(row[name]) for name in ("lots", "spans", "gone", "recalls")}
    return cast("Pool", {**row, **lists, "leases": dict(row["leases"])})


def _weigh(row: Pool) -> None:
    """Counts what is there, and says whether somebody must be told that there is little of it."""
    row["left"] = spans.size(row["spans"])
    row["expired"] = spans.size(row["gone"])
    row["held"] = sum(len(lease["ids"]) for lease in row["leases"].values())
    row["soonest"] = row["spans"][0]["expires"] if row["spans"] else None
    if row["left"] + row["held"] < row["low"]:
        if row["short"] == "":
            row["short"], row["dips"] = "unsaid", row["dips"] + 1
        elif row["short"] == "over":
            row["short"] = "said"
    elif row["short"] == "said":
        row["short"] = "over"
    elif row["short"] == "unsaid":
        row["short"] = ""


def expire(row: Pool, now: datetime) -> bool:
    """Puts the codes aside whose time is over; False when there are none."""
    over = [span for span in row["spans"] if span["expires"] is not None and span["expires"] <= now]
    if over:
        row["spans"] = [span for span in row["spans"] if span not in over]
        row["gone"] = spans.ordered([*row["gone"], *over])
    return bool(over)


def add(row: Pool, lot: str, new: Sequence[Span]) -> bool:
    """Puts the codes of an upload in; False when they are in already."""
    if lot in row["lots"]:
        return False
    row["lots"] = [*row["lots"], lot]
    row["spans"] = spans.ordered([*row["spans"], *new])
    row["imported"] += spans.size(new)
    return True


async def take(
    bank: Bank,
    reward: Reward,
    batch: str,
    wanted: Sequence[str],
    ours: Collection[str] = (),
) -> Taken:
    """A code for as many of the grants `wanted` as the reward's pool has, in one write; nothing for
    a reward that has no pool. Repeating it with the same batch takes nothing more. `ours` are the
    batches that this process has under way."""
    pool = pool_of(reward)
    if not pool or not wanted:
        return Taken()
    now = bank.utc()

    def work(row: Pool) -> bool:
        if batch in row["leases"]:
            return False
        expired = expire(row, now)
        got, row["spans"] = spans.split(row["spans"], len(wanted))
        if got:
            held = list(wanted[: spans.size(got)])
            lease: PoolLease = {"at": now, "reward": reward["reward"], "ids": held, "spans": got}
            row["leases"][batch] = lease
        return bool(got) or expired

    try:
        row = await change(bank, pool, work, guess=True)
    except NotFound:  # no campaign goes live without its pool, and none is ever taken away
        log.error("a reward's pool is not there", extra={"fields": {"pool": pool}})
        return Taken()
    lease = row["leases"].get(batch)
    codes = _codes(pool, lease) if lease else {}
    theirs = row["leases"].keys() - {batch, *ours}
    return Taken(codes, in_doubt=len(codes) < len(wanted) and bool(theirs))


def _codes(pool: str, lease: PoolLease) -> dict[str, Code]:
    """The code of each grant of the lease."""
    each = zip(lease["ids"], spans.singles(lease["spans"]), strict=True)
    return {
        grant: {"pool": pool, "lot": one["lot"], "n": one["first"], "expires": one["expires"]}
        for grant, one in each
    }


async def settle(
    bank: Bank, reward: Reward, batch: str, grants: Sequence[Grant | MadeGood]
) -> None:
    """Ends the batch's lease on the reward's pool, if there is one: the codes of `grants` were given
    out, the others go back. Safe to repeat."""
    pool = pool_of(reward)
    lease = (await find(bank, pool))["leases"].get(batch) if pool else None
    if lease is not None:
        await _end(bank, pool, batch, lease, grants)


async def _end(
    bank: Bank, pool: str, batch: str, lease: PoolLease, grants: Sequence[Grant | MadeGood]
) -> None:
    await note(bank, batch, lease)
    row = await change(bank, pool, _settling(bank, batch, grants), guess=True)
    await tell(bank, row)


def _settling(bank: Bank, batch: str, grants: Sequence[Grant | MadeGood]) -> Change:
    def work(row: Pool) -> bool:
        lease = row["leases"].pop(batch, None)
        if lease is None:
            return False
        codes = (grant.get("code") for grant in grants)
        given = [(code["lot"], code["n"]) for code in codes if code]
        back = spans.without(lease["spans"], given)
        row["granted"] += len(lease["ids"]) - spans.size(back)
        row["spans"] = spans.ordered([*row["spans"], *back])
        expire(row, bank.utc())
        return True

    return work


async def settle_stale(bank: Bank) -> int:
    """Settles the leases of processes that died, and tells of pools that run short or do not any
    more; how many leases."""
    settled = 0
    oldest = bank.utc() - timedelta(seconds=stock.LEASE_SECONDS)
    async for found in bank.db[CODE_POOLS].scan(UNSETTLED):
        row = cast("Pool", found)
        for batch, lease in row["leases"].items():
            if lease["at"] < oldest:
                await _settle_one(bank, row["pool"], batch, lease)
                settled += 1
        await tell(bank, await find(bank, row["pool"]))
    return settled


async def _settle_one(bank: Bank, pool: str, batch: str, lease: PoolLease) -> None:
    await void(bank, batch, lease["ids"])
    arrived = {"_id": {"$in": lease["ids"]}, "batch": batch, **CODED}
    rows = await bank.db[TRANSFERS].find(arrived, limit=len(lease["ids"]))
    await _end(bank, pool, batch, lease, cast("list[Grant]", rows))
    fields = {"tenant": bank.id, "pool": pool, "granted": len(rows), "of": len(lease["ids"])}
    log.warning("settled a dead lease", extra={"fields": fields})


async def note(bank: Bank, batch: str, lease: PoolLease) -> None:
    """Notes which grants the codes of a lease were taken for, so that a code that somebody holds in
    his hand leads to its grant. One row a run of numbers; safe to repeat."""
    rows: list[Doc] = []
    at = 0
    for span in lease["spans"]:
        n = span["end"] - span["first"]
        where = {"lot": span["lot"], "first": span["first"], "end": span["end"]}
        row_id = ids.tenant_id(bank.id, "pop", batch, span["lot"], span["first"])
        rows.append({"_id": row_id, **where, "grants": lease["ids"][at : at + n]})
        at += n
    await bank.db[CODE_POPS].insert_new(rows)


async def tell(bank: Bank, row: Pool) -> None:
    """Raises the alarm of a pool that runs short, once each time, and ends it when there are enough
    codes again. Safe to repeat."""
    key = f"{row['pool']}:{row['dips']}"
    if row["short"] == "unsaid":
        name, left, low = row["pool"], row["left"], row["low"]
        await alarms.raise_alarm(bank, LOW, key, gathers=name, pool=name, left=left, low=low)
        await _said(bank, row, "said")
    elif row["short"] == "over":
        raised = ids.tenant_id(bank.id, "alarm", LOW, key)
        await alarms.handle(bank, [raised], "rewards", "refilled", f"refilled:{key}")
        await _said(bank, row, "")


async def _said(bank: Bank, row: Pool, short: Literal["", "said"]) -> None:
    """Notes that it was told, unless the pool has gone on since."""
    before, dips = row["short"], row["dips"]

    def work(now: Pool) -> bool:
        same = (now["short"], now["dips"]) == (before, dips)
        if same:
            now["short"] = short
        return same

    await change(bank, row["pool"], work)


async def watch(bank: Bank) -> None:
    """Puts codes aside whose time is over, and tells of pools that run short by that."""
    async for found in bank.db[CODE_POOLS].scan({"soonest": {"$lte": bank.utc()}}):
        row = await change(bank, found["pool"], lambda pool: expire(pool, bank.utc()))
        await tell(bank, row)
