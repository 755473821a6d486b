"""The scheduler: every second it wakes workers for the jobs that are due. Any number of schedulers
do no harm.

A tick is a row per bank whose `due` only one scheduler can move on. What the wake-ups are for is in
MongoDB, so a scheduler that is down delays retries and timers and loses nothing.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TypedDict

from campaigns.channels import rosters
from campaigns.publishing import unreadable
from customers.alerts import alarms
from customers.archive import pull
from customers.banks.bank import Bank, list_banks
from customers.intake import retention
from operations import audience, jobs, limits
from operations.sync import run as syncing
from services.container import Services
from services.errors import Unavailable, YinqiaoError
from services.store.mongo import Duplicate
from services.store.rows import Rows

TICKS = Rows("ticks", of_bank=False)
"""The slots of the schedulers."""


class Tick(TypedDict):
    """A slot of one bank, such as its tick; `due` in seconds UTC is when the next one begins."""

    _id: str
    due: float


TICK_SECONDS = 1.0
AT_ONCE = 16
"""Banks whose ticks run side by side."""
NIGHTLY_SECONDS = 30.0
FORGET_SECONDS = 3600.0
log = logging.getLogger(__name__)


async def run(services: Services, stop: asyncio.Event) -> None:
    """Ticks until `stop`; a database that is away is waited for, and what fails at one bank is no
    other's business."""
    ticking: dict[str, asyncio.Task[None]] = {}
    turns = asyncio.Semaphore(AT_ONCE)
    while not stop.is_set():
        try:
            for bank in await list_banks(services):
                if bank.id not in ticking or ticking[bank.id].done():
                    ticking[bank.id] = asyncio.create_task(_tick_safely(bank, turns))
            if ticking:
                await asyncio.wait(ticking.values(), timeout=TICK_SECONDS)
        except Unavailable:
            log.warning("the database is away; the scheduler waits")
        try:
            await asyncio.wait_for(stop.wait(), TICK_SECONDS)
        except TimeoutError:
            continue
    for task in ticking.values():
        task.cancel()
    await asyncio.gather(*ticking.values(), return_exceptions=True)


async def _tick_safely(bank: Bank, turns: asyncio.Semaphore) -> None:
    """A bank's tick, beside AT_ONCE others; one whose tick takes long has no other meanwhile."""
    try:
        async with turns:
            await tick(bank)
    except Unavailable:
        log.warning("the database is away; the scheduler waits")
    except Exception as error:
        log.exception("a tick failed", extra={"fields": {"tenant": bank.id}})
        reason = error.code if isinstance(error, YinqiaoError) else "internal"
        with suppress(Unavailable):
            await alarms.work_failed(bank, "scheduler", reason)


async def tick(bank: Bank) -> list[str]:
    """Wakes workers for what is due at one bank, if this tick is ours; the tasks that were woken."""
    if not await _ours(bank, "tick", TICK_SECONDS):
        return []
    await limits.watch(bank)
    due = [job.name for job in jobs.JOBS if await _is_due(bank, job)]
    for task in due:
        bank.signal(task)
    if await _ours(bank, "nightly", NIGHTLY_SECONDS):
        await syncing.nightly(bank)
        await pull.keep_going(bank)
        await audience.watch(bank)
        await unreadable.watch(bank)
    if await _ours(bank, "forget", FORGET_SECONDS):
        await rosters.forget_old(bank)
        await retention.forget_old(bank)
    return due


async def _is_due(bank: Bank, job: jobs.Entry) -> bool:
    seldom = job.every > TICK_SECONDS
    if seldom and not await _ours(bank, job.name, job.every):
        return False
    return await job.is_due(bank)


async def _ours(bank: Bank, slot: str, every: float) -> bool:
    """Whether we are the one who runs the present slot, of which one begins `every` so many
    seconds."""
    now = bank.now()
    ticks = bank.services.store.system(TICKS)
    begun = Tick(_id=f"{bank.id}:{slot}", due=now + every * 0.9)
    over = {"_id": begun["_id"], "due": {"$lte": now}}
    try:
        return await ticks.update(over, {"$set": {"due": begun["due"]}}, upsert=True)
    except Duplicate:
        return False
