"""WeCom's callbacks, signed and encrypted before the clock starts; every one is another message."""

from __future__ import annotations

import secrets
import time
from urllib.parse import urlencode

from bench import load
from bench.bank import STAFF, TENANT, WECOM
from services.wechat import crypto

_CREDENTIALS = crypto.Credentials(WECOM["token"], WECOM["aes_key"], WECOM["corp_id"])


def added(state: str = "") -> tuple[str, bytes]:
    """A new customer adds an RM: the welcome code, and the request that tells of it."""
    code = f"CODE{secrets.token_hex(16)}"
    message = (
        f"<xml><ToUserName><![CDATA[{WECOM['corp_id']}]]></ToUserName><FromUserName><![CDATA[sys]]></FromUserName>"
        f"<CreateTime>{int(time.time())}</CreateTime><MsgType><![CDATA[event]]></MsgType>"
        "<Event><![CDATA[change_external_contact]]></Event><ChangeType><![CDATA[add_external_contact]]></ChangeType>"
        f"<UserID><![CDATA[{secrets.choice(STAFF)}]]></UserID>"
        f"<ExternalUserID><![CDATA[wm{secrets.token_hex(15)}]]></ExternalUserID>"
        f"<State><![CDATA[{state}]]></State><WelcomeCode><![CDATA[{code}]]></WelcomeCode></xml>"
    )
    return code, _post(message.encode())


def _post(message: bytes) -> bytes:
    timestamp, nonce = str(int(time.time())), secrets.token_hex(8)
    sealed = crypto.encrypt(_CREDENTIALS, message)
    signature = crypto.sign(_CREDENTIALS.token, timestamp, nonce, sealed)
    query = urlencode({"msg_signature": signature, "timestamp": timestamp, "nonce": nonce})
    body = (
        f"<xml><ToUserName><![CDATA[{WECOM['corp_id']}]]></ToUserName><Encrypt><![CDATA[{sealed}]]></Encrypt>"
        f"<AgentID><![CDATA[{WECOM['agent_id']}]]></AgentID></xml>"
    )
    return load.request("POST", f"/wecom/{TENANT}/callback?{query}", {"Content-Type": "text/xml"}, body.encode())
