"""The outbox: what must happen outside, as rows with unique ids (contract/trust 1.3).

An effect's id comes from what caused it (run and step), so the same cause never makes a second row.
Rows are leased like all waiting rows; `lane` keeps what has a deadline apart from what has time.
Arguments are sealed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from services.clock import utc
from services.container import Services
from services.observe import trace
from services.queue.trace_rows import Traced
from services.store import batching, leases
from services.store.mongo import Doc, TenantStore
from services.store.rows import Rows

OUTBOX = Rows(
    "outbox",
    indexes=((("tenant", 1), ("open", 1), ("lane", 1), ("due", 1)),),
    sealed=("args",),
)
"""Effects that wait for a worker."""

WELCOME, EFFECTS = "welcome", "effects"
READY = "ready"
ASLEEP = "paused"
"""The reason of an effect that sleeps until its campaign goes on."""
GAVE_UP = {"state": "failed", "reason": {"$regex": "^(internal|gave_up_after)"}}
"""Effects that were tried as often as may be, for a fault of ours or of a platform."""
UNSUCCESSFUL = ("failed", "expired")
"""The states in which an effect ends that was not done."""
TOGETHER = 50
"""Rows that are read together: the embedded store takes time with the square of their number."""


class OutboxRow(Traced):
    """An effect as it is stored; `due` and `deadline` in seconds UTC, `state` is `ready` until it
    ended."""

    _id: str
    tenant: str
    kind: str
    lane: str
    cid: str
    campaign: str
    version: int
    run: str
    step: str
    args: bytes
    deadline: float | None
    at: datetime
    open: bool
    due: float
    owner: str | None
    attempts: int
    state: str
    reason: str


@dataclass(frozen=True)
class Effect:
    """`kind` names the executor; `deadline` (seconds UTC) is after which it must not be tried."""

    id: str
    tenant: str
    kind: str
    cid: str
    args: Mapping[str, Any]
    lane: str = EFFECTS
    campaign: str = ""
    version: int = 0
    run: str = ""
    step: str = ""
    deadline: float | None = None
    in_doubt: bool = False
    """Whether an earlier try may have done it: its answer was lost, or nobody lived to write it
    down."""


UNKNOWN, NO_TURN = "platform_unknown_outcome", "platform_slow_down"
"""The reasons of a try whose answer was lost, and of one that was never begun."""


def row_of(services: Services, effect: Effect, *, due: float, owner: str | None) -> Doc:
    """The effect's document, leased to `owner` until `due`, or due then when nobody owns it."""
    trace.note("effect.asked", effect=effect.id, effect_kind=effect.kind)
    return {
        "_id": effect.id,
        "tenant": effect.tenant,
        "kind": effect.kind,
        "lane": effect.lane,
        "cid": effect.cid,
        "campaign": effect.campaign,
        "version": effect.version,
        "run": effect.run,
        "step": effect.step,
        "args": services.vault.seal_json(
            effect.tenant, OUTBOX, "args", effect.id, dict(effect.args)
        ),
        "deadline": effect.deadline,
        "at": utc(services.clock()),
        "open": True,
        "due": due,
        "owner": owner,
        "attempts": 1 if owner else 0,
        "state": "ready",
        "reason": "",
    }


def effect_of(services: Services, row: Mapping[str, Any]) -> Effect:
    """The effect of a document, arguments opened."""
    args = services.vault.open_json(row["tenant"], OUTBOX, "args", row["_id"], row["args"])
    names = ("tenant", "kind", "cid", "lane", "campaign", "version", "run", "step", "deadline")
    return Effect(
        id=row["_id"],
        args=cast("dict[str, Any]", args),
        in_doubt=_in_doubt(row),
        **{name: row[name] for name in names},
    )


def _in_doubt(row: Mapping[str, Any]) -> bool:
    told = [each["reason"] for each in row.get("tries", [])]
    begun = [reason for reason in told if reason != NO_TURN]
    return UNKNOWN in told or int(row["attempts"]) - 1 > len(begun)


async def put(services: Services, effect: Effect, *, due: float, owner: str | None = None) -> bool:
    """Writes the effect's row as `row_of` says it, durable when this returns; False when it was
    there."""
    row = row_of(services, effect, due=due, owner=owner)
    return await insert(services, row)


async def insert(services: Services, row: Doc) -> bool:
    """Writes a row of `row_of`, durable when this returns; False when it was there."""
    return await batching.insert(services, row["tenant"], OUTBOX, row)


async def read(services: Services, tenant: str, wanted: Sequence[str]) -> dict[str, OutboxRow]:
    """The rows of these effects, by id."""
    found = await batching.read(services, tenant, OUTBOX, wanted) if wanted else {}
    return cast("dict[str, OutboxRow]", found)


async def read_all(services: Services, tenant: str, wanted: Sequence[str]) -> dict[str, OutboxRow]:
    """The same for any number of effects."""
    found: dict[str, OutboxRow] = {}
    for start in range(0, len(wanted), TOGETHER):
        found |= await read(services, tenant, wanted[start : start + TOGETHER])
    return found


async def reopen(db: TenantStore, wanted: Sequence[str], now: float) -> int:
    """Has those of these effects tried again that ended without success and are not too late, as if
    they had just been asked for; how many."""
    ended: Doc = {
        "_id": {"$in": list(wanted)},
        "open": False,
        "state": {"$in": list(UNSUCCESSFUL)},
        "$or": [{"deadline": None}, {"deadline": {"$gt": now}}],
    }
    again = {"open": True, "owner": None, "due": now, "attempts": 0, "state": "ready", "reason": ""}
    return await db[OUTBOX].update_many(ended, {"$set": again})


async def wake(db: TenantStore, campaign: str, now: float, limit: int) -> int:
    """Makes due at most `limit` effects of a campaign that sleep while it is paused; how many."""
    asleep = {"campaign": campaign, "open": True, "reason": ASLEEP, "owner": None}
    found = await db[OUTBOX].find({**asleep, "due": {"$gt": now}}, limit=limit, fields={"_id": 1})
    names = [row["_id"] for row in found]
    if names:
        await db[OUTBOX].update_many({**asleep, "_id": {"$in": names}}, {"$set": {"due": now}})
    return len(names)


async def abandon(db: TenantStore, wanted: Sequence[str], reason: str) -> None:
    """Ends those of these effects, as failed, that nobody tries at the moment."""
    waiting = {"_id": {"$in": list(wanted)}, "open": True, "owner": None}
    ended = {"open": False, "state": "failed", "reason": reason}
    await db[OUTBOX].update_many(waiting, {"$set": ended})


async def put_back(db: TenantStore, owner: str, row_id: str, due: float, **fields: Any) -> None:
    """Leaves an effect that is still ours for a later try, at `due` (seconds UTC)."""
    await leases.put_back(db[OUTBOX], owner, [row_id], due, **fields)


@dataclass(frozen=True, slots=True)
class Ended:
    """How an effect ended, and what its row keeps besides."""

    state: str
    reason: str
    kept: Mapping[str, Any] = field(default_factory=dict)


def as_ended(row: Mapping[str, Any], ended: Ended) -> Doc:
    """The row of an effect that was tried before it was written."""
    over = {"open": False, "owner": None, "state": ended.state, "reason": ended.reason}
    return {**row, **over, **ended.kept}


async def end(services: Services, row: Mapping[str, Any], owner: str, ended: Ended) -> None:
    """Ends an effect that is still ours."""
    await batching.close_each(
        services,
        row["tenant"],
        OUTBOX,
        owner,
        row["_id"],
        dict(ended.kept),
        state=ended.state,
        reason=ended.reason,
    )


NOT_DONE = "!"
"""Before a step whose effect did not come about."""


def steps_of(tenant: str, campaign: str) -> Doc:
    """A pipeline's stage that adds rows {cid, steps} of a campaign's effects that have ended; with
    NOT_DONE before the step where they failed."""
    done = {"$eq": ["$state", "done"]}
    states = {"$in": ["done", "failed", "expired"]}
    ended = {"tenant": tenant, "campaign": campaign, "state": states}
    named = {"$cond": [done, "$step", {"$concat": [NOT_DONE, "$step"]}]}
    pipeline = [{"$match": ended}, {"$project": {"cid": 1, "steps": [named]}}]
    return {"$unionWith": {"coll": OUTBOX, "pipeline": pipeline}}
