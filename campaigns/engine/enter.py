"""Entering a campaign (promise P2): a run's `_id` comes from campaign, customer and entry key, so
nobody enters twice, and a cap is counted in one conditional write."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from campaigns.document import rows as documents
from campaigns.engine import launch, rows
from campaigns.engine.advance import START, State, advance
from campaigns.engine.facts import fill
from campaigns.engine.program import Program
from campaigns.engine.rows import RUNS, Context, Run
from campaigns.engine.runs import launch_pending, opened, position
from customers import timeline
from customers.banks.bank import Bank
from services import ids
from services.clock import utc
from services.observe import trace
from services.queue import outbox

MOST_TIMES = 20
"""So often a customer may enter under one key and be taken back."""
GO_ON_SECONDS = 60.0
"""After so long a run goes on by itself whose event did not see to it (`go_on`)."""


@dataclass(frozen=True)
class Entry:
    """Somebody has entered, with that run; `again` when he had entered when his event was handled
    before."""

    run: str
    again: bool = False


async def enter(
    bank: Bank,
    program: Program,
    cid: str,
    facts: Mapping[str, Any],
    context: Context,
    owner: str = "",
) -> Entry | None:
    """Lets a customer into a live campaign whose entry rule he meets, and greets him; None when he
    does not enter. `facts` and `context` are kept sealed in the run. All else follows with `go_on`,
    which must be called soon."""
    campaign = program.campaign
    if campaign.entry is None or not program.enters(facts):
        trace.note("campaign.not_entered", campaign=campaign.id, why="rule_not_met")
        return None
    run_id, before = await _run_id(bank, campaign.id, cid, fill(campaign.entry.key, facts))
    if before is not None:
        return _entered_before(program, before, context)
    if not await _under_cap(bank, program, run_id, cid):
        return None
    run = _first(bank, program, run_id, cid, facts, context)
    run["owner"] = owner or secrets.token_hex(8)
    if not await rows.insert(bank, run):
        return _entered_before(program, (await rows.read(bank, [run_id])).get(run_id, run), context)
    trace.note("campaign.entered", campaign=campaign.id, version=program.version, run=run_id)
    await launch.greet(bank, program, run, facts, context)
    return Entry(run_id)


async def go_on(bank: Bank, run_id: str) -> None:
    """What follows an entry: the customer's story, and what the run asks for besides the welcomes
    that were sent. Safe to repeat; a run that was taken back meanwhile is left alone."""
    run = (await rows.read(bank, [run_id])).get(run_id)
    if run is None or run.get("void", False):
        return
    await timeline.record(
        bank, run["cid"], "campaign.entered", run["_id"], campaign=run["campaign"]
    )
    if run["moves"] == 1 and run["owner"] is not None:
        await launch_pending(bank, run)


async def _run_id(bank: Bank, campaign: str, cid: str, key: str) -> tuple[str, Run | None]:
    """The id of his run under that key: another for each time that he entered and was taken
    back; and the run, if he has entered."""
    parts = ("run", campaign, cid, key)
    run_id = ids.tenant_id(bank.id, *parts)
    for again in range(1, MOST_TIMES):
        run = (await rows.read(bank, [run_id])).get(run_id)
        if run is None or not run.get("void", False):
            return run_id, run
        run_id = ids.tenant_id(bank.id, *parts, again)
    return run_id, None


async def take_back(bank: Bank, cids: Sequence[str], userid: str, at: float) -> None:
    """The customer's friendship with `userid` was over `at` (seconds UTC): what it let him enter
    counts for nothing as long as nothing was done for him. Effects that somebody tries in this
    moment count as done, and so does a run that is about to ask for some: whoever let him in looks
    at it afterwards."""
    for run in await rows.begun(bank, cids, at):
        if str(opened(bank, run, "context").get("userid")) != userid:
            continue
        names = [launch.effect_id(run, step) for step, _ in run["trail"]]
        effects = await outbox.read_all(bank.services, bank.id, names)
        begins = run["owner"] is not None and bool(run["pending_steps"])
        if begins or any(row["state"] == "done" or row["owner"] for row in effects.values()):
            continue
        if await rows.take_back(bank, run):
            await outbox.abandon(bank.db, names, "friendship_over")
            trace.note("campaign.taken_back", campaign=run["campaign"], run=run["_id"])


def _entered_before(program: Program, run: Run, context: Context) -> Entry | None:
    """His entry, if it was this very event that brought him: an earlier handling of it was cut
    short."""
    campaign, run_id = program.campaign.id, run["_id"]
    if run["event"] == context["event"]:
        trace.note("campaign.entered", campaign=campaign, version=run["version"], run=run_id)
        return Entry(run_id, again=True)
    trace.note("campaign.not_entered", campaign=campaign, why="already_entered", run=run_id)
    return None


def _first(
    bank: Bank,
    program: Program,
    run_id: str,
    cid: str,
    facts: Mapping[str, Any],
    context: Context,
) -> Run:
    """The run of a customer who has just entered, moved as far as it goes at once."""
    now = bank.now()
    state = advance(program, State(position=None), START, facts, now)
    return {
        "_id": run_id,
        "tenant": bank.id,
        "campaign": program.campaign.id,
        "version": program.version,
        "cid": cid,
        "event": context["event"],
        "event_at": utc(context["happened_at"]),
        "entered_at": utc(now),
        "facts": bank.vault.seal_json(RUNS, "facts", run_id, dict(facts)),
        "context": bank.vault.seal_json(RUNS, "context", run_id, dict(context)),
        "moves": 1,
        **position(state),
        "open": True,
        "due": now + GO_ON_SECONDS,
        "owner": None,
        "attempts": 1,
        "void": False,
        "asleep": False,
    }


async def _under_cap(bank: Bank, program: Program, run_id: str, cid: str) -> bool:
    """Counts an entry against the campaign's caps.

    Whoever is killed after counting is counted again: a cap may let in fewer, never more.
    """
    campaign = program.campaign
    cap = campaign.entry.cap if campaign.entry is not None else None
    if cap is None or (cap.total is None and cap.per_day is None):
        return True
    day = campaign.window.day_of(bank.utc())
    if await documents.count_entry(bank, campaign.id, day, cap):
        return True
    trace.note("campaign.not_entered", campaign=campaign.id, why="cap")
    await timeline.record(
        bank, cid, "campaign.not_entered", run_id, campaign=campaign.id, reason="cap"
    )
    return False
