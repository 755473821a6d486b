"""App messages to members (contract/wechat B10 90236, 94888, 94867)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from services.wechat.core.checks import at_most, chars, need, refuse, utf8
from services.wechat.wecom.calls import Answer, Calls, Json

MOST_MEMBERS = 1000
TEXT_BYTES = 2048
_TASK_ID = re.compile(r"[0-9A-Za-z_@-]{1,128}")
_MOST_IN_TEMPLATE = {
    "button_list": 6,
    "select_list": 3,
    "jump_list": 3,
    "horizontal_content_list": 6,
}


CROWDED_MINUTES, SPREAD_SECONDS = 30, 180
"""Minutes 0 and 30 of an hour are everybody's (contract/wechat B10): what can wait goes in the
three minutes after them."""


def off_the_rush(due: float, key: str) -> float:
    """When (seconds UTC) an app message that can wait goes out: at `due`, or if everybody sends in
    that minute some time after it, always the same for one `key`."""
    minute = int(due // 60)
    if minute % CROWDED_MINUTES:
        return due
    spread = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest())
    return (minute + 1) * 60.0 + spread % (SPREAD_SECONDS * 1000) / 1000


class SentMessage(Answer, total=False):
    """The `invalid` ones are joined by "|"; `response_code` comes with a card that has buttons."""

    invaliduser: str
    invalidparty: str
    invalidtag: str
    unlicenseduser: str
    msgid: str
    response_code: str


class UpdatedCard(Answer, total=False):
    invaliduser: list[str]


class Messages(Calls):
    """App messages; they count accounts x 200 a day, and 30 a minute and 1000 an hour for one
    member (the rest is dropped)."""

    async def send(self, userids: Sequence[str], message: Mapping[str, Any]) -> SentMessage:
        """An app message to at most 1000 members (90236); `message` holds `msgtype` and its part.

        WeCom cuts a text after 2048 bytes; here that is refused. Members who cannot be reached are
        named in `invaliduser`; when it is all of them, SubjectState 81013.
        """
        path = "message/send"
        need(path, "at least one member", userids)
        at_most(path, "touser", len(userids), MOST_MEMBERS)
        _check(path, message)
        body = {"touser": "|".join(userids), "agentid": self._client.agent_id, **message}
        return await self._submit(SentMessage, path, body)

    async def update_card(
        self,
        userids: Sequence[str],
        response_code: str,
        *,
        replace_name: str = "",
        template_card: Mapping[str, Any] | None = None,
    ) -> UpdatedCard:
        """Changes a card's button text, or the whole card, for these members (94888).

        A `response_code` is good for one use and 72 hours: SubjectState 60140.
        """
        path = "message/update_template_card"
        need(path, "a new button text or a new card", replace_name, template_card)
        body: Json = {
            "userids": list(userids),
            "agentid": self._client.agent_id,
            "response_code": response_code,
        }
        if template_card:
            body["template_card"] = dict(template_card)
        else:
            body["button"] = {"replace_name": replace_name}
        return await self._submit(UpdatedCard, path, body)

    async def recall(self, msgid: str) -> Answer:
        """Takes a message back within 24 hours (94867): SubjectState 42052 later; BadRequest 40058:
        another app sent it."""
        return await self._submit(Answer, "message/recall", {"msgid": msgid})


def _check(path: str, message: Mapping[str, Any]) -> None:
    for kind in ("text", "markdown"):
        utf8(path, TEXT_BYTES, **{kind: _part(message, kind).get("content")})
    card = _part(message, "textcard")
    chars(path, 128, title=card.get("title"))
    chars(path, 512, description=card.get("description"))
    utf8(path, 2048, url=card.get("url"))
    chars(path, 4, btntxt=card.get("btntxt"))
    notice = _part(message, "miniprogram_notice")
    at_most(path, "content_item", len(notice.get("content_item") or ()), 10)
    _check_template(path, _part(message, "template_card"))


def _check_template(path: str, template: Mapping[str, Any]) -> None:
    for name, most in _MOST_IN_TEMPLATE.items():
        at_most(path, name, len(template.get(name) or ()), most)
    task_id = template.get("task_id")
    if task_id is not None and not _TASK_ID.fullmatch(task_id):
        raise refuse(path, "task_id has 1 to 128 of 0-9 A-Z a-z _ @ -")


def _part(message: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    part = message.get(kind)
    return part if isinstance(part, Mapping) else {}
