"""The mini-program server API under /wechat (wechat-contract A1-A3)."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from sandbox import ids
from sandbox.api import Call, Endpoint
from sandbox.errors import ApiError
from sandbox.tokens import Token
from sandbox.world import MiniProgram


def _mini_program(call: Call, appid: str, secret: str, wrong_secret: int) -> MiniProgram:
    """The mini-program of these credentials. Raises ApiError 41002, 41004, 40013 or `wrong_secret`."""
    if not appid:
        raise ApiError(41002)
    if not secret:
        raise ApiError(41004)
    mini_program = call.box.world.mini_program(appid)
    if mini_program is None:
        raise ApiError(40013)
    if not hmac.compare_digest(mini_program.secret.encode(), secret.encode()):
        raise ApiError(wrong_secret, "invalid appsecret")
    return mini_program


def _token_body(call: Call, token: Token) -> dict[str, Any]:
    return {"access_token": token.value, "expires_in": call.box.tokens.seconds_left(token)}


def token(call: Call) -> dict[str, Any]:
    """A1: each call issues a new token; the former lives five minutes more."""
    if call.query.get("grant_type") != "client_credential":
        raise ApiError(40002)
    app = _mini_program(call, call.query.get("appid", ""), call.query.get("secret", ""), 40001)
    return _token_body(call, call.box.tokens.classic(app.appid))


def stable_token(call: Call) -> dict[str, Any]:
    """A1: the same token until its last five minutes, in a space of its own."""
    if call.text("grant_type") != "client_credential":
        raise ApiError(40002)
    app = _mini_program(call, call.text("appid"), call.text("secret"), 40125)
    return _token_body(call, call.box.tokens.stable(app.appid, force=call.flag("force_refresh", False)))


def code_to_session(call: Call) -> dict[str, Any]:
    """A2: a login code becomes openid, session_key and, through the Open Platform account, unionid."""
    app = _mini_program(call, call.query.get("appid", ""), call.query.get("secret", ""), 40125)
    if call.query.get("grant_type") != "authorization_code":
        raise ApiError(40002)
    person = call.box.state.people[call.box.codes.redeem("login", call.given("js_code", 41008), app.appid)]
    key = person.session_keys[app.appid] = ids.session_key()
    call.box.changed()
    session = {"openid": person.openids[app.appid], "session_key": key}
    return {**session, "unionid": person.unionid} if app.open_platform else session


def check_session(call: Call) -> dict[str, Any]:
    """A2: whether a session_key is the present one, shown by a signature over the empty string."""
    person = call.box.state.by_openid(call.given("openid", 40003))
    if person is None or person.openids.get(call.app) != call.query["openid"]:
        raise ApiError(40003)
    key = person.session_keys.get(call.app, "")
    expected = hmac.new(key.encode(), b"", hashlib.sha256).hexdigest()
    right = hmac.compare_digest(expected, call.query.get("signature", ""))
    if not key or call.query.get("sig_method") != "hmac_sha256" or not right:
        raise ApiError(87009)
    return {}


def phone_number(call: Call) -> dict[str, Any]:
    """A3: the code of the phone button becomes the person's number."""
    code = call.text("code")
    if not code:
        raise ApiError(40029)
    person = call.box.state.people[call.box.codes.redeem("phone", code, call.app)]
    return {
        "phone_info": {
            "phoneNumber": person.phone,
            "purePhoneNumber": person.phone,
            "countryCode": 86,
            "watermark": {"timestamp": call.box.seconds(), "appid": call.app},
        }
    }


ENDPOINTS = (
    Endpoint("GET", "/cgi-bin/token", token, token=False, bare=True),
    Endpoint("POST", "/cgi-bin/stable_token", stable_token, token=False, bare=True),
    Endpoint("GET", "/sns/jscode2session", code_to_session, token=False, bare=True),
    Endpoint("GET", "/wxa/checksession", check_session),
    Endpoint("POST", "/wxa/business/getuserphonenumber", phone_number),
)
