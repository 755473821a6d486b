"""WeCom's identity and app messages under /wecom (wechat-contract B1, B2, B10)."""

from __future__ import annotations

import hmac
from typing import Any

from sandbox import ids
from sandbox.api import Call, Endpoint
from sandbox.errors import ApiError
from sandbox.state import Message
from sandbox.world import Member

CONTENT_KEYS = {
    "text": "content",
    "markdown": "content",
    "textcard": "title",
    "template_card": "card_type",
    "miniprogram_notice": "appid",
}
TEXT_BYTES = 2048


def gettoken(call: Call) -> dict[str, Any]:
    """B1: one token per corp and app secret, repeated while it is valid."""
    corp_id, secret = call.given("corpid", 41002), call.given("corpsecret", 41004)
    corp = call.box.world.corp
    if corp_id != corp.corp_id:
        raise ApiError(40013, "invalid corpid")
    for app in corp.apps:
        if hmac.compare_digest(app.secret.encode(), secret.encode()):
            token = call.box.tokens.wecom(str(app.agent_id))
            return {"access_token": token.value, "expires_in": call.box.tokens.seconds_left(token)}
    raise ApiError(40001)


def getuserinfo(call: Call) -> dict[str, Any]:
    """B1: an OAuth code becomes the member who signed in."""
    return {"userid": call.box.codes.redeem("oauth", call.given("code", 41008), call.box.world.corp.corp_id)}


def _member(call: Call, userid: str) -> Member:
    member = call.box.world.member(userid)
    if member is None:
        raise ApiError(60111)
    return member


def user_get(call: Call) -> dict[str, Any]:
    """B2: a member, without the fields that apps of today do not receive."""
    member = _member(call, call.given("userid", 60111))
    return {
        "userid": member.userid,
        "name": member.name,
        "department": [member.department],
        "order": [0],
        "position": member.position,
        "is_leader_in_dept": [0],
        "direct_leader": [],
        "status": 1,
        "main_department": member.department,
        "extattr": {"attrs": []},
    }


def _targets(call: Call) -> tuple[list[Member], list[str], list[str], list[str]]:
    """Members that a message reaches, and the userids, departments and tags that do not exist."""
    world = call.box.world
    if call.text("touser") == "@all":
        return list(world.corp.members), [], [], []
    users, parties, tags = ([x for x in call.text(k).split("|") if x] for k in ("touser", "toparty", "totag"))
    if not users and not parties and not tags:
        raise ApiError(40058, "touser, toparty and totag are empty")
    if len(users) > 1000 or len(parties) > 100 or len(tags) > 100:
        raise ApiError(40058, "too many targets")
    found = {m.userid: m for u in users if (m := world.member(u))}
    departments = {str(d.id) for d in world.corp.departments}
    found.update({m.userid: m for m in world.corp.members if str(m.department) in parties})
    unknown_users = [u for u in users if world.member(u) is None]
    return list(found.values()), unknown_users, [p for p in parties if p not in departments], tags


def message_send(call: Call) -> dict[str, Any]:
    """B10: a message of the app to members; partly bad targets are named, only bad ones are 81013."""
    if str(call.integer("agentid", 0)) != call.app:
        raise ApiError(40056)
    kind = call.text("msgtype")
    if kind not in CONTENT_KEYS:
        raise ApiError(40008)
    content = call.body.get(kind)
    if not isinstance(content, dict) or not content.get(CONTENT_KEYS[kind]):
        raise ApiError(44004)
    members, users, parties, tags = _targets(call)
    if not members:
        raise ApiError(81013)
    text = str(content[CONTENT_KEYS[kind]]).encode()[:TEXT_BYTES].decode("utf-8", "ignore")
    for member in members:
        message = Message(time=call.box.seconds(), sender=f"app:{call.app}", kind=kind, text=text, content=content)
        call.box.state.tell_member(member.userid, message)
    call.box.changed()
    answer = {"invaliduser": "|".join(users), "invalidparty": "|".join(parties), "invalidtag": "|".join(tags)}
    return {**answer, "msgid": ids.code("msgGC")}


ENDPOINTS = (
    Endpoint("GET", "/cgi-bin/gettoken", gettoken, token=False),
    Endpoint("GET", "/cgi-bin/auth/getuserinfo", getuserinfo),
    Endpoint("GET", "/cgi-bin/user/get", user_get),
    Endpoint("POST", "/cgi-bin/message/send", message_send),
)
