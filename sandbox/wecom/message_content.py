"""Text and attachments of welcomes, broadcasts and group welcomes, checked alike (contract/wechat
B8, D3)."""

from __future__ import annotations

from typing import Any

from sandbox.core.api import Call
from sandbox.core.errors import ApiError
from sandbox.wecom.media import WECOM

ATTACHMENTS_MOST = 9
REQUIRED = {
    "image": (),
    "link": ("title", "url"),
    "miniprogram": ("title", "pic_media_id", "appid", "page"),
    "video": ("media_id",),
    "file": ("media_id",),
}
BYTES = {
    "link": {"title": 128, "desc": 512, "url": 2048, "picurl": 2048},
    "miniprogram": {"title": 64},
}


def text(call: Call, most: int) -> str:
    """`text.content` of the body. Raises ApiError 40058, or 45002 above `most` bytes of UTF-8."""
    given = call.body.get("text") or {}
    content = given.get("content", "") if isinstance(given, dict) else None
    if not isinstance(content, str):
        raise ApiError(40058, "invalid Request Parameter: text")
    if len(content.encode()) > most:
        raise ApiError(45002)
    return content


def required(call: Call, most: int) -> tuple[str, list[dict[str, Any]]]:
    """`text` and `attachments`, at least one of which must be there. Raises ApiError 40058, and
    what these two raise."""
    given_text = text(call, most)
    given_attachments = attachments(call)
    if not given_text and not given_attachments:
        raise ApiError(40058, "text and attachments are empty")
    return given_text, given_attachments


def attachments(call: Call) -> list[dict[str, Any]]:
    """`attachments` of the body. Raises ApiError 41064 above nine, and what `check` raises."""
    given = call.body.get("attachments") or []
    if not isinstance(given, list):
        raise ApiError(40058, "invalid Request Parameter: attachments")
    if len(given) > ATTACHMENTS_MOST:
        raise ApiError(41064)
    for attachment in given:
        kind = attachment.get("msgtype") if isinstance(attachment, dict) else None
        if kind not in REQUIRED:
            raise ApiError(41065)
        check(call, kind, attachment.get(kind))
    return given


def check(call: Call, kind: str, content: Any) -> None:
    """One attachment. Raises ApiError 40058 incomplete, 45002 too long, 40007 media, 40013 a
    foreign mini-program."""
    if not isinstance(content, dict) or not all(content.get(name) for name in REQUIRED[kind]):
        raise ApiError(40058, f"incomplete attachment: {kind}")
    if kind == "image" and not (content.get("media_id") or content.get("pic_url")):
        raise ApiError(40058, "incomplete attachment: image")
    for name, most in BYTES.get(kind, {}).items():
        if len(str(content.get(name, "")).encode()) > most:
            raise ApiError(45002)
    _check_media(call, kind, content)


def _check_media(call: Call, kind: str, content: dict[str, Any]) -> None:
    """The files and the mini-program that an attachment names. Raises ApiError 40007 or 40013."""
    if content.get("media_id"):
        call.box.files.need(WECOM, str(content["media_id"]), kind)
    if kind == "miniprogram":
        if call.box.world.mini_program(str(content["appid"])) is None:
            raise ApiError(40013)
        call.box.files.need(WECOM, str(content["pic_media_id"]), "image")
