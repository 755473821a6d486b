"""WeCom's corp tags (contract/wechat B4, 92117)."""

from __future__ import annotations

from typing import Any

from sandbox.core import ids
from sandbox.core.api import Call, Endpoint
from sandbox.core.errors import ApiError
from sandbox.core.events import Event
from sandbox.core.state import Tag, TagGroup
from sandbox.wecom.contacts import EC

TAGS_MOST = 10_000
ORDER_MOST = 2**32 - 1


def tag_event(at: int, change: str, tag_id: str, kind: str = "") -> Event:
    """C4: `create`, `update` or `delete` of a `tag` or `tag_group`, or `shuffle` of a group ("" all
    of them)."""
    return Event("change_external_tag", at, change, {"Id": tag_id, "TagType": kind})


def group_body(group: TagGroup, tags: list[Tag]) -> dict[str, Any]:
    """A group as the API tells it, with these of its tags."""
    return {
        **group.model_dump(exclude={"tag", "agent_id"}),
        "tag": [t.model_dump(exclude={"agent_id"}) for t in tags],
    }


def tag_list(call: Call) -> dict[str, Any]:
    """B4: groups with their tags; `group_id` wins over `tag_id`, neither means all."""
    groups = call.strings("group_id")
    tags = call.strings("tag_id")
    found = []
    for group in call.box.state.tag_groups.values():
        wanted = group.tag
        if groups:
            wanted = wanted if group.group_id in groups else []
        elif tags:
            wanted = [t for t in wanted if t.id in tags]
        if wanted:
            found.append(group_body(group, wanted))
    return {"tag_group": found}


def add_tag(call: Call) -> dict[str, Any]:
    """B4: new tags in a group given by id or by name (made if there is none); answers the new tags
    only."""
    specs = call.body.get("tag")
    if not isinstance(specs, list) or not specs or not all(isinstance(s, dict) for s in specs):
        raise ApiError(40058, "tag is empty")
    _agent(call)
    group = _group_of(call)
    check_names(call, group, specs)
    if call.box.state.tag_count() + len(specs) > TAGS_MOST:
        raise ApiError(40058, "a corp has at most 10000 tags")
    known = group.group_id in call.box.state.tag_groups
    tags = [new_tag(call, spec) for spec in specs]
    call.box.state.add_tags(group, tags)
    call.box.changed()
    if not known:
        _tell_new(call, group.group_id, "tag_group")
    for tag in tags:
        _tell_new(call, tag.id, "tag")
    return {"tag_group": group_body(group, tags)}


def _tell_new(call: Call, thing_id: str, kind: str) -> None:
    call.box.report_api_change(tag_event(call.box.seconds(), "create", thing_id, kind))


def check_names(call: Call, group: TagGroup, specs: list[dict[str, Any]]) -> None:
    """Raises ApiError when a new tag's name is bad, or taken in the group or by another one."""
    taken = {tag.name for tag in group.tag}
    for spec in specs:
        check_name(call, spec.get("name"), taken)
        taken.add(spec["name"])


def new_tag(call: Call, spec: dict[str, Any]) -> Tag:
    return Tag(
        id=ids.tag_id(),
        name=spec["name"],
        create_time=call.box.seconds(),
        order=order_of(spec.get("order")),
        agent_id=int(call.app),
    )


def check_name(call: Call, name: Any, taken: set[str]) -> None:
    if not isinstance(name, str) or not 1 <= len(name) <= call.box.switches.tag_name_max:
        raise ApiError(40072)
    if name in taken:
        raise ApiError(40071)


def order_of(value: Any) -> int:
    """B4: uint32, larger first."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= ORDER_MOST:
        raise ApiError(40058, "invalid Request Parameter: order")
    return value


def _agent(call: Call) -> None:
    """`agentid` may be given, and is then the calling app's."""
    if str(call.integer("agentid", int(call.app))) != call.app:
        raise ApiError(40056)


def _group_of(call: Call) -> TagGroup:
    """The group that new tags go into; a new one is not yet part of the state."""
    groups = call.box.state.tag_groups
    group_id = call.text("group_id")
    name = call.text("group_name")
    if group_id:
        if group_id not in groups:
            raise ApiError(40068)
        return groups[group_id]
    if not 1 <= len(name) <= call.box.switches.tag_name_max:
        raise ApiError(40072 if name else 40058)
    order = order_of(call.body.get("order"))
    for group in groups.values():
        if group.group_name == name:
            return group
    return TagGroup(
        group_id=ids.tag_id(),
        group_name=name,
        create_time=call.box.seconds(),
        order=order,
        agent_id=int(call.app),
    )


def check_own(call: Call, thing: Tag | TagGroup) -> None:
    """Only the app that made a tag may change it, or WeCom's own customer-contact secret
    (81011)."""
    app = call.box.world.app(int(call.app))
    if thing.agent_id != int(call.app) and not (app and app.builtin):
        raise ApiError(81011)


def edit_tag(call: Call) -> dict[str, Any]:
    """B4: another name or order of a tag or a group."""
    wanted = call.text("id", missing=40068)
    name = call.body.get("name")
    order = order_of(call.body.get("order")) if "order" in call.body else None
    _agent(call)
    found = call.box.state.tag(wanted)
    group = call.box.state.tag_groups.get(wanted)
    if found:
        _edit_tag(call, *found, name, order)
    elif group:
        _edit_group(call, group, name, order)
    else:
        raise ApiError(40068)
    call.box.changed()
    kind = "tag" if found else "tag_group"
    call.box.report_api_change(tag_event(call.box.seconds(), "update", wanted, kind))
    return {}


def _edit_tag(call: Call, group: TagGroup, tag: Tag, name: Any, order: int | None) -> None:
    """Another name that no other tag of the group has, another order; None leaves either."""
    check_own(call, tag)
    if name is not None:
        check_name(call, name, {other.name for other in group.tag if other.id != tag.id})
        tag.name = name
    if order is not None:
        tag.order = order


def _edit_group(call: Call, group: TagGroup, name: Any, order: int | None) -> None:
    """Another name that no other group has, another order; None leaves either."""
    check_own(call, group)
    if name is not None:
        others = call.box.state.tag_groups.values()
        check_name(call, name, {g.group_name for g in others if g.group_id != group.group_id})
        group.group_name = name
    if order is not None:
        group.order = order


def del_tag(call: Call) -> dict[str, Any]:
    """B4: tags and whole groups go; a group goes with its last tag. A deleted group is one event,
    without its tags."""
    tag_ids = list(dict.fromkeys(call.strings("tag_id")))
    group_ids = list(dict.fromkeys(call.strings("group_id")))
    if not tag_ids and not group_ids:
        raise ApiError(40058, "tag_id and group_id are empty")
    _agent(call)
    tags = [_known_tag(call, tag_id) for tag_id in tag_ids]
    groups = [_known_group(call, group_id) for group_id in group_ids]
    things: list[Tag | TagGroup] = [*tags, *groups]
    for thing in things:
        check_own(call, thing)
    for group in groups:
        drop_group(call, group)
    for tag in tags:
        if call.box.state.tag(tag.id):
            drop_tag(call, tag.id)
    call.box.changed()
    return {}


def _known_tag(call: Call, tag_id: str) -> Tag:
    """Raises ApiError 40068 for an unknown one."""
    found = call.box.state.tag(tag_id)
    if found is None:
        raise ApiError(40068)
    return found[1]


def _known_group(call: Call, group_id: str) -> TagGroup:
    """Raises ApiError 40068 for an unknown one."""
    group = call.box.state.tag_groups.get(group_id)
    if group is None:
        raise ApiError(40068)
    return group


def drop_group(call: Call, group: TagGroup) -> None:
    for tag in list(group.tag):
        call.box.state.drop_tag(tag.id)
    call.box.report_api_change(tag_event(call.box.seconds(), "delete", group.group_id, "tag_group"))


def drop_tag(call: Call, tag_id: str) -> None:
    call.box.state.drop_tag(tag_id)
    call.box.report_api_change(tag_event(call.box.seconds(), "delete", tag_id, "tag"))


ENDPOINTS = (
    Endpoint("POST", f"{EC}/get_corp_tag_list", tag_list, contact=True),
    Endpoint("POST", f"{EC}/add_corp_tag", add_tag, contact=True),
    Endpoint("POST", f"{EC}/edit_corp_tag", edit_tag, contact=True),
    Endpoint("POST", f"{EC}/del_corp_tag", del_tag, contact=True),
)
