"""The control plane's verbs of the bank's administrator: members, departments, corp tags."""

from __future__ import annotations

from typing import Any

from sandbox.control.frame import ControlCall, Refused, Routes, checked
from sandbox.core import ids
from sandbox.core.sandbox import Sandbox
from sandbox.core.state import Tag, TagGroup
from sandbox.core.world import Department, Member
from sandbox.wecom import staff_changes, tags


def member(call: ControlCall, userid: str | None = None) -> Member:
    """The member that the path (or `userid`) names. Raises Refused 404."""
    wanted = call.parts[0] if userid is None else userid
    found = call.box.world.member(wanted)
    if found is None:
        raise Refused(404, "no_such_member", f"no member {wanted}")
    return found


async def add_member(call: ControlCall) -> Any:
    """A new member with the fields of sandbox.core.world.Member; only `userid`, `name` and
    `department` are needed."""
    new = checked(Member, call.body)
    return {"delivered": await staff_changes.join(call.box, new), "member": new.model_dump()}


async def change_member(call: ControlCall) -> Any:
    """Other values of some fields, `userid` included."""
    former = member(call)
    new = checked(Member, former.model_dump() | call.body)
    return {
        "delivered": await staff_changes.change(call.box, former, new),
        "member": new.model_dump(),
    }


async def remove_member(call: ControlCall) -> Any:
    """The member leaves the corp; his customers wait for a hand-over."""
    return {"delivered": await staff_changes.leave(call.box, member(call))}


async def list_departments(call: ControlCall) -> Any:
    return {"departments": [d.model_dump() for d in call.box.world.corp.departments]}


async def add_department(call: ControlCall) -> Any:
    """A new department; without `id` the next free one, without `parentid` below the root."""
    free = max(d.id for d in call.box.world.corp.departments) + 1
    new = checked(Department, {"id": free, **call.body})
    return {"delivered": await staff_changes.found(call.box, new), "department": new.model_dump()}


def _department(call: ControlCall) -> Department:
    found = call.box.world.department(int(call.parts[0]))
    if found is None:
        raise Refused(404, "no_such_department", f"no department {call.parts[0]}")
    return found


async def change_department(call: ControlCall) -> Any:
    """Another `name`, `parentid` or `order`."""
    former = _department(call)
    changes = {name: call.body[name] for name in call.body.keys() & {"name", "parentid", "order"}}
    checked(Department, former.model_dump() | changes)
    return {"delivered": await staff_changes.reshape(call.box, former, changes)}


async def remove_department(call: ControlCall) -> Any:
    return {"delivered": await staff_changes.dissolve(call.box, _department(call))}


async def member_login(call: ControlCall) -> Any:
    """The member opens a mini-program inside WeCom: `{code}` for miniprogram/jscode2session
    (B1)."""
    return {
        "code": call.box.codes.issue(
            "member_login", member(call).userid, call.box.world.corp.corp_id
        )
    }


async def visitor_oauth(call: ControlCall) -> Any:
    """A person who is no member opens a web page inside WeChat that asks for sign-in: `{code}`
    (B1)."""
    person = call.box.state.people.get(call.parts[0])
    if person is None:
        raise Refused(404, "no_such_person", f"no person {call.parts[0]}")
    return {"code": call.box.codes.issue("visitor", person.id, call.box.world.corp.corp_id)}


async def list_tags(call: ControlCall) -> Any:
    return {"tag_groups": [g.model_dump() for g in call.box.state.tag_groups.values()]}


async def add_tags(call: ControlCall) -> Any:
    """The administrator makes tags `names` in the group `group_name`, which is made when there is
    none."""
    box = call.box
    now = box.seconds()
    group_name = call.text("group_name")
    names = call.texts("names")
    if not names:
        raise Refused(400, "bad_field", "names: at least one is expected")
    events = []
    group = _group_named(box, group_name)
    if group is None:
        group = TagGroup(group_id=ids.tag_id(), group_name=group_name, create_time=now)
        events.append(tags.tag_event(now, "create", group.group_id, "tag_group"))
    new = [Tag(id=ids.tag_id(), name=name, create_time=now) for name in names]
    box.state.add_tags(group, new)
    box.changed()
    events += [tags.tag_event(now, "create", tag.id, "tag") for tag in new]
    delivered = await box.sender.send_all(events)
    return {"delivered": delivered, "tag_group": group.model_dump()}


def _group_named(box: Sandbox, name: str) -> TagGroup | None:
    for group in box.state.tag_groups.values():
        if group.group_name == name:
            return group
    return None


def _tag(box: Sandbox, tag_id: str) -> Tag | TagGroup:
    found = box.state.tag(tag_id)
    thing = found[1] if found else box.state.tag_groups.get(tag_id)
    if thing is None:
        raise Refused(404, "no_such_tag", f"no tag or group {tag_id}")
    return thing


async def change_tag(call: ControlCall) -> Any:
    """The administrator gives a tag or a group another `name`."""
    thing = _tag(call.box, call.parts[0])
    name = call.text("name")
    kind = "tag" if isinstance(thing, Tag) else "tag_group"
    if isinstance(thing, Tag):
        thing.name = name
    else:
        thing.group_name = name
    call.box.changed()
    event = tags.tag_event(call.box.seconds(), "update", call.parts[0], kind)
    return {"delivered": await call.box.sender.send(event)}


async def remove_tag(call: ControlCall) -> Any:
    """The administrator deletes a tag, or a group with its tags, which is told as the group's end
    alone."""
    thing = _tag(call.box, call.parts[0])
    state = call.box.state
    kind = "tag" if isinstance(thing, Tag) else "tag_group"
    for tag in [thing] if isinstance(thing, Tag) else list(thing.tag):
        state.drop_tag(tag.id)
    call.box.changed()
    event = tags.tag_event(call.box.seconds(), "delete", call.parts[0], kind)
    return {"delivered": await call.box.sender.send(event)}


async def shuffle_tags(call: ControlCall) -> Any:
    """The administrator reverses the order of a group's tags, or without `group_id` that of the
    groups."""
    box = call.box
    group_id = call.text("group_id", "")
    group = box.state.tag_groups.get(group_id)
    if group_id and group is None:
        raise Refused(404, "no_such_tag", f"no group {group_id}")
    shuffled: list[Tag | TagGroup] = [*group.tag] if group else [*box.state.tag_groups.values()]
    for order, thing in enumerate(shuffled, start=1):
        thing.order = order
    box.changed()
    event = tags.tag_event(box.seconds(), "shuffle", group_id)
    return {"delivered": await box.sender.send(event)}


async def add_strategy(call: ControlCall) -> Any:
    """The administrator makes the rule group `strategy_id`, below `parent_id` (B4): no API of ours
    does."""
    number = call.whole("strategy_id", least=1)
    call.box.state.strategies[number] = call.whole("parent_id", 0)
    call.box.changed()
    return {"strategies": call.box.state.strategies}


ROUTES: Routes = [
    ("/strategies", {"post": add_strategy}),
    ("/members/([^/]+)", {"post": change_member, "delete": remove_member}),
    ("/members/([^/]+)/login", {"post": member_login}),
    ("/people/([^/]+)/oauth", {"post": visitor_oauth}),
    ("/departments", {"get": list_departments, "post": add_department}),
    (r"/departments/(\d+)", {"post": change_department, "delete": remove_department}),
    ("/tags", {"get": list_tags, "post": add_tags}),
    ("/tags/shuffle", {"post": shuffle_tags}),
    ("/tags/([^/]+)", {"post": change_tag, "delete": remove_tag}),
]
