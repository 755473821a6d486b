"""The rows of campaigns and of their versions, and what is asked of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NotRequired, TypedDict, cast

from campaigns.document.model import Cap
from customers.banks.bank import Bank
from services.store.mongo import Doc
from services.store.rows import Rows

CAMPAIGNS = Rows("campaigns")
"""A campaign: its state, its live version, and what counts against its caps."""
CAMPAIGN_VERSIONS = Rows(
    "campaign_versions",
    indexes=((("tenant", 1), ("campaign", 1), ("version", -1)),),
)
"""A version of a campaign's document; it never changes."""


class CampaignRow(TypedDict):
    """`state` is draft, live or paused; `entered` and `entered_on` (by day of the window) are
    counted for campaigns with a cap only."""

    _id: str
    tenant: str
    campaign: str
    name: Mapping[str, str]
    state: str
    live_version: int | None
    live_sha256: str | None
    versions: int
    updated_at: datetime
    entered: NotRequired[int]
    entered_on: NotRequired[Mapping[str, int]]


class VersionRow(TypedDict):
    """`text` is what was handed in, `document` what it was read as, `sha256` the text's; `state` is
    submitted, approved, live, rejected or replaced."""

    _id: str
    tenant: str
    campaign: str
    version: int
    text: str
    document: Mapping[str, Any]
    sha256: str
    state: str
    author: str
    at: datetime
    approved_by: str | None
    approved_at: NotRequired[datetime]
    published_at: NotRequired[datetime]
    rejected_by: NotRequired[str]
    reason: NotRequired[str]


def version_id(tenant: str, campaign: str, version: int) -> str:
    return f"{tenant}:{campaign}:{version}"


async def version(bank: Bank, campaign: str, number: int) -> VersionRow | None:
    """One version, or None."""
    wanted = {"_id": version_id(bank.id, campaign, number)}
    return cast("VersionRow | None", await bank.db[CAMPAIGN_VERSIONS].find_one(wanted))


async def campaigns(bank: Bank) -> dict[str, CampaignRow]:
    """Every campaign of the bank, by id."""
    found = cast("list[CampaignRow]", await bank.db[CAMPAIGNS].find({}, limit=None))
    return {row["campaign"]: row for row in found}


async def count_entry(bank: Bank, campaign: str, day: str, cap: Cap) -> bool:
    """Counts one entry on `day`, in one conditional write; False when a cap is reached."""
    room: Doc = {"_id": f"{bank.id}:{campaign}"}
    if cap.total is not None:
        room["entered"] = {"$not": {"$gte": cap.total}}
    if cap.per_day is not None:
        room[f"entered_on.{day}"] = {"$not": {"$gte": cap.per_day}}
    counted = {"$inc": {"entered": 1, f"entered_on.{day}": 1}}
    return await bank.db[CAMPAIGNS].update(room, counted)
