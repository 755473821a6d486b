"""WeCom's customers: who follows them, their notes and tags, their other ids (contract/wechat
B3)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from sandbox.core import events, ids, paging
from sandbox.core.api import Call, Endpoint
from sandbox.core.errors import ApiError
from sandbox.core.models import DAY_SECONDS, Day, day_of
from sandbox.core.state import Friend, Person
from sandbox.core.world import Member

TAGS_PER_FRIEND = 3000
FOLLOWERS_A_PAGE = 500
BATCH_USERS, BATCH_DEFAULT, BATCH_MOST = 100, 50, 100
BEHAVIOUR_DAYS, BEHAVIOUR_HISTORY_DAYS = 30, 180
NOTE_CHARACTERS = {"remark": 20, "description": 150, "remark_company": 20}
NOTES = frozenset({*NOTE_CHARACTERS, "remark_mobiles", "remark_pic_mediaid"})
EC = "/cgi-bin/externalcontact"


def follow_users(call: Call) -> dict[str, Any]:
    """B3: members with the customer-contact permission."""
    return {"follow_user": [m.userid for m in call.box.world.corp.members if m.contact]}


def follower(call: Call, userid: str) -> Member:
    """A member who may have customers. Raises ApiError 60111, or 84074 without the permission."""
    member = call.box.world.member(userid)
    if member is None:
        raise ApiError(60111)
    if not member.contact:
        raise ApiError(84074)
    return member


def customers(call: Call) -> dict[str, Any]:
    """B3: a member's customers; 84061 when there is none."""
    userid = follower(call, call.query.get("userid", "")).userid
    found = [person.external_userid for _, person, _ in call.box.state.on_list(userid)]
    if not found:
        raise ApiError(84061)
    return {"external_userid": found}


def _external_contact(call: Call, person: Person) -> dict[str, Any]:
    contact = {
        "external_userid": person.external_userid,
        "name": person.name,
        "avatar": "",
        "type": 1,
        "gender": 0,
    }
    if any(m.open_platform for m in call.box.world.mini_programs):
        contact["unionid"] = person.unionid
    return contact


def customer(call: Call) -> dict[str, Any]:
    """B3: a customer and the members who follow him, at most 500 a page."""
    person = call.box.state.by_external(call.query.get("external_userid", ""))
    if person is None:
        raise ApiError(40096)
    friends = [*person.friends.values(), *person.deleted.values()]
    if not friends:
        raise ApiError(84061)
    page, more = paging.page(
        call, "followers", friends, FOLLOWERS_A_PAGE, given=call.query.get("cursor", "")
    )
    answer = {
        "external_contact": _external_contact(call, person),
        "follow_user": [_follow_user(call, f) for f in page],
    }
    return {**answer, "next_cursor": more} if more else answer


def _relation(friend: Friend) -> dict[str, Any]:
    """What both forms of the relation have."""
    return {
        "userid": friend.userid,
        "remark": friend.remark,
        "description": friend.description,
        "createtime": friend.createtime,
        "remark_corp_name": friend.remark_company,
        "remark_mobiles": friend.remark_mobiles,
        "oper_userid": friend.userid,
        "add_way": friend.add_way,
        **({"state": friend.state} if friend.state else {}),
    }


def _follow_user(call: Call, friend: Friend) -> dict[str, Any]:
    tags = [found for tag_id in friend.tags if (found := call.box.state.tag(tag_id))]
    named = [
        {"group_name": g.group_name, "tag_name": t.name, "tag_id": t.id, "type": 1} for g, t in tags
    ]
    return {**_relation(friend), "tags": named}


def batch(call: Call) -> dict[str, Any]:
    """B3, 92994: customers of up to 100 members; the relation is an object and has the ids of corp
    tags only."""
    userids = _asked_userids(call)
    size = paging.limit(call, BATCH_DEFAULT, BATCH_MOST, over="most")
    at = paging.cursor(call, "batch", (0, 0))
    rest = _friendships(call, userids, at.place)
    page = list(islice(rest, paging.room(call, at, size)))
    found = [_batch_item(call, *friendship) for _, friendship in page]
    if next(rest, None) is None:
        return {"external_contact_list": found, "next_cursor": ""}
    place = page[-1][0] if page else at.place
    more = paging.Cursor("batch", place, at.turn + 1).text()
    return {"external_contact_list": found, "next_cursor": more}


def _asked_userids(call: Call) -> list[str]:
    """The members of `userid_list`, each once. Raises ApiError 40058 for none or more than 100,
    60111 or 84074 for one who may not have customers."""
    given = call.strings("userid_list")
    if not 1 <= len(given) <= BATCH_USERS:
        raise ApiError(40058, "userid_list: 1 to 100 userids are expected")
    return list(dict.fromkeys(follower(call, userid).userid for userid in given))


def _friendships(
    call: Call, members: list[str], place: tuple[int, ...]
) -> Iterator[tuple[tuple[int, int], tuple[Person, Friend]]]:
    """The friendships of these members after a place, each with its own: the member's index and
    the friendship's number."""
    first, number = place
    for index in range(first, len(members)):
        userid = members[index]
        after = number if index == first else 0
        for latest, person, friend in call.box.state.on_list(userid, after):
            yield (index, latest), (person, friend)


def _batch_item(call: Call, person: Person, friend: Friend) -> dict[str, Any]:
    tags = [t for t in friend.tags if call.box.state.tag(t)]
    relation = {**_relation(friend), "tag_id": tags}
    return {"external_contact": _external_contact(call, person), "follow_info": relation}


def friend_of(call: Call) -> tuple[Person, Friend]:
    """The relation that a call names. Raises ApiError 60111, 84074, 40096 or 84061."""
    userid = follower(call, call.text("userid")).userid
    person = call.box.state.by_external(call.text("external_userid"))
    if person is None:
        raise ApiError(40096)
    friend = person.friends.get(userid) or person.deleted.get(userid)
    if friend is None:
        raise ApiError(84061)
    return person, friend


def remark(call: Call) -> dict[str, Any]:
    """B3: the member's notes on a customer; fields that are not given stay."""
    if not NOTES & call.body.keys():
        raise ApiError(40058)
    notes = {name: call.text(name, most=most) for name, most in NOTE_CHARACTERS.items()}
    mobiles = call.strings("remark_mobiles")
    picture = call.text("remark_pic_mediaid")
    person, friend = friend_of(call)
    if picture:
        call.box.files.need("wecom", picture, "image")
    for name in notes.keys() & call.body.keys():
        setattr(friend, name, notes[name])
    if "remark_pic_mediaid" in call.body:
        friend.remark_picture = picture
    if "remark_mobiles" in call.body:
        friend.remark_mobiles = [m for m in mobiles if m]
    call.box.changed()
    _edited(call, person, friend)
    return {}


def _edited(call: Call, person: Person, friend: Friend) -> None:
    """Tell of new notes or tags, where changes through the API are told (C3, C4)."""
    now = call.box.seconds()
    call.box.report_api_change(
        events.contact("edit_external_contact", friend.userid, person.external_userid, now)
    )


def mark_tag(call: Call) -> dict[str, Any]:
    """B3: put on and take off corp tags; doing it twice changes nothing."""
    add = call.strings("add_tag")
    remove = call.strings("remove_tag")
    if not add and not remove:
        raise ApiError(40058, "add_tag and remove_tag are empty")
    person, friend = friend_of(call)
    known = call.box.state.tag
    if any(known(tag_id) is None for tag_id in add + remove):
        raise ApiError(40068)
    wanted = dict.fromkeys(friend.tags + add)
    tags = [tag_id for tag_id in wanted if tag_id not in remove and known(tag_id)]
    if len(tags) > TAGS_PER_FRIEND:
        raise ApiError(40058, "too many tags")
    changed = tags != friend.tags
    friend.tags = tags
    call.box.changed()
    if changed:
        _edited(call, person, friend)
    return {}


def convert_to_openid(call: Call) -> dict[str, Any]:
    """B3, 92323: the openid of the corp's first mini-program, which stands for the linked pay
    account."""
    person = call.box.state.by_external(call.text("external_userid"))
    if person is None:
        raise ApiError(40096)
    return {"openid": person.openids[call.box.world.mini_programs[0].appid]}


def _by_ids(call: Call) -> Person:
    """The person of `unionid` and `openid`. Raises ApiError 48002 for a self-built app, unless it
    is switched so, 610014, or 610018 when they are not one person's."""
    if not call.box.switches.unionid_conversion:
        raise ApiError(48002)
    person = call.box.state.by_unionid(call.text("unionid", missing=610014))
    if person is None:
        raise ApiError(610014)
    if call.text("openid") not in person.openids.values():
        raise ApiError(610018)
    return person


def by_unionid_old(call: Call) -> dict[str, Any]:
    """B3, 93274: the external_userid of somebody who is a customer."""
    person = _by_ids(call)
    if not person.friends:
        raise ApiError(84061)
    return {"external_userid": person.external_userid}


def by_unionid(call: Call) -> dict[str, Any]:
    """B3, 95926: the external_userid, or a pending_id for somebody who is not a customer yet."""
    if call.integer("subject_type", 0) not in {0, 1}:
        raise ApiError(40058, "invalid Request Parameter: subject_type")
    person = _by_ids(call)
    if person.friends:
        return {"external_userid": person.external_userid}
    known = call.box.state.pending.setdefault(person.id, ids.code("pending_"))
    call.box.changed()
    return {"pending_id": known}


def pending_ids(call: Call) -> dict[str, Any]:
    """B3: the pending_ids, given out before, of people who have become customers since."""
    if not call.box.switches.unionid_conversion:
        raise ApiError(48002)
    wanted = call.strings("external_userid")
    if not 1 <= len(wanted) <= BATCH_USERS:
        raise ApiError(40058, "invalid Request Parameter: external_userid")
    pending = call.box.state.pending
    people = [
        p for external in wanted if (p := call.box.state.by_external(external)) and p.id in pending
    ]
    return {
        "result": [
            {"external_userid": p.external_userid, "pending_id": pending[p.id]} for p in people
        ]
    }


def behaviour(call: Call) -> dict[str, Any]:
    """B3, 92132: the figures of some members, added up by day."""
    members = _asked_members(call)
    days = _asked_days(call)
    return {"behavior_data": [{"stat_time": day, **_total(call, members, day)} for day in days]}


def _asked_members(call: Call) -> set[str]:
    """The members of `userid`, and those of the departments of `partyid`. Raises ApiError 40058
    for none or too many."""
    userids = call.strings("userid")
    parties = call.body.get("partyid") or []
    if not isinstance(parties, list) or len(userids) > BATCH_USERS or len(parties) > BATCH_USERS:
        raise ApiError(40058)
    if not userids and not parties:
        raise ApiError(40058, "userid and partyid are empty")
    named = {follower(call, userid).userid for userid in userids}
    return named | {m.userid for m in call.box.world.members_in(parties)}


def _asked_days(call: Call) -> range:
    """The first seconds of the days asked for. Raises ApiError 40058 for none, more than 30, or
    days that are too long ago."""
    start = day_of(call.integer("start_time", 0, missing=40058))
    end = day_of(call.integer("end_time", 0, missing=40058))
    days = range(start, end + 1, DAY_SECONDS)
    oldest = call.box.seconds() - BEHAVIOUR_HISTORY_DAYS * DAY_SECONDS
    if not 1 <= len(days) <= BEHAVIOUR_DAYS + 1 or start < oldest:
        raise ApiError(40058, "invalid Request Parameter: start_time or end_time")
    return days


def _total(call: Call, members: set[str], day: int) -> dict[str, int]:
    """What these members did on one day, by figure."""
    figures = call.box.state.days
    found = [figures[m][day] for m in members if day in figures.get(m, {})]
    return {name: sum(getattr(d, name) for d in found) for name in Day.model_fields}


ENDPOINTS = (
    Endpoint("GET", f"{EC}/get_follow_user_list", follow_users, contact=True),
    Endpoint("GET", f"{EC}/list", customers, contact=True),
    Endpoint("GET", f"{EC}/get", customer, contact=True),
    Endpoint("POST", f"{EC}/batch/get_by_user", batch, contact=True),
    Endpoint("POST", f"{EC}/remark", remark, contact=True),
    Endpoint("POST", f"{EC}/mark_tag", mark_tag, contact=True),
    Endpoint("POST", f"{EC}/convert_to_openid", convert_to_openid, contact=True),
    Endpoint("POST", f"{EC}/unionid_to_external_userid", by_unionid_old, contact=True),
    Endpoint("POST", f"{EC}/get_user_behavior_data", behaviour, contact=True),
    Endpoint("POST", "/cgi-bin/idconvert/unionid_to_external_userid", by_unionid),
    Endpoint("POST", "/cgi-bin/idconvert/batch/external_userid_to_pending_id", pending_ids),
)
