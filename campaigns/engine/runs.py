"""Runs: a customer's way through a campaign (promise P2).

A run is one document; its `_id` comes from campaign, customer and entry key, so nobody enters
twice. Every move is one write that carries the new position and the effects of the move together
(`outbox`). The effects are then moved to the outbox collection under their own unique ids and the
run is cleared; whoever is killed in between leaves a run that is due again.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from campaigns import live
from campaigns.delivery import effects
from campaigns.document.model import Step
from campaigns.document.program import START, TIMER, Program, State, advance
from campaigns.document.rows import CAMPAIGNS
from campaigns.engine.rows import RUNS
from customers import timeline
from customers.banks.bank import Bank
from rewards.stock import day_of
from services import ids
from services.cache import Slot
from services.clock import utc
from services.errors import Unavailable
from services.observe import trace
from services.queue import outbox
from services.queue.outbox import OUTBOX
from services.queue.retry import ERROR, Retry
from services.store import leases
from services.store.mongo import Doc

LEASE_SECONDS = 6.0
PATIENT_SECONDS = 1.0
SURGE = 8
"""With more runs than this being launched in one process at once, only welcomes are sent at
once."""
PAUSED_SECONDS = 5.0
MOST_TRIES = 12
RETRY = Retry(MOST_TRIES, then=ERROR)
log = logging.getLogger(__name__)


@dataclass
class _Load:
    launches: int = 0


_LOAD: Slot[_Load] = Slot("launches", _Load)
"""How many runs this process launches at the moment."""


async def enter(
    bank: Bank,
    program: Program,
    cid: str,
    facts: Mapping[str, Any],
    context: Mapping[str, Any],
    owner: str = "",
) -> bool:
    """Lets a customer into a live campaign whose entry rule he meets; False when he does not enter.
    `context` (the event's id, time and welcome code and so on) is kept sealed in the run. The first
    effects were tried once when this returns."""
    tenant, campaign = str(context["tenant"]), program.campaign
    if campaign.entry is None or not program.enters(facts):
        trace.note("campaign.not_entered", campaign=campaign.id, why="rule_not_met")
        return False
    key = effects.fill(campaign.entry.key, facts)
    run_id = ids.tenant_id(tenant, "run", campaign.id, cid, key)
    if not await _under_cap(bank, program, run_id, cid):
        return False
    now = bank.now()
    state = advance(program, State(position=None), START, facts, now)
    owner = owner or secrets.token_hex(8)
    run: Doc = {
        "_id": run_id,
        "tenant": tenant,
        "campaign": campaign.id,
        "version": program.version,
        "cid": cid,
        "event": context.get("event", ""),
        "event_at": context.get("happened_at", 0.0),
        "entered_at": utc(now),
        "facts": bank.vault.seal_json(RUNS, "facts", run_id, dict(facts)),
        "context": bank.vault.seal_json(RUNS, "context", run_id, dict(context)),
        "moves": 1,
        **_position(state),
        "outbox": [_pending(step) for step in state.effects],
        "open": True,
        "due": now + LEASE_SECONDS,
        "owner": owner,
        "attempts": 1,
    }
    if not await bank.insert(RUNS, run):
        trace.note("campaign.not_entered", campaign=campaign.id, why="already_entered", run=run_id)
        return False
    trace.note("campaign.entered", campaign=campaign.id, version=program.version, run=run_id)
    await timeline.record(bank, cid, "campaign.entered", run_id, campaign=campaign.id)
    await _launch(bank, program, run, facts, context)
    return True


def _position(state: State) -> Doc:
    return {
        "status": state.status,
        "reason": state.reason,
        "position": state.position,
        "wake": state.wake,
        "waiting": state.waiting,
        "trail": [list(step) for step in state.trail],
    }


def _state(run: Mapping[str, Any]) -> State:
    return State(
        position=run["position"],
        status=run["status"],
        reason=run["reason"],
        wake=run["wake"],
        waiting=run["waiting"],
        trail=tuple((step, decision) for step, decision in run["trail"]),
    )


def _pending(step: Step) -> Doc:
    return {"step": step.id}


async def _under_cap(bank: Bank, program: Program, run_id: str, cid: str) -> bool:
    """Counts an entry against the campaign's caps in one conditional write; a run that exists
    already costs nothing.

    Whoever is killed after counting is counted again: a cap may let in fewer, never more.
    """
    cap = program.campaign.entry.cap if program.campaign.entry is not None else None
    if cap is None or (cap.total is None and cap.per_day is None):
        return True
    db = bank.db
    if await db[RUNS].find_one({"_id": run_id}, {"_id": 1}) is not None:
        trace.note(
            "campaign.not_entered", campaign=program.campaign.id, why="already_entered", run=run_id
        )
        return False
    day = day_of(utc(bank.now()))
    room: Doc = {"_id": f"{bank.id}:{program.campaign.id}"}
    if cap.total is not None:
        room["entered"] = {"$not": {"$gte": cap.total}}
    if cap.per_day is not None:
        room[f"entered_on.{day}"] = {"$not": {"$gte": cap.per_day}}
    if await db[CAMPAIGNS].update(room, {"$inc": {"entered": 1, f"entered_on.{day}": 1}}):
        return True
    trace.note("campaign.not_entered", campaign=program.campaign.id, why="cap")
    await timeline.record(
        bank,
        cid,
        "campaign.not_entered",
        run_id,
        campaign=program.campaign.id,
        reason="cap",
    )
    return False


async def _launch(
    bank: Bank,
    program: Program,
    run: Doc,
    facts: Mapping[str, Any],
    context: Mapping[str, Any],
) -> None:
    """Moves a run's effects to the outbox, greets, clears the run, and tries the other effects; in
    a surge those are left to their lane, so that no welcome waits for somebody else's tag."""
    load = bank.services.cache.of(_LOAD)
    load.launches += 1
    try:
        surge = load.launches > SURGE
        rows = [
            _effect_row(bank, program, run, pending["step"], facts, context, surge)
            for pending in run["outbox"]
        ]
        new = await asyncio.gather(*(bank.insert(OUTBOX, row) for row in rows))
        ours = [row for row, is_new in zip(rows, new, strict=True) if is_new and row["owner"]]
        for urgent in (True, False):
            lane = [row for row in ours if (row["lane"] == outbox.WELCOME) is urgent]
            await asyncio.gather(*(effects.perform(bank, run["owner"], row) for row in lane))
            if urgent:
                await _clear(bank, run)
    finally:
        load.launches -= 1


def _effect_row(
    bank: Bank,
    program: Program,
    run: Doc,
    step: str,
    facts: Mapping[str, Any],
    context: Mapping[str, Any],
    surge: bool,
) -> Doc:
    """The outbox row of one effect: leased to us, or in a surge left to its lane when it is not
    urgent."""
    effect = effects.prepare(run, program.ops[step].step, facts, context)
    now = bank.now()
    if surge and effect.lane != outbox.WELCOME:
        return outbox.row_of(bank.services, effect, due=now + PATIENT_SECONDS, owner=None)
    return outbox.row_of(bank.services, effect, due=now + LEASE_SECONDS, owner=run["owner"])


async def _clear(bank: Bank, run: Doc) -> None:
    """The run's effects are in the outbox: it sleeps until it wakes, or is over."""
    open_ = run["status"] == "active" and run["wake"] is not None
    due = "$wake" if open_ else 0.0
    cleared: Doc = {"outbox": [], "owner": None, "open": open_, "due": due, "attempts": 0}
    await bank.change(RUNS, run["_id"], [{"$set": cleared}], owner=run["owner"])


async def resume(bank: Bank, owner: str, run: Doc, cause: str = TIMER) -> None:
    """Goes on with a run that we hold: finishes a move that was cut short, or moves it because of
    `cause`.

    Raises Unavailable when somebody else moved it: the cause must be told again.
    """
    program = await live.program(bank, run["campaign"], run["version"])
    facts = _opened(bank, run, "facts")
    context = _opened(bank, run, "context")
    if run["outbox"]:
        await _launch(bank, program, run, facts, context)
        if cause == TIMER:
            return
        run = await _hold(bank, run, owner)
    now = bank.now()
    if cause == TIMER and await live.is_paused(bank, run["campaign"]):
        rows = bank.db[RUNS]
        await leases.put_back(rows, owner, [run["_id"]], now + PAUSED_SECONDS, attempts=0)
        return
    before = _state(run)
    after = advance(program, before, cause, facts, now)
    if after == before:
        await _clear(bank, run)
        return
    moved: Doc = {
        **_position(after),
        "moves": run["moves"] + 1,
        "outbox": [_pending(step) for step in after.effects],
        "due": now + LEASE_SECONDS,
    }
    db = bank.db
    if not await db[RUNS].update(
        {"_id": run["_id"], "owner": owner, "moves": run["moves"]}, {"$set": moved}
    ):
        raise Unavailable("run_busy", "somebody else moved this run in this moment")
    if after.status == "exited":
        data: dict[str, Any] = {"campaign": run["campaign"], "reason": after.reason}
        await timeline.record(bank, run["cid"], "campaign.exited", run["_id"], **data)
    await _launch(bank, program, {**run, **moved}, facts, context)


async def _hold(bank: Bank, run: Doc, owner: str) -> Doc:
    """The run again, ours, for an event that must not be lost; raises Unavailable when it moved on
    meanwhile."""
    lease = {"owner": owner, "due": bank.now() + LEASE_SECONDS, "open": True}
    still = {"_id": run["_id"], "moves": run["moves"], "status": "active"}
    held = await bank.db[RUNS].update_and_get(still, {"$set": lease})
    if held is None:
        raise Unavailable("run_busy", "somebody else moved this run in this moment")
    return held


async def resume_safely(bank: Bank, owner: str, run: Doc) -> None:
    """`resume` by the timer; what goes wrong is logged and the run is due again when its lease is
    over."""
    try:
        await resume(bank, owner, run)
    except Unavailable:
        log.warning("a run waits for the database", extra={"fields": {"run": run["_id"]}})
    except Exception:
        log.exception(
            "a run could not go on",
            extra={"fields": {"run": run["_id"], "attempts": run["attempts"]}},
        )
        await _set_aside(bank, owner, run)


async def _set_aside(bank: Bank, owner: str, run: Doc) -> None:
    """A later try, or after the last of RETRY the state `error` with a reason: a run never ends silently
    (contract/engine T8)."""
    rows = bank.db[RUNS]
    if RETRY.is_over(run["attempts"]):
        await leases.close(rows, owner, [run["_id"]], status="error", reason="internal")
        return
    due = bank.now() + RETRY.delay(run["attempts"])
    await leases.put_back(rows, owner, [run["_id"]], due)


def _opened(bank: Bank, run: Doc, name: str) -> dict[str, Any]:
    value = bank.vault.open_json(RUNS, name, run["_id"], run[name])
    return cast("dict[str, Any]", value)


async def on_event(bank: Bank, cids: list[str], event: str, happened_at: float = math.inf) -> int:
    """Tells the customer's runs of an event: waits end and exit rules apply at once. How many runs
    were told.

    Runs of a cause that is younger than `happened_at` (seconds UTC) are left alone: it was told
    late, and means those before.
    """
    db = bank.db
    told = 0
    for run in await db[RUNS].find({"cid": {"$in": cids}, "status": "active"}, limit=200):
        program = await live.program(bank, run["campaign"], run["version"])
        exits = any(rule.event == event for rule in program.campaign.exit)
        if (run["waiting"] != event and not exits) or run.get("event_at", 0.0) > happened_at:
            continue
        owner = secrets.token_hex(8)
        lease = {"owner": owner, "due": bank.now() + LEASE_SECONDS, "open": True}
        held = await db[RUNS].update_and_get(
            {"_id": run["_id"], "status": "active"}, {"$set": lease}
        )
        if held is not None:
            await resume(bank, owner, held, event)
            trace.note("run.told", campaign=run["campaign"], run=run["_id"], event=event)
            told += 1
    return told
