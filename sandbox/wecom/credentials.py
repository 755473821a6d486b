"""WeCom's credentials, sign-ins and JS tickets under /wecom (contract/wechat B1)."""

from __future__ import annotations

import hmac
from typing import Any

from sandbox.core import ids
from sandbox.core.api import Call, Endpoint
from sandbox.core.codes import OAUTH
from sandbox.core.errors import ApiError
from sandbox.wecom.members import known


def gettoken(call: Call) -> dict[str, Any]:
    """B1: one token per corp and app secret, repeated while it is valid; many wrong secrets block
    the address that they came from."""
    call.box.limits.token_block(call.ip)
    corp_id = call.given("corpid", 41002)
    secret = call.given("corpsecret", 41004)
    corp = call.box.world.corp
    if corp_id != corp.corp_id:
        call.box.limits.wrong_token(call.ip)
        raise ApiError(40013, "invalid corpid")
    for app in corp.apps:
        if hmac.compare_digest(app.secret.encode(), secret.encode()):
            token = call.box.tokens.wecom(str(app.agent_id))
            return {"access_token": token.value, "expires_in": call.box.tokens.seconds_left(token)}
    call.box.limits.wrong_token(call.ip)
    raise ApiError(40001)


def getuserinfo(call: Call) -> dict[str, Any]:
    """B1: an OAuth code becomes the member who signed in, or the openid of somebody who is no
    member."""
    code = call.given("code", 41008)
    kind = call.box.codes.kind(code)
    expected = kind if kind in OAUTH else "oauth"
    subject = call.box.codes.redeem(expected, code, call.box.world.corp.corp_id)
    if kind == "visitor":
        return _visitor(call, subject)
    if kind == "privateinfo":
        return {"userid": subject, "user_ticket": call.box.tokens.user_ticket(subject)}
    return {"userid": subject}


def _visitor(call: Call, person_id: str) -> dict[str, Any]:
    """The openid of somebody who is no member; with his external_userid when he is a customer."""
    person = call.box.state.people[person_id]
    answer = {"openid": person.openids[call.box.world.mini_programs[0].appid]}
    if person.friends:
        answer["external_userid"] = person.external_userid
    return answer


def getuserdetail(call: Call) -> dict[str, Any]:
    """B1: what the member consented to be told, by the ticket of his sign-in."""
    member = known(call, call.box.tokens.of_user_ticket(call.text("user_ticket", missing=40058)))
    return {
        "userid": member.userid,
        "gender": member.gender,
        "avatar": member.avatar,
        "qr_code": f"https://open.work.weixin.qq.com/wwopen/userQRCode?vcode={member.userid}",
        "mobile": member.mobile,
        "email": member.email,
        "biz_mail": member.email,
        "address": member.address,
    }


def member_session(call: Call) -> dict[str, Any]:
    """B1, 91507: a member opened the mini-program inside WeCom."""
    if call.query.get("grant_type") != "authorization_code":
        raise ApiError(40058, "invalid grant_type")
    userid = call.box.codes.redeem(
        "member_login", call.given("js_code", 41008), call.box.world.corp.corp_id
    )
    return {
        "corpid": call.box.world.corp.corp_id,
        "userid": userid,
        "session_key": ids.session_key(),
    }


def corp_ticket(call: Call) -> dict[str, Any]:
    """B1, 90506: the corp's ticket for `wx.config`."""
    return _ticket(call, "jsapi", call.box.world.corp.corp_id)


def app_ticket(call: Call) -> dict[str, Any]:
    """B1, 90506: the app's ticket for `wx.agentConfig`."""
    if call.query.get("type") != "agent_config":
        raise ApiError(40058, "invalid type")
    return _ticket(call, "agent_config", call.app)


def _ticket(call: Call, kind: str, owner: str) -> dict[str, Any]:
    ticket = call.box.tokens.ticket(kind, owner)
    return {"ticket": ticket.value, "expires_in": call.box.tokens.seconds_left(ticket)}


def addresses(call: Call) -> dict[str, Any]:
    """B1: where the platform's API and its callbacks come from, which is where this sandbox
    listens."""
    return {"ip_list": [call.host.partition(":")[0]]}


ENDPOINTS = (
    Endpoint("GET", "/cgi-bin/gettoken", gettoken, token=False),
    Endpoint("GET", "/cgi-bin/auth/getuserinfo", getuserinfo),
    Endpoint("POST", "/cgi-bin/auth/getuserdetail", getuserdetail),
    Endpoint("GET", "/cgi-bin/miniprogram/jscode2session", member_session),
    Endpoint("GET", "/cgi-bin/get_jsapi_ticket", corp_ticket),
    Endpoint("GET", "/cgi-bin/ticket/get", app_ticket),
    Endpoint("GET", "/cgi-bin/get_api_domain_ip", addresses),
    Endpoint("GET", "/cgi-bin/getcallbackip", addresses),
)
