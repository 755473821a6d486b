"""What workers do for one bank when a bell rings: each drains what is due and ends."""

from __future__ import annotations

from campaigns.channels import reconcile
from campaigns.delivery import effects
from campaigns.engine import runs
from customers.archive import pull
from customers.handover import work
from operations.events import handle
from operations.sync import run
from rewards import claims
from services.container import Services
from services.queue import outbox
from services.store import leases
from services.store.mongo import Doc

SHIFT_SECONDS = 30.0
"""After this long a task takes nothing new and ends; the next bell goes on."""


async def handle_inbox(services: Services, tenant: str) -> None:
    await handle.handle_inbox(services, tenant, until=services.clock() + SHIFT_SECONDS)


async def send_welcomes(services: Services, tenant: str) -> None:
    await _send(services, tenant, outbox.WELCOME)


async def send_effects(services: Services, tenant: str) -> None:
    await _send(services, tenant, outbox.EFFECTS)


async def _send(services: Services, tenant: str, lane: str) -> None:
    async def handle(owner: str, row: Doc) -> None:
        await effects.perform(services, owner, row)

    until = services.clock() + SHIFT_SECONDS
    rows = services.store.tenant(tenant)["outbox"]
    horizon = services.cache.of(leases.HORIZONS)["outbox", lane, tenant]
    seconds, query = effects.LEASE_SECONDS[lane], {"lane": lane}
    await leases.pump(
        services.clock, rows, handle, seconds=seconds, query=query, until=until, horizon=horizon
    )


async def advance_runs(services: Services, tenant: str) -> None:
    """Moves runs whose timer is due, and those whose last move was cut short."""

    async def handle(owner: str, row: Doc) -> None:
        await runs.resume_safely(services, owner, row)

    until = services.clock() + SHIFT_SECONDS
    rows = services.store.tenant(tenant)["runs"]
    await leases.pump(services.clock, rows, handle, seconds=runs.LEASE_SECONDS, until=until)


async def hand_over(services: Services, tenant: str) -> None:
    await work.work(services, tenant, until=services.clock() + SHIFT_SECONDS)


async def pull_archive(services: Services, tenant: str) -> None:
    await pull.work(services, tenant, until=services.clock() + SHIFT_SECONDS)


async def sync(services: Services, tenant: str) -> None:
    await run.work(services, tenant)


async def keep_channels(services: Services, tenant: str) -> None:
    await reconcile.work(services, tenant, until=services.clock() + SHIFT_SECONDS)


async def settle(services: Services, tenant: str) -> None:
    await claims.settle_stale(services, tenant)
