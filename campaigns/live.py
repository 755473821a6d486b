"""Which campaigns are live at a bank, compiled; and any version that somebody is still in.

What an earlier release stored may be nothing that this one can carry out. Such a version stops nobody
else: whoever asks for it is told (`VersionUnreadable`), whoever asks for all goes on with the others.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from campaigns.document import rows, stored
from campaigns.document.model import Campaign
from campaigns.document.rows import CampaignRow, version_id
from campaigns.document.states import states_of_rules
from campaigns.engine.program import Program, compile_program
from customers.banks.bank import Bank
from services import cache
from services.cache import Slot
from services.documents.problems import Problem
from services.errors import Conflict, NotFound

CACHE_SECONDS = 1.0


@dataclass(frozen=True)
class _Unread:
    """What of a version can be read, and what is wrong with it."""

    document: Campaign | None
    problems: list[Problem]


_PROGRAMS: Slot[dict[str, Program | _Unread]] = Slot("programs", dict)


class VersionUnreadable(Conflict):
    """A stored version that this release cannot carry out: `problems` say where in its text, and why.
    `document` is what it says, where that can be read."""

    def __init__(self, campaign: str, version: int, unread: _Unread) -> None:
        said = "; ".join(map(str, unread.problems))
        data = {"id": campaign, "version": str(version)}
        super().__init__("version_unreadable", f"{campaign}: {said}", data=data)
        self.campaign, self.version = campaign, version
        self.document, self.problems = unread.document, unread.problems


async def program(bank: Bank, campaign: str, version: int) -> Program:
    """The program of one version over the bank's present branches; kept for good, since neither
    changes under its key. Raises NotFound and VersionUnreadable."""
    key = f"{version_id(bank.id, campaign, version)}:{'|'.join(sorted(bank.branches))}"
    programs = bank.services.cache.of(_PROGRAMS)
    known = programs.get(key)
    if known is None:
        known = programs[key] = await _compiled(bank, campaign, version)
    if isinstance(known, _Unread):
        raise VersionUnreadable(campaign, version, known)
    return known


async def _compiled(bank: Bank, campaign: str, version: int) -> Program | _Unread:
    row = await rows.version(bank, campaign, version)
    if row is None:
        raise NotFound("campaign_unknown", f"no version {version} of {campaign}")
    document, problems = stored.read(row, bank.branches)
    if document is None or problems:
        return _Unread(document, problems)
    return compile_program(document, version, states_of_rules(document, bank.branches))


async def campaign_rows(bank: Bank) -> dict[str, CampaignRow]:
    """The bank's campaigns by id, at most CACHE_SECONDS old."""

    async def load() -> dict[str, CampaignRow]:
        return await rows.campaigns(bank)

    return await cache.cached(bank.services, f"campaigns:{bank.id}", CACHE_SECONDS, load)


async def published(bank: Bank, campaign: str) -> Campaign | None:
    """The document that is published, also while the campaign is paused; None when none is, or when
    it cannot be read at all."""
    row = (await campaign_rows(bank)).get(campaign)
    if row is None or not row["live_version"]:
        return None
    try:
        return (await program(bank, campaign, row["live_version"])).campaign
    except VersionUnreadable as error:
        return error.document


def invalidate(bank: Bank) -> None:
    """Drops what is kept of the bank's campaigns in this process, after a change."""
    cache.invalidate(bank.services, f"campaigns:{bank.id}")


async def live_programs(bank: Bank) -> list[Program]:
    """The programs that take entries now: live, inside their window, and readable."""
    found: list[Program] = []
    for row in (await campaign_rows(bank)).values():
        if row["state"] == "live" and row["live_version"]:
            with suppress(VersionUnreadable):
                found.append(await program(bank, row["campaign"], row["live_version"]))
    now = bank.now()
    return [one for one in found if one.campaign.window.is_open(now)]


async def unreadable(bank: Bank) -> dict[str, VersionUnreadable]:
    """The published versions that cannot be carried out, by campaign."""
    found: dict[str, VersionUnreadable] = {}
    for campaign, row in (await campaign_rows(bank)).items():
        try:
            if row["live_version"]:
                await program(bank, campaign, row["live_version"])
        except VersionUnreadable as error:
            found[campaign] = error
    return found


async def is_paused(bank: Bank, campaign: str) -> bool:
    """Whether the campaign may not send at the moment."""
    row = (await campaign_rows(bank)).get(campaign)
    return row is not None and row["state"] == "paused"
