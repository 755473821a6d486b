"""Claiming: a customer takes a reward, exactly once, durably, in a group (contract/rewards
3 and 4).

A grant's `_id` comes from tenant, reward, customer and slot (the n-th of `per_customer`), so a
second grant of the same slot cannot exist. The grant row is the ledger's transfer: stock → issued,
one document, never changed. Order of a group:

    read what the customers have → take n units with a lease → insert n grants → answer
                                                                     └→ tell the inbox → settle the
                                                                     lease

Killed at any point, the lease and the ids in it are enough to finish (`settle_stale`).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import orjson

from customers.banks.bank import Bank
from customers.banks.tasks import HANDLE_INBOX
from customers.identity.rows import Shared
from rewards import catalogue, offers, stock
from rewards.rows import REWARDS, TRANSFERS
from services import ids
from services.cache import Slot, TtlCache
from services.clock import utc
from services.container import Services
from services.errors import Conflict, KeyReused, NotFound, Unavailable
from services.queue import inbox
from services.store.mongo import Doc

HINT_SECONDS = 0.5
IN_DOUBT = "stock_in_doubt"
HINTS: Slot[TtlCache[tuple[str, str], str]] = Slot("hints", lambda: TtlCache(10_000))
"""Why a reward (tenant, id) refused a moment ago."""
_BATCHES: Slot[set[str]] = Slot("batches", set)
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Claim:
    """One customer's wish. `cids` are his own id first, then those merged into him; `key` and
    `body` are hashes. `shared` are the times in which he was one with somebody who turned out to be
    another: what was granted then counts for both."""

    tenant: str
    reward: str
    cids: tuple[str, ...]
    key: str
    body: str
    shared: tuple[Shared, ...] = ()

    def slot_id(self, cid: str, slot: int) -> str:
        return ids.tenant_id(self.tenant, "grant", self.reward, cid, slot)


@dataclass(frozen=True, slots=True)
class Granted:
    """The grant row; `hit` when this key had it already (the first answer, replayed)."""

    grant: Doc
    hit: bool


@dataclass
class _Group:
    """A group of claims on one reward while it is decided."""

    definition: Doc
    claims: list[Claim]
    answers: list[Granted | Exception | None]
    held: dict[str, Doc]
    offered: set[str]
    wanting: dict[str, int] = field(default_factory=dict)
    """grant id → position of the claim that asks for it"""


async def claim(bank: Bank, wish: Claim) -> Granted:
    """The grant. Raises Conflict with a reason code (sold_out, quota_customer, quota_day,
    not_eligible, not_started, ended, paused), KeyReused for the same key with another body,
    NotFound, and Unavailable when the outcome is not known: the same key tells it then."""

    if wish.reward not in await catalogue.all_rewards(bank):
        raise NotFound("reward_unknown", "no such reward")

    async def flush(wishes: list[Claim]) -> Sequence[Granted | Exception]:
        return await _flush(bank, wishes)

    group = bank.services.groups.get(
        f"claims:{bank.id}:{wish.reward}", flush, limit=64, backlog=5_000
    )
    return cast("Granted", await group.submit(wish))


async def _flush(bank: Bank, wishes: list[Claim]) -> Sequence[Granted | Exception]:
    group = await _read(bank, wishes)
    for position, wish in enumerate(wishes):
        group.answers[position] = _decide(group, position, wish)
    if group.wanting:
        await _take_and_grant(bank, group)
    for position, wish in enumerate(
        wishes
    ):  # the same customer twice in one group: the second learns what the first got
        if group.answers[position] is None:
            group.answers[position] = _replay(group, wish) or _like_the_other(group, position, wish)
    return cast("Sequence[Granted | Exception]", group.answers)


def _like_the_other(group: _Group, position: int, wish: Claim) -> Exception:
    """The answer of a claim that waited for the same customer's other claim, or lost its slot to
    another process."""
    other = _same_customer(group, wish)
    refused = group.answers[other] if other is not None and other != position else None
    if isinstance(refused, Exception):
        return refused
    used = len(_had(group, wish))
    if used < group.definition["per_customer"]:
        return Unavailable("claim_unknown", "try again with the same key")
    return Conflict("quota_customer", "this customer has it already")


def _slots(group: _Group, wish: Claim) -> list[str]:
    """The ids of every grant that this customer may have of the reward."""
    return [
        wish.slot_id(cid, slot) for cid in wish.cids for slot in range(group.definition["slots"])
    ]


def _had(group: _Group, wish: Claim) -> list[Doc]:
    """What the customer was granted of the reward, with what was granted while he was one with
    another."""
    mine = [group.held.get(slot) for slot in _slots(group, wish)]
    had = [row for row in mine if row is not None and _is_grant(row)]
    for shared in wish.shared:
        slots = [wish.slot_id(shared.cid, slot) for slot in range(group.definition["slots"])]
        rows = [group.held[slot] for slot in slots if _is_grant(group.held.get(slot))]
        had += [row for row in rows if shared.since <= row["at"] <= shared.until and row not in had]
    return had


async def _read(bank: Bank, wishes: list[Claim]) -> _Group:
    _tenant, reward = wishes[0].tenant, wishes[0].reward
    definition = (await catalogue.all_rewards(bank)).get(reward)
    if definition is None:
        raise NotFound("reward_unknown", "no such reward")
    slots = range(definition["slots"])
    people = [
        (wish, cid)
        for wish in wishes
        for cid in (*wish.cids, *(shared.cid for shared in wish.shared))
    ]
    grant_ids = list(
        dict.fromkeys(wish.slot_id(cid, slot) for wish, cid in people for slot in slots)
    )
    asked = (
        []
        if definition["open_to"] == "anyone"
        else [(reward, cid) for wish in wishes for cid in wish.cids]
    )
    held, offered = await asyncio.gather(
        bank.read(TRANSFERS, grant_ids),
        offers.of_customers(bank, asked),
    )
    return _Group(definition, wishes, [None] * len(wishes), held, {cid for _, cid in offered})


def _decide(group: _Group, position: int, wish: Claim) -> Granted | Exception | None:
    """An answer that needs no stock, or None when the claim asks for a unit (or waits for the same
    customer's other claim)."""
    known = _replay(group, wish)
    if known is not None:
        return known
    limit = group.definition["per_customer"]
    mine = _slots(group, wish)
    used = [slot for slot in mine if _is_grant(group.held.get(slot))]
    had = len(_had(group, wish))
    if had >= limit:
        return Conflict("quota_customer", "this customer has it already")
    if group.definition["open_to"] != "anyone" and group.offered.isdisjoint(wish.cids):
        return Conflict("not_eligible", "this reward was not offered to this customer")
    asked = [slot for slot in mine if slot in group.wanting]
    twin = any(group.claims[group.wanting[slot]].key == wish.key for slot in asked)
    if not twin and had + len(asked) < limit:
        group.wanting[next(slot for slot in mine if slot not in used and slot not in asked)] = (
            position
        )
    return None


def _same_customer(group: _Group, wish: Claim) -> int | None:
    """The position of a claim of the same customer that asked for a unit."""
    return next(
        (other for other in group.wanting.values() if group.claims[other].cids[0] == wish.cids[0]),
        None,
    )


def _is_grant(row: Doc | None) -> bool:
    return row is not None and row["kind"] == "grant"


def _replay(group: _Group, wish: Claim) -> Granted | Exception | None:
    """The answer that this key has had before, if it has."""
    for row in _had(group, wish):
        if row["key"] == wish.key:
            if row["body"] != wish.body:
                return KeyReused("idempotency_key_reused", "this key was used with another body")
            return Granted(row, hit=True)
    return None


async def _take_and_grant(bank: Bank, group: _Group) -> None:
    first = group.claims[0]
    hints = bank.services.cache.of(HINTS)
    hint = hints.get((first.tenant, first.reward), bank.now())
    if hint is not None:
        _refuse(group, list(group.wanting), hint)
        return
    batch = secrets.token_hex(8)
    grant_ids = list(group.wanting)
    ours = _batches(bank.services)
    ours.add(batch)
    try:
        taken = await stock.take(bank, first.reward, batch, grant_ids, ours)
    except Unavailable:
        ours.discard(batch)
        raise
    if taken.n < len(grant_ids):
        reason = IN_DOUBT if taken.in_doubt else taken.reason
        _refuse(group, grant_ids[taken.n :], reason)
        hints.put((first.tenant, first.reward), reason, bank.now() + HINT_SECONDS)
    if not taken.n:
        ours.discard(batch)
        return
    try:
        await _grant(bank, group, taken, grant_ids[: taken.n])
    except Unavailable:
        ours.discard(batch)
        raise


def _batches(services: Services) -> set[str]:
    """The batches of this process that are under way: their leases are no reason for doubt."""
    return services.cache.of(_BATCHES)


def _refuse(group: _Group, grant_ids: list[str], reason: str) -> None:
    if reason == IN_DOUBT:
        refusal: Exception = Unavailable(
            reason, "the last units may come back in a moment; try again", retry_after=2
        )
    else:
        refusal = Conflict(reason, f"the reward cannot be given: {reason.replace('_', ' ')}")
    for grant_id in grant_ids:
        group.answers[group.wanting[grant_id]] = refusal


async def _grant(bank: Bank, group: _Group, taken: stock.Taken, grant_ids: list[str]) -> None:
    """Inserts the grants and answers; then, behind the answers, tells and settles."""
    rows = [_row(bank, group, taken, grant_id) for grant_id in grant_ids]
    refused = await bank.services.store.insert_new_across(TRANSFERS, rows)
    mine = [row for position, row in enumerate(rows) if position not in refused]
    for row in mine:
        group.held[row["_id"]] = row
        group.answers[group.wanting[row["_id"]]] = Granted(row, hit=False)
    if refused:
        mine += await _dispute(bank, group, taken, [rows[position] for position in sorted(refused)])
    bank.services.groups.spawn(_tell_and_settle(bank, taken, mine))


def _row(bank: Bank, group: _Group, taken: stock.Taken, grant_id: str) -> Doc:
    wish = group.claims[group.wanting[grant_id]]
    several = group.definition["slots"] > 1
    key = (
        {"idem": ids.tenant_id(bank.id, "idem", wish.reward, wish.cids[0], wish.key)}
        if several
        else {}
    )
    return {
        **key,
        "_id": grant_id,
        "tenant": bank.id,
        "kind": "grant",
        "reward": wish.reward,
        "debit": f"stock:{wish.reward}",
        "credit": f"issued:{wish.reward}",
        "amount": 1,
        "cost": taken.reward["cost"],
        "cid": wish.cids[0],
        "key": wish.key,
        "body": wish.body,
        "batch": taken.batch,
        "at": utc(bank.now()),
    }


async def _dispute(bank: Bank, group: _Group, taken: stock.Taken, rows: list[Doc]) -> list[Doc]:
    """Grants whose id was there already: another process's grant answers the claim; a void row of
    an old, dead batch is overwritten; a void row of this very batch says that we were taken for
    dead; no row at all, that another process granted this key in another slot. Returns the grants
    that are ours after all."""
    rows[0]["tenant"]
    transfers = bank.db[TRANSFERS]
    old_void = {"kind": "void", "dead": {"$ne": taken.batch}}
    changes = [
        {
            "$set": {name: value for name, value in row.items() if name != "_id"},
            "$unset": {"dead": ""},
        }
        for row in rows
    ]
    await transfers.bulk_update(
        [
            ({"_id": row["_id"], **old_void}, change)
            for row, change in zip(rows, changes, strict=True)
        ]
    )
    found = {
        row["_id"]: row
        for row in await transfers.find({"_id": {"$in": [row["_id"] for row in rows]}})
    }
    ours = []
    for row in rows:
        present = found.get(row["_id"])
        position = group.wanting[row["_id"]]
        if present is None or present["kind"] == "void":
            group.answers[position] = Unavailable("claim_unknown", "try again with the same key")
        elif present["batch"] == taken.batch:
            ours.append(present)
            group.held[row["_id"]] = present
            group.answers[position] = Granted(present, hit=False)
        else:
            group.held[row["_id"]] = present
            group.answers[position] = None  # decided again from what is held now
    return ours


async def _tell_and_settle(bank: Bank, taken: stock.Taken, grants: list[Doc]) -> None:
    tenant, reward = taken.reward["tenant"], taken.reward["reward"]
    day = taken.reward["leases"][taken.batch]["day"]
    try:
        await tell(bank, taken.reward, grants)
        await stock.settle(bank, reward, taken.batch, day, len(grants))
    except Unavailable:
        log.warning(
            "a lease is left to the sweep", extra={"fields": {"tenant": tenant, "reward": reward}}
        )
    finally:
        _batches(bank.services).discard(taken.batch)


async def tell(bank: Bank, reward: Doc, grants: list[Doc]) -> None:
    """Puts the batch's grants into the inbox, as one row: a worker writes the timelines and tells
    campaigns of those that were offered. Repeating it adds nothing."""
    if not grants:
        return
    told = sorted((row["_id"], row["cid"], row["at"].timestamp()) for row in grants)
    event = {
        "event": "reward.claimed",
        "reward": reward["reward"],
        "offered": reward["open_to"] != "anyone",
        "grants": told,
    }
    await inbox.put(bank.services, inbox.Arrival(bank.id, inbox.REWARDS, orjson.dumps(event)))
    bank.signal(HANDLE_INBOX)


UNSETTLED = {"$or": [{"held": {"$gt": 0}}, {"move": {"$exists": True}}]}
"""Rewards that `settle_stale` may have to see to."""


async def settle_stale(bank: Bank) -> int:
    """Settles the leases of processes that died: voids what never arrived, keeps what did; how many
    leases. Completes stock changes that were cut short as well."""
    db = bank.db
    now = utc(bank.now())
    for reward in await db[REWARDS].find({"move": {"$exists": True}}):
        await catalogue.write_move(db, reward, now)
    leases = await stock.stale_leases(db, now)
    for reward, batch, lease in leases:
        await _settle_one(bank, reward, batch, lease)
    return len(leases)


async def _settle_one(bank: Bank, reward: Doc, batch: str, lease: Doc) -> None:
    transfers = bank.db[TRANSFERS]
    wanted = lease["ids"][: lease["n"]]
    now = utc(bank.now())
    await transfers.insert_new(
        [stock.void(bank.id, reward["reward"], grant_id, batch, now) for grant_id in wanted]
    )
    await transfers.update_many(
        {"_id": {"$in": wanted}, "kind": "void"}, {"$addToSet": {"dead": batch}}
    )
    found = await transfers.find(
        {"_id": {"$in": wanted}, "batch": batch, "kind": "grant"}, limit=len(wanted)
    )
    await tell(bank, reward, found)
    await stock.settle(bank, reward["reward"], batch, lease["day"], len(found))
    fields = {
        "tenant": bank.id,
        "reward": reward["reward"],
        "granted": len(found),
        "of": len(wanted),
    }
    log.warning("settled a dead lease", extra={"fields": fields})
