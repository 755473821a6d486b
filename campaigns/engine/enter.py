"""Entering a campaign (promise P2): a run's `_id` comes from campaign, customer and entry key, so
nobody enters twice, and a cap is counted in one conditional write."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from campaigns.document import rows as documents
from campaigns.engine import launch, rows
from campaigns.engine.advance import START, State, advance
from campaigns.engine.facts import fill
from campaigns.engine.program import Program
from campaigns.engine.rows import LEASE_SECONDS, RUNS, Context, Run
from campaigns.engine.runs import opened, position
from customers import timeline
from customers.banks.bank import Bank
from services import ids
from services.clock import utc
from services.observe import trace
from services.queue import outbox

MOST_TIMES = 20
"""So often a customer may enter under one key and be taken back."""


async def enter(
    bank: Bank,
    program: Program,
    cid: str,
    facts: Mapping[str, Any],
    context: Context,
    owner: str = "",
) -> bool:
    """Lets a customer into a live campaign whose entry rule he meets; False when he does not enter.
    `facts` and `context` are kept sealed in the run. The first effects were tried once when this
    returns."""
    campaign = program.campaign
    if campaign.entry is None or not program.enters(facts):
        trace.note("campaign.not_entered", campaign=campaign.id, why="rule_not_met")
        return False
    run_id = await _run_id(bank, campaign.id, cid, fill(campaign.entry.key, facts))
    if not await _under_cap(bank, program, run_id, cid):
        return False
    run = _first(bank, program, run_id, cid, facts, context)
    run["owner"] = owner or secrets.token_hex(8)
    if not await rows.insert(bank, run):
        _entered_before(program, run_id)
        return False
    trace.note("campaign.entered", campaign=campaign.id, version=program.version, run=run_id)
    await timeline.record(bank, cid, "campaign.entered", run_id, campaign=campaign.id)
    await launch.launch(bank, program, run, facts, context)
    return True


async def _run_id(bank: Bank, campaign: str, cid: str, key: str) -> str:
    """The id of his run under that key: another for each time that he entered and was taken
    back."""
    parts = ("run", campaign, cid, key)
    run_id = ids.tenant_id(bank.id, *parts)
    for again in range(1, MOST_TIMES):
        if not await rows.is_void(bank, run_id):
            break
        run_id = ids.tenant_id(bank.id, *parts, again)
    return run_id


async def take_back(bank: Bank, cids: Sequence[str], userid: str, at: float) -> None:
    """The customer's friendship with `userid` was over `at` (seconds UTC): what it let him enter
    counts for nothing as long as nothing was done for him. Effects that somebody tries in this
    moment count as done."""
    for run in await rows.begun(bank, cids, at):
        if str(opened(bank, run, "context").get("userid")) != userid:
            continue
        names = [launch.effect_id(run, step) for step, _ in run["trail"]]
        effects = await outbox.read_all(bank.services, bank.id, names)
        if any(row["state"] == "done" or row["owner"] for row in effects.values()):
            continue
        if await rows.take_back(bank, run):
            await outbox.abandon(bank.db, names, "friendship_over")
            trace.note("campaign.taken_back", campaign=run["campaign"], run=run["_id"])


def _entered_before(program: Program, run_id: str) -> None:
    campaign = program.campaign.id
    trace.note("campaign.not_entered", campaign=campaign, why="already_entered", run=run_id)


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
        "due": now + LEASE_SECONDS,
        "owner": None,
        "attempts": 1,
        "void": False,
        "asleep": False,
    }


async def _under_cap(bank: Bank, program: Program, run_id: str, cid: str) -> bool:
    """Counts an entry against the campaign's caps; a run that exists already costs nothing.

    Whoever is killed after counting is counted again: a cap may let in fewer, never more.
    """
    campaign = program.campaign
    cap = campaign.entry.cap if campaign.entry is not None else None
    if cap is None or (cap.total is None and cap.per_day is None):
        return True
    if await rows.exists(bank, run_id):
        _entered_before(program, run_id)
        return False
    day = campaign.window.day_of(bank.utc())
    if await documents.count_entry(bank, campaign.id, day, cap):
        return True
    trace.note("campaign.not_entered", campaign=campaign.id, why="cap")
    await timeline.record(
        bank, cid, "campaign.not_entered", run_id, campaign=campaign.id, reason="cap"
    )
    return False
