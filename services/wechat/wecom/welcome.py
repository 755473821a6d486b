"""Greetings: of a new friend, and of who joins a group (contract/wechat B8 92137, 92366)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.wechat.core.checks import need, utf8
from services.wechat.wecom.calls import Answer, Calls, Json, check_message, check_part

GROUP_TEXT_BYTES = 3000
_PARTS = ("text", "image", "link", "miniprogram", "file", "video")


class TemplateId(Answer, total=False):
    template_id: str


class GroupWelcome(Answer, total=False):
    text: Json
    image: Json
    link: Json
    miniprogram: Json
    file: Json
    video: Json


class Welcome(Calls):
    """Greetings."""

    async def send(
        self,
        welcome_code: str,
        *,
        text: str = "",
        attachments: Sequence[Json] = (),
        timeout: float | None = None,  # noqa: ASYNC109 - handed to the HTTP client
    ) -> Answer:
        """Greets a new customer within 20 s (92137), once for all apps; text at most 4000 bytes, 9
        attachments.

        SubjectState 41050 (code gone), 41053 (archive not agreed to); AlreadyDone 41051 (greeted,
        or they are talking: do not repeat); TryLater 41096 (another app is sending).
        """
        path = "externalcontact/send_welcome_msg"
        content = {"content": text} if text else None
        check_message(path, content, attachments)
        body = {
            "welcome_code": welcome_code,
            "text": content,
            "attachments": list(attachments) or None,
        }
        return await self._submit(Answer, path, body, timeout=timeout)

    async def create_template(
        self, content: Mapping[str, Any], *, notify: bool = True
    ) -> TemplateId:
        """A greeting that group owners may choose (92366): text (3000 bytes, %NICKNAME%) and one
        other part.

        `notify` tells the owners of it. SubjectState 41055: the corp has 100.
        """
        path = "externalcontact/group_welcome_template/add"
        body = {**_content(path, content), "agentid": self._client.agent_id, "notify": int(notify)}
        return await self._submit(TemplateId, path, body)

    async def update_template(self, template_id: str, content: Mapping[str, Any]) -> Answer:
        """Replaces a greeting; only the app that made it may: SubjectState 41058."""
        path = "externalcontact/group_welcome_template/edit"
        body = {
            "template_id": template_id,
            **_content(path, content),
            "agentid": self._client.agent_id,
        }
        return await self._submit(Answer, path, body)

    async def get_template(self, template_id: str) -> GroupWelcome:
        """The greeting's parts."""
        path = "externalcontact/group_welcome_template/get"
        return await self._submit(GroupWelcome, path, {"template_id": template_id})

    async def delete_template(self, template_id: str) -> Answer:
        """Ends a greeting."""
        path = "externalcontact/group_welcome_template/del"
        return await self._submit(
            Answer, path, {"template_id": template_id, "agentid": self._client.agent_id}
        )


def _content(path: str, content: Mapping[str, Any]) -> Json:
    parts = {name: content[name] for name in _PARTS if content.get(name)}
    need(path, "a greeting has a text or another part", *parts.values())
    text = parts.get("text")
    utf8(path, GROUP_TEXT_BYTES, text=text.get("content") if isinstance(text, Mapping) else None)
    check_part(path, parts)
    return parts
