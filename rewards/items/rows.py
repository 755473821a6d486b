"""The rows of the bank's catalogue: its items, and the versions in which two clerks agreed to
them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NotRequired, TypedDict, cast

from customers.banks.bank import Bank
from services.store.mongo import Doc, Duplicate
from services.store.rows import Rows

REWARD_ITEMS = Rows("reward_items")
"""An item of the catalogue, and which of its versions is live."""
REWARD_ITEM_VERSIONS = Rows(
    "reward_item_versions",
    indexes=((("tenant", 1), ("item", 1), ("version", -1)),),
)
"""A version of an item; what it says never changes."""

SUBMITTED, APPROVED, LIVE, REJECTED, REPLACED = (
    "submitted",
    "approved",
    "live",
    "rejected",
    "replaced",
)
PENDING = (SUBMITTED, APPROVED)
DRAFT, RETIRED = "draft", "retired"
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


class ItemVersionRow(TypedDict):
    """`content` is the whole item; `action` says whether it is to be live (PUT) or given to no
    campaign any more (RETIRE). `base` was the live version when it was submitted. `state` is
    submitted, approved, live, rejected or replaced."""

    _id: str
    item: str
    version: int
    action: str
    content: Doc
    base: int | None
    state: str
    author: str
    at: datetime
    why: str
    decided_by: NotRequired[str]
    decided_at: NotRequired[datetime]
    reason: NotRequired[str]


def item_id(tenant: str, item: str) -> str:
    return f"{tenant}:{item}"


def version_id(tenant: str, item: str, version: int) -> str:
    return f"{tenant}:{item}:{version}"


async def item(bank: Bank, key: str) -> ItemRow | None:
    row = await bank.db[REWARD_ITEMS].find_one({"_id": item_id(bank.id, key)})
    return cast("ItemRow | None", row)


async def items(bank: Bank) -> list[ItemRow]:
    """Every item of the bank, by key."""
    return cast(
        "list[ItemRow]", await bank.db[REWARD_ITEMS].find({}, sort=[("item", 1)], limit=None)
    )


async def version(bank: Bank, key: str, number: int) -> ItemVersionRow | None:
    row = await bank.db[REWARD_ITEM_VERSIONS].find_one({"_id": version_id(bank.id, key, number)})
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


async def add_version(bank: Bank, row: ItemVersionRow) -> bool:
    """False when the item has a version of that number."""
    try:
        await bank.db[REWARD_ITEM_VERSIONS].insert(cast("Doc", row))
    except Duplicate:
        return False
    return True


async def change_item(bank: Bank, key: str, change: Doc, **wanted: object) -> bool:
    """Changes the item while it says what is `wanted`; False when it does not."""
    return await bank.db[REWARD_ITEMS].update({"_id": item_id(bank.id, key), **wanted}, change)


async def change_versions(
    bank: Bank, query: Mapping[str, object], change: Mapping[str, object]
) -> None:
    """Sets these fields in the versions that match: what was decided, and what became of it."""
    await bank.db[REWARD_ITEM_VERSIONS].update_many(dict(query), {"$set": dict(change)})
