"""What people and members do: scan, add, delete, write; each emits the event that WeCom would send (C4, F9)."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.core import Sandbox
from sandbox.events import ContactEvent
from sandbox.state import Friend, Message, Person, Way

ADD_WAY_QR = 1
ADD_WAY_SEARCH = 2


class Impossible(Exception):
    """The person cannot do that now."""


@dataclass(frozen=True, slots=True)
class Added:
    """What came of a scan or an add; without a new friendship there is neither event nor welcome code."""

    userid: str
    external_userid: str
    state: str
    welcome_code: str
    create_time: int
    delivered: bool
    already_friends: bool = False


def way_members(box: Sandbox, way: Way) -> list[str]:
    """The members of a way: those named and those of its departments."""
    named = [m.userid for u in way.user if (m := box.world.member(u))]
    return named + [m.userid for m in box.world.corp.members if m.department in way.party and m.userid not in named]


def choose_member(box: Sandbox, person: Person, way: Way, userid: str = "") -> str:
    """Whom the way gives this person: the one asked for, the same as before if exclusive, else in turn."""
    members = way_members(box, way)
    if userid and userid not in members:
        raise Impossible(f"{userid} is not behind this code")
    if not members:
        raise Impossible("nobody is behind this code")
    before = way.assigned.get(person.id, "")
    if not userid and way.is_exclusive and before in members:
        return before
    if not userid:
        userid = members[way.turn % len(members)]
        way.turn += 1
    way.assigned[person.id] = userid
    return userid


async def scan(box: Sandbox, person: Person, way: Way, userid: str = "") -> Added:
    """The person scans a live code and becomes a friend of one of its members."""
    return await add(box, person, choose_member(box, person, way, userid), state=way.state, add_way=ADD_WAY_QR)


async def add(box: Sandbox, person: Person, userid: str, *, state: str = "", add_way: int = ADD_WAY_SEARCH) -> Added:
    """Person and member become friends; the event carries a welcome code of 20 seconds."""
    known = person.friends.get(userid)
    if known:
        return Added(userid, person.external_userid, known.state, "", known.createtime, False, already_friends=True)
    now = box.seconds()
    person.friends[userid] = Friend(userid=userid, createtime=now, state=state, add_way=add_way)
    welcome = box.codes.issue("welcome", person.id, userid)
    box.changed()
    event = ContactEvent("add_external_contact", userid, person.external_userid, now, state, welcome)
    delivered = await box.sender.send(event)
    return Added(userid, person.external_userid, state, welcome, now, delivered)


async def part(box: Sandbox, person: Person, userid: str, *, by_member: bool) -> bool:
    """One side deletes the other. Returns whether the event was delivered; raises Impossible if not friends."""
    if userid not in person.friends:
        raise Impossible(f"{userid} is not a friend")
    del person.friends[userid]
    box.changed()
    change = "del_external_contact" if by_member else "del_follow_user"
    return await box.sender.send(ContactEvent(change, userid, person.external_userid, box.seconds()))


async def edit(box: Sandbox, person: Person, userid: str, changes: dict[str, str]) -> bool:
    """The member edits remark or description on his phone. Returns whether the event was delivered."""
    friend = person.friends.get(userid)
    if friend is None:
        raise Impossible(f"{userid} is not a friend")
    friend.remark = changes.get("remark", friend.remark)
    friend.description = changes.get("description", friend.description)
    box.changed()
    return await box.sender.send(ContactEvent("edit_external_contact", userid, person.external_userid, box.seconds()))


def write(box: Sandbox, person: Person, userid: str, text: str) -> Message:
    """The person writes to a member; the chat has then started, which spends the welcome code (41051)."""
    if userid not in person.friends:
        raise Impossible(f"{userid} is not a friend")
    message = Message(time=box.seconds(), sender=person.external_userid, kind="text", text=text)
    box.state.tell_member(userid, message)
    box.codes.chat_started(person.id, userid)
    box.changed()
    return message
