"""Stored versions that this release cannot carry out: who lists them before an upgrade, and who tells
of those that are published."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from campaigns import live
from campaigns.document import rows, stored
from campaigns.document.rows import PENDING
from campaigns.engine.rows import versions_under_way
from customers.alerts import alarms
from customers.banks.bank import Bank
from services.documents.problems import Problem

UNREADABLE = "campaign.unreadable"
Why = Literal["published", "waits", "under_way"]


@dataclass(frozen=True)
class Found:
    """A version that cannot be carried out, why it matters (it is `published`, it `waits` for
    approval, or customers are `under_way` in it, so many), and what is wrong with it."""

    campaign: str
    version: int
    why: Why
    runs: int
    problems: list[Problem]

    def said(self) -> str:
        """One sentence for the command line."""
        whys = {
            "published": "is published",
            "waits": "waits for approval",
            "under_way": "is no longer published",
        }
        under_way = f", {self.runs} customers under way" if self.runs else ""
        wrong = "; ".join(str(one) for one in self.problems)
        return f"campaign {self.campaign}, version {self.version} ({whys[self.why]}{under_way}): {wrong}"


async def find(bank: Bank) -> list[Found]:
    """Those of a bank, by campaign and version."""
    under_way, found = await versions_under_way(bank), list[Found]()
    for (campaign, version), why in sorted((await _wanted(bank, under_way)).items()):
        row = await rows.version(bank, campaign, version)
        problems = [] if row is None else stored.read(row, bank.branches)[1]
        if problems:
            runs = under_way.get((campaign, version), 0)
            found.append(Found(campaign, version, why, runs, problems))
    return found


async def _wanted(bank: Bank, under_way: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Why]:
    """The versions that must be readable, and why."""
    wanted: dict[tuple[str, int], Why] = dict.fromkeys(under_way, "under_way")
    for row in await rows.versions(bank, {"state": {"$in": PENDING}}):
        wanted[row["campaign"], row["version"]] = "waits"
    for campaign, known in (await rows.campaigns(bank)).items():
        if known["live_version"]:
            wanted[campaign, known["live_version"]] = "published"
    return wanted


async def watch(bank: Bank) -> None:
    """Tells somebody once a day of each published version that cannot be carried out."""
    for error in (await live.unreadable(bank)).values():
        version = str(error.version)
        await alarms.raise_daily(
            bank, UNREADABLE, error.campaign, campaign=error.campaign, version=version
        )
