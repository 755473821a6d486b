"""What people and members do: scan, add, delete, write; each emits the event that WeCom would send
(C4, F9)."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.core import events
from sandbox.core.errors import Impossible
from sandbox.core.records import Half
from sandbox.core.sandbox import Sandbox
from sandbox.core.state import Friend, Message, Person, Way
from sandbox.wecom import intercept_rules, message_archive
from sandbox.wecom.message_archive import Said

ADD_WAY_QR = 1
ADD_WAY_SEARCH = 2


@dataclass(frozen=True, slots=True)
class Added:
    """What came of a scan or an add; without a new friendship there is neither event nor welcome
    code."""

    userid: str
    external_userid: str
    state: str
    welcome_code: str
    create_time: int
    delivered: bool
    already_friends: bool = False


def way_members(box: Sandbox, way: Way) -> list[str]:
    """The members of a way: those named, and those of its departments and below who may have
    customers."""
    named = [m.userid for u in way.user if (m := box.world.member(u))]
    return list(
        dict.fromkeys([*named, *(m.userid for m in box.world.members_in(way.party) if m.contact)])
    )


def choose_member(box: Sandbox, person: Person, way: Way, userid: str = "") -> str:
    """Whom the way gives this person: the one asked for, the same as before if exclusive, else in
    turn."""
    members = way_members(box, way)
    if way.dead(box.seconds()):
        raise Impossible("the time of this code is over")
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
    return await add(
        box, person, choose_member(box, person, way, userid), state=way.state, add_way=ADD_WAY_QR
    )


async def add(
    box: Sandbox, person: Person, userid: str, *, state: str = "", add_way: int = ADD_WAY_SEARCH
) -> Added:
    """Person and member become friends; the event carries a welcome code of 20 seconds."""
    external = person.external_userid
    known = person.friends.get(userid)
    if known:
        return Added(
            userid, external, known.state, "", known.createtime, False, already_friends=True
        )
    now = box.seconds()
    half = box.state.records.halves.pop(f"{external}|{userid}", None)
    box.state.befriend(person, Friend(userid=userid, createtime=now, state=state, add_way=add_way))
    welcome = _welcome_code(box, person, userid, half)
    box.changed()
    event = events.contact(
        "add_external_contact", userid, external, now, State=state, WelcomeCode=welcome
    )
    delivered = await box.sender.send(event)
    return Added(userid, external, state, welcome, now, delivered)


def _welcome_code(box: Sandbox, person: Person, userid: str, half: Half | None) -> str:
    """A new code; after a half add the code of that one, or none once it is gone (C4)."""
    if half is None:
        return box.codes.issue("welcome", person.id, userid)
    return half.welcome_code if box.codes.fresh(half.welcome_code) else ""


async def half_add(box: Sandbox, person: Person, userid: str, state: str) -> Added:
    """The person adds a member who needs no verification and has not added him back; `add`
    completes it."""
    if userid in person.friends:
        raise Impossible(f"{userid} is a friend already")
    now = box.seconds()
    welcome = box.codes.issue("welcome", person.id, userid)
    box.state.records.halves[f"{person.external_userid}|{userid}"] = Half(
        state=state, welcome_code=welcome
    )
    box.changed()
    half = "add_half_external_contact"
    event = events.contact(
        half, userid, person.external_userid, now, State=state, WelcomeCode=welcome
    )
    return Added(userid, person.external_userid, state, welcome, now, await box.sender.send(event))


async def part(box: Sandbox, person: Person, userid: str, *, by_member: bool) -> bool:
    """One side deletes the other; a member whom the customer deleted keeps him on his list (D2).
    Returns whether the event was delivered; raises Impossible if not friends."""
    if userid not in person.friends:
        if by_member and box.state.take_off(person, userid):
            return await _parted(box, person, userid, by_member=by_member)
        raise Impossible(f"{userid} is not a friend")
    if box.switches.one_sided and not by_member:
        box.state.desert(person, userid)
    else:
        box.state.unfriend(person, userid)
    return await _parted(box, person, userid, by_member=by_member)


async def _parted(box: Sandbox, person: Person, userid: str, *, by_member: bool) -> bool:
    box.changed()
    change = "del_external_contact" if by_member else "del_follow_user"
    return await box.sender.send(
        events.contact(change, userid, person.external_userid, box.seconds())
    )


async def edit(box: Sandbox, person: Person, userid: str, changes: dict[str, str]) -> bool:
    """The member edits remark or description on his phone. Returns whether the event was
    delivered."""
    friend = person.friends.get(userid)
    if friend is None:
        raise Impossible(f"{userid} is not a friend")
    friend.remark = changes.get("remark", friend.remark)
    friend.description = changes.get("description", friend.description)
    box.changed()
    return await box.sender.send(
        events.contact("edit_external_contact", userid, person.external_userid, box.seconds())
    )


def write(box: Sandbox, person: Person, userid: str, text: str) -> Message:
    """The person writes to a member; the chat has then started, which spends the welcome code
    (41051)."""
    friend = _friend(person, userid)
    friend.talked = box.seconds()
    message = Message(time=friend.talked, sender=person.external_userid, kind="text", text=text)
    box.state.tell_member(userid, message)
    box.codes.chat_started(person.id, userid)
    message_archive.archive_message(
        box, Said(person.external_userid, [userid], "text", {"content": text})
    )
    box.changed()
    return message


@dataclass(frozen=True, slots=True)
class Written:
    """A member's message: whether it went out, and the rule that it broke, if any."""

    sent: bool
    rule: str = ""
    warning: bool = False


def write_to(box: Sandbox, userid: str, person: Person, text: str) -> Written:
    """A member writes to a customer; a rule against its words may block it (1) or warn the member
    (2)."""
    friend = _friend(person, userid)
    rule = intercept_rules.found(box, userid, text)
    if rule and rule.intercept_type == intercept_rules.BLOCK:
        return Written(False, rule.rule_name)
    friend.talked = box.seconds()
    person.inbox.append(Message(time=friend.talked, sender=userid, kind="text", text=text))
    message_archive.archive_message(
        box, Said(userid, [person.external_userid], "text", {"content": text})
    )
    box.changed()
    return Written(True, rule.rule_name if rule else "", warning=rule is not None)


def _friend(person: Person, userid: str) -> Friend:
    friend = person.friends.get(userid)
    if friend is None:
        raise Impossible(f"{userid} is not a friend")
    return friend
