"""WeCom's welcome message (contract/wechat B8): one per friendship, within 20 seconds."""

from __future__ import annotations

from typing import Any

from sandbox import content
from sandbox.api import Call, Endpoint
from sandbox.contacts import EC
from sandbox.errors import ApiError
from sandbox.state import Message

TEXT_BYTES = 4000


def send_welcome(call: Call) -> dict[str, Any]:
    """B8: deliver the welcome to the person's phone and use up the code; a refused body does not
    use it up."""
    code = call.text("welcome_code", missing=41049)
    text = content.text(call, TEXT_BYTES)
    attachments = content.attachments(call)
    if not text and not attachments:
        raise ApiError(40058, "text and attachments are empty")
    used = call.box.codes.redeem_welcome(code)
    person = call.box.state.people[used.subject]
    attached = {"attachments": attachments}
    now = call.box.seconds()
    person.inbox.append(
        Message(time=now, sender=used.scope, kind="welcome", text=text, content=attached)
    )
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


ENDPOINTS = (Endpoint("POST", f"{EC}/send_welcome_msg", send_welcome, contact=True),)
