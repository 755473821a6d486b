"""Customer-service messages of a mini-program and their windows (contract/wechat A7)."""

from __future__ import annotations

from typing import Any

from sandbox.core import ids
from sandbox.core.api import Call, Endpoint
from sandbox.core.errors import ApiError
from sandbox.core.events import Event, Value
from sandbox.core.records import Window
from sandbox.core.sandbox import Sandbox
from sandbox.core.state import Message, Person

TEXT_BYTES = 2048
MESSAGE_SECONDS, MESSAGE_SENDS = 48 * 3600, 5
SESSION_SECONDS, SESSION_SENDS = 60, 2
TYPING_SECONDS = 30
REQUIRED = {
    "text": ("content",),
    "image": ("media_id",),
    "link": ("title", "description", "url", "thumb_url"),
    "miniprogrampage": ("title", "pagepath", "thumb_media_id"),
}


def _person(call: Call) -> Person:
    openid = call.text("touser")
    person = call.box.state.by_openid(openid)
    if person is None or person.openids.get(call.app) != openid:
        raise ApiError(40003)
    return person


def send(call: Call) -> dict[str, Any]:
    """A7: five within 48 hours of a message, two within a minute of entering. Raises ApiError 45015
    or 45047."""
    person = _person(call)
    kind = call.text("msgtype")
    content = _content(call, kind)
    _count(call)
    message = Message(
        time=call.box.seconds(),
        sender=call.app,
        kind="service",
        text=str(content.get("content") or content.get("title") or f"[{kind}]"),
        content={**content, "msgtype": kind},
    )
    person.inbox.append(message)
    call.box.changed()
    return {}


def _content(call: Call, kind: str) -> dict[str, Any]:
    """What is sent. Raises ApiError 40008 for an unknown kind, 44004 when something is missing,
    45002 for a text that is too long, 40007 for an unknown picture."""
    if kind not in REQUIRED:
        raise ApiError(40008)
    content = call.body.get(kind)
    if not isinstance(content, dict) or not all(content.get(name) for name in REQUIRED[kind]):
        raise ApiError(44004)
    if kind == "text" and len(str(content["content"]).encode()) > TEXT_BYTES:
        raise ApiError(45002)
    media_id = content.get("media_id") or content.get("thumb_media_id")
    if media_id:
        call.box.files.need(call.app, str(media_id), "image")
    return content


def _count(call: Call) -> None:
    """Take one of the sends that the person's window allows. Raises ApiError 45015 when it is
    closed, 45047 when it is used up."""
    window = call.box.state.records.windows.get(call.text("touser"))
    if window is None or call.box.seconds() >= window.until:
        raise ApiError(45015)
    if not window.left:
        raise ApiError(45047)
    window.left -= 1
    window.typing = False


def typing(call: Call) -> dict[str, Any]:
    """A7. Raises ApiError 45072 for another command, 45080 30 s after the last contact, 45081 when
    it types already."""
    _person(call)
    command = call.text("command")
    window = call.box.state.records.windows.get(call.text("touser"))
    if command not in {"Typing", "CancelTyping"}:
        raise ApiError(45072)
    if window is None or call.box.seconds() - window.contact_at >= TYPING_SECONDS:
        raise ApiError(45080)
    if command == "Typing" and window.typing:
        raise ApiError(45081)
    window.typing = command == "Typing"
    return {}


async def enter(box: Sandbox, person: Person, appid: str, session_from: str) -> bool:
    """The person opens the customer-service chat (`user_enter_tempsession`). Returns whether the
    event arrived."""
    openid = person.openids[appid]
    now = box.seconds()
    window = box.state.records.windows.get(openid)
    if window is None or now >= window.until:
        window = Window(until=now + SESSION_SECONDS, left=SESSION_SENDS, contact_at=now)
    window.contact_at = now
    box.state.records.windows[openid] = window
    box.changed()
    fields: dict[str, Value | None] = {"SessionFrom": session_from}
    event = Event("user_enter_tempsession", now, fields=fields, from_user=openid)
    return await box.sender.push(appid, event)


async def write(box: Sandbox, person: Person, appid: str, kind: str, text: str) -> bool:
    """The person writes to the customer service: `text`, or an `image` whose address the text
    is."""
    openid = person.openids[appid]
    now = box.seconds()
    window = Window(until=now + MESSAGE_SECONDS, left=MESSAGE_SENDS, contact_at=now)
    box.state.records.windows[openid] = window
    box.changed()
    fields: dict[str, Value | None] = {"Content": text}
    if kind == "image":
        media_id, _ = box.files.add(appid, "image", "picture.jpg", text.encode())
        fields = {"PicUrl": text, "MediaId": media_id}
    fields["MsgId"] = int(ids.nonce())
    event = Event("", now, fields=fields, from_user=openid, msg_type=kind)
    return await box.sender.push(appid, event)


ENDPOINTS = (
    Endpoint("POST", "/cgi-bin/message/custom/send", send),
    Endpoint("POST", "/cgi-bin/message/custom/typing", typing),
)
