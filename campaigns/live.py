"""Which campaigns are live at a bank, compiled; and any version that somebody is still in."""

from __future__ import annotations

from campaigns.document import rows
from campaigns.document.model import Campaign
from campaigns.document.rows import CampaignRow, version_id
from campaigns.document.states import states_of_rules
from campaigns.engine.program import Program, compile_program
from customers.banks.bank import Bank
from services import cache
from services.cache import Slot
from services.errors import NotFound

CACHE_SECONDS = 1.0
_PROGRAMS: Slot[dict[str, Program]] = Slot("programs", dict)


async def program(bank: Bank, campaign: str, version: int) -> Program:
    """The program of one version over the bank's present branches; kept for good, since neither
    changes under its key. Raises NotFound."""
    key = f"{version_id(bank.id, campaign, version)}:{'|'.join(sorted(bank.branches))}"
    programs = bank.services.cache.of(_PROGRAMS)
    known = programs.get(key)
    if known is None:
        known = programs[key] = await _compiled(bank, campaign, version)
    return known


async def _compiled(bank: Bank, campaign: str, version: int) -> Program:
    row = await rows.version(bank, campaign, version)
    if row is None:
        raise NotFound("campaign_unknown", f"no version {version} of {campaign}")
    document = Campaign.model_validate(row["document"])
    return compile_program(document, version, states_of_rules(document, bank.branches))


async def campaign_rows(bank: Bank) -> dict[str, CampaignRow]:
    """The bank's campaigns by id, at most CACHE_SECONDS old."""

    async def load() -> dict[str, CampaignRow]:
        return await rows.campaigns(bank)

    return await cache.cached(bank.services, f"campaigns:{bank.id}", CACHE_SECONDS, load)


async def published(bank: Bank, campaign: str) -> Campaign | None:
    """The document that is published, also while the campaign is paused; None when none is."""
    row = (await campaign_rows(bank)).get(campaign)
    if row is None or not row["live_version"]:
        return None
    return (await program(bank, campaign, row["live_version"])).campaign


def invalidate(bank: Bank) -> None:
    """Drops what is kept of the bank's campaigns in this process, after a change."""
    cache.invalidate(bank.services, f"campaigns:{bank.id}")


async def live_programs(bank: Bank) -> list[Program]:
    """The programs that take entries now: live, and inside their window."""
    found = [
        await program(bank, row["campaign"], row["live_version"])
        for row in (await campaign_rows(bank)).values()
        if row["state"] == "live" and row["live_version"]
    ]
    now = bank.now()
    return [one for one in found if one.campaign.window.is_open(now)]


async def is_paused(bank: Bank, campaign: str) -> bool:
    """Whether the campaign may not send at the moment."""
    row = (await campaign_rows(bank)).get(campaign)
    return row is not None and row["state"] == "paused"
