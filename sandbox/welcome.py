"""WeCom's welcome message (wechat-contract B8): one per friendship, within 20 seconds."""

from __future__ import annotations

from typing import Any

from sandbox.api import Call, Endpoint
from sandbox.contacts import EC
from sandbox.errors import ApiError
from sandbox.state import Message

TEXT_BYTES = 4000
ATTACHMENTS_MOST = 9
REQUIRED = {
    "image": (),
    "link": ("title", "url"),
    "miniprogram": ("title", "pic_media_id", "appid", "page"),
    "video": ("media_id",),
    "file": ("media_id",),
}
BYTES = {"link": {"title": 128, "desc": 512, "url": 2048}, "miniprogram": {"title": 64}}


def send_welcome(call: Call) -> dict[str, Any]:
    """B8: deliver the welcome to the person's phone and use up the code; a refused body does not use it up."""
    code = call.text("welcome_code", missing=41049)
    text = _text(call)
    attachments = _attachments(call)
    if not text and not attachments:
        raise ApiError(40058, "text and attachments are empty")
    used = call.box.codes.redeem_welcome(code)
    person = call.box.state.people[used.subject]
    content = {"attachments": attachments}
    now = call.box.seconds()
    person.inbox.append(Message(time=now, sender=used.scope, kind="welcome", text=text, content=content))
    call.box.changed()
    call.box.journal.welcomes.append(
        {
            "time": call.box.clock.now(),
            "welcome_code": code,
            "userid": used.scope,
            "external_userid": person.external_userid,
            "person": person.id,
            "text": text,
            "attachments": attachments,
        }
    )
    return {}


def _text(call: Call) -> str:
    text = call.body.get("text") or {}
    content = text.get("content", "") if isinstance(text, dict) else None
    if not isinstance(content, str):
        raise ApiError(40058, "invalid Request Parameter: text")
    if len(content.encode()) > TEXT_BYTES:
        raise ApiError(45002)
    return content


def _attachments(call: Call) -> list[dict[str, Any]]:
    attachments = call.body.get("attachments") or []
    if not isinstance(attachments, list):
        raise ApiError(40058, "invalid Request Parameter: attachments")
    if len(attachments) > ATTACHMENTS_MOST:
        raise ApiError(41064)
    for attachment in attachments:
        _check_attachment(call, attachment)
    return attachments


def _check_attachment(call: Call, attachment: Any) -> None:
    kind = attachment.get("msgtype") if isinstance(attachment, dict) else None
    if kind not in REQUIRED:
        raise ApiError(41065)
    content = attachment.get(kind)
    if not isinstance(content, dict) or not all(content.get(name) for name in REQUIRED[kind]):
        raise ApiError(40058, f"incomplete attachment: {kind}")
    if kind == "image" and not (content.get("media_id") or content.get("pic_url")):
        raise ApiError(40058, "incomplete attachment: image")
    for name, most in BYTES.get(kind, {}).items():
        if len(str(content.get(name, "")).encode()) > most:
            raise ApiError(45002)
    if kind == "miniprogram" and call.box.world.mini_program(content["appid"]) is None:
        raise ApiError(40013)


ENDPOINTS = (Endpoint("POST", f"{EC}/send_welcome_msg", send_welcome, contact=True),)
