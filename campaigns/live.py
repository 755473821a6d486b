"""Which campaigns are live at a bank, compiled; and any version that somebody is still in."""

from __future__ import annotations

from campaigns.document.model import Campaign
from campaigns.document.program import Program, compile_program
from campaigns.document.reading import states_of_rules
from customers.banks.directory import get_tenant
from services import cache
from services.cache import Slot
from services.container import Services
from services.errors import NotFound
from services.store.mongo import Doc

CACHE_SECONDS = 1.0
_PROGRAMS: Slot[dict[str, Program]] = Slot("programs", dict)


def version_id(tenant: str, campaign: str, version: int) -> str:
    return f"{tenant}:{campaign}:{version}"


async def program(services: Services, tenant: str, campaign: str, version: int) -> Program:
    """The program of one version over the bank's present branches; kept for good, since neither
    changes under its key. Raises NotFound."""
    branches = (await get_tenant(services, tenant)).branches
    key = f"{version_id(tenant, campaign, version)}:{'|'.join(sorted(branches))}"
    programs = services.cache.of(_PROGRAMS)
    known = programs.get(key)
    if known is None:
        row = await services.store.tenant(tenant)["campaign_versions"].find_one(
            {"_id": version_id(tenant, campaign, version)}
        )
        if row is None:
            raise NotFound("campaign_unknown", f"no version {version} of {campaign}")
        document = Campaign.model_validate(row["document"])
        known = programs[key] = compile_program(
            document, version, states_of_rules(document, branches)
        )
    return known


async def campaign_rows(services: Services, tenant: str) -> dict[str, Doc]:
    """The bank's campaigns by id, at most CACHE_SECONDS old."""

    async def load() -> dict[str, Doc]:
        rows = await services.store.tenant(tenant)["campaigns"].find({}, limit=None)
        return {row["campaign"]: row for row in rows}

    return await cache.cached(services, f"campaigns:{tenant}", CACHE_SECONDS, load)


async def published(services: Services, tenant: str, campaign: str) -> Campaign | None:
    """The document that is published, also while the campaign is paused; None when none is."""
    row = (await campaign_rows(services, tenant)).get(campaign)
    if row is None or not row["live_version"]:
        return None
    return (await program(services, tenant, campaign, row["live_version"])).campaign


def forget(services: Services, tenant: str) -> None:
    """Drops what is kept of the bank's campaigns in this process, after a change."""
    cache.invalidate(services, f"campaigns:{tenant}")


async def live_programs(services: Services, tenant: str) -> list[Program]:
    """The programs that take entries now: live, and inside their window."""
    now = services.clock()
    rows = await campaign_rows(services, tenant)
    found = [
        await program(services, tenant, row["campaign"], row["live_version"])
        for row in rows.values()
        if row["state"] == "live" and row["live_version"]
    ]
    return [
        p
        for p in found
        if p.campaign.window.starts.timestamp() <= now < p.campaign.window.ends.timestamp()
    ]


async def is_paused(services: Services, tenant: str, campaign: str) -> bool:
    """Whether the campaign may not send at the moment."""
    row = (await campaign_rows(services, tenant)).get(campaign)
    return row is not None and row["state"] == "paused"
