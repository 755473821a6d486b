"""Which campaigns are live at a bank, compiled; and any version that somebody is still in."""

from __future__ import annotations

from campaigns.document.model import Campaign
from campaigns.document.program import Program, compile_program
from campaigns.document.reading import states_of_rules
from campaigns.document.rows import CAMPAIGN_VERSIONS, CAMPAIGNS
from customers.banks.bank import Bank
from services import cache
from services.cache import Slot
from services.errors import NotFound
from services.store.mongo import Doc

CACHE_SECONDS = 1.0
_PROGRAMS: Slot[dict[str, Program]] = Slot("programs", dict)


def version_id(tenant: str, campaign: str, version: int) -> str:
    return f"{tenant}:{campaign}:{version}"


async def program(bank: Bank, campaign: str, version: int) -> Program:
    """The program of one version over the bank's present branches; kept for good, since neither
    changes under its key. Raises NotFound."""
    branches = bank.branches
    key = f"{version_id(bank.id, campaign, version)}:{'|'.join(sorted(branches))}"
    programs = bank.services.cache.of(_PROGRAMS)
    known = programs.get(key)
    if known is None:
        row = await bank.db[CAMPAIGN_VERSIONS].find_one(
            {"_id": version_id(bank.id, campaign, version)}
        )
        if row is None:
            raise NotFound("campaign_unknown", f"no version {version} of {campaign}")
        document = Campaign.model_validate(row["document"])
        known = programs[key] = compile_program(
            document, version, states_of_rules(document, branches)
        )
    return known


async def campaign_rows(bank: Bank) -> dict[str, Doc]:
    """The bank's campaigns by id, at most CACHE_SECONDS old."""

    async def load() -> dict[str, Doc]:
        rows = await bank.db[CAMPAIGNS].find({}, limit=None)
        return {row["campaign"]: row for row in rows}

    return await cache.cached(bank.services, f"campaigns:{bank.id}", CACHE_SECONDS, load)


async def published(bank: Bank, campaign: str) -> Campaign | None:
    """The document that is published, also while the campaign is paused; None when none is."""
    row = (await campaign_rows(bank)).get(campaign)
    if row is None or not row["live_version"]:
        return None
    return (await program(bank, campaign, row["live_version"])).campaign


def forget(bank: Bank) -> None:
    """Drops what is kept of the bank's campaigns in this process, after a change."""
    cache.invalidate(bank.services, f"campaigns:{bank.id}")


async def live_programs(bank: Bank) -> list[Program]:
    """The programs that take entries now: live, and inside their window."""
    now = bank.now()
    rows = await campaign_rows(bank)
    found = [
        await program(bank, row["campaign"], row["live_version"])
        for row in rows.values()
        if row["state"] == "live" and row["live_version"]
    ]
    return [
        p
        for p in found
        if p.campaign.window.starts.timestamp() <= now < p.campaign.window.ends.timestamp()
    ]


async def is_paused(bank: Bank, campaign: str) -> bool:
    """Whether the campaign may not send at the moment."""
    row = (await campaign_rows(bank)).get(campaign)
    return row is not None and row["state"] == "paused"
