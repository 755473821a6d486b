"""What customers write to a mini-program's customer service (contract/wechat A7): a person sees it.

It goes to the RMs who follow the customer, by an alarm with a card, and to the console where nobody
does; or, where the bank's file says so, into WeChat's own customer-service tool. Either way his
story has it. What he wrote is sealed, and its numbers are masked wherever it is shown.
"""

from __future__ import annotations

import re

from customers import relationships, timeline
from customers.alerts import alarms
from customers.banks import staff
from customers.banks.bank import Bank
from customers.identity import resolution
from services import ids
from services.errors import Unavailable
from services.observe import trace
from services.queue.inbox import InboxRow
from services.wechat import events

IN_WECHAT = "wechat"
"""A mini-program's `customer_service` in the bank's file: its customers are answered in WeChat's
tool."""
MOST_ALONE, TOGETHER_SECONDS = 10, 600
"""So many messages of one customer in that time have an alarm each."""
SHOWN = 200
"""Characters of a text that are shown."""
_NUMBER = re.compile(r"[0-9０-９](?:[ -]?[0-9０-９]){3,}")
_ADDRESS = re.compile(r"(?<![\w.+-])[\w.+-]++@[\w-]++\.[\w.-]+")


def masked(text: str) -> str:
    """A customer's text as it may be shown: without the numbers and addresses in it."""
    hidden = _ADDRESS.sub("…@…", _NUMBER.sub(lambda found: f"{found[0][0]}***", text))
    return hidden if len(hidden) <= SHOWN else f"{hidden[:SHOWN]}…"


async def entered(bank: Bank, row: InboxRow, event: events.SessionEntered) -> None:
    """He opened the chat, and wrote nothing yet."""
    cid = await _identify(bank, row, event)
    at = events.happened(event, row)
    await timeline.record(bank, cid, "service.opened", row["_id"], at=at, app=event.corp_id)


async def wrote(bank: Bank, row: InboxRow, event: events.CustomerMessage) -> None:
    """He wrote. Told once, however often the message is delivered; what he writes beyond MOST_ALONE
    messages in TOGETHER_SECONDS is told together, so that one customer hides no other."""
    cid = await _identify(bank, row, event)
    at, key = events.happened(event, row), _key(bank, row, event)
    told = {"app": event.corp_id, "what": event.msg_type}
    await timeline.record(bank, cid, "service.wrote", key, at=at, **told)
    if is_in_wechat(bank, event.corp_id):
        trace.note("service.in_wechat")
        return
    rms = await _followers(bank, cid)
    if not rms:
        trace.note("service.nobody")
    program = bank.miniprograms.get(event.corp_id)
    kind = "service.wrote" if rms else "service.nobody"
    if await _is_one_of_many(bank, cid) and not await alarms.was_raised(bank, kind, key):
        trace.note("service.many")
        key = ids.tenant_id(bank.id, "service", cid, int(at // TOGETHER_SECONDS))
    await alarms.raise_alarm(
        bank,
        kind,
        key,
        userids=rms,
        cid=cid,
        at=at,
        said=masked(event.content),
        app=program.name if program else event.corp_id,
        what=event.msg_type,
    )


async def _is_one_of_many(bank: Bank, cid: str) -> bool:
    """Whether he wrote more than MOST_ALONE in this time; not, while nobody can count."""
    what = f"service|{bank.id}|{cid}"
    try:
        counted = await bank.services.sessions.count(what, seconds=TOGETHER_SECONDS)
    except Unavailable:
        return False
    return counted > MOST_ALONE


def is_in_wechat(bank: Bank, appid: str) -> bool:
    """Whether the mini-program's customers are answered in WeChat's own tool."""
    program = bank.miniprograms.get(appid)
    return program is not None and program.customer_service == IN_WECHAT


def _key(bank: Bank, row: InboxRow, event: events.CustomerMessage) -> str:
    return ids.tenant_id(bank.id, "service", event.msg_id) if event.msg_id else row["_id"]


async def _identify(bank: Bank, row: InboxRow, event: events.Push) -> str:
    facts = resolution.Facts(openids={event.corp_id: event.openid})
    return await resolution.identify(bank, facts, source="callback", proof=row["_id"])


async def _followers(bank: Bank, cid: str) -> list[str]:
    """The RMs who follow him and work here, newest first."""
    present = await relationships.of_customer(bank, await resolution.cids(bank, cid))
    found = [await staff.find(bank, row["userid"]) for row in present]
    return [row["userid"] for row in found if row is not None and row["active"]]
