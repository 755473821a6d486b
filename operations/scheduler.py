"""The scheduler: every second it rings for work that is due. Any number of schedulers do no harm.

A tick is a row per bank whose `due` only one scheduler can move on. What the bells mean is in
MongoDB, so a scheduler that is down delays retries and timers and loses nothing.
"""

from __future__ import annotations

import asyncio
import logging

from campaigns.channels import provisioning
from customers.archive import pull
from customers.banks.bank import Bank, list_banks, open_bank
from operations.sync import run as syncing
from rewards.rows import REWARDS
from services.container import Services
from services.errors import Unavailable
from services.store.mongo import Duplicate
from services.store.rows import Rows

TICKS = Rows("ticks", of_bank=False)
"""The slots of the schedulers, one row a job."""

TICK_SECONDS = 1.0
SETTLE_SECONDS = 2.0
NIGHTLY_SECONDS = 30.0
_QUEUES = {
    "campaigns.handle_inbox": ("inbox", {}),
    "campaigns.send_welcomes": ("outbox", {"lane": "welcome"}),
    "campaigns.send_effects": ("outbox", {"lane": "effects"}),
    "campaigns.advance_runs": ("runs", {}),
    "customers.handover": ("handover_batches", {}),
    pull.TASK: ("archive_pulls", {}),
    syncing.TASK: ("syncs", {}),
    provisioning.UPKEEP: ("channels", {}),
}
log = logging.getLogger(__name__)


async def run(services: Services, stop: asyncio.Event) -> None:
    """Ticks until `stop`; a database that is away is waited for, and what fails at one bank is no
    other's business."""
    while not stop.is_set():
        try:
            for tenant in await list_banks(services):
                await _tick_safely(await open_bank(services, tenant.id))
        except Unavailable:
            log.warning("the database is away; the scheduler waits")
        try:
            await asyncio.wait_for(stop.wait(), TICK_SECONDS)
        except TimeoutError:
            continue


async def _tick_safely(bank: Bank) -> None:
    try:
        await tick(bank)
    except Unavailable:
        raise
    except Exception:
        log.exception("a tick failed", extra={"fields": {"tenant": bank.id}})


async def tick(bank: Bank) -> list[str]:
    """Rings for what is due at one bank, if this tick is ours; the tasks that were rung."""
    if not await _ours(bank.services, f"{bank.id}:tick", TICK_SECONDS):
        return []
    now = bank.now()
    db = bank.db
    rung = [
        task
        for task, (rows, query) in _QUEUES.items()
        if await db[rows].find(
            {"open": True, "due": {"$lte": now}, **query}, limit=1, fields={"_id": 1}
        )
    ]
    if await _ours(bank.services, f"{bank.id}:settle", SETTLE_SECONDS) and await db[REWARDS].find(
        {"$or": [{"held": {"$gt": 0}}, {"move": {"$exists": True}}]}, limit=1, fields={"_id": 1}
    ):
        rung.append("rewards.settle")
    for task in rung:
        bank.signal(task)
    if await _ours(bank.services, f"{bank.id}:nightly", NIGHTLY_SECONDS):
        await syncing.nightly(bank)
        await pull.keep_going(bank)
    return rung


async def _ours(services: Services, job: str, every: float) -> bool:
    """Whether we are the one who runs this job's present slot."""
    now = services.clock()
    ticks = services.store.system(TICKS)
    try:
        return await ticks.update(
            {"_id": job, "due": {"$lte": now}}, {"$set": {"due": now + every * 0.9}}, upsert=True
        )
    except Duplicate:
        return False
