"""Cards in WeCom with buttons (contract/wechat B10): alarms told to members, and what comes of
their clicks.

A card's `task_id` is made of its effect's id, so a card that is tried again is the same card, and a
click leads back to what stood on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from customers.alerts import alarms
from customers.alerts.rows import Alarm
from customers.banks import userids
from customers.banks.bank import Bank
from customers.banks.staff import staff_member
from customers.banks.tasks import SEND_EFFECTS
from services import ids
from services.errors import NotFound
from services.observe import trace
from services.queue import outbox
from services.queue.effects import EffectKind
from services.queue.inbox import InboxRow
from services.queue.outbox import Effect
from services.store.mongo import Doc
from services.texts import sentence
from services.wechat import events
from services.wechat.core.errors import PlatformError
from services.wechat.wecom import WeComClient

BUTTONS = ("seen", "contact")
TITLES = frozenset({"customer.lost", "customer.removed", "staff.left"})
"""Alarms whose sentence is a card's title; that of others stands below."""
LINES = 5
DUPLICATE_SECONDS = 1800
TASK_ID_TAKEN = 42014
_PREFIX = "alarm-"


def button_card(
    task_id: str, title: str, text: str, lines: list[tuple[str, str]], buttons: Sequence[str]
) -> Doc:
    """An app message that is a `button_interaction` card; at most 6 `lines` (label, value) and 6
    `buttons`, each with the sentence of its key."""
    card = {
        "card_type": "button_interaction",
        "main_title": {"title": title, "desc": text},
        "horizontal_content_list": [{"keyname": label, "value": value} for label, value in lines],
        "task_id": task_id,
        "button_list": [
            {"text": sentence(f"card_{key}"), "style": 1 + (place > 0), "key": key}
            for place, key in enumerate(buttons)
        ],
    }
    return {
        "msgtype": "template_card",
        "template_card": card,
        "enable_duplicate_check": 1,
        "duplicate_check_interval": DUPLICATE_SECONDS,
    }


async def send(bank: Bank, effect: Effect) -> None:
    """One card for all that its member has not been told of; nothing when that is nothing. Raises
    PlatformError."""
    userid = effect.args["userid"]
    if not await _may_be_told(bank, userid):
        trace.note("card.not_staff", userid=userid)
        return
    told = await alarms.take(bank, userid, effect.id)
    if told:
        rows = await alarms.rows_of(bank, told)
        message = await _alarm_card(bank, effect, rows)
        await _once(bank.wecom, userid, message)
    if await alarms.untold(bank, userid):  # came while this one was on its way
        await alarms.ask_for_card(bank, userid)


async def _may_be_told(bank: Bank, userid: str) -> bool:
    """Whether he is staff, or the head of a branch, by now."""
    if any(userids.same(userid, head) for head in bank.heads.values()):
        return True
    try:
        await staff_member(bank, userid)
    except NotFound:
        return False
    return True


async def _once(client: WeComClient, userid: str, message: Doc) -> None:
    """Sends a card whose earlier sending may have succeeded unheard: WeCom takes a `task_id`
    once."""
    try:
        await client.messages.send([userid], message)
    except PlatformError as error:
        if error.errcode != TASK_ID_TAKEN:
            raise
        trace.note("card.sent_before")


async def _alarm_card(bank: Bank, effect: Effect, rows: list[Alarm]) -> Doc:
    alone = len({row["kind"] for row in rows}) == 1
    shown = await asyncio.gather(*(_line(bank, row, alone=alone) for row in rows[:LINES]))
    lines = [line for line in shown if line[1]]
    if len(rows) > LINES:
        lines.append((sentence("card_rest"), sentence("card_more", count=len(rows) - LINES)))
    task_id = _PREFIX + effect.id.rpartition(":")[2]
    return button_card(task_id, _title(rows, alone=alone), _text(rows), lines, BUTTONS)


def _title(rows: list[Alarm], *, alone: bool) -> str:
    if not alone:
        return sentence("card_titles", count=len(rows))
    return _said(rows[0]) if rows[0]["kind"] in TITLES else sentence("card_title")


def _text(rows: list[Alarm]) -> str:
    if len(rows) > 1:
        return sentence("card_count", count=len(rows))
    return "" if rows[0]["kind"] in TITLES else _said(rows[0])


def _said(row: Alarm) -> str:
    """What a card says of an alarm."""
    return sentence(f"card_{row['kind']}", **row["data"])


async def _line(bank: Bank, row: Alarm, *, alone: bool) -> tuple[str, str]:
    """Whom it is about and by whom; the kind too when a card has several."""
    name = await alarms.masked_name(bank, row["cid"])
    about = [] if alone else [_said(row)]
    if text := alarms.said_of(bank, row):
        about.append(text)
    if userid := row["data"].get("userid"):
        about.append(await _staff_name(bank, str(userid)))
    if count := row["data"].get("customers"):
        about.append(sentence("card_customers", count=count))
    return name or sentence("card_alarm"), sentence("card_and").join(about)


async def _staff_name(bank: Bank, userid: str) -> str:
    try:
        return (await staff_member(bank, userid)).name
    except NotFound:
        return userid


async def update(bank: Bank, effect: Effect) -> None:
    """Shows on the card that it was answered; its response code is good for one change. Raises
    PlatformError."""
    userid, code, name = (
        effect.args[field] for field in ("userid", "response_code", "replace_name")
    )
    await bank.wecom.messages.update_card([userid], code, replace_name=name)


async def card_clicked(bank: Bank, row: InboxRow, event: events.CardClicked) -> None:
    """Marks as handled what stood on the card. Only a member to whom it was sent counts, while he is
    staff or the head of a branch; whoever clicks again changes nothing."""
    if event.event_key not in BUTTONS or not event.task_id.startswith(_PREFIX):
        trace.note("card.unknown")
        return
    if not await _may_be_told(bank, event.userid):
        trace.note("card.not_staff", userid=event.userid)
        return
    card = f"{bank.id}:{event.task_id.removeprefix(_PREFIX)}"
    told = await alarms.told(bank, event.userid, card)
    if not told:
        trace.note("card.not_asked", userid=event.userid)
        return
    handled = await alarms.handle(bank, told, event.userid, event.event_key, row["_id"])
    trace.note("card.handled", alarms=handled)
    if event.response_code:
        answer = sentence(f"card_{event.event_key}")
        await _show_answer(bank, row, event.userid, event.response_code, answer)


async def _show_answer(bank: Bank, row: InboxRow, userid: str, code: str, answer: str) -> None:
    args: dict[str, Any] = {"userid": userid, "response_code": code, "replace_name": answer}
    effect = Effect(
        id=ids.tenant_id(bank.id, "card_update", row["_id"]),
        tenant=bank.id,
        kind=CARD_UPDATE.name,
        cid="",
        args=args,
    )
    if await outbox.put(bank.services, effect, due=bank.now()):
        bank.signal(SEND_EFFECTS)


CARD: EffectKind[Bank] = EffectKind(name=alarms.CARD, execute=send)
"""Alarms told to a member."""
CARD_UPDATE: EffectKind[Bank] = EffectKind(name="card_update", execute=update)
"""The card after his click."""
