"""What workers do for one bank when a bell rings: each drains what is due and ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from campaigns.channels import reconcile
from campaigns.delivery import perform
from campaigns.engine import runs
from campaigns.engine.rows import RUNS
from customers.archive import pull
from customers.banks.bank import Bank, open_bank
from customers.handover import work
from operations.events import handle
from operations.sync import run
from rewards import claims
from services.container import Services
from services.queue import outbox
from services.queue.outbox import OUTBOX
from services.store import leases
from services.store.mongo import Doc

Work = Callable[[Bank], Awaitable[None]]

SHIFT_SECONDS = 30.0
"""After this long a task takes nothing new and ends; the next bell goes on."""


async def at_bank(services: Services, *, work: Work, tenant: str) -> None:
    """Opens the bank and does one kind of work for it."""
    await work(await open_bank(services, tenant))


async def handle_inbox(bank: Bank) -> None:
    await handle.handle_inbox(bank, until=bank.now() + SHIFT_SECONDS)


async def send_welcomes(bank: Bank) -> None:
    await _send(bank, outbox.WELCOME)


async def send_effects(bank: Bank) -> None:
    await _send(bank, outbox.EFFECTS)


async def _send(bank: Bank, lane: str) -> None:
    async def handle(owner: str, row: Doc) -> None:
        await perform.perform(await bank.current(), owner, row)

    until = bank.now() + SHIFT_SECONDS
    rows = bank.db[OUTBOX]
    horizon = bank.services.cache.of(leases.HORIZONS)["outbox", lane, bank.id]
    seconds, query = perform.LEASE_SECONDS[lane], {"lane": lane}
    await leases.pump(
        bank.services.clock,
        rows,
        handle,
        seconds=seconds,
        query=query,
        until=until,
        horizon=horizon,
    )


async def advance_runs(bank: Bank) -> None:
    """Moves runs whose timer is due, and those whose last move was cut short."""

    async def handle(owner: str, row: Doc) -> None:
        await runs.resume_safely(await bank.current(), owner, row)

    until = bank.now() + SHIFT_SECONDS
    rows = bank.db[RUNS]
    await leases.pump(bank.services.clock, rows, handle, seconds=runs.LEASE_SECONDS, until=until)


async def hand_over(bank: Bank) -> None:
    await work.work(bank, until=bank.now() + SHIFT_SECONDS)


async def pull_archive(bank: Bank) -> None:
    await pull.work(bank, until=bank.now() + SHIFT_SECONDS)


async def sync(bank: Bank) -> None:
    await run.work(bank)


async def keep_channels(bank: Bank) -> None:
    await reconcile.work(bank, until=bank.now() + SHIFT_SECONDS)


async def settle(bank: Bank) -> None:
    await claims.settle_stale(bank)
