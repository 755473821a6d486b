"""Claiming: a customer takes a reward, exactly once, durably, in a group (contract/rewards
3 and 4).

A grant's `_id` comes from tenant, reward, customer and slot (the n-th of `per_customer`), so a
second grant of the same slot cannot exist. The grant row is the ledger's transfer: stock → issued,
one document, never changed. Order of a group:

    read what the customers have → take n units with a lease → reserve what limits ask for
        → insert the grants → answer
                                └→ tell the books and the inbox → settle the leases

What is behind the answers is done for the batches of a moment together.

Killed at any point, the lease and the ids in it are enough to finish (`settle_stale`).

Of a reward that has a fallback, that one is granted when nothing is left, under the same key: both
grants would have the same `idem`, so one of them exists at the most.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import cast

import orjson

from customers.banks.bank import Bank
from customers.banks.tasks import HANDLE_INBOX
from customers.identity.rows import Shared
from rewards import budget, catalogue, disclosure, limits, offers, place, stock
from rewards.ledger import lines
from rewards.limits import Reserved
from rewards.pools import taking
from rewards.rows import (
    TRANSFERS,
    Code,
    Grant,
    Lease,
    Place,
    Reward,
    RewardRow,
    Void,
    grant_ids,
    void,
)
from services import ids
from services.cache import Slot, TtlCache
from services.errors import Conflict, KeyReused, Unavailable
from services.queue import inbox
from services.store.mongo import Doc

HINT_SECONDS = 0.5
IN_DOUBT = "stock_in_doubt"
END_SECONDS = 0.1
"""So long a batch that is answered waits for others before it is told of and its leases end."""
MOST_ENDED = 16
"""So many batches at a time."""
HINTS: Slot[TtlCache[tuple[str, str], str]] = Slot("hints", lambda: TtlCache(10_000))
"""Why a reward (tenant, id) refused a moment ago."""
_BATCHES: Slot[set[str]] = Slot("batches", set)
"""The batches of this process that are under way: their leases are no reason for doubt."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Claim:
    """One customer's request for a reward. `cids` are his own id first, then those merged into him;
    `key` and `body` are hashes. `shared` are the times in which he was one with somebody who turned
    out to be another: what was granted then counts for both.

    `place` says whose the claim is. One that is `barred` is refused so, unless its key has an answer
    already; `accepted` says that the customer accepts the disclosure. `instead_of` is the reward
    that was asked for, of which nothing is left."""

    reward: str
    cids: tuple[str, ...]
    key: str
    body: str
    shared: tuple[Shared, ...] = ()
    place: Place = field(default_factory=Place)
    barred: Conflict | None = None
    accepted: bool = False
    instead_of: str = ""


@dataclass(frozen=True, slots=True)
class Granted:
    """The grant's row; `replayed` when this key had it already."""

    grant: Grant
    replayed: bool


Answer = Granted | Exception


@dataclass
class _Pending:
    """A claim while its group is decided; `answer` is None until it has one. `ids` are those of the
    grants that the customer may have, `shared_ids` those of each of `request.shared`, and
    `stand_ins` those of the rewards that may be given instead."""

    request: Claim
    ids: list[str]
    shared_ids: list[list[str]]
    stand_ins: list[str]
    answer: Answer | None = None


@dataclass
class _Group:
    """Claims on one reward. `rows` is what stands under the grants' ids; `asking` leads from the
    ids of the grants that are to be made to the claims that ask for them, and `codes` to their codes
    where these come from a pool."""

    reward: Reward
    claims: list[_Pending]
    rows: dict[str, Grant | Void]
    offered: set[str]
    asking: dict[str, _Pending] = field(default_factory=dict)
    codes: Mapping[str, Code] = field(default_factory=dict)

    def waiting(self) -> list[str]:
        """The ids of the grants that may still be made."""
        return [grant_id for grant_id, one in self.asking.items() if one.answer is None]


@dataclass(frozen=True, slots=True)
class _Done:
    """A batch whose claims have their answers: what it took, and the grants that arrived."""

    taken: stock.Taken
    reserved: Reserved
    grants: Sequence[Grant]

    @property
    def end(self) -> stock.End:
        """How its lease on the stock ends."""
        day = self.taken.reward["leases"][self.taken.batch]["day"]
        return stock.End(self.taken.batch, day, len(self.grants))


async def claim(bank: Bank, request: Claim) -> Granted:
    """The grant, of the reward or of one that is given instead. Raises Conflict with a reason code
    (docs/rewards.md), KeyReused for the same key with another body, NotFound, and Unavailable when
    the outcome is not known: the same key tells it then."""
    asked, refusals = await catalogue.find(bank, request.reward), list[Conflict]()
    for reward in [asked, *await _stand_ins(bank, asked)]:
        wanted = request if reward is asked else _instead(request, reward["reward"])
        try:
            return await _submit(bank, await _placed(bank, reward, wanted))
        except Conflict as refusal:
            refusals.append(refusal)
            if refusal.code not in limits.GONE:
                break
    raise refusals[0]


def _instead(request: Claim, name: str) -> Claim:
    """The claim on a reward that is given in the place of the one that was asked for."""
    key = _stand_in_key(request)
    return replace(request, reward=name, key=key, instead_of=request.reward)


def _stand_in(reward: Reward) -> str:
    """The reward that is given when nothing is left of this one; empty without one."""
    return reward.get("limits", {}).get("fallback", "")


async def _placed(bank: Bank, reward: Reward, request: Claim) -> Claim:
    """The claim with its place, barred when it does not meet the reward's rule."""
    asked = request.instead_of or reward["reward"]
    found = await place.standing(bank, reward, asked, request.cids)
    if found is place.ANYWHERE:
        return request
    barred = request.barred
    if found.unmet and barred is None:
        why = f"this customer does not meet the reward's rule: {found.unmet}"
        barred = Conflict("not_eligible", why, data={"rule": found.unmet})
    return replace(request, place=found.place, barred=barred)


async def _submit(bank: Bank, request: Claim) -> Granted:
    async def flush(requests: list[Claim]) -> Sequence[Answer]:
        return await _flush(bank, requests)

    name = f"claims:{bank.id}:{request.reward}"
    group = bank.services.groups.get(name, flush, limit=64, backlog=5_000)
    return cast("Granted", await group.submit(request))


async def _flush(bank: Bank, requests: list[Claim]) -> Sequence[Answer]:
    group = await _read(bank, requests)
    for pending in group.claims:
        pending.answer = _replay(group, pending) or _refusal(group, pending)
        if pending.answer is None:
            _ask(group, pending)
    if group.asking:
        await _take_and_grant(bank, group)
    return [
        pending.answer or _replay(group, pending) or _like_the_other(group, pending)
        for pending in group.claims
    ]


async def _read(bank: Bank, requests: list[Claim]) -> _Group:
    """The group with what its customers were granted and offered of the reward so far."""
    reward = await catalogue.find(bank, requests[0].reward)
    stand_ins = await _stand_ins(bank, reward)
    claims = [_pending(bank, reward, stand_ins, request) for request in requests]
    wanted = chain.from_iterable(chain(one.ids, one.stand_ins, *one.shared_ids) for one in claims)
    rows, offered = await asyncio.gather(
        bank.read(TRANSFERS, list(dict.fromkeys(wanted))), _offered(bank, reward, requests)
    )
    return _Group(reward, claims, cast("dict[str, Grant | Void]", rows), offered)


async def _stand_ins(bank: Bank, reward: Reward) -> list[Reward]:
    """The rewards that may be given instead of this one, in order."""
    if not _stand_in(reward):
        return []
    return catalogue.stand_ins(await catalogue.all_rewards(bank), reward)


def _pending(bank: Bank, reward: Reward, stand_ins: Iterable[Reward], request: Claim) -> _Pending:
    own = grant_ids(bank.id, reward, request.cids)
    shared = [grant_ids(bank.id, reward, [one.cid]) for one in request.shared]
    others = [one for each in stand_ins for one in grant_ids(bank.id, each, request.cids)]
    return _Pending(request, own, shared, others)


async def _offered(bank: Bank, reward: Reward, requests: list[Claim]) -> set[str]:
    """Those of the customers' ids to whom the reward was offered; nobody is looked for when it is
    open to anyone."""
    if reward["open_to"] == "anyone":
        return set()
    pairs = [(reward["reward"], cid) for request in requests for cid in request.cids]
    return {cid for _, cid in await offers.offered(bank, pairs)}


def _among(group: _Group, wanted: Iterable[str]) -> list[Grant]:
    """The grants that there are under these ids."""
    rows = [group.rows.get(grant_id) for grant_id in wanted]
    return [row for row in rows if row is not None and row["kind"] == "grant"]


def _had(group: _Group, pending: _Pending) -> list[Grant]:
    """What the customer was granted of the reward and instead of it, with what was granted while he
    was one with another."""
    if not group.rows:  # as for most while a reward is new
        return []
    had = _among(group, pending.ids)
    name = group.reward["reward"]
    had += [row for row in _among(group, pending.stand_ins) if row.get("instead_of") == name]
    for shared, shared_ids in zip(pending.request.shared, pending.shared_ids, strict=True):
        then = [
            row
            for row in _among(group, shared_ids)
            if shared.since <= row["at"] <= shared.until and row not in had
        ]
        had.extend(then)
    return had


def _replay(group: _Group, pending: _Pending) -> Answer | None:
    """The answer that this key has had before, if it has."""
    request = pending.request
    for row in _had(group, pending):
        if row["key"] == _key_for(request, row):
            if row["body"] != request.body:
                return KeyReused("idempotency_key_reused", "this key was used with another body")
            return Granted(row, replayed=True)
    return None


def _key_for(request: Claim, row: Grant) -> str:
    """The request's key, as a grant of the reward has it or one that was given instead."""
    if row.get("instead_of") != request.reward:
        return request.key
    return _stand_in_key(request)


def _stand_in_key(request: Claim) -> str:
    return ids.fingerprint(f"{request.reward} {request.key}".encode())


def _refusal(group: _Group, pending: _Pending) -> Exception | None:
    """A refusal that no stock is needed for."""
    if len(_had(group, pending)) >= group.reward["per_customer"]:
        return Conflict("quota_customer", "this customer has it already")
    request = pending.request
    offered = bool(request.instead_of) or not group.offered.isdisjoint(request.cids)
    if group.reward["open_to"] != "anyone" and not offered:
        return Conflict("not_eligible", "this reward was not offered to this customer")
    return request.barred


def _ask(group: _Group, pending: _Pending) -> None:
    """Asks for a unit in the customer's next slot, unless other claims of his in this group have
    the same key or ask for all that he may still have."""
    asked = [grant_id for grant_id in pending.ids if grant_id in group.asking]
    twin = any(group.asking[one].request.key == pending.request.key for one in asked)
    if twin or len(_had(group, pending)) + len(asked) >= group.reward["per_customer"]:
        return
    taken = {*asked, *(row["_id"] for row in _among(group, pending.ids))}
    group.asking[next(one for one in pending.ids if one not in taken)] = pending


def _like_the_other(group: _Group, pending: _Pending) -> Exception:
    """The answer of a claim that waited for the same customer's other claim, or lost its slot to
    another process."""
    owner = pending.request.cids[0]
    other = next((one for one in group.asking.values() if one.request.cids[0] == owner), None)
    if other is not None and other is not pending and isinstance(other.answer, Exception):
        return other.answer
    if len(_had(group, pending)) < group.reward["per_customer"]:
        return Unavailable("claim_unknown", "try again with the same key")
    return Conflict("quota_customer", "this customer has it already")


async def _take_and_grant(bank: Bank, group: _Group) -> None:
    hint = bank.services.cache.of(HINTS).get((bank.id, group.reward["reward"]), bank.now())
    if hint is not None:
        _refuse(group, group.asking, hint)
        return
    for grant_id, pending in group.asking.items():
        if why := limits.known_full(bank, group.reward, pending.request):
            _refuse(group, [grant_id], why)
    if not group.waiting():
        return
    batch = secrets.token_hex(8)
    under_way = bank.services.cache.of(_BATCHES)
    under_way.add(batch)
    try:
        taken = await _take(bank, group, batch)
        reserved = await _reserve(bank, group, taken)
        wanted = await _coded(bank, group, taken, reserved.kept)
        grants = await _insert_grants(bank, group, taken, reserved, wanted) if wanted else []
    except BaseException:
        under_way.discard(batch)
        raise
    if taken.n:  # behind the answers
        bank.services.groups.spawn(_end(bank, _Done(taken, reserved, grants)))
    else:
        under_way.discard(batch)


async def _take(bank: Bank, group: _Group, batch: str) -> stock.Taken:
    """Takes units for the claims that ask; those for which there is none are refused."""
    name, wanted = group.reward["reward"], group.waiting()
    ours = bank.services.cache.of(_BATCHES)
    taken = await stock.take(bank, name, batch, wanted, ours)
    if taken.n < len(wanted):
        reason = IN_DOUBT if taken.in_doubt else taken.reason
        _give_no_more(bank, group, wanted[taken.n :], reason)
    return taken


async def _reserve(bank: Bank, group: _Group, taken: stock.Taken) -> Reserved:
    """Reserves what the limits ask for besides stock; claims that they refuse are refused. Nobody is
    judged by limits that were changed since the group was read."""
    wanted = group.waiting()
    if limits.changed(group.reward, taken.reward):
        _refuse(group, wanted, limits.CHANGED)
        return Reserved([])
    asked = {grant_id: group.asking[grant_id].request for grant_id in wanted}
    reserved = await limits.reserve(bank, taken.reward, taken.batch, asked)
    for grant_id, reason in reserved.refused.items():
        _refuse(group, [grant_id], reason)
    return reserved


async def _coded(bank: Bank, group: _Group, taken: stock.Taken, wanted: list[str]) -> list[str]:
    """Those of the grants for which there are codes, where the reward's come from a pool; the others
    are refused, and what they have goes back when the leases are settled."""
    if not wanted or not taking.pool_of(taken.reward):
        return wanted
    ours = bank.services.cache.of(_BATCHES)
    found = await taking.take(bank, taken.reward, taken.batch, wanted, ours)
    group.codes = found.codes
    if len(found.codes) < len(wanted):
        reason = IN_DOUBT if found.in_doubt else "sold_out"
        _give_no_more(bank, group, wanted[len(found.codes) :], reason)
    return list(found.codes)


def _give_no_more(bank: Bank, group: _Group, wanted: Iterable[str], reason: str) -> None:
    """Refuses these, and whoever comes within the next moment."""
    _refuse(group, wanted, reason)
    until = bank.now() + HINT_SECONDS
    bank.services.cache.of(HINTS).put((bank.id, group.reward["reward"]), reason, until)


def _refuse(group: _Group, wanted: Iterable[str], reason: str) -> None:
    refusal: Exception
    if reason == IN_DOUBT:
        message = "the last units may come back in a moment; try again"
        refusal = Unavailable(IN_DOUBT, message, retry_after=2)
    elif reason == limits.IN_DOUBT:
        message = "what others hold of the limit may come back in a moment; try again"
        refusal = Unavailable("quota_in_doubt", message, retry_after=2)
    elif reason == limits.CHANGED:
        refusal = Unavailable("reward_changed", "the reward has just been changed; try again")
    else:
        message = f"the reward cannot be given: {reason.replace('_', ' ')}"
        refusal = Conflict(reason, message)
    for grant_id in wanted:
        group.asking[grant_id].answer = refusal


async def _insert_grants(
    bank: Bank, group: _Group, taken: stock.Taken, reserved: Reserved, wanted: list[str]
) -> list[Grant]:
    """Grants the units that were taken and reserved for, and answers the claims; the grants that are
    new."""
    alike = _of_batch(bank, taken)
    rows = [_grant_row(bank, group, alike, reserved, grant_id) for grant_id in wanted]
    refused = await bank.services.store.insert_new_across(TRANSFERS, cast("list[Doc]", rows))
    new = [row for position, row in enumerate(rows) if position not in refused]
    for row in new:
        _answer(group, row)
    if refused:
        disputed = [rows[position] for position in sorted(refused)]
        new += await _dispute(bank, group, taken.batch, disputed)
    return new


def _answer(group: _Group, row: Grant) -> None:
    group.rows[row["_id"]] = row
    group.asking[row["_id"]].answer = Granted(row, replayed=False)


def _of_batch(bank: Bank, taken: stock.Taken) -> Doc:
    """What all grants of a batch have alike."""
    reward = taken.reward
    name = reward["reward"]
    alike: Doc = {
        "tenant": bank.id,
        "kind": "grant",
        "reward": name,
        "debit": f"stock:{name}",
        "credit": f"issued:{name}",
        "amount": 1,
        "cost": reward["cost"],
        "batch": taken.batch,
        "at": bank.utc(),
    }
    if terms := disclosure.digest(reward):
        alike["terms"] = terms
    if reward["kind"] == "points":
        alike["points"] = reward.get("item", {}).get("points", 0)
    return alike


def _grant_row(bank: Bank, group: _Group, alike: Doc, reserved: Reserved, grant_id: str) -> Grant:
    request = group.asking[grant_id].request
    own = {"_id": grant_id, "cid": request.cids[0], "key": request.key, "body": request.body}
    row = cast("Grant", own | alike)
    if legs := reserved.legs.get(grant_id):
        row["legs"] = legs
    if request.place:
        row["place"] = request.place
    if request.accepted:
        row["accepted"] = True
    if request.instead_of:
        row["instead_of"] = request.instead_of
    if idem := _idem(bank, group.reward, request):
        row["idem"] = idem
    if grant_id in group.codes:
        row["code"] = group.codes[grant_id]
    return row


def _idem(bank: Bank, reward: Reward, request: Claim) -> str:
    """What no two grants may have: where this reward or another may be given, the one place of the
    customer, and where he may have several, his key; else empty, since the `_id` says all."""
    cid = request.cids[0]
    if request.instead_of or _stand_in(reward):
        asked = request.instead_of or request.reward
        return ids.tenant_id(bank.id, "instead", asked, cid)
    if reward["slots"] > 1:
        return ids.tenant_id(bank.id, "idem", request.reward, cid, request.key)
    return ""


async def _dispute(bank: Bank, group: _Group, batch: str, rows: list[Grant]) -> list[Grant]:
    """Grants whose id was there already: another process's grant answers the claim; a void row of
    an old, dead batch is overwritten; a void row of this very batch says that we were taken for
    dead; no row at all, that another process granted this key in another slot. Returns the grants
    that are ours after all."""
    await _overwrite_old_voids(bank, batch, rows)
    wanted = [row["_id"] for row in rows]
    found = {row["_id"]: row for row in await bank.db[TRANSFERS].find({"_id": {"$in": wanted}})}
    ours: list[Grant] = []
    for grant_id in wanted:
        present = cast("Grant | Void | None", found.get(grant_id))
        if present is None or present["kind"] == "void":
            unknown = Unavailable("claim_unknown", "try again with the same key")
            group.asking[grant_id].answer = unknown
        elif present["batch"] == batch:
            ours.append(present)
            _answer(group, present)
        else:  # the claim is decided again from what is there now
            group.rows[grant_id] = present
    return ours


async def _overwrite_old_voids(bank: Bank, batch: str, rows: list[Grant]) -> None:
    """Puts the grants in the place of voids, but not of those that say that `batch` is dead."""
    changes: list[tuple[Doc, Doc]] = []
    for row in rows:
        fields = {name: value for name, value in row.items() if name != "_id"}
        old_void = {"_id": row["_id"], "kind": "void", "dead": {"$ne": batch}}
        changes.append((old_void, {"$set": fields, "$unset": {"dead": ""}}))
    await bank.db[TRANSFERS].bulk_update(changes)


async def _end(bank: Bank, done: _Done) -> None:
    """Behind the answers: tells of the grants and ends the leases, together with the batches that
    are done within a moment. Alone, and at once, where nothing more is taken, and where accounts
    are leased besides the stock: whoever meets such a lease is in doubt until it ends."""

    async def flush(some: list[_Done]) -> Sequence[bool]:
        await _tell_and_settle(bank, some)
        return [True] * len(some)

    reward = done.taken.reward["reward"]
    name = f"granted:{bank.id}:{reward}"
    group = bank.services.groups.get(name, flush, limit=MOST_ENDED, window=END_SECONDS)
    try:
        together = not done.reserved.leased
        try:
            await (group.submit(done) if together else flush([done]))
        except Unavailable:
            await flush([done])
    except Unavailable:
        fields = {"tenant": bank.id, "reward": reward}
        log.warning("a lease is left to the sweep", extra={"fields": fields})
    finally:
        bank.services.cache.of(_BATCHES).discard(done.taken.batch)


async def _tell_and_settle(bank: Bank, some: Sequence[_Done]) -> None:
    """Tells of batches of one reward and ends their leases."""
    await tell(bank, [(one.taken.reward, one.grants) for one in some])
    for one in some:
        await taking.settle(bank, one.taken.reward, one.taken.batch, one.grants)
    await stock.settle(bank, some[0].taken.reward["reward"], [one.end for one in some])
    for one in some:
        ids_of = [row["_id"] for row in one.grants]
        await limits.settle(bank, one.reserved, one.taken.batch, ids_of)


async def tell(bank: Bank, batches: Sequence[tuple[Reward, Sequence[Grant]]]) -> None:
    """Writes the grants of batches into the lines of their accounts, and puts them into the inbox,
    a row for each batch: a worker writes the timelines and tells campaigns of those that were
    offered. Repeating it adds nothing, also in other company."""
    granted = [(reward, grants) for reward, grants in batches if grants]
    if not granted:
        return
    pages = [
        page
        for _, grants in granted
        for page in lines.pages_of(bank.id, grants[0]["batch"], grants)
    ]
    arrivals = [_arrival(bank, reward, grants) for reward, grants in granted]
    await asyncio.gather(lines.put_in(bank, pages), inbox.put_all(bank.services, arrivals))
    bank.signal(HANDLE_INBOX)


def _arrival(bank: Bank, reward: Reward, grants: Sequence[Grant]) -> inbox.Arrival:
    """What the inbox is told of a batch."""
    instead = any("instead_of" in row for row in grants)
    event: Doc = {
        "event": "reward.claimed",
        "reward": reward["reward"],
        "offered": reward["open_to"] != "anyone" or instead,
        "grants": sorted((row["_id"], row["cid"], row["at"].timestamp()) for row in grants),
    }
    if points := grants[0].get("points"):
        event["points"] = points
    return inbox.Arrival(bank.id, inbox.REWARDS, orjson.dumps(event))


async def settle_stale(bank: Bank) -> int:
    """Settles the leases of processes that died: voids what never arrived, keeps what did; how many
    leases. Completes stock changes that were cut short as well."""
    await catalogue.finish_moves(bank)
    leases = await stock.stale_leases(bank)
    for reward, batch, lease in leases:
        await _settle_one(bank, reward, batch, lease)
    await budget.finish_all(bank)
    return len(leases)


async def _settle_one(bank: Bank, reward: RewardRow, batch: str, lease: Lease) -> None:
    name, wanted = reward["reward"], lease["ids"][: lease["n"]]
    await void(bank, batch, wanted)
    arrived = {"_id": {"$in": wanted}, "batch": batch, "kind": "grant"}
    found = await bank.db[TRANSFERS].find(arrived, limit=len(wanted))
    await tell(bank, [(reward, cast("list[Grant]", found))])
    await stock.settle(bank, name, [stock.End(batch, lease["day"], len(found))])
    fields = {"tenant": bank.id, "reward": name, "granted": len(found), "of": len(wanted)}
    log.warning("settled a dead lease", extra={"fields": fields})
