"""Events as WeCom and WeChat write them: XML with CDATA strings and bare ints, or JSON
(contract/wechat C4, A4, I).

The names of an event's fields are the platform's (`UserID`, `ChatId`); what an event has no value
for is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Value: TypeAlias = "str | int | Sequence[Value] | Mapping[str, Value] | Many"

CONTACT = "change_external_contact"


@dataclass(frozen=True, slots=True)
class Many:
    """An element that repeats another: `Many("OptionId", ["a", "b"])`. A plain list repeats
    `Item`."""

    name: str
    values: Sequence[Value]


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `create_time` is Unix seconds; fields whose value is empty ("", None, []) are not
    sent, 0 is.

    `agent_id` names the only app that gets it; without it the kind of event decides (C3).
    `msg_type` is `event` but for a mini-program's messages, which then have no `name`.
    """

    name: str
    create_time: int
    change_type: str = ""
    fields: Mapping[str, Value | None] = field(default_factory=dict)
    from_user: str = "sys"
    agent_id: int | None = None
    msg_type: str = "event"

    def present(self) -> dict[str, Value]:
        """What follows the head, in order and without empty values."""
        named = {"Event": self.name, "ChangeType": self.change_type, **self.fields}
        return {
            name: value
            for name, value in named.items()
            if value is not None and value not in ("", [], ())
        }

    def xml(self, to_user: str) -> bytes:
        """The plaintext of a callback or push."""
        head: dict[str, Value] = {"ToUserName": to_user, "FromUserName": self.from_user}
        head |= {"CreateTime": self.create_time, "MsgType": self.msg_type}
        return f"<xml>{_children({**head, **self.present()})}</xml>".encode()

    def json(self, to_user: str) -> bytes:
        """The same as a mini-program's JSON push: times are strings, and a repeated element is an
        object or an array."""
        head = {
            "ToUserName": to_user,
            "FromUserName": self.from_user,
            "CreateTime": str(self.create_time),
        }
        body: dict[str, Any] = {**head, "MsgType": self.msg_type}
        for name, value in self.present().items():
            if isinstance(value, Many):
                listed = [_plain(v) for v in value.values]
                body[value.name] = listed[0] if len(listed) == 1 else listed
            else:
                body[name] = _plain(value)
        return json.dumps(body, ensure_ascii=False).encode()

    def shown(self) -> dict[str, Any]:
        """What the delivery log shows."""
        fields = {
            n: _plain(v) for n, v in self.present().items() if n not in {"Event", "ChangeType"}
        }
        head = {
            "name": self.name or self.msg_type,
            "change_type": self.change_type,
            "from_user": self.from_user,
        }
        return {**head, "create_time": self.create_time, "fields": fields}


def contact(
    change_type: str, userid: str, external_userid: str, create_time: int, **more: str
) -> Event:
    """A `change_external_contact` event; `more` are further fields such as State, WelcomeCode or
    Source."""
    return Event(
        CONTACT,
        create_time,
        change_type,
        {"UserID": userid, "ExternalUserID": external_userid, **more},
    )


def envelope_xml(to_user: str, agent_id: str, encrypted: str) -> bytes:
    """The body of a post that carries an encrypted event; `agent_id` is empty for a
    mini-program."""
    fields: dict[str, Value] = {"ToUserName": to_user}
    if agent_id:
        fields["AgentID"] = agent_id
    return f"<xml>{_children({**fields, 'Encrypt': encrypted})}</xml>".encode()


def envelope_json(to_user: str, encrypted: str) -> bytes:
    """The same in JSON, for a mini-program whose push is set to it."""
    return json.dumps({"ToUserName": to_user, "Encrypt": encrypted}).encode()


def _children(fields: Mapping[str, Value]) -> str:
    return "".join(_element(name, value) for name, value in fields.items())


def _element(name: str, value: Value) -> str:
    if isinstance(value, int):
        inside = str(value)
    elif isinstance(value, str):
        inside = "<![CDATA[" + value.replace("]]>", "]]]]><![CDATA[>") + "]]>"
    elif isinstance(value, Mapping):
        inside = _children(value)
    elif isinstance(value, Many):
        inside = "".join(_element(value.name, v) for v in value.values)
    else:
        inside = "".join(_element("Item", v) for v in value)
    return f"<{name}>{inside}</{name}>"


def _plain(value: Value) -> Any:
    if isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {name: _plain(v) for name, v in value.items()}
    values = value.values if isinstance(value, Many) else value
    return [_plain(v) for v in values]
