"""The rows of community: the greetings that customer groups may choose."""

from __future__ import annotations

from typing import NotRequired, cast

from campaigns.channels.rows import Provisioned
from customers.banks.bank import Bank
from services.store.rows import Rows


class GroupGreeting(Provisioned):
    """The greeting that a campaign calls `name`; once present, `content` is what WeCom was told."""

    campaign: str
    name: str
    template_id: NotRequired[str]
    content: NotRequired[str]


GROUP_GREETINGS = Rows("group_greetings")
"""Greetings that groups may choose, as they were made at WeCom."""


def greeting_id(bank: Bank, campaign: str, name: str) -> str:
    return f"{bank.id}:{campaign}:{name}"


async def greetings(bank: Bank, campaign: str = "") -> list[GroupGreeting]:
    """The greetings of a campaign, or of all, in the order of campaigns and names."""
    query = {"campaign": campaign} if campaign else {}
    order = [("campaign", 1), ("name", 1)]
    rows = await bank.db[GROUP_GREETINGS].find(query, sort=order, limit=None)
    return cast("list[GroupGreeting]", rows)
