"""The control plane's verbs for people, members and live codes."""

from __future__ import annotations

from dataclasses import asdict
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from sandbox.control.frame import Ask, Refused, Routes
from sandbox.core.state import Person, Way
from sandbox.wecom import acquisition_links, friendships

PEOPLE_SHOWN = 1000
"""So many unless `limit` says otherwise: to tell 100,000 would hold up everybody else."""


def person_of(ask: Ask) -> Person:
    """The person that the path names first."""
    person = ask.box.state.people.get(ask.parts[0])
    if person is None:
        raise Refused(404, "no_such_person", f"no person {ask.parts[0]}")
    return person


def userid_of(ask: Ask, name: str = "userid") -> str:
    """The member that the body names, in the world's spelling."""
    return _member(ask, ask.text(name))


def _member(ask: Ask, userid: str) -> str:
    member = ask.box.world.member(userid)
    if member is None:
        raise Refused(404, "no_such_member", f"no member {userid}")
    return member.userid


def appid_of(ask: Ask) -> str:
    """The mini-program that the body names."""
    appid = ask.text("appid")
    if ask.box.world.mini_program(appid) is None:
        raise Refused(404, "no_such_mini_program", f"no mini-program {appid}")
    return appid


def _brief(person: Person) -> dict[str, Any]:
    shown = person.model_dump(
        include={"id", "name", "phone", "unionid", "openids", "external_userid"}
    )
    return {**shown, "friends": list(person.friends), "messages": len(person.inbox)}


async def list_people(ask: Ask) -> Any:
    """The latest PEOPLE_SHOWN or `limit` people, oldest first, and how many there are."""
    people = ask.box.state.people.values()
    limit = ask.limit(PEOPLE_SHOWN)
    latest = list(islice(reversed(people), limit))
    return {"people": [_brief(p) for p in reversed(latest)], "count": len(people)}


async def add_person(ask: Ask) -> Any:
    """A new person; without `phone` a made-up number."""
    phone = ask.text("phone", "")
    if phone and not (phone.isdecimal() and phone.isascii() and 5 <= len(phone) <= 15):
        raise Refused(400, "bad_field", "phone: 5 to 15 digits are expected")
    name = ask.text("name").strip()
    if not 1 <= len(name) <= 64:
        raise Refused(400, "bad_field", "name: 1 to 64 characters are expected")
    person = ask.box.state.add_person(ask.box.world, name, phone)
    ask.box.changed()
    return _brief(person)


async def get_person(ask: Ask) -> Any:
    """A person with friends, remarks, tags by name, and the messages on his phone."""
    person = person_of(ask)
    friends = []
    for friend in person.friends.values():
        tags = [found[1].name for t in friend.tags if (found := ask.box.state.tag(t))]
        friends.append({**friend.model_dump(), "tag_names": tags})
    return {**_brief(person), "friends": friends, "inbox": [m.model_dump() for m in person.inbox]}


def _way(ask: Ask) -> Way:
    """The live code that the body names by config_id or by state; the newest if several share a
    state."""
    ways = ask.box.state.ways
    config_id, state = ask.text("config_id", ""), ask.text("state", "")
    found = [
        w
        for w in ways.values()
        if w.config_id == config_id or (not config_id and state and w.state == state)
    ]
    if not found:
        raise Refused(404, "no_such_way", "no live code with that config_id or state")
    return found[-1]


async def scan(ask: Ask) -> Any:
    """The person scans a live code and becomes a member's friend."""
    userid = ask.text("userid", "")
    chosen = _member(ask, userid) if userid else ""
    return asdict(await friendships.scan(ask.box, person_of(ask), _way(ask), chosen))


async def add(ask: Ask) -> Any:
    """The person adds a member without a code."""
    return asdict(await friendships.add(ask.box, person_of(ask), userid_of(ask)))


async def half_add(ask: Ask) -> Any:
    """The person adds a member who has not added him back (`add_half_external_contact`); `add`
    completes it."""
    return asdict(
        await friendships.half_add(ask.box, person_of(ask), userid_of(ask), ask.text("state", ""))
    )


async def delete(ask: Ask) -> Any:
    """The person deletes the member (`del_follow_user`)."""
    return {
        "delivered": await friendships.part(
            ask.box, person_of(ask), userid_of(ask), by_member=False
        )
    }


async def deleted_by(ask: Ask) -> Any:
    """The member deletes the person (`del_external_contact`)."""
    return {
        "delivered": await friendships.part(ask.box, person_of(ask), userid_of(ask), by_member=True)
    }


async def edited_by(ask: Ask) -> Any:
    """The member edits `remark` or `description` on his phone (`edit_external_contact`)."""
    changes = {name: ask.text(name, "") for name in ask.body.keys() & {"remark", "description"}}
    if not changes:
        raise Refused(400, "bad_field", "remark or description is expected")
    return {"delivered": await friendships.edit(ask.box, person_of(ask), userid_of(ask), changes)}


async def message(ask: Ask) -> Any:
    """The person writes to a member; WeCom does not tell the product what was written."""
    person, userid = person_of(ask), userid_of(ask)
    written = friendships.write(ask.box, person, userid, ask.text("text"))
    for event in acquisition_links.wrote(ask.box, person, userid):
        await ask.box.sender.send(event)
    return written.model_dump()


async def open_mini_program(ask: Ask) -> Any:
    """The person opens a mini-program: a login code, and the portal's address with it and with
    `scene` and `page`."""
    person, appid = person_of(ask), appid_of(ask)
    code = ask.box.codes.issue("login", person.id, appid)
    ask.box.state.records.visits[person.openids[appid]] = ask.box.seconds()
    portal = ask.box.options.portal_url
    if not portal:
        return {"code": code}
    address = portal.replace("{appid}", appid)
    query = {"code": code} | {
        name: ask.text(name) for name in ("scene", "page") if ask.text(name, "")
    }
    return {"code": code, "url": address + ("&" if "?" in address else "?") + urlencode(query)}


async def phone(ask: Ask) -> Any:
    """The person presses the phone button of a mini-program."""
    return {"code": ask.box.codes.issue("phone", person_of(ask).id, appid_of(ask))}


async def member_oauth(ask: Ask) -> Any:
    """A member signs in to a web page inside WeCom, without the page; `private`: he consents to
    more being told (B1)."""
    kind = "privateinfo" if ask.body.get("private") is True else "oauth"
    return {
        "code": ask.box.codes.issue(kind, _member(ask, ask.parts[0]), ask.box.world.corp.corp_id)
    }


async def list_members(ask: Ask) -> Any:
    """Members with their customers and the messages they received."""
    world, state = ask.box.world, ask.box.state
    return {
        "members": [
            {
                **m.model_dump(),
                "customers": [p.external_userid for p in state.followers(m.userid)],
                "messages": [message.model_dump() for message in state.chats.get(m.userid, [])],
            }
            for m in world.corp.members
        ]
    }


async def get_member(ask: Ask) -> Any:
    """One member's window: his latest customers, and what he and the app told him."""
    userid, state = _member(ask, ask.parts[0]), ask.box.state
    limit = ask.limit(50)
    followers = state.followers(userid)
    customers = [
        {
            "id": p.id,
            "name": p.name,
            "external_userid": p.external_userid,
            "remark": p.friends[userid].remark,
        }
        for p in list(followers)[-limit:]
    ]
    messages = [m.model_dump() for m in state.chats.get(userid, [])]
    return {
        "userid": userid,
        "customers": customers,
        "count": len(followers),
        "messages": messages[-limit:],
    }


async def list_ways(ask: Ask) -> Any:
    """The live codes with the members behind them."""
    ways = ask.box.state.ways.values()
    return {
        "ways": [
            {
                **w.model_dump(exclude={"turn", "assigned"}),
                "members": friendships.way_members(ask.box, w),
            }
            for w in ways
        ]
    }


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
