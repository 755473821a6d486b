"""Customer events as WeCom writes them (wechat-contract C4, I)."""

from __future__ import annotations

from dataclasses import dataclass


def _cdata(value: str) -> str:
    return "<![CDATA[" + value.replace("]]>", "]]]]><![CDATA[>") + "]]>"


def _element(name: str, value: str) -> str:
    return f"<{name}>{_cdata(value)}</{name}>"


@dataclass(frozen=True, slots=True)
class ContactEvent:
    """One `change_external_contact` event; empty fields are left out."""

    change_type: str
    userid: str
    external_userid: str
    create_time: int
    state: str = ""
    welcome_code: str = ""

    def xml(self, corp_id: str) -> bytes:
        """The plaintext of the callback."""
        head = _element("ToUserName", corp_id) + _element("FromUserName", "sys")
        head += f"<CreateTime>{self.create_time}</CreateTime>" + _element("MsgType", "event")
        fields = {
            "Event": "change_external_contact",
            "ChangeType": self.change_type,
            "UserID": self.userid,
            "ExternalUserID": self.external_userid,
            "State": self.state,
            "WelcomeCode": self.welcome_code,
        }
        body = "".join(_element(name, value) for name, value in fields.items() if value)
        return f"<xml>{head}{body}</xml>".encode()


def envelope_xml(corp_id: str, agent_id: int, encrypted: str) -> bytes:
    """The body of the post that carries an encrypted event."""
    fields = {"ToUserName": corp_id, "AgentID": str(agent_id), "Encrypt": encrypted}
    return ("<xml>" + "".join(_element(*field) for field in fields.items()) + "</xml>").encode()
