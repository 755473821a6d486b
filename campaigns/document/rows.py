"""The rows of campaigns and of their versions, and what is asked of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NotRequired, TypedDict, cast

from campaigns.document.model import Cap
from customers.banks.bank import Bank
from services.store.mongo import Doc, Duplicate
from services.store.rows import Rows

CAMPAIGNS = Rows("campaigns")
"""A campaign: its state, its live version, and what counts against its caps."""
CAMPAIGN_VERSIONS = Rows(
    "campaign_versions",
    indexes=((("tenant", 1), ("campaign", 1), ("version", -1)),),
)
"""A version of a campaign's document; it never changes."""


PENDING = ("submitted", "approved")
"""States of a version that waits to be live."""


class CampaignRow(TypedDict):
    """`state` is draft, live or paused; `greet` says what new friends get while it is paused
    (`plain` or `none`); `entered` and `entered_on` (by day of the window) are counted for campaigns
    with a cap only. `resumed` until all that slept while it was paused is due."""

    _id: str
    campaign: str
    name: Mapping[str, str]
    state: str
    live_version: int | None
    live_sha256: str | None
    versions: int
    updated_at: datetime
    greet: NotRequired[str]
    entered: NotRequired[int]
    entered_on: NotRequired[Mapping[str, int]]
    resumed: NotRequired[bool]


class VersionRow(TypedDict):
    """`text` is what was handed in, `document` what it was read as, `sha256` the text's; `state` is
    submitted, approved, live, rejected or replaced. `diff` is what it changes of the version
    `diff_base`; `notices` are what a person had to look at; `items` are the versions of the
    catalogue's items that it was read with."""

    _id: str
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
    diff: NotRequired[str]
    diff_base: NotRequired[int | None]
    notices: NotRequired[list[dict[str, Any]]]
    items: NotRequired[dict[str, int]]
    rejected_by: NotRequired[str]
    reason: NotRequired[str]


def version_id(tenant: str, campaign: str, version: int) -> str:
    return f"{tenant}:{campaign}:{version}"


async def add_campaign(bank: Bank, campaign: str, name: Mapping[str, str]) -> None:
    """A draft without versions, unless the campaign is there."""
    row: CampaignRow = {
        "_id": f"{bank.id}:{campaign}",
        "campaign": campaign,
        "name": name,
        "state": "draft",
        "live_version": None,
        "live_sha256": None,
        "versions": 0,
        "updated_at": bank.utc(),
    }
    await bank.db[CAMPAIGNS].insert_new([cast("Doc", row)])


async def campaign(bank: Bank, campaign: str) -> CampaignRow | None:
    """The campaign's row, or None."""
    row = await bank.db[CAMPAIGNS].find_one({"campaign": campaign})
    return cast("CampaignRow | None", row)


async def change_campaign(
    bank: Bank, campaign: str, change: Mapping[str, Any], *, state: str = ""
) -> bool:
    """Sets these fields, with `state` only while the campaign is in that state; False when it is
    not."""
    query = {"campaign": campaign, **({"state": state} if state else {})}
    return await bank.db[CAMPAIGNS].update(query, {"$set": dict(change)})


RESUMED = {"resumed": True}
"""Campaigns that go on again, and for which something may still sleep."""


async def resumed(bank: Bank) -> list[str]:
    """Their ids."""
    found = await bank.db[CAMPAIGNS].find(RESUMED, fields={"campaign": 1}, limit=None)
    return [row["campaign"] for row in found]


async def count_version(bank: Bank, campaign: str, number: int) -> None:
    """There are so many versions, or more."""
    await bank.db[CAMPAIGNS].update({"campaign": campaign}, {"$max": {"versions": number}})


async def add_version(bank: Bank, row: VersionRow) -> bool:
    """False when the campaign has a version of that number."""
    try:
        await bank.db[CAMPAIGN_VERSIONS].insert(cast("Doc", row))
    except Duplicate:
        return False
    return True


async def versions(
    bank: Bank, query: Mapping[str, Any], limit: int | None = None
) -> list[VersionRow]:
    """The versions that match, newest first."""
    order = [("campaign", 1), ("version", -1)]
    rows = await bank.db[CAMPAIGN_VERSIONS].find(query, sort=order, limit=limit)
    return cast("list[VersionRow]", rows)


async def change_versions(bank: Bank, query: Mapping[str, Any], change: Mapping[str, Any]) -> None:
    """Sets these fields in the versions that match: what was decided, and what became of it."""
    await bank.db[CAMPAIGN_VERSIONS].update_many(query, {"$set": dict(change)})


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
