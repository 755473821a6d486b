"""The rows of the bank's catalogue: its items, and the versions in which two clerks agreed to
them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NotRequired, TypedDict, cast

from customers.approvals import versioned
from customers.approvals.versioned import VersionRow
from customers.banks.bank import Bank
from services.store.mongo import Doc
from services.store.rows import Rows

REWARD_ITEMS = Rows("reward_items")
"""An item of the catalogue, and which of its versions is live."""
REWARD_ITEM_VERSIONS = Rows(
    "reward_item_versions",
    indexes=((("tenant", 1), ("item", 1), ("version", -1)),),
)
"""A version of an item; what it says never changes."""

RETIRED = "retired"
PUT, RETIRE = "put", "retire"


class ItemRow(TypedDict):
    """`state` is draft (no version was agreed to yet), live or retired; `title` and `kind` are those
    of the live version, or of the first. `decided` is the newest version that was carried out."""

    _id: str
    item: str
    kind: str
    title: Mapping[str, str]
    state: str
    live_version: int | None
    versions: int
    updated_at: datetime
    decided: NotRequired[int]


class ItemVersionRow(VersionRow):
    """`content` is the whole item; `action` says whether it is to be live (PUT) or given to no
    campaign any more (RETIRE)."""

    item: str


def item_id(tenant: str, item: str) -> str:
    return f"{tenant}:{item}"


async def item(bank: Bank, key: str) -> ItemRow | None:
    row = await bank.db[REWARD_ITEMS].find_one({"_id": item_id(bank.id, key)})
    return cast("ItemRow | None", row)


async def items(bank: Bank) -> list[ItemRow]:
    """Every item of the bank, by key."""
    return cast(
        "list[ItemRow]", await bank.db[REWARD_ITEMS].find({}, sort=[("item", 1)], limit=None)
    )


async def version(bank: Bank, key: str, number: int) -> ItemVersionRow | None:
    row = await bank.db[REWARD_ITEM_VERSIONS].find_one(
        {"_id": versioned.version_id(bank.id, key, number)}
    )
    return cast("ItemVersionRow | None", row)


async def versions(
    bank: Bank, query: Mapping[str, object], limit: int | None = None
) -> list[ItemVersionRow]:
    """The versions that match, by item, newest first."""
    order = [("item", 1), ("version", -1)]
    found = await bank.db[REWARD_ITEM_VERSIONS].find(dict(query), sort=order, limit=limit)
    return cast("list[ItemVersionRow]", found)


async def add_item(bank: Bank, row: ItemRow) -> None:
    """A draft, unless the item is there."""
    await bank.db[REWARD_ITEMS].insert_new([cast("Doc", row)])
