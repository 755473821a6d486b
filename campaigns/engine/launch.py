"""What follows a move: the effects of the run's pending steps are put into the outbox and tried at
once.

An effect's id is made of run and step, so whoever finds a run with pending steps may launch them
again: what is in the outbox stays as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from campaigns.delivery import perform
from campaigns.delivery.kinds import KINDS
from campaigns.engine import rows
from campaigns.engine.program import Op, Program
from campaigns.engine.rows import LEASE_SECONDS, Context, Run
from campaigns.engine.verbs.verb import Cause
from customers.banks.bank import Bank
from services import ids
from services.cache import Slot
from services.queue import outbox
from services.queue.outbox import Effect
from services.store.mongo import Doc

PATIENT_SECONDS = 1.0
SURGE = 8
"""With more runs than this being launched in one process at once, only welcomes are sent at
once."""


@dataclass
class _Load:
    launches: int = 0


_LOAD: Slot[_Load] = Slot("launches", _Load)
"""How many runs this process launches at the moment."""


def effect_id(run: Run, step: str) -> str:
    return ids.tenant_id(run["tenant"], "effect", run["_id"], step)


def prepare(run: Run, op: Op, cause: Cause) -> Effect | None:
    """The effect of one step of a run, None when its verb has none; the same step of the same run
    always has the same id."""
    if op.verb.prepare is None:
        return None
    asked = op.verb.prepare(op.body, cause)
    return Effect(
        id=effect_id(run, op.step.id),
        tenant=run["tenant"],
        kind=asked.kind.name,
        cid=run["cid"],
        args=asked.args,
        lane=asked.kind.lane,
        campaign=run["campaign"],
        version=run["version"],
        run=run["_id"],
        step=op.step.id,
        deadline=asked.deadline,
    )


async def greet(
    bank: Bank, program: Program, run: Run, facts: Mapping[str, Any], context: Context
) -> None:
    """Sends the welcomes of a run that we have just begun, and that nobody else knows yet."""
    for effect in _effects(program, run, facts, context):
        if effect.lane == outbox.WELCOME:
            row = _row(bank, run, effect, surge=False)
            await perform.perform_new(bank, effect, row)


def _effects(
    program: Program, run: Run, facts: Mapping[str, Any], context: Context
) -> list[Effect]:
    """The effects of the run's pending steps."""
    cause = Cause(run["campaign"], program.campaign.templates, facts, context)
    prepared = [prepare(run, program.ops[step], cause) for step in run["pending_steps"]]
    return [effect for effect in prepared if effect is not None]


async def launch(
    bank: Bank, program: Program, run: Run, facts: Mapping[str, Any], context: Context
) -> None:
    """Moves the pending steps' effects to the outbox, greets whom nobody has greeted, clears the
    run, and tries the other effects; in a surge those are left to their lane, so that no welcome
    waits for somebody else's tag."""
    effects = _effects(program, run, facts, context)
    load = bank.services.cache.of(_LOAD)
    load.launches += 1
    try:
        greeted = await _greeted(bank, run, effects)
        wanted = [effect for effect in effects if effect.id not in greeted]
        ours = await _put(bank, run, wanted, surge=load.launches > SURGE)
        await _perform(bank, [row for row in ours if row["lane"] == outbox.WELCOME])
        await rows.clear(bank, run)
        await _perform(bank, [row for row in ours if row["lane"] != outbox.WELCOME])
    finally:
        load.launches -= 1


async def _greeted(bank: Bank, run: Run, effects: Sequence[Effect]) -> Collection[str]:
    """The welcomes that were sent as the run began (`greet`), or are being tried; whose story is
    told now."""
    welcomes = [effect for effect in effects if effect.lane == outbox.WELCOME]
    if run["moves"] > 1 or not welcomes:
        return ()
    found = await outbox.read(bank.services, run["tenant"], [effect.id for effect in welcomes])
    for effect in welcomes:
        if effect.id in found and found[effect.id]["state"] == "done":
            await perform.tell_done(bank, effect, found[effect.id]["reason"])
    return found


async def _put(bank: Bank, run: Run, effects: Sequence[Effect], *, surge: bool) -> list[Doc]:
    """Puts effects into the outbox; the rows of those that are new and leased to us."""
    wanted = [_in_doubt(run, _row(bank, run, effect, surge=surge)) for effect in effects]
    new = await asyncio.gather(*(outbox.insert(bank.services, row) for row in wanted))
    return [row for row, is_new in zip(wanted, new, strict=True) if is_new and row["owner"]]


def _in_doubt(run: Run, row: Doc) -> Doc:
    """A row as of a second try, if somebody may have made the first without living to write it down:
    a run's first welcomes are sent as it begins (`greet`)."""
    if row["lane"] != outbox.WELCOME or run["moves"] > 1:
        return row
    return {**row, "attempts": row["attempts"] + 1}


async def _perform(bank: Bank, effects: Iterable[Doc]) -> None:
    await asyncio.gather(*(perform.perform(bank, row["owner"], row) for row in effects))


def _row(bank: Bank, run: Run, effect: Effect, *, surge: bool) -> Doc:
    """The outbox row of one effect: leased to us, or left to its lane when it is not urgent: in a
    surge, and a reminder in a minute in which everybody sends. What answers the customer's coming
    goes at once."""
    now = bank.now()
    if run["moves"] > 1 and KINDS[effect.kind].is_app_message:
        due = bank.off_the_rush(now, effect.id)
        if due > now:
            return outbox.row_of(bank.services, effect, due=due, owner=None)
    if surge and effect.lane != outbox.WELCOME:
        return outbox.row_of(bank.services, effect, due=now + PATIENT_SECONDS, owner=None)
    return outbox.row_of(bank.services, effect, due=now + LEASE_SECONDS, owner=run["owner"])
