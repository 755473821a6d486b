"""The greetings that customer groups may choose (contract/wechat B8).

WeCom does not list them, so a greeting whose answer was lost may be made a second time; the row
keeps one, and nobody sees the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from campaigns.channels import provisioning
from campaigns.channels.provisioning import PRESENT, WANTED_AGAIN
from campaigns.community.rows import GROUP_GREETINGS, GroupGreeting, greeting_id, greetings
from campaigns.document.model import Campaign
from campaigns.engine import facts
from customers.banks.bank import Bank
from services.errors import Conflict
from services.store.mongo import Doc
from services.wechat.core.errors import BadRequest

MOST_GREETINGS = 100
UNKNOWN_GREETING = 40058


@dataclass(frozen=True)
class _Wanted:
    """A greeting as the document has it; `notify` tells group owners of it."""

    campaign: str
    name: str
    content: str
    notify: bool


async def ensure(bank: Bank, campaign: Campaign) -> list[str]:
    """Makes, changes and ends greetings until those at WeCom are those of the document; what was
    done, as sentences. Raises PlatformError, and Conflict `greetings_full`."""
    there = {row["name"]: row for row in await greetings(bank, campaign.id)}
    done: list[str] = []
    for name in sorted(there.keys() - campaign.group_welcome.keys()):
        await _end(bank, there[name])
        done.append(f"group greeting {name}: ended")
    for wanted in _wanted(bank, campaign):
        row = there.get(wanted.name)
        if row is None or not await _stands(bank, row, wanted.content):
            made = await _provision(bank, wanted, new=row is None)
            done.append(f"group greeting {wanted.name}: {'made' if made else 'changed'}")
    return done


def _wanted(bank: Bank, campaign: Campaign) -> list[_Wanted]:
    found: list[_Wanted] = []
    for name, greeting in campaign.group_welcome.items():
        text = campaign.templates[greeting.template].zh
        content = facts.fill(text, facts.for_group(bank))
        found.append(_Wanted(campaign.id, name, content, greeting.notify))
    return found


async def _stands(bank: Bank, row: GroupGreeting, content: str) -> bool:
    """Whether the greeting is at WeCom as it should be. One that is not there any more is wanted
    again; one that differs is changed, which is told as a change."""
    if row["at_wecom"] != PRESENT:
        return False
    fields: Doc = {"content": content}
    try:
        if not await _change(bank, row["template_id"], content):
            return True
    except BadRequest as error:
        if error.errcode != UNKNOWN_GREETING:
            raise
        fields = WANTED_AGAIN
    await bank.db[GROUP_GREETINGS].update({"_id": row["_id"]}, {"$set": fields})
    return False


async def _change(bank: Bank, template_id: str, content: str) -> bool:
    """False when WeCom has that content already."""
    client = bank.wecom.welcome
    told = (await client.get_template(template_id)).get("text") or {}
    if told.get("content") == content:
        return False
    await client.update_template(template_id, {"text": {"content": content}})
    return True


async def _provision(bank: Bank, wanted: _Wanted, *, new: bool) -> bool:
    """True when the greeting was made; False when it is there."""
    rows = bank.db[GROUP_GREETINGS]
    if new and await rows.count({}) >= MOST_GREETINGS:
        raise Conflict("greetings_full", f"WeCom keeps {MOST_GREETINGS} group greetings at most")

    async def create(_again: bool) -> Doc:
        text = {"text": {"content": wanted.content}}
        answer = await bank.wecom.welcome.create_template(text, notify=wanted.notify)
        return {"template_id": answer["template_id"], "content": wanted.content}

    row_id = greeting_id(bank, wanted.campaign, wanted.name)
    row = {"_id": row_id, "campaign": wanted.campaign, "name": wanted.name}
    return await provisioning.provision(bank, rows, row, create)


async def _end(bank: Bank, row: GroupGreeting) -> None:
    """Deletes the greeting at WeCom, if nobody else did, and here."""
    if row["at_wecom"] == PRESENT:
        try:
            await bank.wecom.welcome.delete_template(row["template_id"])
        except BadRequest as error:
            if error.errcode != UNKNOWN_GREETING:
                raise
    await bank.db[GROUP_GREETINGS].delete({"_id": row["_id"]})
