"""The live catalogue: which items a campaign may give, and what they are now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from customers.approvals.versioned import LIVE, version_id
from customers.banks.bank import Bank
from rewards.item import Item
from rewards.items import rows

WORDS = ("title", "text", "how")
"""What an item says to customers. A change of it reaches the rewards that are made of the item when
another clerk agrees to it; a change of anything else is worth money, and reaches a campaign's
rewards with the campaign's next version, to which its own checker agrees (decision 0050)."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An item of the catalogue in its live version."""

    key: str
    version: int
    item: Item


def worth(item: Item) -> Mapping[str, object]:
    """All that an item is besides its words: two are worth the same when these are."""
    return item.model_dump(exclude=set(WORDS))


def with_words_of(item: Item, other: Item) -> Item:
    """`item` with the words of `other`."""
    said = {name: getattr(other, name) for name in WORDS if name in Item.model_fields}
    return item.model_copy(update=said)


async def listed(bank: Bank) -> dict[str, Listed]:
    """The items that are live, by key."""
    live = {
        (row["item"], row["live_version"])
        for row in await rows.items(bank)
        if row["state"] == LIVE and row["live_version"]
    }
    if not live:
        return {}
    wanted = [version_id(bank.id, key, number or 0) for key, number in live]
    found = await rows.versions(bank, {"_id": {"$in": wanted}})
    return {
        row["item"]: Listed(row["item"], row["version"], item_of(row["content"])) for row in found
    }


def item_of(content: Mapping[str, object]) -> Item:
    """The item as a version's row, or a reward's, has it."""
    return Item.model_validate(content)
