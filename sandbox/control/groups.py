"""The control plane's customer groups: what members and customers do in them (B7)."""

from __future__ import annotations

from typing import Any

from sandbox.control.corp import member
from sandbox.control.frame import Ask, Refused, Routes
from sandbox.core.errors import Impossible
from sandbox.core.models import Group, JoinWay
from sandbox.core.state import Person
from sandbox.core.world import Member
from sandbox.wecom import group_changes


def _person(ask: Ask, person_id: str) -> Person:
    found = ask.box.state.people.get(person_id)
    if found is None:
        raise Refused(404, "no_such_person", f"no person {person_id}")
    return found


def _group(ask: Ask) -> Group:
    group = ask.box.state.groups.get(ask.parts[0])
    if group is None:
        raise Refused(404, "no_such_group", f"no group {ask.parts[0]}")
    return group


def _who(ask: Ask) -> Person | Member:
    """The `person` (id) or the member (`userid`) that the body names."""
    person = ask.text("person", "")
    return _person(ask, person) if person else member(ask, ask.text("userid"))


def _key(who: Person | Member) -> str:
    return who.userid if isinstance(who, Member) else who.external_userid


def _shown(group: Group) -> dict[str, Any]:
    return {
        **group.model_dump(exclude={"members", "spoke"}),
        "members": [m.model_dump() for m in group.members.values()],
    }


async def list_groups(ask: Ask) -> Any:
    """Every group with its members, and the codes that lead into groups."""
    state = ask.box.state
    ways = [w.model_dump() for w in state.join_ways.values()]
    return {"groups": [_shown(g) for g in state.groups.values()], "join_ways": ways}


async def create_group(ask: Ask) -> Any:
    """A member makes a group `name` of himself (`owner`), `people` (ids) and other `members`
    (userids)."""
    others: list[Person | Member] = [_person(ask, p) for p in ask.texts("people")]
    others += [member(ask, u) for u in ask.texts("members")]
    group, delivered = await group_changes.create(
        ask.box, member(ask, ask.text("owner")), ask.text("name"), others
    )
    return {"delivered": delivered, **_shown(group)}


async def get_group(ask: Ask) -> Any:
    return _shown(_group(ask))


async def join_group(ask: Ask) -> Any:
    """Somebody joins by an invitation of `invitor` (the owner without one), or with `link` by his
    invitation link."""
    group = _group(ask)
    invitor = member(ask, ask.text("invitor", group.owner)).userid
    scene = group_changes.BY_LINK if ask.body.get("link") is True else group_changes.INVITED
    return {"delivered": await group_changes.invite(ask.box, group, _who(ask), invitor, scene)}


async def leave_group(ask: Ask) -> Any:
    """Somebody leaves, or with `removed` is removed."""
    group, who = _group(ask), _key(_who(ask))
    return {
        "delivered": await group_changes.leave(
            ask.box, group, who, removed=ask.body.get("removed") is True
        )
    }


async def rename_group(ask: Ask) -> Any:
    return {"delivered": await group_changes.rename(ask.box, _group(ask), ask.text("name"))}


async def announce(ask: Ask) -> Any:
    """Another `notice`."""
    return {"delivered": await group_changes.announce(ask.box, _group(ask), ask.text("notice"))}


async def change_owner(ask: Ask) -> Any:
    """The owner makes `userid` the owner on his phone."""
    group, owner = _group(ask), member(ask, ask.text("userid"))
    return {"delivered": await ask.box.sender.send(group_changes.own(ask.box, group, owner))}


async def dismiss(ask: Ask) -> Any:
    return {"delivered": await group_changes.dismiss(ask.box, _group(ask))}


async def say(ask: Ask) -> Any:
    """Somebody writes in the group, which only its statistics tell."""
    return {"today": group_changes.say(ask.box, _group(ask), _key(_who(ask)))}


def _join_way(ask: Ask) -> JoinWay:
    """The join way that the body names by config_id or by state; the newest if several share a
    state."""
    config_id, state = ask.text("config_id", ""), ask.text("state", "")
    ways = ask.box.state.join_ways.values()
    found = [
        w
        for w in ways
        if w.config_id == config_id or (not config_id and state and w.state == state)
    ]
    if not found:
        raise Refused(404, "no_such_way", "no group code with that config_id or state")
    return found[-1]


async def scan_join_way(ask: Ask) -> Any:
    """The person scans a group's code and joins, if it leads anywhere."""
    person, way = _person(ask, ask.parts[0]), _join_way(ask)
    if not way.chat_id_list:
        raise Impossible("this code leads nowhere")
    group, delivered = await group_changes.scan(ask.box, way, person)
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
