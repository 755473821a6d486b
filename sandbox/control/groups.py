"""The control plane's customer groups: what members and customers do in them (B7)."""

from __future__ import annotations

from typing import Any

from sandbox.control.corp import member
from sandbox.control.frame import ControlCall, Refused, Routes
from sandbox.core.errors import Impossible
from sandbox.core.models import Group, JoinWay
from sandbox.core.state import Person
from sandbox.core.world import Member
from sandbox.wecom import group_changes


def _person(call: ControlCall, person_id: str) -> Person:
    found = call.box.state.people.get(person_id)
    if found is None:
        raise Refused(404, "no_such_person", f"no person {person_id}")
    return found


def _group(call: ControlCall) -> Group:
    group = call.box.state.groups.get(call.parts[0])
    if group is None:
        raise Refused(404, "no_such_group", f"no group {call.parts[0]}")
    return group


def _who(call: ControlCall) -> Person | Member:
    """The `person` (id) or the member (`userid`) that the body names."""
    person = call.text("person", "")
    return _person(call, person) if person else member(call, call.text("userid"))


def _key(who: Person | Member) -> str:
    return who.userid if isinstance(who, Member) else who.external_userid


def _shown(group: Group) -> dict[str, Any]:
    return {
        **group.model_dump(exclude={"members", "spoke"}),
        "members": [m.model_dump() for m in group.members.values()],
    }


async def list_groups(call: ControlCall) -> Any:
    """Every group with its members, and the codes that lead into groups."""
    state = call.box.state
    ways = [w.model_dump() for w in state.join_ways.values()]
    return {"groups": [_shown(g) for g in state.groups.values()], "join_ways": ways}


async def create_group(call: ControlCall) -> Any:
    """A member makes a group `name` of himself (`owner`), `people` (ids) and other `members`
    (userids)."""
    others: list[Person | Member] = [_person(call, p) for p in call.texts("people")]
    others += [member(call, u) for u in call.texts("members")]
    group, delivered = await group_changes.create(
        call.box, member(call, call.text("owner")), call.text("name"), others
    )
    return {"delivered": delivered, **_shown(group)}


async def get_group(call: ControlCall) -> Any:
    return _shown(_group(call))


async def join_group(call: ControlCall) -> Any:
    """Somebody joins by an invitation of `invitor` (the owner without one), or with `link` by his
    invitation link."""
    group = _group(call)
    invitor = member(call, call.text("invitor", group.owner)).userid
    scene = group_changes.BY_LINK if call.body.get("link") is True else group_changes.INVITED
    return {"delivered": await group_changes.invite(call.box, group, _who(call), invitor, scene)}


async def leave_group(call: ControlCall) -> Any:
    """Somebody leaves, or with `removed` is removed."""
    group = _group(call)
    who = _key(_who(call))
    return {
        "delivered": await group_changes.leave(
            call.box, group, who, removed=call.body.get("removed") is True
        )
    }


async def rename_group(call: ControlCall) -> Any:
    return {"delivered": await group_changes.rename(call.box, _group(call), call.text("name"))}


async def announce(call: ControlCall) -> Any:
    """Another `notice`."""
    return {"delivered": await group_changes.announce(call.box, _group(call), call.text("notice"))}


async def change_owner(call: ControlCall) -> Any:
    """The owner makes `userid` the owner on his phone."""
    group = _group(call)
    owner = member(call, call.text("userid"))
    return {"delivered": await call.box.sender.send(group_changes.own(call.box, group, owner))}


async def dismiss(call: ControlCall) -> Any:
    return {"delivered": await group_changes.dismiss(call.box, _group(call))}


async def say(call: ControlCall) -> Any:
    """Somebody writes in the group, which only its statistics tell."""
    return {"today": group_changes.say(call.box, _group(call), _key(_who(call)))}


def _join_way(call: ControlCall) -> JoinWay:
    """The join way that the body names by config_id or by state; the newest if several share a
    state."""
    config_id = call.text("config_id", "")
    state = call.text("state", "")
    ways = call.box.state.join_ways.values()
    found = [
        w
        for w in ways
        if w.config_id == config_id or (not config_id and state and w.state == state)
    ]
    if not found:
        raise Refused(404, "no_such_way", "no group code with that config_id or state")
    return found[-1]


async def scan_join_way(call: ControlCall) -> Any:
    """The person scans a group's code and joins, if it leads anywhere."""
    person = _person(call, call.parts[0])
    way = _join_way(call)
    if not way.chat_id_list:
        raise Impossible("this code leads nowhere")
    group, delivered = await group_changes.scan(call.box, way, person)
    return {"delivered": delivered, "chat_id": group.chat_id, "state": way.state}


ROUTES: Routes = [
    ("/groups", {"get": list_groups, "post": create_group}),
    ("/groups/([^/]+)", {"get": get_group, "delete": dismiss}),
    ("/groups/([^/]+)/join", {"post": join_group}),
    ("/groups/([^/]+)/leave", {"post": leave_group}),
    ("/groups/([^/]+)/rename", {"post": rename_group}),
    ("/groups/([^/]+)/notice", {"post": announce}),
    ("/groups/([^/]+)/owner", {"post": change_owner}),
    ("/groups/([^/]+)/message", {"post": say}),
    ("/people/([^/]+)/join", {"post": scan_join_way}),
]
