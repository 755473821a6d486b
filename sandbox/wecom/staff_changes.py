"""What happens to the corp's people: members come, change, leave; departments too (contract/wechat
B2, B9, C4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sandbox.core.errors import Impossible
from sandbox.core.events import Event, Value
from sandbox.core.models import Group, Link
from sandbox.core.sandbox import Sandbox
from sandbox.core.state import Leftover
from sandbox.core.world import ROOT_DEPARTMENT, Department, Member
from sandbox.wecom import group_changes
from sandbox.wecom.members import sensitive

RESIGNED = 1
"""The status of a group whose owner left."""


def _event(box: Sandbox, change: str, fields: Mapping[str, Value | None]) -> Event:
    return Event("change_contact", box.seconds(), change, fields)


def _fields(box: Sandbox, member: Member) -> dict[str, Value | None]:
    """A member as C4 tells him."""
    fields: dict[str, Value | None] = {
        "Name": member.name,
        "Department": ",".join(map(str, member.departments)),
        "MainDepartment": member.department,
        "IsLeaderInDept": ",".join(str(int(d in member.leads)) for d in member.departments),
        "DirectLeader": ",".join(member.direct_leader),
        "Position": member.position,
        "Alias": member.alias,
        "Status": member.status,
    }
    if box.switches.sensitive_member_fields:
        fields |= {name.capitalize(): value for name, value in sensitive(member).items()}
    return fields


def _replace_member(box: Sandbox, former: Member | None, new: Member | None) -> None:
    members = [new if former and m is former and new else m for m in box.world.corp.members]
    if former and not new:
        members.remove(former)
    if new and not former:
        members.append(new)
    box.reorganise(members, box.world.corp.departments)


def _check(box: Sandbox, member: Member) -> None:
    unknown = [d for d in member.departments if box.world.department(d) is None]
    if unknown:
        raise Impossible(f"no department {unknown[0]}")
    if not set(member.leads) <= set(member.departments):
        raise Impossible("he can only lead departments that he is in")


async def join(box: Sandbox, member: Member) -> bool:
    """A new member. Returns whether `create_user` was delivered; raises Impossible for a userid
    that is taken."""
    if box.world.member(member.userid):
        raise Impossible(f"there is a member {member.userid}")
    _check(box, member)
    _replace_member(box, None, member)
    return await box.sender.send(
        _event(box, "create_user", {"UserID": member.userid, **_fields(box, member)})
    )


async def change(box: Sandbox, member: Member, new: Member) -> bool:
    """A member changes, perhaps his userid too; `update_user` carries what changed. Raises
    Impossible."""
    _check(box, new)
    another_id = new.userid.lower() != member.userid.lower()
    if another_id and box.world.member(new.userid):
        raise Impossible(f"there is a member {new.userid}")
    before = _fields(box, member)
    after = _fields(box, new)
    changed = {name: value for name, value in after.items() if value != before[name]}
    _replace_member(box, member, new)
    if new.userid != member.userid:
        _rename(box, member.userid, new.userid)
        changed["NewUserID"] = new.userid
    return await box.sender.send(_event(box, "update_user", {"UserID": member.userid, **changed}))


def _rename(box: Sandbox, former: str, new: str) -> None:
    """Everything that names a member by his userid follows him."""
    box.state.rename_member(former, new)
    for way in box.state.ways.values():
        way.user = _renamed(way.user, former, new)
    for link in box.state.links.values():
        _rename_in_link(link, former, new)
    for group in box.state.groups.values():
        _rename_in_group(group, former, new)


def _rename_in_link(link: Link, former: str, new: str) -> None:
    link.user_list = _renamed(link.user_list, former, new)
    link.priority_userid_list = _renamed(link.priority_userid_list, former, new)
    for customer in link.customers.values():
        if customer.userid == former:
            customer.userid = new
    link.customers = {f"{c.external_userid} {c.userid}": c for c in link.customers.values()}


def _rename_in_group(group: Group, former: str, new: str) -> None:
    if group.owner == former:
        group.owner = new
    group.admins = _renamed(group.admins, former, new)
    if former in group.members:
        group.members[new] = group.members.pop(former).model_copy(update={"userid": new})


def _renamed(userids: list[str], former: str, new: str) -> list[str]:
    return [new if userid == former else userid for userid in userids]


async def leave(box: Sandbox, member: Member) -> bool:
    """A member leaves the corp: his customers wait to be handed over (B9), his groups for another
    owner (B7).

    He leaves the groups of others.
    Returns whether `delete_user` was delivered.
    """
    userid = member.userid
    _leave_customers(box, userid)
    for group in box.state.groups.values():
        if group.owner == userid:
            group.status = RESIGNED
    _replace_member(box, member, None)
    delivered = await box.sender.send(_event(box, "delete_user", {"UserID": userid}))
    for group in list(box.state.groups.values()):
        if userid in group.members and group.owner != userid:
            await group_changes.leave(box, group, userid, removed=False)
    return delivered


def _leave_customers(box: Sandbox, userid: str) -> None:
    """The member's customers wait to be handed over, the latest first."""
    now = box.seconds()
    state = box.state
    left = state.unassigned.setdefault(userid, {})
    for person in list(state.followers(userid))[::-1]:
        friend = state.unfriend(person, userid)
        if friend:
            left[person.external_userid] = Leftover(at=now, friend=friend)
    if not left:
        del state.unassigned[userid]


def _replace_departments(box: Sandbox, departments: Iterable[Department]) -> None:
    box.reorganise(box.world.corp.members, departments)


async def found(box: Sandbox, department: Department) -> bool:
    """A new department. Returns whether `create_party` was delivered; raises Impossible."""
    if box.world.department(department.id):
        raise Impossible(f"there is a department {department.id}")
    if box.world.department(department.parentid) is None:
        raise Impossible(f"no department {department.parentid}")
    _replace_departments(box, [*box.world.corp.departments, department])
    fields: dict[str, Value | None] = {
        "Id": department.id,
        "Name": department.name,
        "ParentId": department.parentid,
    }
    return await box.sender.send(_event(box, "create_party", fields | {"Order": department.order}))


async def reshape(box: Sandbox, department: Department, changes: dict[str, Any]) -> bool:
    """A department gets another name, parent or order; `update_party` carries what changed. Raises
    Impossible."""
    new = Department.model_validate(department.model_dump() | changes)
    moved = new.parentid != department.parentid
    if moved:
        _check_parent(box, department, new.parentid)
    _replace_departments(box, [new if d is department else d for d in box.world.corp.departments])
    fields: dict[str, Value | None] = {"Id": new.id}
    if new.name != department.name:
        fields["Name"] = new.name
    if moved:
        fields["ParentId"] = new.parentid
    return await box.sender.send(_event(box, "update_party", fields))


def _check_parent(box: Sandbox, department: Department, parentid: int) -> None:
    """Raises Impossible for the root, for a parent that does not exist or is below the
    department."""
    if department.id == ROOT_DEPARTMENT or box.world.department(parentid) is None:
        raise Impossible(f"department {department.id} cannot be below {parentid}")
    if parentid in box.world.tree(department.id):
        raise Impossible("a department cannot be below itself")


async def dissolve(box: Sandbox, department: Department) -> bool:
    """An empty department goes. Returns whether `delete_party` was delivered; raises Impossible for
    another one."""
    if department.id == ROOT_DEPARTMENT or len(box.world.tree(department.id)) > 1:
        raise Impossible("only a department without others below it can go")
    if box.world.members_in([department.id]):
        raise Impossible("there are members in it")
    _replace_departments(box, [d for d in box.world.corp.departments if d is not department])
    return await box.sender.send(_event(box, "delete_party", {"Id": department.id}))
