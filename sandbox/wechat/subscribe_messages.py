"""Subscribe messages: what a person allowed, and what may be sent (contract/wechat A4)."""

from __future__ import annotations

import re
from typing import Any

from sandbox.core import ids
from sandbox.core.api import Call, Endpoint
from sandbox.core.errors import ApiError, Impossible
from sandbox.core.events import Event, Many
from sandbox.core.records import Grant, SubscribeTemplate
from sandbox.core.sandbox import Sandbox
from sandbox.core.state import Message, Person

TEMPLATE_ID = re.compile(r"[A-Za-z0-9_-]{6,64}")
LANGUAGES = {"zh_CN", "en_US", "zh_HK", "zh_TW"}
STATES = {"developer", "trial", "formal"}
_TIME = r"\d{1,2}:\d{2}(:\d{2})?"
_DATE = r"(\d{4}年\d{1,2}月\d{1,2}日|\d{4}-\d{1,2}-\d{1,2}|\d{4}/\d{1,2}/\d{1,2})"
_SPAN = rf"({_DATE}( {_TIME})?|{_TIME})"
RULES = {
    "thing": r".{1,20}",
    "number": r"-?\d{1,32}(\.\d+)?",
    "letter": r"[A-Za-z]{1,32}",
    "symbol": r"[^\w\s]{1,5}",
    "character_string": r"[\x20-\x7e]{1,32}",
    "time": rf"{_SPAN}(~{_SPAN})?",
    "date": rf"{_DATE}( {_TIME})?(~{_DATE}( {_TIME})?)?",
    "amount": r"[^\d\s.]?\d{1,10}(\.\d{1,2})?元?",
    "phone_number": r"[\d+\-()# ]{1,17}",
    "car_number": r".{1,8}",
    "name": r"([\u4e00-\u9fff·]{1,10}|[^\u4e00-\u9fff]{1,20})",
    "phrase": r"[\u4e00-\u9fff]{1,5}",
}
_RULES = {prefix: re.compile(rule, re.DOTALL) for prefix, rule in RULES.items()}
_KEY = re.compile(r"([a-z_]+?)\d+")


def send(call: Call) -> dict[str, Any]:
    """A4: one message for one grant. Raises ApiError 40003, 40037, 41030, 47003 or 43101."""
    template_id = call.text("template_id")
    person = _recipient(call)
    openid = person.openids[call.app]
    if not TEMPLATE_ID.fullmatch(template_id):
        raise ApiError(40037)
    page = call.text("page")
    check_page(call, page.partition("?")[0])
    _check_form(call)
    data = _data(call, template_id)
    _use(call.box, openid, template_id)
    message = Message(
        time=call.box.seconds(),
        sender=call.app,
        kind="subscribe",
        text=" · ".join(data.values()),
        content={"template_id": template_id, "data": data, "page": page, "appid": call.app},
    )
    person.inbox.append(message)
    call.box.changed()
    msgid = ids.nonce()
    _report_sent(call, openid, template_id, msgid)
    return {"msgid": int(msgid)}


def _report_sent(call: Call, openid: str, template_id: str, msgid: str) -> None:
    """The event that tells of a message which arrived."""
    outcome = {
        "TemplateId": template_id,
        "MsgID": msgid,
        "ErrorCode": "0",
        "ErrorStatus": "success",
    }
    event = _event(call.box, openid, "sent", [outcome])
    call.box.sender.push_in_background(call.app, event)


def _recipient(call: Call) -> Person:
    """Raises ApiError 40003 for an openid that is not of this mini-program."""
    openid = call.text("touser")
    person = call.box.state.by_openid(openid)
    if person is None or person.openids.get(call.app) != openid:
        raise ApiError(40003)
    return person


def _check_form(call: Call) -> None:
    """Raises ApiError 47003 for an unknown edition of the mini-program or language."""
    state = call.text("miniprogram_state") or "formal"
    if state not in STATES or (call.text("lang") or "zh_CN") not in LANGUAGES:
        raise ApiError(47003, "argument invalid! miniprogram_state or lang invalid")


def check_page(call: Call, page: str) -> None:
    """Raises ApiError 41030 for a page that the mini-program does not have."""
    mini_program = call.box.world.mini_program(call.app)
    known = mini_program.pages if mini_program else ()
    if page.startswith(("http:", "https:")) or (page and known and page.lstrip("/") not in known):
        raise ApiError(41030)


def _data(call: Call, template_id: str) -> dict[str, str]:
    """The values by key. Raises ApiError 47003 for one that is missing, empty, too long or not of
    its kind."""
    given = call.body.get("data")
    if not isinstance(given, dict) or not given:
        raise ApiError(47003, "argument invalid! data is empty")
    template = call.box.state.records.subscribe_templates.get(template_id, SubscribeTemplate())
    for key in dict.fromkeys([*template.keys, *given]):
        known = not template.keys or key in template.keys
        if not known or not _fits(key, given.get(key)):
            raise ApiError(47003, f"argument invalid! data.{key}.value invalid")
    return {key: entry["value"] for key, entry in given.items()}


def _fits(key: str, entry: Any) -> bool:
    """Whether an entry has a value as the kind in its key (`thing1`, `date2`) allows it."""
    value = entry.get("value") if isinstance(entry, dict) else None
    kind = _KEY.fullmatch(key)
    rule = _RULES.get(kind[1]) if kind else None
    return isinstance(value, str) and rule is not None and rule.fullmatch(value) is not None


def _use(box: Sandbox, openid: str, template_id: str) -> None:
    """Count one send. Raises ApiError 43101 without a grant."""
    grant = box.state.records.grants.get(f"{openid}|{template_id}")
    if grant is None or not (grant.lasting or grant.left):
        raise ApiError(43101)
    if not grant.lasting:
        grant.left -= 1


async def answer(
    box: Sandbox, person: Person, appid: str, choices: dict[str, str], *, scene: str = "0"
) -> bool:
    """The person answers the prompt for up to five templates (`templates_at_once`); each acceptance
    of a one-time one allows one send.

    Returns whether the event arrived. Raises Impossible for more (20003), and for one-time and
    lasting ones together (20002).
    """
    most = box.switches.templates_at_once
    if not 1 <= len(choices) <= most:
        raise Impossible(f"20003: a prompt has one to {most} templates")
    known = box.state.records.subscribe_templates
    if len({t in known and known[t].lasting for t in choices}) > 1:
        raise Impossible("20002: one-time and long-term templates do not mix in one prompt")
    openid = person.openids[appid]
    for template_id, choice in choices.items():
        if choice == "accept":
            _allow(box, openid, template_id)
    box.changed()
    listed = [
        {"TemplateId": t, "SubscribeStatusString": c, "PopupScene": scene}
        for t, c in choices.items()
    ]
    return await box.sender.push(appid, _event(box, openid, "popup", listed))


def _allow(box: Sandbox, openid: str, template_id: str) -> None:
    grant = box.state.records.grants.setdefault(f"{openid}|{template_id}", Grant())
    if box.state.records.subscribe_templates.get(template_id, SubscribeTemplate()).lasting:
        grant.lasting = True
    else:
        grant.left += 1


async def change(box: Sandbox, person: Person, appid: str, choices: dict[str, str]) -> bool:
    """The person changes his settings: a refusal takes every grant of the template away."""
    openid = person.openids[appid]
    for template_id, choice in choices.items():
        if choice == "reject":
            box.state.records.grants.pop(f"{openid}|{template_id}", None)
        elif box.state.records.subscribe_templates.get(template_id, SubscribeTemplate()).lasting:
            _allow(box, openid, template_id)
    box.changed()
    listed = [{"TemplateId": t, "SubscribeStatusString": c} for t, c in choices.items()]
    return await box.sender.push(appid, _event(box, openid, "change", listed))


def _event(box: Sandbox, openid: str, what: str, listed: list[dict[str, str]]) -> Event:
    wrapper = f"SubscribeMsg{what.capitalize()}Event"
    fields = {wrapper: Many("List", listed)}
    return Event(f"subscribe_msg_{what}_event", box.seconds(), fields=fields, from_user=openid)


ENDPOINTS = (Endpoint("POST", "/cgi-bin/message/subscribe/send", send, alone="touser"),)
