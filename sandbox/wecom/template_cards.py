"""Template cards: what may be in one, and changing one after it was sent (contract/wechat B10,
94888)."""

from __future__ import annotations

import re
from typing import Any

from sandbox.core import events, ids
from sandbox.core.api import Call, Endpoint
from sandbox.core.errors import ApiError, Impossible
from sandbox.core.models import DAY_SECONDS
from sandbox.core.records import Card, ResponseCode
from sandbox.core.sandbox import Sandbox

KINDS = {
    "text_notice",
    "news_notice",
    "button_interaction",
    "vote_interaction",
    "multiple_interaction",
}
INTERACTIVE = KINDS - {"text_notice", "news_notice"}
TASK_ID = re.compile(r"[0-9A-Za-z_@-]{1,128}")
CODE_SECONDS = 3 * DAY_SECONDS
BUTTONS, SELECTS, JUMPS, LINES, PARAGRAPHS = 6, 3, 3, 6, 4
CHECKBOX_OPTIONS, SELECT_OPTIONS = 20, 10

Part = dict[str, Any]


def check(call: Call, card: Part) -> None:
    """Raises ApiError with WeCom's own code for the part that is wrong (42014, 42027-42049)."""
    kind = card.get("card_type")
    if kind not in KINDS:
        raise ApiError(42031)
    _check_task_id(call, card)
    if not _part(card, "main_title").get("title") and not card.get("sub_title_text"):
        raise ApiError(42033)
    _check_lists(card)
    if kind in INTERACTIVE:
        _check_questions(card)
        return
    if _part(card, "card_action").get("type") not in {1, 2}:
        raise ApiError(42045)
    picture = _part(card, "card_image").get("url") or card.get("image_text_area")
    if kind == "news_notice" and not picture:
        raise ApiError(42044)


def _check_task_id(call: Call, card: Part) -> None:
    """Interactive cards need one of their own. Raises ApiError 42014."""
    interactive = card["card_type"] in INTERACTIVE
    task_id = card.get("task_id", "")
    if (interactive or task_id) and not TASK_ID.fullmatch(str(task_id)):
        raise ApiError(42014)
    if interactive and f"{call.app}|{task_id}" in call.box.state.records.cards:
        raise ApiError(42014, "task_id was used before")


def _check_questions(card: Part) -> None:
    """The buttons, or the questions and the button under them."""
    if card["card_type"] == "button_interaction":
        _check_buttons(card)
        return
    if card["card_type"] == "vote_interaction":
        _check_question(_part(card, "checkbox"), CHECKBOX_OPTIONS)
    else:
        for select in _parts(card, "select_list", 1, SELECTS, 42047):
            _check_question(select, SELECT_OPTIONS)
    submit = _part(card, "submit_button")
    _need(submit.get("text"), 42049)
    _need(submit.get("key"), 42046)


def _need(value: Any, errcode: int) -> None:
    if not value:
        raise ApiError(errcode)


def _part(card: Part, name: str) -> Part:
    value = card.get(name) or {}
    if not isinstance(value, dict):
        raise ApiError(40058, f"invalid Request Parameter: {name}")
    return value


def _parts(card: Part, name: str, least: int, most: int, errcode: int) -> list[Part]:
    value = card.get(name) or []
    if (
        not isinstance(value, list)
        or not least <= len(value) <= most
        or not all(isinstance(v, dict) for v in value)
    ):
        raise ApiError(errcode)
    return value


def _check_lists(card: Part) -> None:
    for line in _parts(card, "horizontal_content_list", 0, LINES, 42035):
        _need(line.get("keyname"), 42027)
    _parts(card, "vertical_content_list", 0, PARAGRAPHS, 42036)
    for jump in _parts(card, "jump_list", 0, JUMPS, 42042):
        _need(jump.get("title"), 42033)


def _check_buttons(card: Part) -> None:
    for button in _parts(card, "button_list", 1, BUTTONS, 42038):
        _need(button.get("text"), 42038)
        _need(button.get("key"), 42039)


def _check_question(question: Part, most: int) -> None:
    _need(question.get("question_key"), 42043)
    for option in _parts(question, "option_list", 1, most, 42037):
        _need(option.get("id"), 42040)
        _need(option.get("text"), 42041)


def remember(box: Sandbox, agent_id: int, card: Part, userids: list[str]) -> str:
    """Remember an interactive card; returns the response_code with which it can be changed."""
    task_id = str(card["task_id"])
    kept = Card(
        task_id=task_id,
        agent_id=agent_id,
        card_type=card["card_type"],
        at=box.seconds(),
        userids=userids,
        content=card,
    )
    box.state.records.cards[f"{agent_id}|{task_id}"] = kept
    return _code(box, kept)


def _code(box: Sandbox, card: Card) -> str:
    code = ids.code("RC")
    box.state.records.response_codes[code] = ResponseCode(
        task_id=card.task_id, agent_id=card.agent_id, at=box.seconds()
    )
    return code


def keys(card: Card) -> list[str]:
    """The buttons that a card has."""
    if card.card_type == "button_interaction":
        return [str(b["key"]) for b in card.content.get("button_list") or []]
    return [str(_part(card.content, "submit_button").get("key", ""))]


async def click(
    box: Sandbox, card: Card, userid: str, key: str, selected: dict[str, list[str]]
) -> bool:
    """The member presses a button; the event's ResponseCode changes the card once (C4). Returns
    whether it arrived."""
    if userid not in card.userids or key not in keys(card) or userid in card.replaced:
        raise Impossible("the member has no such button")
    card.clicked[userid] = key
    box.changed()
    fields: dict[str, events.Value | None] = {
        "EventKey": key,
        "TaskId": card.task_id,
        "CardType": card.card_type,
        "ResponseCode": _code(box, card),
        "AgentID": card.agent_id,
        "SelectedItems": _selected_items(selected) if selected else None,
    }
    event = events.Event(
        "template_card_event",
        box.seconds(),
        fields=fields,
        from_user=userid,
        agent_id=card.agent_id,
    )
    return await box.sender.send(event)


def _selected_items(selected: dict[str, list[str]]) -> events.Many:
    """The options that were chosen, by question, as the event tells them."""
    items: list[events.Value] = []
    for question, options in selected.items():
        items.append({"QuestionKey": question, "OptionIds": events.Many("OptionId", options)})
    return events.Many("SelectedItem", items)


def update(call: Call) -> dict[str, Any]:
    """B10, 94888: another text on the pressed button, or another card; the response_code is good
    once, 72 hours."""
    code = _response_code(call)
    card = call.box.state.records.cards[f"{code.agent_id}|{code.task_id}"]
    named = call.strings("userids")
    if call.integer("atall", 0):
        readers = card.userids
    else:
        readers = [userid for userid in named if userid in card.userids]
    button = call.body.get("button")
    new = call.body.get("template_card")
    if isinstance(button, dict) and button.get("replace_name"):
        card.replaced.update(dict.fromkeys(readers, str(button["replace_name"])))
    elif isinstance(new, dict):
        card.content = new
        card.replaced = {}
    else:
        raise ApiError(40058, "button and template_card are empty")
    code.used = True
    call.box.changed()
    return {"invaliduser": [userid for userid in named if userid not in card.userids]}


def _response_code(call: Call) -> ResponseCode:
    """Raises ApiError 40056 for another app's agentid, 60140 for a code that is unknown, used or
    over, 42015 for the code of another app."""
    if str(call.integer("agentid", 0)) != call.app:
        raise ApiError(40056)
    code = call.box.state.records.response_codes.get(call.text("response_code"))
    if code is None or code.used or call.box.seconds() >= code.at + CODE_SECONDS:
        raise ApiError(60140)
    if str(code.agent_id) != call.app:
        raise ApiError(42015)
    return code


ENDPOINTS = (Endpoint("POST", "/cgi-bin/message/update_template_card", update),)
