"""The mini-program server API under /wechat: tokens, login, phone numbers, quotas (contract/wechat
A1-A3)."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from sandbox.core import ids
from sandbox.core.api import Call, Endpoint
from sandbox.core.errors import ApiError
from sandbox.core.models import DAY_SECONDS
from sandbox.core.records import EncryptKey
from sandbox.core.state import Person
from sandbox.core.tokens import Token
from sandbox.core.world import MiniProgram

KEY_SECONDS, KEYS = 3600, 3
CLEARS_A_MONTH = 10
DAILY = 1_000_000


def _mini_program(call: Call, appid: str, secret: str, wrong_secret: int) -> MiniProgram:
    """The mini-program of these credentials. Raises ApiError 41002, 41004, 40013 or
    `wrong_secret`."""
    call.box.limits.token_block(call.ip)
    if not appid:
        raise ApiError(41002)
    if not secret:
        raise ApiError(41004)
    mini_program = call.box.world.mini_program(appid)
    if mini_program is None:
        raise ApiError(40013)
    if not hmac.compare_digest(mini_program.secret.encode(), secret.encode()):
        call.box.limits.wrong_token(call.ip)
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
    return _token_body(
        call, call.box.tokens.stable(app.appid, force=call.flag("force_refresh", False))
    )


def code_to_session(call: Call) -> dict[str, Any]:
    """A2: a login code becomes openid, session_key and, through the Open Platform account,
    unionid."""
    app = _mini_program(call, call.query.get("appid", ""), call.query.get("secret", ""), 40125)
    if call.query.get("grant_type") != "authorization_code":
        raise ApiError(40002)
    person_id = call.box.codes.redeem("login", call.given("js_code", 41008), app.appid)
    person = call.box.state.people[person_id]
    session: dict[str, Any] = _new_session(call, person, app.appid)
    if call.box.switches.jscode_errcode_field:
        session |= {"expires_in": 7200, "errcode": 0, "errmsg": "ok"}
    if app.open_platform:
        session["unionid"] = person.unionid
    return session


def _new_session(call: Call, person: Person, appid: str) -> dict[str, str]:
    """The person's former session key is void; that he visits is not said by this (61010). Raises
    ApiError 45011."""
    openid = person.openids[appid]
    call.box.limits.user("jscode2session", openid)
    key = ids.session_key()
    person.session_keys[appid] = key
    call.box.changed()
    return {"openid": openid, "session_key": key}


def _signed(call: Call) -> Person:
    """The person of `openid`, with a signature by his present session_key. Raises ApiError 40003 or
    87009."""
    person = call.box.state.by_openid(call.given("openid", 40003))
    if person is None or person.openids.get(call.app) != call.query["openid"]:
        raise ApiError(40003)
    key = person.session_keys.get(call.app, "")
    expected = hmac.new(key.encode(), b"", hashlib.sha256).hexdigest()
    right = hmac.compare_digest(expected, call.query.get("signature", ""))
    if not key or call.query.get("sig_method") != "hmac_sha256" or not right:
        raise ApiError(87009)
    return person


def check_session(call: Call) -> dict[str, Any]:
    """A2: whether a session_key is the present one, shown by a signature over the empty string."""
    _signed(call)
    return {}


def reset_session(call: Call) -> dict[str, Any]:
    """A2: a new session_key; the old one is void."""
    person = _signed(call)
    key = person.session_keys[call.app] = ids.session_key()
    call.box.changed()
    return {"openid": person.openids[call.app], "session_key": key}


def encrypt_keys(call: Call) -> dict[str, Any]:
    """A2: the last three keys of the person's front end; each lives an hour."""
    openid = _signed(call).openids[call.app]
    now = call.box.seconds()
    keys = call.box.state.records.encrypt_keys.setdefault(openid, [])
    if not keys or now >= keys[-1].create_time + KEY_SECONDS:
        keys.append(_new_key(keys, now))
        del keys[:-KEYS]
        call.box.changed()
    rows = []
    for key in reversed(keys):
        left = max(0, key.create_time + KEY_SECONDS - now)
        rows.append({**key.model_dump(), "expire_in": left})
    return {"key_info_list": rows}


def _new_key(keys: list[EncryptKey], now: int) -> EncryptKey:
    """The key after the last of `keys`."""
    version = keys[-1].version + 1 if keys else 1
    iv = ids.code("")[:16]
    return EncryptKey(encrypt_key=ids.session_key(), iv=iv, version=version, create_time=now)


def phone_number(call: Call) -> dict[str, Any]:
    """A3: the code of the phone button becomes the person's number; only a foreign one is written
    with its country code."""
    code = call.text("code")
    if not code:
        raise ApiError(40029)
    person = call.box.state.people[call.box.codes.redeem("phone", code, call.app)]
    foreign = person.phone.startswith("+")
    country, _, pure = person.phone.removeprefix("+").rpartition(" ")
    country = country or "86"
    return {
        "phone_info": {
            "phoneNumber": f"+{country}{pure}" if foreign else pure,
            "purePhoneNumber": pure,
            "countryCode": int(country)
            if call.box.switches.countryCode_type == "number"
            else country,
            "watermark": {"timestamp": call.box.seconds(), "appid": call.app},
        }
    }


def clear_quota(call: Call) -> dict[str, Any]:
    """A1: the day's use back to nothing, ten times a month (48006)."""
    if call.text("appid") != call.app:
        raise ApiError(40013)
    cleared = call.box.state.records.quota_clears
    now = call.box.seconds()
    recent = [at for at in cleared.get(call.app, []) if now - at < 30 * DAY_SECONDS]
    if len(recent) >= CLEARS_A_MONTH:
        raise ApiError(48006)
    cleared[call.app] = [*recent, now]
    call.box.limits.clear(call.app)
    call.box.changed()
    return {}


def quota(call: Call) -> dict[str, Any]:
    """A1: how much of a path's day is left. Raises ApiError 76021 for a path that there is not."""
    path = call.text("cgi_path")
    if not path.startswith("/"):
        raise ApiError(76021)
    counted = sum(c["path"] == path and c["base"] == "wechat" for c in call.box.journal.calls)
    most, used = call.box.limits.quota(call.app, path) or (DAILY, counted)
    return {"quota": {"daily_limit": most, "used": used, "remain": max(0, most - used)}}


def request_of(call: Call) -> dict[str, Any]:
    """A1: the call that drew an error, by the id in its text. Raises ApiError 76003 for another's
    or an unknown id."""
    found = call.box.journal.requests.get(call.text("rid"))
    if found is None:
        raise ApiError(76003)
    return {"request": found}


ENDPOINTS = (
    Endpoint("GET", "/cgi-bin/token", token, token=False, bare=True),
    Endpoint("POST", "/cgi-bin/stable_token", stable_token, token=False, bare=True),
    Endpoint("GET", "/sns/jscode2session", code_to_session, token=False, bare=True),
    Endpoint("GET", "/wxa/checksession", check_session),
    Endpoint("GET", "/wxa/resetusersessionkey", reset_session),
    Endpoint("GET|POST", "/wxa/business/getuserencryptkey", encrypt_keys, empty=True),
    Endpoint("POST", "/cgi-bin/clear_quota", clear_quota),
    Endpoint("POST", "/cgi-bin/openapi/quota/get", quota),
    Endpoint("POST", "/cgi-bin/openapi/rid/get", request_of),
    Endpoint("POST", "/wxa/business/getuserphonenumber", phone_number),
)
