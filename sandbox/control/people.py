"""The control plane's verbs for people, members and live codes."""

from __future__ import annotations

import re
from dataclasses import asdict
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from sandbox.control.frame import ControlCall, Refused, Routes
from sandbox.core.errors import Impossible
from sandbox.core.state import Person, Way
from sandbox.wecom import acquisition_links, friendships

PEOPLE_SHOWN = 1000
"""So many unless `limit` says otherwise: to tell 100,000 would hold up everybody else."""


_PHONE = re.compile(r"\d{5,15}|\+[1-9]\d{0,3} \d{4,12}", re.ASCII)


def person_of(call: ControlCall) -> Person:
    """The person that the path names first."""
    person = call.box.state.people.get(call.parts[0])
    if person is None:
        raise Refused(404, "no_such_person", f"no person {call.parts[0]}")
    return person


def userid_of(call: ControlCall, name: str = "userid") -> str:
    """The member that the body names, in the world's spelling."""
    return _member(call, call.text(name))


def _member(call: ControlCall, userid: str) -> str:
    member = call.box.world.member(userid)
    if member is None:
        raise Refused(404, "no_such_member", f"no member {userid}")
    return member.userid


def appid_of(call: ControlCall) -> str:
    """The mini-program that the body names."""
    appid = call.text("appid")
    if call.box.world.mini_program(appid) is None:
        raise Refused(404, "no_such_mini_program", f"no mini-program {appid}")
    return appid


def _brief(person: Person) -> dict[str, Any]:
    shown = person.model_dump(
        include={"id", "name", "phone", "unionid", "openids", "external_userid"}
    )
    return {**shown, "friends": list(person.friends), "messages": len(person.inbox)}


async def list_people(call: ControlCall) -> Any:
    """The latest PEOPLE_SHOWN or `limit` people, oldest first, and how many there are; with `q`
    those of them whose name, phone or external_userid contains it."""
    people = call.box.state.people.values()
    wanted = call.query.get("q", "").strip().lower()
    found = [p for p in people if _is(p, wanted)] if wanted else people
    latest = list(islice(reversed(found), call.limit(PEOPLE_SHOWN)))
    return {"people": [_brief(p) for p in reversed(latest)], "count": len(found)}


def _is(person: Person, wanted: str) -> bool:
    texts = (person.name, person.phone, person.external_userid)
    return any(wanted in text.lower() for text in texts)


async def add_person(call: ControlCall) -> Any:
    """A new person; without `phone` a made-up number. A foreign phone is `+49 15123456700`."""
    phone = call.text("phone", "")
    if phone and not _PHONE.fullmatch(phone):
        rule = "5 to 15 digits, or + and a country code, a space and the number, are expected"
        raise Refused(400, "bad_field", f"phone: {rule}")
    name = call.text("name").strip()
    if not 1 <= len(name) <= 64:
        raise Refused(400, "bad_field", "name: 1 to 64 characters are expected")
    person = call.box.state.add_person(call.box.world, name, phone)
    call.box.changed()
    return _brief(person)


async def get_person(call: ControlCall) -> Any:
    """A person with friends, remarks, tags by name, and the messages on his phone."""
    person = person_of(call)
    friends = []
    for friend in person.friends.values():
        tags = [found[1].name for t in friend.tags if (found := call.box.state.tag(t))]
        friends.append({**friend.model_dump(), "tag_names": tags})
    inbox = [message.model_dump() for message in person.inbox]
    return {**_brief(person), "friends": friends, "inbox": inbox}


def _way(call: ControlCall) -> Way:
    """The live code that the body names by config_id or by state; the newest if several share a
    state."""
    ways = call.box.state.ways
    config_id = call.text("config_id", "")
    state = call.text("state", "")
    if config_id:
        found = [ways[config_id]] if config_id in ways else []
    else:
        found = [way for way in ways.values() if state and way.state == state]
    if not found:
        raise Refused(404, "no_such_way", "no live code with that config_id or state")
    return found[-1]


async def scan(call: ControlCall) -> Any:
    """The person scans a live code and becomes a member's friend."""
    userid = call.text("userid", "")
    chosen = _member(call, userid) if userid else ""
    return asdict(await friendships.scan(call.box, person_of(call), _way(call), chosen))


async def add(call: ControlCall) -> Any:
    """The person adds a member without a code."""
    return asdict(await friendships.add(call.box, person_of(call), userid_of(call)))


async def half_add(call: ControlCall) -> Any:
    """The person adds a member who has not added him back (`add_half_external_contact`); `add`
    completes it."""
    return asdict(
        await friendships.half_add(
            call.box, person_of(call), userid_of(call), call.text("state", "")
        )
    )


async def delete(call: ControlCall) -> Any:
    """The person deletes the member (`del_follow_user`)."""
    return {
        "delivered": await friendships.part(
            call.box, person_of(call), userid_of(call), by_member=False
        )
    }


async def deleted_by(call: ControlCall) -> Any:
    """The member deletes the person (`del_external_contact`)."""
    return {
        "delivered": await friendships.part(
            call.box, person_of(call), userid_of(call), by_member=True
        )
    }


async def edited_by(call: ControlCall) -> Any:
    """The member edits `remark` or `description` on his phone (`edit_external_contact`)."""
    changes = {name: call.text(name, "") for name in call.body.keys() & {"remark", "description"}}
    if not changes:
        raise Refused(400, "bad_field", "remark or description is expected")
    return {
        "delivered": await friendships.edit(call.box, person_of(call), userid_of(call), changes)
    }


async def message(call: ControlCall) -> Any:
    """The person writes to a member; WeCom does not tell the product what was written."""
    person = person_of(call)
    userid = userid_of(call)
    written = friendships.write(call.box, person, userid, call.text("text"))
    for event in acquisition_links.wrote(call.box, person, userid):
        await call.box.sender.send(event)
    return written.model_dump()


async def open_mini_program(call: ControlCall) -> Any:
    """The person opens a mini-program: a login code, and the portal's address with it and with
    `scene` and `page`."""
    person = person_of(call)
    appid = appid_of(call)
    code = call.box.codes.issue("login", person.id, appid)
    call.box.state.records.visits[person.openids[appid]] = call.box.seconds()
    portal = call.box.options.portal_url
    if not portal:
        return {"code": code}
    query = {"code": code}
    for name in ("scene", "page"):
        if call.text(name, ""):
            query[name] = call.text(name)
    address = portal.replace("{appid}", appid)
    joint = "&" if "?" in address else "?"
    return {"code": code, "url": address + joint + urlencode(query)}


async def phone(call: ControlCall) -> Any:
    """The person presses the phone button of a mini-program, which is paid: without quota his
    client gets errno 1400001 and no code."""
    left = call.box.switches.phone_quota
    if left == 0:
        raise Impossible("errno 1400001: the quota of the phone button is used up")
    if left is not None:
        call.box.switches.phone_quota = left - 1
    return {"code": call.box.codes.issue("phone", person_of(call).id, appid_of(call))}


async def member_oauth(call: ControlCall) -> Any:
    """A member signs in to a web page inside WeCom, without the page; `private`: he consents to
    more being told (B1)."""
    kind = "privateinfo" if call.body.get("private") is True else "oauth"
    return {
        "code": call.box.codes.issue(
            kind, _member(call, call.parts[0]), call.box.world.corp.corp_id
        )
    }


async def list_members(call: ControlCall) -> Any:
    """Members with their customers and the messages they received."""
    state = call.box.state
    rows = []
    for member in call.box.world.corp.members:
        customers = [person.external_userid for person in state.followers(member.userid)]
        messages = [message.model_dump() for message in state.chats.get(member.userid, [])]
        rows.append({**member.model_dump(), "customers": customers, "messages": messages})
    return {"members": rows}


async def get_member(call: ControlCall) -> Any:
    """One member's window: his latest customers, and what he and the app told him."""
    userid = _member(call, call.parts[0])
    limit = call.limit(50)
    followers = call.box.state.followers(userid)
    chat = call.box.state.chats.get(userid, [])
    return {
        "userid": userid,
        "customers": [_customer(person, userid) for person in list(followers)[-limit:]],
        "count": len(followers),
        "messages": [message.model_dump() for message in chat[-limit:]],
    }


def _customer(person: Person, userid: str) -> dict[str, str]:
    """A customer as one of his members sees him in a list."""
    return {
        "id": person.id,
        "name": person.name,
        "external_userid": person.external_userid,
        "remark": person.friends[userid].remark,
    }


async def list_ways(call: ControlCall) -> Any:
    """The live codes with the members behind them."""
    rows = []
    for way in call.box.state.ways.values():
        members = friendships.way_members(call.box, way)
        rows.append({**way.model_dump(exclude={"turn", "assigned"}), "members": members})
    return {"ways": rows}


ROUTES: Routes = [
    ("/ways", {"get": list_ways}),
    ("/members/([^/]+)/window", {"get": get_member}),
    ("/members/([^/]+)/oauth", {"post": member_oauth}),
    ("/people", {"get": list_people, "post": add_person}),
    ("/people/([^/]+)", {"get": get_person}),
    ("/people/([^/]+)/scan", {"post": scan}),
    ("/people/([^/]+)/add", {"post": add}),
    ("/people/([^/]+)/half-add", {"post": half_add}),
    ("/people/([^/]+)/delete", {"post": delete}),
    ("/people/([^/]+)/deleted-by", {"post": deleted_by}),
    ("/people/([^/]+)/edited-by", {"post": edited_by}),
    ("/people/([^/]+)/message", {"post": message}),
    ("/people/([^/]+)/open", {"post": open_mini_program}),
    ("/people/([^/]+)/phone", {"post": phone}),
]
