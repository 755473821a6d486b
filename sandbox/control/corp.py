"""The control plane's verbs of the bank's administrator: members, departments, corp tags."""

from __future__ import annotations

from typing import Any

from sandbox.control.frame import Ask, Refused, Routes, checked
from sandbox.core import ids
from sandbox.core.sandbox import Sandbox
from sandbox.core.state import Tag, TagGroup
from sandbox.core.world import Department, Member
from sandbox.wecom import staff_changes, tags


def member(ask: Ask, userid: str | None = None) -> Member:
    """The member that the path (or `userid`) names. Raises Refused 404."""
    wanted = ask.parts[0] if userid is None else userid
    found = ask.box.world.member(wanted)
    if found is None:
        raise Refused(404, "no_such_member", f"no member {wanted}")
    return found


async def add_member(ask: Ask) -> Any:
    """A new member with the fields of sandbox.core.world.Member; only `userid`, `name` and `department`
    are needed."""
    new = checked(Member, ask.body)
    return {"delivered": await staff_changes.join(ask.box, new), "member": new.model_dump()}


async def change_member(ask: Ask) -> Any:
    """Other values of some fields, `userid` included."""
    former = member(ask)
    new = checked(Member, former.model_dump() | ask.body)
    return {
        "delivered": await staff_changes.change(ask.box, former, new),
        "member": new.model_dump(),
    }


async def remove_member(ask: Ask) -> Any:
    """The member leaves the corp; his customers wait for a hand-over."""
    return {"delivered": await staff_changes.leave(ask.box, member(ask))}


async def list_departments(ask: Ask) -> Any:
    return {"departments": [d.model_dump() for d in ask.box.world.corp.departments]}


async def add_department(ask: Ask) -> Any:
    """A new department; without `id` the next free one, without `parentid` below the root."""
    free = max(d.id for d in ask.box.world.corp.departments) + 1
    new = checked(Department, {"id": free, **ask.body})
    return {"delivered": await staff_changes.found(ask.box, new), "department": new.model_dump()}


def _department(ask: Ask) -> Department:
    found = ask.box.world.department(int(ask.parts[0]))
    if found is None:
        raise Refused(404, "no_such_department", f"no department {ask.parts[0]}")
    return found


async def change_department(ask: Ask) -> Any:
    """Another `name`, `parentid` or `order`."""
    former = _department(ask)
    changes = {name: ask.body[name] for name in ask.body.keys() & {"name", "parentid", "order"}}
    checked(Department, former.model_dump() | changes)
    return {"delivered": await staff_changes.reshape(ask.box, former, changes)}


async def remove_department(ask: Ask) -> Any:
    return {"delivered": await staff_changes.dissolve(ask.box, _department(ask))}


async def member_login(ask: Ask) -> Any:
    """The member opens a mini-program inside WeCom: `{code}` for miniprogram/jscode2session
    (B1)."""
    return {
        "code": ask.box.codes.issue("member_login", member(ask).userid, ask.box.world.corp.corp_id)
    }


async def visitor_oauth(ask: Ask) -> Any:
    """A person who is no member opens a web page inside WeChat that asks for sign-in: `{code}`
    (B1)."""
    person = ask.box.state.people.get(ask.parts[0])
    if person is None:
        raise Refused(404, "no_such_person", f"no person {ask.parts[0]}")
    return {"code": ask.box.codes.issue("visitor", person.id, ask.box.world.corp.corp_id)}


async def list_tags(ask: Ask) -> Any:
    return {"tag_groups": [g.model_dump() for g in ask.box.state.tag_groups.values()]}


async def add_tags(ask: Ask) -> Any:
    """The administrator makes tags `names` in the group `group_name`, which is made when there is
    none."""
    box, now, name = ask.box, ask.box.seconds(), ask.text("group_name")
    names = ask.texts("names")
    if not names:
        raise Refused(400, "bad_field", "names: at least one is expected")
    group = next((g for g in box.state.tag_groups.values() if g.group_name == name), None)
    events = []
    if group is None:
        group = TagGroup(group_id=ids.tag_id(), group_name=name, create_time=now)
        events.append(tags.tag_event(now, "create", group.group_id, "tag_group"))
    new = [Tag(id=ids.tag_id(), name=one, create_time=now) for one in names]
    box.state.add_tags(group, new)
    box.changed()
    events += [tags.tag_event(now, "create", tag.id, "tag") for tag in new]
    delivered = [await box.sender.send(event) for event in events]
    return {"delivered": all(delivered), "tag_group": group.model_dump()}


def _tag(box: Sandbox, tag_id: str) -> Tag | TagGroup:
    found = box.state.tag(tag_id)
    thing = found[1] if found else box.state.tag_groups.get(tag_id)
    if thing is None:
        raise Refused(404, "no_such_tag", f"no tag or group {tag_id}")
    return thing


async def change_tag(ask: Ask) -> Any:
    """The administrator gives a tag or a group another `name`."""
    thing, name = _tag(ask.box, ask.parts[0]), ask.text("name")
    kind = "tag" if isinstance(thing, Tag) else "tag_group"
    if isinstance(thing, Tag):
        thing.name = name
    else:
        thing.group_name = name
    ask.box.changed()
    event = tags.tag_event(ask.box.seconds(), "update", ask.parts[0], kind)
    return {"delivered": await ask.box.sender.send(event)}


async def remove_tag(ask: Ask) -> Any:
    """The administrator deletes a tag, or a group with its tags, which is told as the group's end
    alone."""
    thing, state = _tag(ask.box, ask.parts[0]), ask.box.state
    kind = "tag" if isinstance(thing, Tag) else "tag_group"
    for tag in [thing] if isinstance(thing, Tag) else list(thing.tag):
        state.drop_tag(tag.id)
    ask.box.changed()
    event = tags.tag_event(ask.box.seconds(), "delete", ask.parts[0], kind)
    return {"delivered": await ask.box.sender.send(event)}


async def shuffle_tags(ask: Ask) -> Any:
    """The administrator reverses the order of a group's tags, or without `group_id` that of the
    groups."""
    box, group_id = ask.box, ask.text("group_id", "")
    group = box.state.tag_groups.get(group_id)
    if group_id and group is None:
        raise Refused(404, "no_such_tag", f"no group {group_id}")
    shuffled: list[Tag | TagGroup] = [*group.tag] if group else [*box.state.tag_groups.values()]
    for order, thing in enumerate(shuffled, start=1):
        thing.order = order
    box.changed()
    return {"delivered": await box.sender.send(tags.tag_event(box.seconds(), "shuffle", group_id))}


ROUTES: Routes = [
    ("/members/([^/]+)", {"post": change_member, "delete": remove_member}),
    ("/members/([^/]+)/login", {"post": member_login}),
    ("/people/([^/]+)/oauth", {"post": visitor_oauth}),
    ("/departments", {"get": list_departments, "post": add_department}),
    (r"/departments/(\d+)", {"post": change_department, "delete": remove_department}),
    ("/tags", {"get": list_tags, "post": add_tags}),
    ("/tags/shuffle", {"post": shuffle_tags}),
    ("/tags/([^/]+)", {"post": change_tag, "delete": remove_tag}),
]
