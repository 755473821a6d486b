"""The greetings that customer groups may choose (contract/wechat B8).

WeCom does not list them, so a greeting whose answer was lost may be made a second time; the row keeps one, and nobody sees the
other.
"""

from __future__ import annotations

from campaigns.channels import provisioning
from campaigns.community.rows import GROUP_GREETINGS
from campaigns.document.model import Campaign
from campaigns.engine import facts
from customers.banks.bank import Bank
from services.errors import Conflict
from services.store.mongo import Doc
from services.wechat.core.errors import BadRequest

MOST_GREETINGS = 100
UNKNOWN_GREETING = 40058


async def ensure(bank: Bank, campaign: Campaign) -> list[str]:
    """Makes, changes and ends greetings until those at WeCom are those of the document; what was done, as sentences. Raises
    PlatformError, and Conflict `greetings_full`."""
    rows = bank.db[GROUP_GREETINGS]
    there = {row["name"]: row for row in await rows.find({"campaign": campaign.id}, limit=None)}
    client = bank.wecom
    done: list[str] = []
    for name in sorted(there.keys() - campaign.group_welcome.keys()):
        await _drop(bank, there[name])
        done.append(f"group greeting {name}: ended")
    for name, greeting in campaign.group_welcome.items():
        content = facts.fill(campaign.templates[greeting.template].zh, facts.for_group(bank))
        row_id = f"{bank.id}:{campaign.id}:{name}"
        if name in there and await _stands(bank, there[name], content):
            continue

        async def make(_again: bool, content: str = content, notify: bool = greeting.notify) -> Doc:
            answer = await client.welcome.create_template(
                {"text": {"content": content}}, notify=notify
            )
            return {"template_id": answer["template_id"], "content": content}

        if name not in there and await rows.count({}) >= MOST_GREETINGS:
            raise Conflict(
                "greetings_full", f"WeCom keeps {MOST_GREETINGS} group greetings at most"
            )
        if await provisioning.once(
            bank, rows, {"_id": row_id, "campaign": campaign.id, "name": name}, make
        ):
            done.append(f"group greeting {name}: made")
        else:
            done.append(f"group greeting {name}: changed")
    return done


async def _stands(bank: Bank, row: Doc, content: str) -> bool:
    """Whether the greeting is at WeCom as it should be. One that is not there any more is wanted again; one that differs is
    changed, which is told as a change."""
    if row["made"] != provisioning.MADE:
        return False
    rows, client = bank.db[GROUP_GREETINGS], bank.wecom
    try:
        told = (await client.welcome.get_template(row["template_id"])).get("text") or {}
        if told.get("content") == content:
            return True
        await client.welcome.update_template(row["template_id"], {"text": {"content": content}})
    except BadRequest as error:
        if error.errcode != UNKNOWN_GREETING:
            raise
        await rows.update(
            {"_id": row["_id"]}, {"$set": {"made": provisioning.WANTED, "since": 0.0}}
        )
        return False
    await rows.update({"_id": row["_id"]}, {"$set": {"content": content}})
    return False


async def _drop(bank: Bank, row: Doc) -> None:
    if row["made"] == provisioning.MADE:
        try:
            await bank.wecom.welcome.delete_template(row["template_id"])
        except BadRequest as error:
            if error.errcode != UNKNOWN_GREETING:  # somebody else ended it
                raise
    await bank.db[GROUP_GREETINGS].delete({"_id": row["_id"]})
