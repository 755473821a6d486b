"""What workers do for one bank when a bell rings: each drains what is due and ends."""

from __future__ import annotations

from campaigns import effects, engine, inbox, syncing, upkeep
from customers import archive, handover_work
from rewards import claims
from services import leases, outbox
from services.container import Services
from services.mongo import Doc

SHIFT_SECONDS = 30.0
"""After this long a task takes nothing new and ends; the next bell goes on."""


async def handle_inbox(services: Services, tenant: str) -> None:
    await inbox.handle_inbox(services, tenant, until=services.clock() + SHIFT_SECONDS)


async def send_welcomes(services: Services, tenant: str) -> None:
    await _send(services, tenant, outbox.WELCOME)


async def send_effects(services: Services, tenant: str) -> None:
    await _send(services, tenant, outbox.EFFECTS)


async def _send(services: Services, tenant: str, lane: str) -> None:
    async def handle(owner: str, row: Doc) -> None:
        await effects.perform(services, owner, row)

    until = services.clock() + SHIFT_SECONDS
    rows = services.store.tenant(tenant)["outbox"]
    horizon = services.cache.setdefault(f"horizon:outbox:{lane}:{tenant}", leases.Horizon())
    seconds, query = effects.LEASE_SECONDS[lane], {"lane": lane}
    await leases.pump(services.clock, rows, handle, seconds=seconds, query=query, until=until, horizon=horizon)


async def advance_runs(services: Services, tenant: str) -> None:
    """Moves runs whose timer is due, and those whose last move was cut short."""

    async def handle(owner: str, row: Doc) -> None:
        await engine.resume_safely(services, owner, row)

    until = services.clock() + SHIFT_SECONDS
    rows = services.store.tenant(tenant)["runs"]
    await leases.pump(services.clock, rows, handle, seconds=engine.LEASE_SECONDS, until=until)


async def hand_over(services: Services, tenant: str) -> None:
    await handover_work.work(services, tenant, until=services.clock() + SHIFT_SECONDS)


async def pull_archive(services: Services, tenant: str) -> None:
    await archive.work(services, tenant, until=services.clock() + SHIFT_SECONDS)


async def sync(services: Services, tenant: str) -> None:
    await syncing.work(services, tenant)


async def keep_channels(services: Services, tenant: str) -> None:
    await upkeep.work(services, tenant, until=services.clock() + SHIFT_SECONDS)


async def settle(services: Services, tenant: str) -> None:
    await claims.settle_stale(services, tenant)
