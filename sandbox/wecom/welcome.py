"""WeCom's welcome message (contract/wechat B8): one per friendship, within 20 seconds."""

from __future__ import annotations

from typing import Any

from sandbox.core.api import Call, Endpoint
from sandbox.core.errors import ApiError
from sandbox.core.state import Message
from sandbox.wecom import message_content
from sandbox.wecom.contacts import EC

TEXT_BYTES = 4000


def send_welcome(call: Call) -> dict[str, Any]:
    """B8: deliver the welcome to the person's phone and use up the code; a refused body does not
    use it up."""
    code = call.text("welcome_code", missing=41049)
    text, attachments = message_content.required(call, TEXT_BYTES)
    used = call.box.codes.redeem_welcome(code)
    if used.scope in call.box.switches.idle_members:
        raise ApiError(41051)
    person = call.box.state.people[used.subject]
    message = Message(
        time=call.box.seconds(),
        sender=used.scope,
        kind="welcome",
        text=text,
        content={"attachments": attachments},
    )
    person.inbox.append(message)
    call.box.changed()
    entry = {
        "time": call.box.clock.now(),
        "welcome_code": code,
        "userid": used.scope,
        "external_userid": person.external_userid,
        "person": person.id,
        "text": text,
        "attachments": attachments,
    }
    call.box.journal.welcomes.append(entry)
    return {}


ENDPOINTS = (Endpoint("POST", f"{EC}/send_welcome_msg", send_welcome, contact=True),)
