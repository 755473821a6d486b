"""Group welcome templates (contract/wechat B8, 92366): at most 100, each changed only by the app
that made it."""

from __future__ import annotations

from typing import Any

from sandbox.core import ids
from sandbox.core.api import Call, Endpoint
from sandbox.core.errors import ApiError
from sandbox.core.records import WelcomeTemplate
from sandbox.core.state import Message
from sandbox.wecom import message_content
from sandbox.wecom.contacts import EC

TEXT_BYTES = 3000
MOST = 100
KINDS = ("image", "link", "miniprogram", "file", "video")
"""In the order in which the one to be used is chosen."""


def _content(call: Call) -> dict[str, Any]:
    """Text and one attachment. Raises ApiError 40058 when both are missing."""
    text = message_content.text(call, TEXT_BYTES)
    kind = next((k for k in KINDS if call.body.get(k)), "")
    if not text and not kind:
        raise ApiError(40058, "text and attachment are empty")
    found: dict[str, Any] = {"text": {"content": text}} if text else {}
    if kind:
        message_content.check(call, kind, call.body[kind])
        found[kind] = call.body[kind]
    return found


def _template(call: Call) -> WelcomeTemplate:
    """The template that a call names. Raises ApiError 40058 unknown, 41058 another app's."""
    template = call.box.state.records.templates.get(call.text("template_id", missing=40058))
    if template is None:
        raise ApiError(40058, "invalid Request Parameter: template_id")
    if str(template.agent_id) != call.app:
        raise ApiError(41058)
    return template


def add(call: Call) -> dict[str, Any]:
    """A new template, of which the members hear unless `notify` is 0; 41055 when there are 100."""
    found = _content(call)
    templates = call.box.state.records.templates
    if len(templates) >= MOST:
        raise ApiError(41055)
    template = WelcomeTemplate(template_id=ids.code("msgWT"), agent_id=int(call.app), content=found)
    templates[template.template_id] = template
    if call.integer("notify", 1):
        _notify(call, found)
    call.box.changed()
    return {"template_id": template.template_id}


def _notify(call: Call, found: dict[str, Any]) -> None:
    text = found.get("text", {}).get("content", "")
    for member in call.box.world.corp.members:
        if member.contact:
            message = Message(
                time=call.box.seconds(),
                sender="wecom",
                kind="group_welcome",
                text=text,
                content=found,
            )
            call.box.state.tell_member(member.userid, message)


def edit(call: Call) -> dict[str, Any]:
    """The template's whole content is replaced."""
    template = _template(call)
    template.content = _content(call)
    call.box.changed()
    return {}


def get(call: Call) -> dict[str, Any]:
    """The content, without the id."""
    return _template(call).content


def delete(call: Call) -> dict[str, Any]:
    """The template goes."""
    del call.box.state.records.templates[_template(call).template_id]
    call.box.changed()
    return {}


ENDPOINTS = tuple(
    Endpoint("POST", f"{EC}/group_welcome_template/{name}", answer, contact=True)
    for name, answer in (("add", add), ("edit", edit), ("get", get), ("del", delete))
)
