"""WeCom's members and departments (contract/wechat B2)."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from sandbox.core import paging
from sandbox.core.api import Call, Endpoint
from sandbox.core.errors import ApiError
from sandbox.core.models import DAY_SECONDS
from sandbox.core.world import ROOT_DEPARTMENT, Department, Member

LIST_IDS = 10_000


def known(call: Call, userid: str) -> Member:
    """The member of that id. Raises ApiError 60111."""
    member = call.box.world.member(userid)
    if member is None:
        raise ApiError(60111)
    return member


def sensitive(member: Member) -> dict[str, str]:
    """What apps made since 2022 are not told."""
    return {
        "mobile": member.mobile,
        "gender": member.gender,
        "email": member.email,
        "avatar": member.avatar,
        "address": member.address,
    }


def _body(call: Call, member: Member) -> dict[str, Any]:
    departments = list(member.departments)
    return {
        "userid": member.userid,
        "name": member.name,
        "department": departments,
        "order": [0] * len(departments),
        "position": member.position,
        "alias": member.alias,
        "is_leader_in_dept": [int(d in member.leads) for d in departments],
        "direct_leader": list(member.direct_leader),
        "status": member.status,
        "main_department": member.department,
        "extattr": {"attrs": []},
        **(sensitive(member) if call.box.switches.sensitive_member_fields else {}),
    }


def user_get(call: Call) -> dict[str, Any]:
    """B2: a member, without the fields that apps of today do not receive."""
    return _body(call, known(call, call.given("userid", 60111)))


def _asked_department(call: Call, name: str = "department_id") -> Department:
    """Raises ApiError 60003 when it is missing, 60123 when it is no number or no department."""
    text = call.given(name, 60003)
    found = call.box.world.department(int(text)) if text.isdecimal() and text.isascii() else None
    if found is None:
        raise ApiError(60123)
    return found


def _direct(call: Call) -> list[Member]:
    """The direct members of the department that the query names."""
    department = _asked_department(call)
    return [m for m in call.box.world.corp.members if department.id in m.departments]


def user_list(call: Call) -> dict[str, Any]:
    """B2: a department's own members in full, without those of the departments below it."""
    return {"userlist": [_body(call, m) for m in _direct(call)]}


def user_simplelist(call: Call) -> dict[str, Any]:
    """B2: the same, in short."""
    return {
        "userlist": [
            {"userid": m.userid, "name": m.name, "department": list(m.departments)}
            for m in _direct(call)
        ]
    }


def user_list_id(call: Call) -> dict[str, Any]:
    """B2: every member with each of his departments."""
    pairs = [
        {"userid": m.userid, "department": d}
        for m in call.box.world.corp.members
        for d in m.departments
    ]
    page, more = paging.page(call, "userids", pairs, paging.limit(call, LIST_IDS, LIST_IDS))
    return {"dept_user": page, "next_cursor": more}


def _department_body(call: Call, department: Department) -> dict[str, Any]:
    leaders = [m.userid for m in call.box.world.corp.members if department.id in m.leads]
    return {
        "id": department.id,
        "name": department.name,
        "department_leader": leaders,
        "parentid": department.parentid,
        "order": department.order,
    }


def _asked_tree(call: Call) -> list[Department]:
    """The department of the query with all below it; without one, the whole corp."""
    top = _asked_department(call, "id").id if call.query.get("id") else ROOT_DEPARTMENT
    world = call.box.world
    return [d for department_id in world.tree(top) if (d := world.department(department_id))]


def department_list(call: Call) -> dict[str, Any]:
    """B2: a department and those below it."""
    return {"department": [_department_body(call, d) for d in _asked_tree(call)]}


def department_simplelist(call: Call) -> dict[str, Any]:
    """B2: the same, ids only."""
    return {
        "department_id": [
            d.model_dump(include={"id", "parentid", "order"}) for d in _asked_tree(call)
        ]
    }


def department_get(call: Call) -> dict[str, Any]:
    """B2: one department."""
    return {"department": _department_body(call, _asked_department(call, "id"))}


def _openid(call: Call, member: Member) -> str:
    digest = hashlib.sha256(f"{call.box.world.corp.corp_id} {member.userid}".encode()).digest()
    return "o" + base64.urlsafe_b64encode(digest).decode()[:27]


def to_openid(call: Call) -> dict[str, Any]:
    """B2: the openid under which a member is paid."""
    return {"openid": _openid(call, known(call, call.text("userid", missing=60111)))}


def to_userid(call: Call) -> dict[str, Any]:
    """B2: the way back."""
    openid = call.text("openid", missing=40003)
    for member in call.box.world.corp.members:
        if _openid(call, member) == openid:
            return {"userid": member.userid}
    raise ApiError(40003)


def by_mobile(call: Call) -> dict[str, Any]:
    """B2: the member of a mobile number."""
    return _found(call, "mobile")


def by_email(call: Call) -> dict[str, Any]:
    """B2: the member of an email address."""
    return _found(call, "email")


def _found(call: Call, name: str) -> dict[str, Any]:
    """The member of that number or address. Raises ApiError 60111, and 45009 for a day after too
    many wrong guesses."""
    wanted = call.text(name, missing=40058)
    members = call.box.world.corp.members
    since = call.box.clock.now() - DAY_SECONDS
    wrong = call.box.wrong_guesses = [at for at in call.box.wrong_guesses if at > since]
    if len(wrong) * 100 > call.box.switches.getuserid_wrong_percent * len(members):
        raise ApiError(45009)
    for member in members:
        if getattr(member, name) == wanted:
            return {"userid": member.userid}
    wrong.append(call.box.clock.now())
    raise ApiError(60111)


ENDPOINTS = (
    Endpoint("GET", "/cgi-bin/user/get", user_get),
    Endpoint("GET", "/cgi-bin/user/list", user_list),
    Endpoint("GET", "/cgi-bin/user/simplelist", user_simplelist),
    Endpoint("POST", "/cgi-bin/user/list_id", user_list_id),
    Endpoint("POST", "/cgi-bin/user/convert_to_openid", to_openid),
    Endpoint("POST", "/cgi-bin/user/convert_to_userid", to_userid),
    Endpoint("POST", "/cgi-bin/user/getuserid", by_mobile),
    Endpoint("POST", "/cgi-bin/user/get_userid_by_email", by_email),
    Endpoint("GET", "/cgi-bin/department/list", department_list),
    Endpoint("GET", "/cgi-bin/department/simplelist", department_simplelist),
    Endpoint("GET", "/cgi-bin/department/get", department_get),
)
