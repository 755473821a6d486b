"""Customer groups: lists, details, statistics, another owner (contract/wechat B7, B9)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from sandbox.core import paging
from sandbox.core.api import Call, Endpoint
from sandbox.core.errors import MESSAGES, ApiError
from sandbox.core.models import DAY_SECONDS, Group, GroupMember, day_of
from sandbox.core.world import NOT_ACTIVATED, Member
from sandbox.wecom import group_changes
from sandbox.wecom.contacts import EC, follower
from sandbox.wecom.group_changes import EXTERNAL, own

GC = f"{EC}/groupchat"
LIST_MOST, OWNERS_MOST = 1000, 100
VISIBLE_MOST = 1000
STATISTIC_DEFAULT = 500
SPAN_DAYS, HISTORY_DAYS = 30, 180
TRANSFER_MOST, TAKEOVERS_A_DAY = 100, 300
HANDOVERS_MOST, HANDOVER_SECONDS = 2, 90 * DAY_SECONDS
NORMAL, RESIGNED, DONE = 0, 1, 3
"""A group's `status`; a hand-over of the sandbox is done at once, so that 2, inheriting, never
shows."""
ORDER = {1: "new_chat_cnt", 2: "chat_total", 3: "new_member_cnt", 4: "member_total"}


def _owners(call: Call, *, required: bool) -> list[str]:
    """The userids of `owner_filter`; they may have left. Raises ApiError 40058."""
    given = call.body.get("owner_filter") or {}
    users = given.get("userid_list") or [] if isinstance(given, dict) else None
    if (
        not isinstance(users, list)
        or not all(isinstance(u, str) for u in users)
        or len(users) > OWNERS_MOST
    ):
        raise ApiError(40058, "invalid Request Parameter: owner_filter")
    if required and not users:
        raise ApiError(40058, "owner_filter: 1 to 100 userids are expected")
    return users


def group_list(call: Call) -> dict[str, Any]:
    """B7, 92120: groups by state and owner. Raises ApiError 81017 without owners in a corp of more
    than 1000 people."""
    status = call.integer("status_filter", 0)
    owners = _owners(call, required=False)
    if not 0 <= status <= DONE:
        raise ApiError(40058, "invalid Request Parameter: status_filter")
    size = paging.limit(call, 0, LIST_MOST, over="refused")
    if not owners and len(call.box.world.corp.members) > VISIBLE_MOST:
        raise ApiError(81017)
    found = [
        {"chat_id": g.chat_id, "status": g.status}
        for g in call.box.state.groups.values()
        if (not status or g.status == status) and (not owners or g.owner in owners)
    ]
    page, more = paging.page(call, "groups", found, size)
    answer: dict[str, Any] = {"group_chat_list": page}
    if more:
        answer["next_cursor"] = more
    return answer


def group_of(call: Call) -> Group:
    """The group that a call names. Raises ApiError 90501."""
    group = call.box.state.groups.get(call.text("chat_id", missing=40058))
    if group is None:
        raise ApiError(90501)
    return group


def group_get(call: Call) -> dict[str, Any]:
    """B7, 92122: one group with its members; names only when they are asked for. What changed
    lately may not show yet."""
    group = group_changes.as_shown(call.box, group_of(call))
    named = call.integer("need_name", 0)
    if named not in {0, 1}:
        raise ApiError(40058, "invalid Request Parameter: need_name")
    return {
        "group_chat": {
            "chat_id": group.chat_id,
            "name": group.name,
            "owner": group.owner,
            "create_time": group.create_time,
            **({"notice": group.notice} if group.notice else {}),
            "member_list": [_member_body(m, named=bool(named)) for m in group.members.values()],
            "admin_list": [{"userid": u} for u in group.admins],
            "member_version": group.version,
        }
    }


def _member_body(member: GroupMember, *, named: bool) -> dict[str, Any]:
    optional: dict[str, Any] = {"unionid": member.unionid, "state": member.state}
    optional["invitor"] = {"userid": member.invitor} if member.invitor else None
    optional["name"] = member.name if named else ""
    return {
        "userid": member.userid,
        "type": member.type,
        "join_time": member.join_time,
        "join_scene": member.join_scene,
        "group_nickname": "",
        **{name: value for name, value in optional.items() if value},
    }


def chat_of_opengid(call: Call) -> dict[str, Any]:
    """B3, 94822: 90511 for what is no opengid, 90509 for another corp's group."""
    opengid = call.text("opengid", missing=90511)
    if not opengid.startswith("tG"):
        raise ApiError(90511)
    group = next((g for g in call.box.state.groups.values() if g.opengid == opengid), None)
    if group is None:
        raise ApiError(90509)
    return {"chat_id": group.chat_id}


def _days(call: Call) -> range:
    """The days of a statistic, at most 30 of the last 180. Raises ApiError 40058."""
    begin = call.integer("day_begin_time", 0, missing=40058)
    end = call.integer("day_end_time", begin)
    oldest = call.box.seconds() - HISTORY_DAYS * DAY_SECONDS
    if not 0 <= end - begin <= SPAN_DAYS * DAY_SECONDS or begin < oldest:
        raise ApiError(40058, "invalid Request Parameter: day_begin_time or day_end_time")
    return range(day_of(begin), day_of(end) + 1, DAY_SECONDS)


def _figures(groups: list[Group], days: range) -> dict[str, int]:
    """The figures of some groups over some days."""
    end = days[-1] + DAY_SECONDS
    there = [group for group in groups if group.create_time < end]
    people = _members_until(there, end)
    customers = [member for member in people if member.type == EXTERNAL]
    spoke = [_spoke(group, days) for group in there]
    return {
        "new_chat_cnt": sum(day_of(group.create_time) in days for group in there),
        "chat_total": len(there),
        "chat_has_msg": sum(bool(by_member) for by_member in spoke),
        "new_member_cnt": sum(day_of(member.join_time) in days for member in customers),
        "member_total": len(people),
        "member_has_msg": sum(len(by_member) for by_member in spoke),
        "msg_total": sum(by_member.total() for by_member in spoke),
        "migrate_trainee_chat_cnt": 0,
    }


def _members_until(groups: list[Group], end: int) -> list[GroupMember]:
    """Who is in these groups and joined before `end`."""
    everybody = [member for group in groups for member in group.members.values()]
    return [member for member in everybody if member.join_time < end]


def _spoke(group: Group, days: range) -> Counter[str]:
    """How many messages each wrote in a group on some days."""
    messages: Counter[str] = Counter()
    for day in days:
        messages.update(group.spoke.get(day, {}))
    return messages


def statistic(call: Call) -> dict[str, Any]:
    """B7, 92133: the figures of each owner over all the days."""
    days = _days(call)
    owners = _owners(call, required=True)
    order = call.integer("order_by", 1)
    ascending = call.integer("order_asc", 0)
    offset = call.integer("offset", 0)
    size = paging.limit(call, STATISTIC_DEFAULT, LIST_MOST)
    if order not in ORDER or ascending not in {0, 1} or offset < 0:
        raise ApiError(40058, "invalid Request Parameter: order_by, order_asc or offset")
    rows = [_figures_of(call, owner, days) for owner in dict.fromkeys(owners)]
    rows.sort(key=_by(ORDER[order]), reverse=not ascending)
    page = rows[offset : offset + size]
    return {"total": len(rows), "next_offset": offset + len(page), "items": page}


def _figures_of(call: Call, owner: str, days: range) -> dict[str, Any]:
    groups = [group for group in call.box.state.groups.values() if group.owner == owner]
    return {"owner": owner, "data": _figures(groups, days)}


def _by(name: str) -> Callable[[dict[str, Any]], int]:
    return lambda row: int(row["data"][name])


def statistic_by_day(call: Call) -> dict[str, Any]:
    """B7, 92133: the figures of some owners together, day by day."""
    days = _days(call)
    owners = _owners(call, required=True)
    groups = [g for g in call.box.state.groups.values() if g.owner in owners]
    return {
        "items": [
            {"stat_time": d, "data": _figures(groups, range(d, d + 1, DAY_SECONDS))} for d in days
        ]
    }


def transfer(call: Call) -> dict[str, Any]:
    """B9, 92127: groups whose owner left the corp get another; what fails is named, the rest is
    done."""
    return _transfer(call, _not_resigned)


def onjob_transfer(call: Call) -> dict[str, Any]:
    """B9, 95703: the same for owners at work, at most twice in 90 days for a group."""
    return _transfer(call, _not_on_job)


def _not_resigned(call: Call, group: Group, owner: Member) -> int:
    """Why a resigned owner's group cannot be handed over, 0 if it can."""
    if group.status == DONE:
        return 90508
    return 0 if group.status == RESIGNED else 90500


def _not_on_job(call: Call, group: Group, owner: Member) -> int:
    """Why a group of an owner at work cannot be handed over, 0 if it can. 40128 is the sandbox's
    own choice."""
    if group.status == RESIGNED:
        return 90502
    if group.owner == owner.userid:
        return 40130
    now = call.box.seconds()
    group.handovers = [at for at in group.handovers if now - at < HANDOVER_SECONDS]
    return 40128 if len(group.handovers) >= HANDOVERS_MOST else 0


def _transfer(call: Call, refused: Callable[[Call, Group, Member], int]) -> dict[str, Any]:
    chats = call.strings("chat_id_list")
    if not 1 <= len(chats) <= TRANSFER_MOST:
        raise ApiError(40058, "chat_id_list: 1 to 100 groups are expected")
    if call.box.switches.groups_unused:
        raise ApiError(90510)
    owner = follower(call, call.text("new_owner", missing=40058))
    if owner.status == NOT_ACTIVATED:
        raise ApiError(41054)
    failed = []
    for chat_id in dict.fromkeys(chats):
        group = call.box.state.groups.get(chat_id)
        errcode = _hand_over(call, group, owner, refused) if group else 90501
        if errcode:
            failed.append({"chat_id": chat_id, "errcode": errcode, "errmsg": MESSAGES[errcode]})
    return {"failed_chat_list": failed}


def _hand_over(
    call: Call, group: Group, owner: Member, refused: Callable[[Call, Group, Member], int]
) -> int:
    """Hand one group over, or say why not; 40099 when the new owner got 300 today."""
    errcode = refused(call, group, owner)
    if errcode or call.box.switches.group_transfers_busy:
        return errcode or 90507
    taken = call.box.state.takeovers.setdefault(owner.userid, {})
    today = day_of(call.box.seconds())
    if taken.get(today, 0) >= TAKEOVERS_A_DAY:
        return 40099
    taken[today] = taken.get(today, 0) + 1
    if group.status == RESIGNED:
        group.members.pop(group.owner, None)
        group.status = DONE
    else:
        group.handovers.append(call.box.seconds())
    call.box.report_api_change(own(call.box, group, owner))
    return 0


ENDPOINTS = (
    Endpoint("POST", f"{GC}/list", group_list, contact=True),
    Endpoint("POST", f"{GC}/get", group_get, contact=True),
    Endpoint("POST", f"{GC}/statistic", statistic, contact=True),
    Endpoint("POST", f"{GC}/statistic_group_by_day", statistic_by_day, contact=True),
    Endpoint("POST", f"{GC}/transfer", transfer, contact=True),
    Endpoint("POST", f"{GC}/onjob_transfer", onjob_transfer, contact=True),
    Endpoint("POST", f"{EC}/opengid_to_chatid", chat_of_opengid, contact=True),
)
