"""Rewards of a campaign that are items of the bank's catalogue: `coffee: {item: coffee, stock: 100}`.

What the item is stands in the document from the moment at which it is read, so that whoever agrees
to a version agrees to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from campaigns.document.model import Campaign, Reward
from rewards.item import Item
from rewards.items import live
from services.documents.parts import Text
from services.documents.problems import Fault, fault

_UNKNOWN = Item(kind="code", title=Text(zh="-"), cost=0)
"""What stands for an item that nobody knows, until the document is refused."""


def filled_in(
    value: dict[Any, Any], catalogue: Mapping[str, Item] | None
) -> tuple[Any, list[Fault]]:
    """The document with what its rewards' items are, and what is wrong with how they are named.
    Without a `catalogue` any name will do."""
    rewards = value.get("rewards")
    if not isinstance(rewards, dict):
        return value, []
    faults: list[Fault] = []
    filled = {
        key: _filled(("rewards", key), reward, catalogue, faults)
        if isinstance(reward, dict) and reward.get("item") is not None
        else reward
        for key, reward in rewards.items()
    }
    return {**value, "rewards": filled}, faults


def _filled(
    place: tuple[Any, ...],
    reward: dict[Any, Any],
    catalogue: Mapping[str, Item] | None,
    faults: list[Fault],
) -> dict[Any, Any]:
    name = reward["item"]
    own = [key for key in reward if key in Item.model_fields]
    faults += [fault((*place, key), "item_and_own", key=key, item=name) for key in own]
    item = catalogue.get(name) if catalogue is not None and isinstance(name, str) else None
    if item is None and catalogue is not None and isinstance(name, str):
        faults.append(_unknown((*place, "item"), name, catalogue))
    return {**(item or _UNKNOWN).model_dump(), **reward}


def _unknown(place: tuple[Any, ...], name: str, catalogue: Mapping[str, Item]) -> Fault:
    if not catalogue:
        return fault(place, "item_unknown_none", name=name)
    return fault(place, "item_unknown", name=name, expected=sorted(catalogue))


def worths(document: Campaign) -> dict[str, tuple[str, Mapping[str, object]]]:
    """What the rewards that are items are worth: their keys → the item and all but its words."""
    return {
        key: (reward.item, live.worth(reward.thing))
        for key, reward in document.rewards.items()
        if reward.item is not None
    }


def versions(document: Campaign, listed: Mapping[str, live.Listed]) -> dict[str, int]:
    """The versions of the items that the document names, by item."""
    named = {reward.item for reward in document.rewards.values() if reward.item is not None}
    return {name: listed[name].version for name in sorted(named) if name in listed}


def with_live_words(reward: Reward, listed: Mapping[str, live.Listed]) -> Item:
    """What the reward is, in the words that its item has now."""
    known = listed.get(reward.item or "")
    return reward.thing if known is None else live.with_words_of(reward.thing, known.item)
