"""A customer's details as WeCom tells them (contract/wechat B3 92114), written into identity,
relationships and tags."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from customers import relationships
from customers.banks.bank import Bank
from customers.identity import resolution, rows
from customers.wecom_mirror import tags
from services.queue.effects import EffectKind
from services.queue.outbox import Effect
from services.wechat.core.paging import pages
from services.wechat.wecom import WeComClient


@dataclass(frozen=True)
class Details:
    """The person and what WeCom says of each RM who follows him."""

    cid: str
    name: str
    follow_users: dict[str, dict[str, Any]]


async def fetch(bank: Bank, external_userid: str, seconds: float | None = None) -> Details:
    """Asks WeCom, and brings our identity and relationship rows and the customer's tags up to what
    it says.

    Raises PlatformError, and TimeoutError when WeCom takes longer than `seconds`.
    """
    asked = bank.now()
    async with asyncio.timeout(seconds):
        contact, followers = await _ask(bank.wecom, external_userid)
    name, unionid = str(contact.get("name") or ""), str(contact.get("unionid") or "")
    facts = resolution.Facts(external_userid=external_userid, unionid=unionid, name=name)
    cid = await resolution.identify(bank, facts, source="details")
    await _bring(bank, cid, followers, asked)
    return Details(cid, name, followers)


async def _bring(
    bank: Bank, cid: str, followers: Mapping[str, dict[str, Any]], asked: float
) -> None:
    """Brings the customer's relationships, and the tags that they give him, up to what WeCom
    said."""
    told = {
        relationships.relationship_id(bank.id, userid, cid): relationships.read_follow_info(user)
        for userid, user in followers.items()
    }
    known = await relationships.read(bank, list(told))
    for row_id, info in told.items():
        row = known.get(row_id)
        if row is None or relationships.believes(row, info):
            await tags.follow(bank, cid, info, row)
        await relationships.bring(bank, cid, info, asked)


async def _ask(
    client: WeComClient, external_userid: str
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The customer, and those who follow him by their userid, from every page."""
    contact: dict[str, Any] = {}
    followers: dict[str, dict[str, Any]] = {}
    async for page in pages(partial(client.customers.get, external_userid)):
        contact |= page.get("external_contact") or {}
        for user in page.get("follow_user") or []:
            if user.get("userid"):
                followers[str(user["userid"])] = dict(user)
    return contact, followers


async def enrich(bank: Bank, effect: Effect) -> None:
    """Asks for the details that WeCom could not tell at once; raises PlatformError."""
    await fetch(bank, effect.args["external_userid"])


ENRICH: EffectKind[Bank] = EffectKind(name=rows.ENRICH, execute=enrich)
"""The customer's details, when WeCom could not tell them at once."""
