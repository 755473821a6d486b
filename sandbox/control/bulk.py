"""The control plane's crowd: many people at once, and the truth that a copy of them is compared
with."""

from __future__ import annotations

import asyncio
import hashlib
from itertools import islice
from random import Random
from typing import Any

from sandbox.control.frame import ControlCall, Refused, Routes
from sandbox.core import ids
from sandbox.core.sandbox import Sandbox
from sandbox.core.state import Friend, Person, Tag, TagGroup
from sandbox.core.world import ACTIVE

PEOPLE_MOST = 500_000
YIELD_EVERY = 500
"""How many people are made before others get a turn."""
YEAR_SECONDS = 365 * 86_400
ADD_WAYS = (1, 2, 3, 4, 5, 6, 10, 16)
TAG_GROUP, TAG_NAMES = "客户分层", ("私行", "财富", "贵宾", "普通", "代发")
SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗"
GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华玉萍红梅兰建文慧晨宇欣怡浩然子涵梓轩"
NOTES = ("", "", "", "每月代发", "理财到期回访", "房贷客户", "周末联系")


async def add_many(call: ControlCall) -> Any:
    """Make `count` people with friendships at once: reproducible from `seed`, no callbacks, no
    welcome codes."""
    box = call.box
    count = call.whole("count", least=1, most=PEOPLE_MOST)
    seed = call.whole("seed", 0)
    userids = [_userid(call, userid) for userid in call.texts("userids")] or _active(box)
    each = call.whole("friends_each", 1, most=len(userids))
    tagged = call.flag("tagged")
    # the same people again, not secrets
    chance = Random(f"{seed}:{box.state.sequence}")  # noqa: S311
    tags = _tags(box, chance) if tagged else []
    for made in range(count):
        _befriend(box, _person(box, chance), chance, chance.sample(userids, each), tags)
        if made % YIELD_EVERY == YIELD_EVERY - 1:
            await asyncio.sleep(0)
    box.changed()
    return {"made": count, "people": len(box.state.people)}


def _active(box: Sandbox) -> list[str]:
    """The members who may have customers and have not left or been disabled."""
    return [m.userid for m in box.world.corp.members if m.contact and m.status == ACTIVE]


def _userid(call: ControlCall, userid: str) -> str:
    member = call.box.world.member(userid)
    if member is None:
        raise Refused(404, "no_such_member", f"no member {userid}")
    return member.userid


def _person(box: Sandbox, chance: Random) -> Person:
    person_id = box.state.next_id()
    return box.state.admit(
        Person(
            id=person_id,
            name=chance.choice(SURNAMES) + "".join(chance.choices(GIVEN, k=chance.choice((1, 2)))),
            phone=f"139{box.state.sequence:08d}",
            unionid=ids.openid(chance),
            external_userid=ids.external_userid(chance),
            openids={m.appid: ids.openid(chance) for m in box.world.mini_programs},
        )
    )


def _befriend(
    box: Sandbox, person: Person, chance: Random, userids: list[str], tags: list[str]
) -> None:
    now = box.seconds()
    for userid in userids:
        note = chance.choice(NOTES)
        friend = Friend(
            userid=userid,
            createtime=now - chance.randrange(60, YEAR_SECONDS),
            add_way=chance.choice(ADD_WAYS),
            remark=person.name if note else "",
            description=note,
            tags=chance.sample(tags, chance.randrange(3)) if tags else [],
        )
        box.state.befriend(person, friend)


def _tags(box: Sandbox, chance: Random) -> list[str]:
    """The corp's tags; a group of them is made when there are none."""
    state = box.state
    now = box.seconds()
    if not state.tag_count():
        group = TagGroup(group_id=ids.tag_id(chance), group_name=TAG_GROUP, create_time=now)
        state.add_tags(
            group, [Tag(id=ids.tag_id(chance), name=name, create_time=now) for name in TAG_NAMES]
        )
    return [t.id for g in state.tag_groups.values() for t in g.tag]


async def truth(call: ControlCall) -> Any:
    """How much there is of everything, and of each member's customers the number and a digest of
    their sorted ids.

    With `userid` a page of that member's customers instead: `limit` of them after `after`, in the
    order of their friendships.
    """
    if "userid" in call.query:
        return _customers(call, _userid(call, call.query["userid"]))
    members = await _members(call.box)
    state = call.box.state
    return {
        "people": len(state.people),
        "friendships": sum(row["customers"] for row in members.values()),
        "customers": sum(1 for person in state.people.values() if person.friends),
        "departments": len(call.box.world.corp.departments),
        "tag_groups": len(state.tag_groups),
        "tags": state.tag_count(),
        "ways": len(state.ways),
        "links": len(state.links),
        "groups": len(state.groups),
        "unassigned": sum(len(left) for left in state.unassigned.values()),
        "members": members,
    }


async def _members(box: Sandbox) -> dict[str, dict[str, Any]]:
    """By userid the number of his customers, and the SHA-256 of their sorted ids, one a line."""
    members = {}
    for member in box.world.corp.members:
        found = sorted(person.external_userid for person in box.state.followers(member.userid))
        digest = hashlib.sha256("\n".join(found).encode()).hexdigest()
        members[member.userid] = {"customers": len(found), "sha256": digest}
        await asyncio.sleep(0)
    return members


def _customers(call: ControlCall, userid: str) -> Any:
    after = call.query.get("after", "0")
    if not after.isdecimal():
        raise Refused(400, "bad_field", "after: a whole number is expected")
    size = call.limit(1000)
    page = list(islice(call.box.state.followers(userid).after(int(after)), size))
    rows = [_customer(call.box, person, person.friends[userid]) for _, person in page]
    full = size and len(page) == size
    return {"userid": userid, "customers": rows, "after": page[-1][0] if full else None}


def _customer(box: Sandbox, person: Person, friend: Friend) -> dict[str, Any]:
    return {
        "external_userid": person.external_userid,
        "name": person.name,
        "tags": sorted(tag_id for tag_id in friend.tags if box.state.tag(tag_id)),
        "tag_names": sorted(
            _tag_name(box, tag_id) for tag_id in friend.tags if box.state.tag(tag_id)
        ),
        "state": friend.state,
        "createtime": friend.createtime,
    }


def _tag_name(box: Sandbox, tag_id: str) -> str:
    """Group and tag, with a colon."""
    found = box.state.tag(tag_id)
    return f"{found[0].group_name}:{found[1].name}" if found else ""


ROUTES: Routes = [
    ("/people/bulk", {"post": add_many}),
    ("/truth", {"get": truth}),
]
