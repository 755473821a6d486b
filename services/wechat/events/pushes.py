"""What a mini-program's message push tells (contract/wechat A4, A6, A7), in XML or JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from services.wechat.events.base import Event
from services.wechat.events.fields import Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Push(Event):
    """Something of the mini-program's user `openid`; `corp_id` is the mini-program's appid."""

    openid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscribeAnswered(Push):
    """He answered the prompt (`popup`), or changed his settings (`change`). `answers` are
    (template_id, accepted)."""

    how: Literal["popup", "change"]
    answers: tuple[tuple[str, bool], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscribeSent(Push):
    """What became of one subscribe message; `error_code` 0 is delivered."""

    template_id: str
    msg_id: str
    error_code: int
    error_status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaChecked(Push):
    """The verdict on a picture or sound: `suggest` is pass, review or risky (empty when WeChat
    could not tell)."""

    appid: str
    trace_id: str
    suggest: str
    label: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEntered(Push):
    """He opened the customer-service chat; for 1 minute he may be greeted."""

    session_from: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerMessage(Push):
    """He wrote in the customer-service chat; `content` is empty unless it is a text."""

    msg_type: str
    content: str
    media_id: str
    msg_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSession(Push):
    """Somebody took the chat in WeChat's customer-service tool (`create`), gave it to a colleague
    (`switch`), or ended it (`close`)."""

    change: Literal["create", "switch", "close"]


def _head(appid: str, fields: Fields) -> dict[str, Any]:
    return {
        "corp_id": appid,
        "create_time": fields.time("CreateTime"),
        "openid": fields.need("FromUserName"),
    }


def _items(fields: Fields, wrapper: str) -> list[Fields]:
    """The elements of `List`, which JSON has at the top and XML in a wrapper; one or many."""
    return fields.children("List") or fields.child(wrapper).children("List")


def _answered(how: Literal["popup", "change"], appid: str, fields: Fields) -> tuple[Event, ...]:
    wrapper = "SubscribeMsgPopupEvent" if how == "popup" else "SubscribeMsgChangeEvent"
    answers = tuple(
        (item.need("TemplateId"), item.text("SubscribeStatusString") == "accept")
        for item in _items(fields, wrapper)
    )
    return (SubscribeAnswered(**_head(appid, fields), how=how, answers=answers),)


def _sent(appid: str, fields: Fields) -> tuple[Event, ...]:
    return tuple(
        SubscribeSent(
            **_head(appid, fields),
            template_id=item.need("TemplateId"),
            msg_id=item.text("MsgID") or item.text("MsgId"),
            error_code=item.number("ErrorCode", -1),
            error_status=item.text("ErrorStatus"),
        )
        for item in _items(fields, "SubscribeMsgSentEvent")
    )


_FIRST_VERSION = {"0": "pass", "1": "risky"}


def _media(appid: str, fields: Fields) -> tuple[Event, ...]:
    result = fields.child("result")
    checked = MediaChecked(
        **_head(appid, fields),
        appid=fields.text("appid") or appid,
        trace_id=fields.need("trace_id"),
        suggest=result.text("suggest") or _FIRST_VERSION.get(fields.text("isrisky"), ""),
        label=result.number("label"),
    )
    return (checked,)


def _entered(appid: str, fields: Fields) -> tuple[Event, ...]:
    return (SessionEntered(**_head(appid, fields), session_from=fields.text("SessionFrom")),)


def _session(
    change: Literal["create", "switch", "close"], appid: str, fields: Fields
) -> tuple[Event, ...]:
    return (ServiceSession(**_head(appid, fields), change=change),)


def message(appid: str, fields: Fields) -> tuple[Event, ...]:
    """A message that the user wrote, of any type."""
    written = CustomerMessage(
        **_head(appid, fields),
        msg_type=fields.text("MsgType"),
        content=fields.text("Content"),
        media_id=fields.text("MediaId"),
        msg_id=fields.text("MsgId"),
    )
    return (written,)


READERS: dict[str, Callable[[str, Fields], tuple[Event, ...]]] = {
    "subscribe_msg_popup_event": partial(_answered, "popup"),
    "subscribe_msg_change_event": partial(_answered, "change"),
    "subscribe_msg_sent_event": _sent,
    "wxa_media_check": _media,
    "user_enter_tempsession": _entered,
    "kf_create_session": partial(_session, "create"),
    "kf_switch_session": partial(_session, "switch"),
    "kf_close_session": partial(_session, "close"),
}
MESSAGES = frozenset(
    {"text", "image", "link", "miniprogrampage", "voice", "video", "shortvideo", "location"}
)
