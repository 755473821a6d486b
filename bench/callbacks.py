"""WeCom's callbacks, signed and encrypted; every one is another message."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from urllib.parse import urlencode

from bench import load
from bench.bank import STAFF, TENANT, WECOM
from services.wechat.core import crypto

CREDENTIALS = crypto.Credentials(WECOM["token"], WECOM["aes_key"], WECOM["corp_id"])


def added(state: str = "") -> tuple[str, bytes]:
    """A new customer adds an RM: the welcome code, and the request that tells of it."""
    code = f"CODE{secrets.token_hex(16)}"
    fields = {
        "UserID": secrets.choice(STAFF),
        "ExternalUserID": f"wm{secrets.token_hex(15)}",
        "State": state,
        "WelcomeCode": code,
    }
    return code, post(
        message("change_external_contact", "add_external_contact", int(time.time()), fields)
    )


def message(event: str, change: str, at: int, fields: Mapping[str, str]) -> bytes:
    """An event's XML as WeCom writes it; `at` is its CreateTime, and without `change` it has no
    ChangeType."""
    told = {
        "ToUserName": WECOM["corp_id"],
        "FromUserName": "sys",
        "CreateTime": str(at),
        "MsgType": "event",
        "Event": event,
        **({"ChangeType": change} if change else {}),
        **fields,
    }
    return f"<xml>{''.join(f'<{name}><![CDATA[{text}]]></{name}>' for name, text in told.items())}</xml>".encode()


def post(message: bytes, *, nonce: str = "") -> bytes:
    """The request that brings `message`, sealed and signed now."""
    return request(
        crypto.encrypt(CREDENTIALS, message),
        timestamp=str(int(time.time())),
        nonce=nonce or secrets.token_hex(8),
    )


def request(
    sealed: str, *, timestamp: str, nonce: str, token: str = CREDENTIALS.token, signature: str = ""
) -> bytes:
    """The request around what is sealed, signed with `token` unless a `signature` is given."""
    signature = signature or crypto.sign(token, timestamp, nonce, sealed)
    return around(envelope(sealed), timestamp=timestamp, nonce=nonce, signature=signature)


def envelope(sealed: str) -> bytes:
    """The body of a request."""
    return (
        f"<xml><ToUserName><![CDATA[{WECOM['corp_id']}]]></ToUserName><Encrypt><![CDATA[{sealed}]]></Encrypt>"
        f"<AgentID><![CDATA[{WECOM['agent_id']}]]></AgentID></xml>"
    ).encode()


def around(body: bytes, *, timestamp: str, nonce: str, signature: str) -> bytes:
    """The request with any body and any signature."""
    query = urlencode({"msg_signature": signature, "timestamp": timestamp, "nonce": nonce})
    return load.request(
        "POST", f"/wecom/{TENANT}/callback?{query}", {"Content-Type": "text/xml"}, body
    )
