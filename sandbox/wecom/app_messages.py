"""App messages to members (contract/wechat B10, D1): who gets one, what may be in it, taking it
back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sandbox.core import ids
from sandbox.core.api import Call, Endpoint
from sandbox.core.errors import ApiError
from sandbox.core.models import DAY_SECONDS
from sandbox.core.records import Sent
from sandbox.core.state import Message
from sandbox.core.world import Member
from sandbox.wecom import template_cards
from sandbox.wecom.media import WECOM

TEXT_BYTES = 2048
NOTICE_ITEMS = 10
USERS_MOST, PARTIES_MOST = 1000, 100
DUPLICATE_SECONDS, DUPLICATE_MOST = 1800, 14_400
A_MINUTE, AN_HOUR = 30, 1000
MINUTE_SECONDS, HOUR_SECONDS = 60, 3600
A_DAY_EACH = 200
RECALL_SECONDS = DAY_SECONDS
SENT_KEPT = 10_000

Content = dict[str, Any]


def _text(_call: Call, content: Content) -> str:
    if not content.get("content"):
        raise ApiError(44004)
    return str(content["content"]).encode()[:TEXT_BYTES].decode("utf-8", "ignore")


def _media(kind: str) -> Callable[[Call, Content], str]:
    def check(call: Call, content: Content) -> str:
        return call.box.files.need(WECOM, str(content.get("media_id", "")), kind).name

    return check


def _within(content: Content, limits: dict[str, tuple[int, int]]) -> None:
    """Strings of so many characters. Raises ApiError 40058."""
    for name, (least, most) in limits.items():
        if not least <= len(str(content.get(name) or "")) <= most:
            raise ApiError(40058, f"invalid Request Parameter: {name}")


def _textcard(_call: Call, content: Content) -> str:
    _within(
        content, {"title": (1, 128), "description": (1, 512), "url": (1, 2048), "btntxt": (0, 4)}
    )
    return str(content["title"])


def _news(_call: Call, content: Content) -> str:
    articles = content.get("articles")
    if not isinstance(articles, list) or not 1 <= len(articles) <= 8:
        raise ApiError(45008)
    for article in articles:
        if not isinstance(article, dict) or not article.get("title"):
            raise ApiError(40058, "invalid Request Parameter: articles")
    return str(articles[0]["title"])


def _notice(call: Call, content: Content) -> str:
    if call.box.world.mini_program(str(content.get("appid", ""))) is None:
        raise ApiError(40013)
    _within(content, {"title": (4, 12)})
    if content.get("description"):
        _within(content, {"description": (4, 12)})
    items = content.get("content_item") or []
    if not isinstance(items, list) or len(items) > NOTICE_ITEMS:
        raise ApiError(40058, "invalid Request Parameter: content_item")
    if not all(isinstance(item, dict) for item in items):
        raise ApiError(40058, "invalid Request Parameter: content_item")
    for item in items:
        _within(item, {"key": (1, 10), "value": (1, 30)})
    return str(content["title"])


def _card(call: Call, content: Content) -> str:
    template_cards.check(call, content)
    title = content.get("main_title") or {}
    return str(title.get("title") or content.get("sub_title_text"))


KINDS: dict[str, Callable[[Call, Content], str]] = {
    "text": _text,
    "markdown": _text,
    **{kind: _media(kind) for kind in ("image", "voice", "video", "file")},
    "textcard": _textcard,
    "news": _news,
    "miniprogram_notice": _notice,
    "template_card": _card,
}


@dataclass(frozen=True, slots=True)
class Targets:
    """Members that a message reaches, and the names that mean nobody."""

    members: list[Member]
    users: list[str]
    parties: list[str]
    tags: list[str]


def _targets(call: Call) -> Targets:
    """Raises ApiError 40058 for none or too many, 81013 when every one means nobody."""
    world = call.box.world
    if call.text("touser") == "@all":
        return Targets(list(world.corp.members), [], [], [])
    users = _named(call, "touser", USERS_MOST)
    parties = _named(call, "toparty", PARTIES_MOST)
    tags = _named(call, "totag", PARTIES_MOST)
    if not users and not parties and not tags:
        raise ApiError(40058, "touser, toparty and totag are empty")
    members = _reached(call, users, parties)
    if not members:
        raise ApiError(81013)
    known = {str(department.id) for department in world.corp.departments}
    no_users = [userid for userid in users if world.member(userid) is None]
    no_parties = [party for party in parties if party not in known]
    return Targets(members, no_users, no_parties, tags)


def _reached(call: Call, users: list[str], parties: list[str]) -> list[Member]:
    """The members of these ids, then those of these departments and below; each once."""
    world = call.box.world
    found = {member.userid: member for userid in users if (member := world.member(userid))}
    below = _with_below(call, parties)
    for member in world.corp.members:
        if below.intersection(member.departments):
            found[member.userid] = member
    return list(found.values())


def _named(call: Call, field: str, most: int) -> list[str]:
    """The ids of a field, which `|` separates. Raises ApiError 40058 for more than `most`."""
    names = [name for name in call.text(field).split("|") if name]
    if len(names) > most:
        raise ApiError(40058, "too many targets")
    return names


def _with_below(call: Call, parties: list[str]) -> set[int]:
    """Departments and everything under them."""
    departments = call.box.world.corp.departments
    found = {d.id for d in departments if str(d.id) in parties}
    grown = -1
    while grown != len(found):
        grown = len(found)
        found |= {d.id for d in departments if d.parentid in found}
    return found


def send(call: Call) -> dict[str, Any]:
    """B10, 90236: a message of the app; partly bad targets are named, only bad ones are 81013.

    More than 30 a minute or 1000 an hour to one member are dropped without a word; a repetition
    within the interval of the duplicate check is swallowed; 200 a day for each account of the corp
    are the app's quota (45009).
    """
    draft = _draft(call)
    targets = _targets(call)
    answer: dict[str, Any] = {
        "invaliduser": "|".join(targets.users),
        "invalidparty": "|".join(targets.parties),
        "invalidtag": "|".join(targets.tags),
        "unlicenseduser": "",
    }
    before = _duplicate(call)
    if before:
        return {**answer, "msgid": before}
    _count(call, len(targets.members))
    userids = [member.userid for member in targets.members]
    msgid = _deliver(call, draft, userids)
    if draft.kind == "template_card" and draft.content["card_type"] in template_cards.INTERACTIVE:
        response_code = template_cards.remember(call.box, int(call.app), draft.content, userids)
        answer["response_code"] = response_code
    call.box.changed()
    return {**answer, "msgid": msgid}


@dataclass(frozen=True, slots=True)
class Draft:
    """What an app wants to send: its `msgtype`, the text that a chat shows, and the rest."""

    kind: str
    text: str
    content: Content


def _draft(call: Call) -> Draft:
    """Raises ApiError 40056 for another app's agentid, 40008 for an unknown type, 44004 without
    content, and what the check of its kind raises."""
    if str(call.integer("agentid", 0)) != call.app:
        raise ApiError(40056)
    kind = call.text("msgtype")
    if kind not in KINDS:
        raise ApiError(40008)
    content = call.body.get(kind)
    if not isinstance(content, dict):
        raise ApiError(44004)
    return Draft(kind, KINDS[kind](call, content), content)


def _key(call: Call) -> str:
    return hashlib.sha256(f"{call.app}{json.dumps(call.body, sort_keys=True)}".encode()).hexdigest()


def _duplicate(call: Call) -> str:
    """The msgid of the same message within the interval that the call asks for, or ""."""
    if not call.integer("enable_duplicate_check", 0):
        return ""
    interval = call.integer("duplicate_check_interval", DUPLICATE_SECONDS)
    if not 1 <= interval <= DUPLICATE_MOST:
        raise ApiError(40058, "invalid Request Parameter: duplicate_check_interval")
    at, msgid = call.box.recent_messages.alike.get(_key(call), (0.0, ""))
    return msgid if msgid and call.box.clock.now() - at < interval else ""


def _count(call: Call, members: int) -> None:
    today = f"{call.app}|{call.box.seconds() // DAY_SECONDS}"
    if call.box.recent_messages.of_day[today] + members > A_DAY_EACH * len(
        call.box.world.corp.members
    ):
        raise ApiError(45009)
    call.box.recent_messages.of_day[today] += members


def _deliver(call: Call, draft: Draft, userids: list[str]) -> str:
    """Put the message into the members' chats and remember it; its msgid."""
    msgid = ids.code("msgAPP")
    now = call.box.clock.now()
    message = Message(
        time=int(now),
        sender=f"app:{call.app}",
        kind=draft.kind,
        text=draft.text,
        content={**draft.content, "msgid": msgid},
    )
    for userid in userids:
        if _admit(call, userid, now):
            call.box.state.tell_member(userid, message.model_copy())
    sent = call.box.state.records.sent
    while len(sent) >= SENT_KEPT:
        del sent[next(iter(sent))]
    sent[msgid] = Sent(msgid=msgid, agent_id=int(call.app), at=int(now), userids=userids)
    if call.integer("enable_duplicate_check", 0):
        call.box.recent_messages.alike[_key(call)] = (now, msgid)
    return msgid


def _admit(call: Call, userid: str, now: float) -> bool:
    """Count one message to a member; False when he has had 30 in a minute or 1000 in an hour."""
    recent = call.box.recent_messages.to_member[f"{call.app}|{userid}"]
    while recent and now - recent[0] >= HOUR_SECONDS:
        recent.popleft()
    last_minute = sum(now - at < MINUTE_SECONDS for at in reversed(recent))
    if len(recent) >= AN_HOUR or last_minute >= A_MINUTE:
        return False
    recent.append(now)
    return True


def recall(call: Call) -> dict[str, Any]:
    """B10, 94867: take a message back within 24 hours (42052), by the app that sent it (40058)."""
    sent = call.box.state.records.sent.get(call.text("msgid"))
    if sent is None or str(sent.agent_id) != call.app:
        raise ApiError(40058, "invalid msgid")
    if call.box.seconds() >= sent.at + RECALL_SECONDS:
        raise ApiError(42052)
    sent.recalled = True
    chats = call.box.state.chats
    for userid in sent.userids:
        chat = chats.get(userid, [])
        chats[userid] = [m for m in chat if m.content.get("msgid") != sent.msgid]
    call.box.changed()
    return {}


ENDPOINTS = (
    Endpoint("POST", "/cgi-bin/message/send", send),
    Endpoint("POST", "/cgi-bin/message/recall", recall),
)
