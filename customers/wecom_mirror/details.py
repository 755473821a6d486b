"""A customer's details as WeCom tells them (contract/wechat B3 92114), written into identity,
follow relations and tags."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from customers import relationships
from customers.banks.bank import Bank
from customers.identity import resolution, rows
from customers.relationships import RELATIONSHIPS
from customers.wecom_mirror import tags
from services.queue.effects import EffectKind
from services.queue.outbox import Effect
from services.wechat.wecom import WeComClient


@dataclass(frozen=True)
class Details:
    """The person and what WeCom says of each RM who follows him."""

    cid: str
    name: str
    follow_users: dict[str, dict[str, Any]]


async def fetch(bank: Bank, external_userid: str, seconds: float | None = None) -> Details:
    """Asks WeCom, and brings our identity and follow rows and the customer's tags up to what it
    says.

    Raises PlatformError, and TimeoutError when WeCom takes longer than `seconds`.
    """
    client = bank.wecom
    asked = bank.now()
    async with asyncio.timeout(seconds):
        contact, followers = await _ask(client, external_userid)
    name = str(contact.get("name") or "")
    facts = resolution.Facts(
        external_userid=external_userid, unionid=str(contact.get("unionid") or ""), name=name
    )
    cid = await resolution.identify(bank, facts, source="details")
    told = {
        relationships.follow_id(bank.id, userid, cid): relationships.read_relation(user)
        for userid, user in followers.items()
    }
    there = await bank.read(RELATIONSHIPS, list(told))
    for row_id, relation in told.items():
        before = there.get(row_id)
        had = sorted((before or {}).get("tags") or [])
        if had != list(relation.tags) and (
            before is None or relationships.believes(before, relation)
        ):
            await tags.carry(bank, cid, relation.userid, had, relation.tags)
        await relationships.bring(bank, cid, relation, asked)
    return Details(cid, name, followers)


async def _ask(
    client: WeComClient, external_userid: str
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The customer, and those who follow him by their userid, from every page."""
    contact: dict[str, Any] = {}
    followers: dict[str, dict[str, Any]] = {}
    cursor = ""
    while True:
        answer = await client.customers.get(external_userid, cursor)
        contact |= answer.get("external_contact") or {}
        followers |= {
            str(user["userid"]): dict(user)
            for user in answer.get("follow_user") or []
            if user.get("userid")
        }
        cursor = str(answer.get("next_cursor") or "")
        if not cursor:
            return contact, followers


async def enrich(bank: Bank, effect: Effect) -> None:
    """Asks for the details that WeCom could not tell at once; raises PlatformError."""
    await fetch(bank, effect.args["external_userid"])


ENRICH: EffectKind[Bank] = EffectKind(name=rows.ENRICH, execute=enrich)
"""The customer's details, when WeCom could not tell them at once."""
