"""WeCom's tags of rule groups (contract/wechat B4, 94882)."""

from __future__ import annotations

from typing import Any

from sandbox.core import ids
from sandbox.core.api import Call, Endpoint
from sandbox.core.errors import ApiError
from sandbox.core.state import StrategyGroup, Tag
from sandbox.wecom import tags
from sandbox.wecom.contacts import EC


def tag_list(call: Call) -> dict[str, Any]:
    """Groups with their tags, of one rule group or of all; `group_id` wins over `tag_id`, neither
    means every one."""
    strategy = call.integer("strategy_id", 0)
    groups, wanted = call.strings("group_id"), call.strings("tag_id")
    found = []
    for group in call.box.state.strategy_groups.values():
        if strategy not in (0, group.strategy_id) or (groups and group.group_id not in groups):
            continue
        shown = [tag for tag in group.tag if groups or not wanted or tag.id in wanted]
        if shown:
            found.append(tags.group_body(group, shown))
    return {"tag_group": found}


def add_tag(call: Call) -> dict[str, Any]:
    """New tags in a group of a rule group of the first level; answers the new tags only. A name that
    is given twice is made once."""
    specs = call.body.get("tag")
    if not isinstance(specs, list) or not specs or not all(isinstance(s, dict) for s in specs):
        raise ApiError(40058, "tag is empty")
    if call.box.state.strategies.get(call.integer("strategy_id", 0)) != 0:
        raise ApiError(40058, "invalid strategy_id")
    group = _group_of(call)
    specs = list({str(spec.get("name")): spec for spec in specs}.values())
    tags.check_names(call, group, specs)
    if call.box.state.tag_count() + len(specs) > tags.TAGS_MOST:
        raise ApiError(40058, "a corp has at most 10000 tags")
    new = [tags.new_tag(call, spec) for spec in specs]
    group.tag.extend(new)
    call.box.state.strategy_groups[group.group_id] = group
    call.box.changed()
    return {"tag_group": tags.group_body(group, new)}


def _group_of(call: Call) -> StrategyGroup:
    """The group that new tags go into; a new one is not yet part of the state."""
    strategy, group_id = call.integer("strategy_id", 0), call.text("group_id")
    own = [g for g in call.box.state.strategy_groups.values() if g.strategy_id == strategy]
    if group_id:
        found = next((group for group in own if group.group_id == group_id), None)
        if found is None:
            raise ApiError(40068)
        return found
    name = call.text("group_name")
    if not 1 <= len(name) <= call.box.switches.tag_name_max:
        raise ApiError(40072 if name else 40058)
    same = next((group for group in own if group.group_name == name), None)
    return same or StrategyGroup(
        strategy_id=strategy,
        group_id=ids.tag_id(),
        group_name=name,
        create_time=call.box.seconds(),
        order=tags.order_of(call.body.get("order")),
        agent_id=int(call.app),
    )


def edit_tag(call: Call) -> dict[str, Any]:
    """Another name or order of a tag or a group, in its rule group."""
    thing, group = _known(call, call.text("id", missing=40068))
    tags.check_own(call, thing or group)
    name, order = call.body.get("name"), call.body.get("order")
    if name is not None and thing is not None:
        tags.check_name(call, name, {other.name for other in group.tag if other is not thing})
        thing.name = name
    elif name is not None:
        others = call.box.state.strategy_groups.values()
        beside = (g for g in others if g.strategy_id == group.strategy_id and g is not group)
        tags.check_name(call, name, {other.group_name for other in beside})
        group.group_name = name
    if order is not None:
        (thing or group).order = tags.order_of(order)
    call.box.changed()
    return {}


def _known(call: Call, wanted: str) -> tuple[Tag | None, StrategyGroup]:
    """The tag with its group, or the group alone. Raises ApiError 40068."""
    for group in call.box.state.strategy_groups.values():
        if group.group_id == wanted:
            return None, group
        for tag in group.tag:
            if tag.id == wanted:
                return tag, group
    raise ApiError(40068)


def del_tag(call: Call) -> dict[str, Any]:
    """Tags and whole groups go; a group goes with its last tag."""
    wanted = [*call.strings("tag_id"), *call.strings("group_id")]
    if not wanted:
        raise ApiError(40058, "tag_id and group_id are empty")
    found = [_known(call, one) for one in dict.fromkeys(wanted)]
    for thing, group in found:
        tags.check_own(call, thing or group)
    for thing, group in found:
        group.tag[:] = [tag for tag in group.tag if thing is not None and tag is not thing]
        if not group.tag:
            call.box.state.strategy_groups.pop(group.group_id, None)
    call.box.changed()
    return {}


ENDPOINTS = (
    Endpoint("POST", f"{EC}/get_strategy_tag_list", tag_list, contact=True),
    Endpoint("POST", f"{EC}/add_strategy_tag", add_tag, contact=True),
    Endpoint("POST", f"{EC}/edit_strategy_tag", edit_tag, contact=True),
    Endpoint("POST", f"{EC}/del_strategy_tag", del_tag, contact=True),
)
