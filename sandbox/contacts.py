"""WeCom's customers and corp tags (wechat-contract B3, B4)."""

from __future__ import annotations

from typing import Any

from sandbox import ids
from sandbox.api import Call, Endpoint
from sandbox.errors import ApiError
from sandbox.state import Friend, Person, Tag, TagGroup

TAG_NAME_MOST = 30
TAGS_PER_FRIEND = 3000
EC = "/cgi-bin/externalcontact"


def follow_users(call: Call) -> dict[str, Any]:
    """B3: members with the customer-contact permission."""
    return {"follow_user": [m.userid for m in call.box.world.corp.members]}


def customers(call: Call) -> dict[str, Any]:
    """B3: a member's customers; 84061 when there is none."""
    userid = _userid(call, call.query.get("userid", ""))
    found = [p.external_userid for p in call.box.state.followers(userid)]
    if not found:
        raise ApiError(84061)
    return {"external_userid": found}


def customer(call: Call) -> dict[str, Any]:
    """B3: a customer and the members who follow him."""
    person = call.box.state.by_external(call.query.get("external_userid", ""))
    if person is None:
        raise ApiError(40096)
    if not person.friends:
        raise ApiError(84061)
    contact = {"external_userid": person.external_userid, "name": person.name, "avatar": "", "type": 1, "gender": 0}
    if any(m.open_platform for m in call.box.world.mini_programs):
        contact["unionid"] = person.unionid
    return {"external_contact": contact, "follow_user": [_follow_user(call, f) for f in person.friends.values()]}


def _follow_user(call: Call, friend: Friend) -> dict[str, Any]:
    tags = [found for tag_id in friend.tags if (found := call.box.state.tag(tag_id))]
    return {
        "userid": friend.userid,
        "remark": friend.remark,
        "description": friend.description,
        "createtime": friend.createtime,
        "tags": [{"group_name": g.group_name, "tag_name": t.name, "tag_id": t.id, "type": 1} for g, t in tags],
        "remark_corp_name": friend.remark_company,
        "remark_mobiles": friend.remark_mobiles,
        "oper_userid": friend.userid,
        "add_way": friend.add_way,
        **({"state": friend.state} if friend.state else {}),
    }


def _userid(call: Call, userid: str) -> str:
    member = call.box.world.member(userid)
    if member is None:
        raise ApiError(60111)
    return member.userid


def _friend(call: Call) -> tuple[Person, Friend]:
    """The relation that a call names. Raises ApiError 60111, 40096 or 84061."""
    userid = _userid(call, call.text("userid"))
    person = call.box.state.by_external(call.text("external_userid"))
    if person is None:
        raise ApiError(40096)
    if userid not in person.friends:
        raise ApiError(84061)
    return person, person.friends[userid]


def remark(call: Call) -> dict[str, Any]:
    """B3: the member's notes on a customer; fields that are not given stay."""
    if not {"remark", "description", "remark_company", "remark_mobiles", "remark_pic_mediaid"} & call.body.keys():
        raise ApiError(40058)
    name, description, company = (
        call.text("remark", most=20),
        call.text("description", most=150),
        call.text("remark_company", most=20),
    )
    mobiles = call.strings("remark_mobiles")
    _, friend = _friend(call)
    friend.remark = name if "remark" in call.body else friend.remark
    friend.description = description if "description" in call.body else friend.description
    friend.remark_company = company if "remark_company" in call.body else friend.remark_company
    if "remark_mobiles" in call.body:
        friend.remark_mobiles = [m for m in mobiles if m]
    call.box.changed()
    return {}


def mark_tag(call: Call) -> dict[str, Any]:
    """B3: put on and take off corp tags; doing it twice changes nothing."""
    add, remove = call.strings("add_tag"), call.strings("remove_tag")
    if not add and not remove:
        raise ApiError(40058, "add_tag and remove_tag are empty")
    _, friend = _friend(call)
    known = {t.id for g in call.box.state.tag_groups.values() for t in g.tag}
    if not known.issuperset(add + remove):
        raise ApiError(40068)
    tags = [t for t in dict.fromkeys(friend.tags + add) if t not in remove]
    if len(tags) > TAGS_PER_FRIEND:
        raise ApiError(40058, "too many tags")
    friend.tags = tags
    call.box.changed()
    return {}


def _group_body(group: TagGroup, tags: list[Tag]) -> dict[str, Any]:
    return {**group.model_dump(exclude={"tag"}), "tag": [t.model_dump() for t in tags]}


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
            found.append(_group_body(group, wanted))
    return {"tag_group": found}


def add_tag(call: Call) -> dict[str, Any]:
    """B4: new tags in a group given by id or by name (made if there is none); answers the new tags only."""
    specs = call.body.get("tag")
    if not isinstance(specs, list) or not specs or not all(isinstance(s, dict) for s in specs):
        raise ApiError(40058, "tag is empty")
    group = _tag_group(call)
    taken = {t.name for t in group.tag}
    for spec in specs:
        name = spec.get("name")
        if not isinstance(name, str) or not 1 <= len(name) <= TAG_NAME_MOST:
            raise ApiError(40072)
        if name in taken:
            raise ApiError(40071)
        taken.add(name)
    now = call.box.seconds()
    new = [Tag(id=ids.tag_id(), name=s["name"], create_time=now, order=int(s.get("order") or 0)) for s in specs]
    group.tag.extend(new)
    call.box.state.tag_groups[group.group_id] = group
    call.box.changed()
    return {"tag_group": _group_body(group, new)}


def _tag_group(call: Call) -> TagGroup:
    """The group that new tags go into; a new one is not yet part of the state."""
    groups = call.box.state.tag_groups
    group_id, name = call.text("group_id"), call.text("group_name")
    if group_id:
        if group_id not in groups:
            raise ApiError(40068)
        return groups[group_id]
    if not 1 <= len(name) <= TAG_NAME_MOST:
        raise ApiError(40072 if name else 40058)
    same = next((g for g in groups.values() if g.group_name == name), None)
    order = call.integer("order", 0)
    return same or TagGroup(group_id=ids.tag_id(), group_name=name, create_time=call.box.seconds(), order=order)


ENDPOINTS = (
    Endpoint("GET", f"{EC}/get_follow_user_list", follow_users, contact=True),
    Endpoint("GET", f"{EC}/list", customers, contact=True),
    Endpoint("GET", f"{EC}/get", customer, contact=True),
    Endpoint("POST", f"{EC}/remark", remark, contact=True),
    Endpoint("POST", f"{EC}/mark_tag", mark_tag, contact=True),
    Endpoint("POST", f"{EC}/get_corp_tag_list", tag_list, contact=True),
    Endpoint("POST", f"{EC}/add_corp_tag", add_tag, contact=True),
)
