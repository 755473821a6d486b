"""Cards in WeCom with buttons (contract/wechat B10): alarms told to members, and what comes of
their clicks.

A card's `task_id` is made of its effect's id, so a card that is tried again is the same card, and a
click leads back to what stood on it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from customers.alerts import alarms
from customers.banks.bank import Bank
from customers.banks.staff import staff_member
from customers.banks.tasks import SEND_EFFECTS
from services import ids
from services.errors import NotFound
from services.observe import trace
from services.queue import outbox
from services.queue.effects import EffectKind
from services.queue.outbox import Effect
from services.store.mongo import Doc
from services.wechat import events
from services.wechat.core.errors import PlatformError
from services.wechat.wecom import WeComClient

BUTTONS = {"seen": "已知悉", "contact": "我来联系"}
TITLES = {
    "customer.lost": "客户删除了客户经理",
    "customer.removed": "客户经理删除了客户",
    "staff.left": "客户经理离开，名下仍有客户",
}
"""What a card says of a kind of alarm; other kinds bring their own `text`."""
LINES = 5
DUPLICATE_SECONDS = 1800
TASK_ID_TAKEN = 42014
_PREFIX = "alarm-"


def button_card(
    task_id: str, title: str, text: str, lines: list[tuple[str, str]], buttons: dict[str, str]
) -> Doc:
    """An app message that is a `button_interaction` card; at most 6 `lines` (label, value) and 6
    `buttons` (key, text)."""
    card = {
        "card_type": "button_interaction",
        "main_title": {"title": title, "desc": text},
        "horizontal_content_list": [{"keyname": label, "value": value} for label, value in lines],
        "task_id": task_id,
        "button_list": [
            {"text": text, "style": 1 + (place > 0), "key": key}
            for place, (key, text) in enumerate(buttons.items())
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
    told = await alarms.take(bank, userid, effect.id)
    if told:
        rows = await alarms.rows_of(bank, told)
        message = await _alarm_card(bank, effect, rows)
        await _once(bank.wecom, userid, message)
    if await alarms.untold(bank, userid):  # came while this one was on its way
        await alarms.ask_for_card(bank, userid)


async def _once(client: WeComClient, userid: str, message: Doc) -> None:
    """Sends a card whose earlier sending may have succeeded unheard: WeCom takes a `task_id`
    once."""
    try:
        await client.messages.send([userid], message)
    except PlatformError as error:
        if error.errcode != TASK_ID_TAKEN:
            raise
        trace.note("card.sent_before")


async def _alarm_card(bank: Bank, effect: Effect, rows: list[Doc]) -> Doc:
    kinds = {row["kind"] for row in rows}
    first = rows[0]
    title = (
        TITLES.get(first["kind"], "银桥提醒") if len(kinds) == 1 else f"您有{len(rows)}条新的提醒"
    )
    text = str(first["data"].get("text", "")) if len(rows) == 1 else f"共{len(rows)}条"
    shown = await asyncio.gather(*(_line(bank, row, alone=len(kinds) == 1) for row in rows[:LINES]))
    lines = [line for line in shown if line[1]]
    if len(rows) > LINES:
        lines.append(("其他", f"另有{len(rows) - LINES}条，请在控制台查看"))
    task_id = _PREFIX + effect.id.rpartition(":")[2]
    return button_card(task_id, title, text, lines, BUTTONS)


async def _line(bank: Bank, row: Doc, *, alone: bool) -> tuple[str, str]:
    """Whom it is about and by whom; the kind too when a card has several."""
    name = await alarms.masked_name(bank, row["cid"])
    about = [] if alone else [TITLES.get(row["kind"], "") or str(row["data"].get("text", ""))]
    if userid := row["data"].get("userid"):
        about.append(await _staff_name(bank, str(userid)))
    if count := row["data"].get("customers"):
        about.append(f"{count}位客户")
    return name or "提醒", "，".join(part for part in about if part)


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


async def card_clicked(bank: Bank, row: Doc, event: events.CardClicked) -> None:
    """Marks as handled what stood on the card. Only a member to whom it was sent counts; whoever
    clicks again changes nothing."""
    answer = BUTTONS.get(event.event_key)
    if answer is None or not event.task_id.startswith(_PREFIX):
        trace.note("card.unknown")
        return
    card = f"{bank.id}:{event.task_id.removeprefix(_PREFIX)}"
    told = await alarms.told(bank, event.userid, card)
    if not told:
        trace.note("card.not_asked", userid=event.userid)
        return
    handled = await alarms.handle(bank, told, event.userid, event.event_key, row["_id"])
    trace.note("card.handled", alarms=handled)
    if event.response_code:
        await _show_answer(bank, row, event.userid, event.response_code, answer)


async def _show_answer(bank: Bank, row: Doc, userid: str, code: str, answer: str) -> None:
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
