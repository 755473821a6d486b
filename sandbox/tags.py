"""WeCom's corp tags (contract/wechat B4, 92117)."""

from __future__ import annotations

from typing import Any

from sandbox import ids
from sandbox.api import Call, Endpoint
from sandbox.contacts import EC
from sandbox.errors import ApiError
from sandbox.events import Event
from sandbox.state import Tag, TagGroup

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
    groups, tags = call.strings("group_id"), call.strings("tag_id")
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
    taken = {t.name for t in group.tag}
    for spec in specs:
        _free_name(call, spec.get("name"), taken)
        taken.add(spec["name"])
    if call.box.state.tag_count() + len(specs) > TAGS_MOST:
        raise ApiError(40058, "a corp has at most 10000 tags")
    now, app = call.box.seconds(), int(call.app)
    known = group.group_id in call.box.state.tag_groups
    new = [
        Tag(
            id=ids.tag_id(),
            name=s["name"],
            create_time=now,
            order=_order(s.get("order")),
            agent_id=app,
        )
        for s in specs
    ]
    call.box.state.add_tags(group, new)
    call.box.changed()
    if not known:
        call.box.caused(tag_event(now, "create", group.group_id, "tag_group"))
    for tag in new:
        call.box.caused(tag_event(now, "create", tag.id, "tag"))
    return {"tag_group": group_body(group, new)}


def _free_name(call: Call, name: Any, taken: set[str]) -> None:
    if not isinstance(name, str) or not 1 <= len(name) <= call.box.switches.tag_name_max:
        raise ApiError(40072)
    if name in taken:
        raise ApiError(40071)


def _order(value: Any) -> int:
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
    group_id, name = call.text("group_id"), call.text("group_name")
    if group_id:
        if group_id not in groups:
            raise ApiError(40068)
        return groups[group_id]
    if not 1 <= len(name) <= call.box.switches.tag_name_max:
        raise ApiError(40072 if name else 40058)
    same = next((g for g in groups.values() if g.group_name == name), None)
    order, now = _order(call.body.get("order")), call.box.seconds()
    return same or TagGroup(
        group_id=ids.tag_id(), group_name=name, create_time=now, order=order, agent_id=int(call.app)
    )


def _own(call: Call, thing: Tag | TagGroup) -> None:
    """Only the app that made a tag may change it, or WeCom's own customer-contact secret
    (81011)."""
    app = call.box.world.app(int(call.app))
    if thing.agent_id != int(call.app) and not (app and app.builtin):
        raise ApiError(81011)


def edit_tag(call: Call) -> dict[str, Any]:
    """B4: another name or order of a tag or a group."""
    wanted, name = call.text("id", missing=40068), call.body.get("name")
    order = _order(call.body.get("order"))
    _agent(call)
    state = call.box.state
    found, group = state.tag(wanted), state.tag_groups.get(wanted)
    if found:
        thing: Tag | TagGroup = found[1]
        beside = {t.name for t in found[0].tag if t.id != wanted}
    elif group:
        thing = group
        beside = {g.group_name for g in state.tag_groups.values() if g.group_id != wanted}
    else:
        raise ApiError(40068)
    _own(call, thing)
    if name is not None:
        _free_name(call, name, beside)
        setattr(thing, "name" if found else "group_name", name)
    if "order" in call.body:
        thing.order = order
    call.box.changed()
    call.box.caused(
        tag_event(call.box.seconds(), "update", wanted, "tag" if found else "tag_group")
    )
    return {}


def del_tag(call: Call) -> dict[str, Any]:
    """B4: tags and whole groups go; a group goes with its last tag. A deleted group is one event,
    without its tags."""
    tags, groups = (
        list(dict.fromkeys(call.strings("tag_id"))),
        list(dict.fromkeys(call.strings("group_id"))),
    )
    if not tags and not groups:
        raise ApiError(40058, "tag_id and group_id are empty")
    _agent(call)
    state = call.box.state
    found = [pair[1] for t in tags if (pair := state.tag(t))]
    if len(found) < len(tags) or not state.tag_groups.keys() >= set(groups):
        raise ApiError(40068)
    whole = [state.tag_groups[g] for g in groups]
    for tag in found:
        _own(call, tag)
    for group in whole:
        _own(call, group)
    for group in whole:
        drop_group(call, group)
    for tag_id in tags:
        if state.tag(tag_id):
            drop_tag(call, tag_id)
    call.box.changed()
    return {}


def drop_group(call: Call, group: TagGroup) -> None:
    for tag in list(group.tag):
        call.box.state.drop_tag(tag.id)
    call.box.caused(tag_event(call.box.seconds(), "delete", group.group_id, "tag_group"))


def drop_tag(call: Call, tag_id: str) -> None:
    call.box.state.drop_tag(tag_id)
    call.box.caused(tag_event(call.box.seconds(), "delete", tag_id, "tag"))


ENDPOINTS = (
    Endpoint("POST", f"{EC}/get_corp_tag_list", tag_list, contact=True),
    Endpoint("POST", f"{EC}/add_corp_tag", add_tag, contact=True),
    Endpoint("POST", f"{EC}/edit_corp_tag", edit_tag, contact=True),
    Endpoint("POST", f"{EC}/del_corp_tag", del_tag, contact=True),
)
