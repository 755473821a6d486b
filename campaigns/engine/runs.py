"""Runs go on: by their timer, or because of an event (promise P2).

A run is one document. Every move is one write that carries the new position and the steps whose
effects it asks for (`pending_steps`). Those effects are then moved to the outbox under their own
unique ids and the run is cleared; whoever is killed in between leaves a run that is due again.
"""

from __future__ import annotations

import logging
import math
import secrets
from typing import Any, TypedDict, cast

from campaigns import live
from campaigns.engine import launch, pausing, rows
from campaigns.engine.advance import TIMER, State, advance
from campaigns.engine.rows import RUNS, Context, Run
from customers import timeline
from customers.alerts import alarms
from customers.banks.bank import Bank
from services.errors import Unavailable
from services.observe import trace
from services.queue.retry import ERROR, Retry
from services.store.mongo import Doc

LEASE_SECONDS = rows.LEASE_SECONDS
PAUSED_SECONDS = 5.0
"""After so long at the latest all that slept is due again when its campaign goes on."""
RETRY = Retry(tries=12, first=1.0, most=300.0, then=ERROR)
"""Of a run that a fault of ours keeps from going on."""
log = logging.getLogger(__name__)


class Position(TypedDict):
    """What a move changes of a run."""

    status: str
    reason: str
    position: str | None
    wake: float | None
    waiting: str | None
    trail: list[list[str]]
    pending_steps: list[str]


def position(state: State) -> Position:
    """The state as its run keeps it."""
    return {
        "status": state.status,
        "reason": state.reason,
        "position": state.position,
        "wake": state.wake,
        "waiting": state.waiting,
        "trail": [list(step) for step in state.trail],
        "pending_steps": [step.id for step in state.effects],
    }


def _state(run: Run) -> State:
    return State(
        position=run["position"],
        status=run["status"],
        reason=run["reason"],
        wake=run["wake"],
        waiting=run["waiting"],
        trail=tuple((step, decision) for step, decision in run["trail"]),
    )


async def resume(bank: Bank, owner: str, run: Run, cause: str = TIMER) -> None:
    """Goes on with a run that we hold: finishes a move that was cut short, or moves it because of
    `cause`.

    Raises Unavailable when somebody else moved it: the cause must be told again.
    """
    if run["pending_steps"]:
        await launch_pending(bank, run)
        if cause == TIMER:
            return
        run = await _hold_again(bank, run, owner)
    if cause == TIMER and await live.is_paused(bank, run["campaign"]):
        await rows.sleep(bank, owner, run, bank.now() + pausing.SLEEP_SECONDS)
        if await pausing.goes_on(bank, run["campaign"]):
            await rows.wake(bank, run["campaign"], pausing.TOGETHER)
        return
    moved = await _moved(bank, run, cause)
    if moved is None:
        await rows.clear(bank, run)
        return
    if not await rows.move(bank, owner, run, moved):
        raise Unavailable("run_busy", "somebody else moved this run in this moment")
    after = cast("Run", {**run, **moved})
    if after["status"] == "exited":
        await _tell_exit(bank, after)
    await launch_pending(bank, after)


async def _moved(bank: Bank, run: Run, cause: str) -> dict[str, Any] | None:
    """What `cause` changes of the run, with a lease of ours; None when it changes nothing."""
    program = await live.program(bank, run["campaign"], run["version"])
    before, now = _state(run), bank.now()
    after = advance(program, before, cause, opened(bank, run, "facts"), now)
    if after == before:
        return None
    return {**position(after), "moves": run["moves"] + 1, "due": now + LEASE_SECONDS}


async def launch_pending(bank: Bank, run: Run) -> None:
    """Launches the run's pending steps, with the facts and the context that it keeps."""
    program = await live.program(bank, run["campaign"], run["version"])
    context = cast("Context", opened(bank, run, "context"))
    await launch.launch(bank, program, run, opened(bank, run, "facts"), context)


def opened(bank: Bank, run: Run, name: str) -> dict[str, Any]:
    """The run's `facts` or `context`."""
    sealed = cast("Doc", run)[name]
    return cast("dict[str, Any]", bank.vault.open_json(RUNS, name, run["_id"], sealed))


async def _tell_exit(bank: Bank, run: Run) -> None:
    campaign, reason = run["campaign"], run["reason"]
    await timeline.record(
        bank, run["cid"], "campaign.exited", run["_id"], campaign=campaign, reason=reason
    )


async def _hold_again(bank: Bank, run: Run, owner: str) -> Run:
    """The run again, ours, for an event that must not be lost; raises Unavailable when it moved on
    meanwhile."""
    held = await rows.hold(bank, run, owner, moves=run["moves"])
    if held is None:
        raise Unavailable("run_busy", "somebody else moved this run in this moment")
    return held


async def resume_safely(bank: Bank, owner: str, row: Doc) -> None:
    """`resume` by the timer; what goes wrong is logged and the run is due again when its lease is
    over."""
    run = cast("Run", row)
    try:
        await resume(bank, owner, run)
    except Unavailable:
        log.warning("a run waits for the database", extra={"fields": {"run": run["_id"]}})
    except Exception as error:
        attempts = run["attempts"]
        log.exception(
            "a run could not go on", extra={"fields": {"run": run["_id"], "attempts": attempts}}
        )
        reason = error.code if isinstance(error, live.VersionUnreadable) else "internal"
        await _set_aside(bank, owner, run, reason)


async def _set_aside(bank: Bank, owner: str, run: Run, reason: str) -> None:
    """A later try, or after the last one the state `error` with a reason: a run never ends silently
    (contract/engine T8)."""
    if RETRY.is_over(run["attempts"]):
        await rows.stop(bank, owner, run, reason)
        await alarms.work_failed(bank, "campaigns.advance_runs", reason)
    else:
        await rows.put_back(bank, owner, run, bank.now() + RETRY.delay(run["attempts"]))


async def on_event(bank: Bank, cids: list[str], event: str, happened_at: float = math.inf) -> int:
    """Tells the customer's runs of an event: waits end and exit rules apply at once. How many runs
    were told.

    Runs of a cause that is younger than `happened_at` (seconds UTC) are left alone: it was told
    late, and means those before.
    """
    told = 0
    for run in await rows.active(bank, cids):
        if run["event_at"].timestamp() > happened_at or not await _concerns(bank, run, event):
            continue
        owner = secrets.token_hex(8)
        held = await rows.hold(bank, run, owner)
        if held is not None:
            await resume(bank, owner, held, event)
            trace.note("run.told", campaign=run["campaign"], run=run["_id"], event=event)
            told += 1
    return told


async def _concerns(bank: Bank, run: Run, event: str) -> bool:
    """Whether the run waits for the event, or has an exit rule for it. One whose version cannot be
    read concerns nothing that happens: its timer finds that out, and says so."""
    try:
        program = await live.program(bank, run["campaign"], run["version"])
    except live.VersionUnreadable:
        trace.note("run.unreadable", campaign=run["campaign"], run=run["_id"], event=event)
        return False
    return run["waiting"] == event or any(rule.event == event for rule in program.campaign.exit)
