"""Keeping pools: making one, what is in it, taking unused codes back, and finding a code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, cast

from customers.actors import ClerkActor
from customers.approvals import approvals
from customers.approvals.rows import APPLIED
from customers.banks.bank import Bank
from rewards import catalogue
from rewards.pools import codes, importing, spans, taking
from rewards.pools.rows import (
    BLOCK,
    CODE_BLOCKS,
    CODE_LOTS,
    CODE_POOLS,
    CODE_POPS,
    CODE_UPLOADS,
    Pool,
    Recall,
    Span,
    Upload,
    block_id,
    pool_id,
)
from rewards.rows import TRANSFERS, Grant, MadeGood
from services import ids, sheets
from services.errors import Conflict, InvalidInput, NotFound
from services.security.tries import Limit
from services.store.mongo import Doc, Duplicate

ALL, EXPIRED = "all", "expired"
"""What a clerk takes back besides the codes of one upload."""
FAILURES, FAILURE_SECONDS = 20, 600
"""How often a clerk may look for what no pool has in that time."""
SOON = timedelta(days=30)
MOST_RECALLS = 500
EXPORT_LIFETIME = timedelta(days=7)
"""So long after another clerk agreed the file may be fetched."""
EXPORT = approvals.Kind(
    name="pool_export",
    right="pools.recall",
    submitted="pool.export_asked",
    approved="pool.export_approved",
    rejected="pool.export_rejected",
    refused="pool.export_refused",
    decided="export_decided",
    replaces=approvals.AFTERWARDS,
    lifetime=EXPORT_LIFETIME,
)
_KEY = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


async def create(
    bank: Bank, by: str, pool: str, name: Mapping[str, str], *, supplier: str = "", low: int = 0
) -> Pool:
    """Makes an empty pool; `low`: below so many codes somebody is told (0: never). Raises
    InvalidInput `pool_key` or `pool_name`, Conflict `pool_exists`."""
    if not _KEY.fullmatch(pool):
        rule = "small letters, digits, - and _; at most 40"
        raise InvalidInput("pool_key", rule, fields={"pool": rule})
    named = {lang: text.strip() for lang, text in name.items() if text.strip()}
    if not named:
        raise InvalidInput("pool_name", "a pool needs a name", fields={"name": "missing"})
    row: Pool = {
        "_id": pool_id(bank.id, pool),
        "pool": pool,
        "name": named,
        "supplier": supplier.strip(),
        "low": low,
        "lots": [],
        "spans": [],
        "gone": [],
        "recalls": [],
        "leases": {},
        "imported": 0,
        "left": 0,
        "held": 0,
        "granted": 0,
        "expired": 0,
        "recalled": 0,
        "soonest": None,
        "short": "",
        "dips": 0,
        "moves": 0,
        "created_by": by,
        "created_at": bank.utc(),
    }
    async with bank.audited(by, "pool.created", pool, low=low):
        try:
            await bank.db[CODE_POOLS].insert(cast("Doc", row))
        except Duplicate:
            raise Conflict("pool_exists", f"there is a pool {pool}", data={"pool": pool}) from None
    return row


async def set_low(bank: Bank, by: str, pool: str, low: int) -> None:
    """Changes below how many codes somebody is told; raises NotFound."""

    def work(row: Pool) -> bool:
        changed = row["low"] != low
        row["low"] = low
        return changed

    async with bank.audited(by, "pool.low_changed", pool, low=low):
        await taking.tell(bank, await taking.change(bank, pool, work))


# ---- what is in it ----


async def all_pools(bank: Bank) -> list[dict[str, Any]]:
    """Every pool as `view` has it, by name of the pool."""
    rows = await bank.db[CODE_POOLS].find({}, sort=[("pool", 1)], limit=None)
    return [_counts(bank, cast("Pool", row)) for row in rows]


async def names(bank: Bank) -> dict[str, dict[str, str]]:
    """What each pool is called."""
    rows = await bank.db[CODE_POOLS].find({}, fields={"pool": 1, "name": 1}, limit=None)
    return {row["pool"]: row["name"] for row in rows}


def _counts(bank: Bank, row: Pool) -> dict[str, Any]:
    """The pool's counts as of now: codes whose time is over are not left, though nobody has put them
    aside yet."""
    now = bank.utc()
    ends = [(span, span["expires"] or spans.NEVER) for span in row["spans"]]
    over = spans.size(span for span, end in ends if end <= now)
    soon = spans.size(span for span, end in ends if now < end <= now + SOON)
    return {
        "pool": row["pool"],
        "name": row["name"],
        "supplier": row["supplier"],
        "low": row["low"],
        "imported": row["imported"],
        "left": row["left"] - over,
        "held": row["held"],
        "granted": row["granted"],
        "expired": row["expired"] + over,
        "expiring": soon,
        "recalled": row["recalled"],
        "soonest": min((end for _, end in ends if now < end < spans.NEVER), default=None),
        "short": row["left"] - over < row["low"],
    }


async def view(bank: Bank, pool: str) -> dict[str, Any]:
    """One pool with its uploads (newest first), its recalls and the rewards that draw from it;
    raises NotFound `pool_unknown`."""
    row = await taking.find(bank, pool)
    uploads = await bank.db[CODE_UPLOADS].find({"pool": pool}, sort=[("at", -1)], limit=100)
    unused = {lot: _unused(row, lot) for lot in row["lots"]}
    rewards = [
        reward["reward"]
        for reward in (await catalogue.all_rewards(bank)).values()
        if taking.pool_of(reward) == pool
    ]
    return {
        **_counts(bank, row),
        "uploads": [{**one, "unused": unused.get(one["lot"], 0)} for one in uploads],
        "recalls": [await _recall_view(bank, one) for one in reversed(row["recalls"])],
        "rewards": sorted(rewards),
    }


def _unused(row: Pool, lot: str) -> int:
    return spans.size(one for one in [*row["spans"], *row["gone"]] if one["lot"] == lot)


async def uploads(bank: Bank, limit: int = 20) -> list[Upload]:
    """The newest uploads of all pools."""
    rows = await bank.db[CODE_UPLOADS].find({}, sort=[("at", -1)], limit=limit)
    return cast("list[Upload]", rows)


# ---- taking back ----


async def recall(bank: Bank, by: str, pool: str, what: str, reason: str) -> Recall:
    """Takes back codes that nobody has yet: `all`, those that `expired`, or the lot of one upload. No
    claim gets one of them any more.

    Raises InvalidInput `reason_missing`, NotFound, and Conflict `nothing_to_recall`.
    """
    if not reason.strip():
        raise InvalidInput("reason_missing", "say why")
    new: Recall = {
        "id": ids.token()[:16],
        "at": bank.utc(),
        "by": by,
        "reason": reason.strip(),
        "what": what,
        "n": 0,
        "spans": [],
    }
    about = {"what": what, "reason": reason.strip(), "recall": new["id"]}
    async with bank.audited(by, "pool.recalled", pool, **about) as act:
        row = await taking.change(bank, pool, _recalling(bank, new))
        done = next((one for one in row["recalls"] if one["id"] == new["id"]), None)
        if done is None:
            raise Conflict("nothing_to_recall", "there is no such code that nobody has yet")
        act.data["codes"] = done["n"]
    await taking.tell(bank, row)
    return done


def _recalling(bank: Bank, new: Recall) -> taking.Change:
    def fits(span: Span) -> bool:
        return new["what"] in (ALL, span["lot"])

    def work(row: Pool) -> bool:
        taking.expire(row, bank.utc())
        back = [one for one in row["gone"] if new["what"] == EXPIRED or fits(one)]
        back += [one for one in row["spans"] if new["what"] != EXPIRED and fits(one)]
        if not back or len(row["recalls"]) >= MOST_RECALLS:
            return False
        row["gone"] = [one for one in row["gone"] if one not in back]
        row["spans"] = [one for one in row["spans"] if one not in back]
        done: Recall = {**new, "spans": spans.ordered(back), "n": spans.size(back)}
        row["recalls"] = [*row["recalls"], done]
        row["recalled"] += done["n"]
        return True

    return work


async def _recall_view(bank: Bank, one: Recall) -> dict[str, Any]:
    asked = await approvals.find(bank, EXPORT, one["id"])
    fields = {name: one[name] for name in ("id", "at", "by", "reason", "what", "n")}
    export = None
    if asked is not None:
        export = {
            "state": asked.state,
            "author": asked.author,
            "decided_by": asked.decided_by,
            "ready": asked.state == APPLIED and _fresh(bank, asked),
        }
    return {**fields, "export": export}


def _fresh(bank: Bank, asked: Any) -> bool:
    return bool(asked.decided_at and bank.utc() < asked.decided_at + EXPORT_LIFETIME)


async def _recall(bank: Bank, pool: str, recall_id: str) -> Recall:
    row = await taking.find(bank, pool)
    for one in row["recalls"]:
        if one["id"] == recall_id:
            return one
    raise NotFound("recall_unknown", "no such recall")


def _content(pool: str, one: Recall) -> approvals.Content:
    return {"export": {"pool": pool, "recall": one["id"], "codes": one["n"]}}


async def ask_export(bank: Bank, actor: ClerkActor, pool: str, recall_id: str) -> None:
    """Asks another clerk whether the recalled codes may leave as a file (promise P7); raises
    NotFound, and Conflict `export_decided` while it was asked already."""
    one = await _recall(bank, pool, recall_id)
    content = _content(pool, one)
    if not await approvals.submit(
        bank, actor, EXPORT, one["id"], content, about=pool, recall=one["id"], codes=one["n"]
    ):
        raise Conflict("export_decided", "this was asked already")


async def approve_export(bank: Bank, actor: ClerkActor, pool: str, recall_id: str) -> None:
    """Agrees; raises Forbidden `approver_is_author`, NotFound, Conflict."""
    one = await _recall(bank, pool, recall_id)
    async with approvals.approve(bank, actor, EXPORT, one["id"], _content(pool, one)):
        pass


async def reject_export(
    bank: Bank, actor: ClerkActor, pool: str, recall_id: str, reason: str
) -> None:
    """Turns it down; raises as `approve_export`, and InvalidInput `reason_missing`."""
    if not reason.strip():
        raise InvalidInput("reason_missing", "say why")
    one = await _recall(bank, pool, recall_id)
    await approvals.reject(bank, actor, EXPORT, one["id"], reason.strip())


async def export(bank: Bank, by: str, pool: str, recall_id: str) -> bytes:
    """The recalled codes in clear, as a CSV file for the supplier, once another clerk agreed. Raises
    NotFound, and Conflict `export_not_approved`. Audited each time."""
    one = await _recall(bank, pool, recall_id)
    asked = await approvals.find(bank, EXPORT, one["id"])
    if asked is None or asked.state != APPLIED or not _fresh(bank, asked):
        raise Conflict("export_not_approved", "another clerk has to agree first")
    async with bank.audited(by, "pool.exported", pool, recall=recall_id, codes=one["n"]):
        return await _file(bank, one["spans"])


async def _file(bank: Bank, found: list[Span]) -> bytes:
    lines: list[tuple[str, str]] = [("code", "expires")]
    for span in found:
        expires = span["expires"]
        last = f"{(expires.astimezone(bank.tz) - timedelta(seconds=1)).date()}" if expires else ""
        for number in range(span["first"] // BLOCK, (span["end"] - 1) // BLOCK + 1):
            row = await bank.db[CODE_BLOCKS].find_one(
                {"_id": block_id(bank.id, span["lot"], number)}
            )
            if row is None:
                continue
            block = codes.open_block(bank, row)
            first = max(0, span["first"] - number * BLOCK)
            lines += [(one, last) for one in block[first : span["end"] - number * BLOCK]]
    return sheets.csv_file(lines)


# ---- finding one ----


class _Guessed(Exception):  # noqa: N818 - counted, and told to nobody
    """No pool has this code: it could be a guess."""


def limits(bank: Bank, by: str) -> list[Limit]:
    """How often a clerk may look for codes that no pool has."""
    return [Limit(f"pool|{bank.id}|{by}", FAILURES, FAILURE_SECONDS)]


async def search(bank: Bank, by: str, code: str) -> list[dict[str, Any]]:
    """What became of the code that somebody has in his hand; nothing when no pool has it. Audited,
    without the code. Raises TooMany `too_many_attempts` for whoever guesses."""
    known: list[dict[str, Any]] = []
    with suppress(_Guessed):
        async with bank.services.tries.trying(limits(bank, by), _Guessed):
            for lot, n in await codes.look_up(bank, sheets.cell(code)):
                found = await _found(bank, lot, n)
                known += [found] if found is not None else []
            if not known:
                raise _Guessed
    about = {"found": len(known)}
    await bank.audit(by, "pool.searched", ",".join(one["pool"] for one in known) or "-", **about)
    return known


async def _found(bank: Bank, lot: str, n: int) -> dict[str, Any] | None:
    counted = await bank.db[CODE_LOTS].find_one({"lot": lot})
    if counted is None or "number" not in counted:
        return None
    row = await taking.find(bank, counted["pool"])
    upload = await importing.find(bank, counted["upload"])
    grant = await grant_of(bank, lot, n)
    return {
        "pool": row["pool"],
        "name": row["name"],
        "upload": upload["upload"],
        "file": upload["name"],
        "at": upload["at"],
        "state": "granted" if grant else _state(bank, row, lot, n),
        "grant": grant["_id"] if grant else "",
        "cid": grant["cid"] if grant else "",
        "reward": grant["reward"] if grant else "",
        "granted_at": grant["at"] if grant else None,
    }


def _state(bank: Bank, row: Pool, lot: str, n: int) -> str:
    """`left`, `expired`, `recalled`, or `held` while a claim is being decided."""
    now, number = bank.utc(), (lot, n)
    alive = [one for one in row["spans"] if (one["expires"] or spans.NEVER) > now]
    if spans.has(alive, number):
        return "left"
    if spans.has([*row["gone"], *row["spans"]], number):
        return "expired"
    back = any(spans.has(one["spans"], number) for one in row["recalls"])
    return "recalled" if back else "held"


async def grant_of(bank: Bank, lot: str, n: int) -> Grant | MadeGood | None:
    """The grant that this code was given for, or what was made good with it."""
    taken = {"lot": lot, "first": {"$lte": n}, "end": {"$gt": n}}
    wanted: list[str] = []
    for row in await bank.db[CODE_POPS].find(taken, limit=None):
        wanted.append(row["grants"][n - row["first"]])
    rows = (await bank.by_id(TRANSFERS, wanted)).values()
    for row in rows:
        code = row.get("code") or {}
        if (code.get("lot"), code.get("n")) == (lot, n):
            return cast("Grant | MadeGood", row)
    return None
