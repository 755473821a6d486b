"""Messages to a mini-program's customers, and the files they carry (contract/wechat A4, A7)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from services.wechat.core.checks import need, refuse, utf8
from services.wechat.miniprogram.calls import Answer, Calls

TEXT_BYTES = 2048
FILE_SECONDS = 30.0
MOST_CHARS = {
    "thing": 20,
    "number": 32,
    "letter": 32,
    "symbol": 5,
    "character_string": 32,
    "phone_number": 17,
    "car_number": 8,
    "name": 20,
    "phrase": 5,
}
_KEY = re.compile(r"([a-z_]+?)_?\d*")


class SubscribeSent(Answer, total=False):
    """`msgid` is missing in older answers."""

    msgid: int


class TemporaryMedia(Answer, total=False):
    type: str
    media_id: str
    created_at: int | str


class Messages(Calls):
    """Messages; SubjectState 40003 for an openid that is bad or another mini-program's."""

    async def subscribe_send(
        self,
        openid: str,
        template_id: str,
        data: Mapping[str, str],
        *,
        page: str = "",
        state: Literal["developer", "trial", "formal"] = "formal",
        lang: Literal["zh_CN", "en_US", "zh_HK", "zh_TW"] = "zh_CN",
    ) -> SubscribeSent:
        """A subscribe message (A4); uses up one acceptance of a one-time template.

        `data` are the template's values by key (`thing1`); one that is empty or longer than its
        kind allows is refused. `page` may carry a query. SubjectState 43101: not accepted, or
        nothing left; BadRequest 40037, 41030, 47003.
        """
        path = "/cgi-bin/message/subscribe/send"
        for key, value in data.items():
            _check_value(path, key, value)
        body = {
            "touser": openid,
            "template_id": template_id,
            "page": page or None,
            "data": {key: {"value": value} for key, value in data.items()},
            "miniprogram_state": state,
            "lang": lang,
        }
        return await self._submit(SubscribeSent, path, body)

    async def custom_send(self, openid: str, message: Mapping[str, Any]) -> Answer:
        """An answer to a customer who wrote within 48 hours (A7, at most 5); `message` holds
        `msgtype` and its part.

        Text has at most 2048 bytes. SubjectState 45015: too late, 45047: too many.
        """
        path = "/cgi-bin/message/custom/send"
        text = message.get("text")
        utf8(path, TEXT_BYTES, text=text.get("content") if isinstance(text, Mapping) else None)
        return await self._submit(Answer, path, {"touser": openid, **message})

    async def custom_typing(
        self, openid: str, command: Literal["Typing", "CancelTyping"] = "Typing"
    ) -> Answer:
        """Shows "typing" to a customer who wrote in the last 30 s: SubjectState 45080 later;
        AlreadyDone 45081."""
        return await self._submit(
            Answer, "/cgi-bin/message/custom/typing", {"touser": openid, "command": command}
        )

    async def upload(self, kind: str, name: str, content: bytes) -> TemporaryMedia:
        """Uploads a file for 3 days; BadRequest 40004 to 40006 for one that WeChat does not
        take."""
        path = "/cgi-bin/media/upload"
        need(path, "an empty file", content)
        answer: TemporaryMedia = await self._request(
            "post",
            f"{self.base}{path}",
            params={"type": kind},
            files={"media": (name, content)},
            timeout=FILE_SECONDS,
        )
        return answer

    async def download(self, media_id: str) -> bytes:
        """The file; SubjectState 40007 after 3 days."""
        query = {"media_id": media_id}
        return await self._content("get", "/cgi-bin/media/get", params=query, timeout=FILE_SECONDS)


def _check_value(path: str, key: str, value: str) -> None:
    """A4: what a value may hold follows from its key without the number behind it."""
    if not value:
        raise refuse(path, f"{key} is empty")
    kind = _KEY.fullmatch(key)
    most = MOST_CHARS.get(kind[1]) if kind else None
    if most is not None and len(value) > most:
        raise refuse(path, f"{key} has at most {most} characters")
