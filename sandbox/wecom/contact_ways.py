"""WeCom's contact ways, the "live codes" (contract/wechat B5, 92228, 92572)."""

from __future__ import annotations

from typing import Any

from sandbox.core import ids, paging
from sandbox.core.api import Call, Endpoint
from sandbox.core.errors import ApiError
from sandbox.core.models import DAY_SECONDS, day_of
from sandbox.core.state import Way
from sandbox.core.world import NOT_ACTIVATED
from sandbox.wecom.contacts import EC, follower

PEOPLE_MOST = 100
STATE_MOST = REMARK_MOST = 30
STYLE_MOST = 3
WITH_QR_CODE = 2
"""The `scene` of a way that has a QR code; 1 is a mini-program's."""
LIST_DEFAULT, LIST_MOST = 100, 1000
WINDOW_SECONDS = 90 * DAY_SECONDS
TEMPORARY_SECONDS, TEMPORARY_MOST = 7 * DAY_SECONDS, 14 * DAY_SECONDS
CHAT_SECONDS = DAY_SECONDS
CONCLUSION_BYTES = 4000
CONCLUSIONS = {
    "image": ("media_id",),
    "link": ("title", "url"),
    "miniprogram": ("title", "pic_media_id", "appid", "page"),
}
HIDDEN = {"agent_id", "created", "turn", "assigned"}
TEMPORARY = {"expires_in", "chat_expires_in", "unionid", "conclusions"}


def staff(call: Call, userids: list[str], parties: Any) -> tuple[list[str], list[int], set[str]]:
    """The named members and departments, and everybody behind them.

    Raises ApiError 60111, 84074 or 41054 for a member who does not exist, has no permission, is not
    activated; 60123 for a department that does not exist.
    """
    world = call.box.world
    named = [follower(call, userid) for userid in userids]
    if any(m.status == NOT_ACTIVATED for m in named):
        raise ApiError(41054)
    if not isinstance(parties, list) or not all(_is_department(call, p) for p in parties):
        raise ApiError(60123)
    found = {m.userid for m in named}
    for member in world.members_in(parties):
        if member.contact and member.status != NOT_ACTIVATED:
            found.add(member.userid)
    return [m.userid for m in named], parties, found


def _is_department(call: Call, value: Any) -> bool:
    return isinstance(value, int) and call.box.world.department(value) is not None


def codes_in_use(call: Call) -> int:
    """Contact ways and join ways together, which have one cap."""
    return len(call.box.state.ways) + len(call.box.state.join_ways)


def add_way(call: Call) -> dict[str, Any]:
    """B5: a new way; scene 2 answers the address of its QR code."""
    way = _new_way(call)
    if codes_in_use(call) >= call.box.switches.contact_ways_most:
        raise ApiError(41045)
    if way.is_temp:
        _count_temporary(call, way.created)
    if way.scene == WITH_QR_CODE:
        way.qr_code = f"http://{call.host}/qr/{way.config_id}.svg"
    call.box.state.ways[way.config_id] = way
    call.box.changed()
    answer = {"config_id": way.config_id}
    if way.qr_code:
        answer["qr_code"] = way.qr_code
    return answer


def _new_way(call: Call) -> Way:
    """The way that the body asks for. Raises ApiError 41037 to 41040 or 41042 for its type, scene
    or style, and what `_people` and `_temporary` raise."""
    kind = call.integer("type", 0, missing=41037)
    scene = call.integer("scene", 0, missing=41038)
    style = call.integer("style", 1)
    if kind not in {1, 2}:
        raise ApiError(41039)
    if scene not in {1, WITH_QR_CODE}:
        raise ApiError(41040)
    if not 1 <= style <= STYLE_MOST:
        raise ApiError(41042)
    users, parties = _people(call, kind)
    return Way(
        config_id=ids.config_id(),
        agent_id=int(call.app),
        created=call.box.seconds(),
        type=kind,
        scene=scene,
        style=style,
        remark=call.text("remark", most=REMARK_MOST),
        skip_verify=call.flag("skip_verify", True),
        state=call.text("state", most=STATE_MOST),
        user=users,
        party=parties,
        is_exclusive=call.flag("is_exclusive", False),
        mark_source=call.flag("mark_source", True),
        **_temporary(call, kind),
    )


def _count_temporary(call: Call, at: int) -> None:
    """One more of today's. Raises ApiError 41045 when there are as many as a day has."""
    made = call.box.state.temporary_ways
    day = day_of(at)
    if made.get(day, 0) >= call.box.switches.temporary_ways_a_day:
        raise ApiError(41045)
    call.box.state.temporary_ways = {day: made.get(day, 0) + 1}


def _temporary(call: Call, kind: int) -> dict[str, Any]:
    """What only a temporary way has (medical industry, one member)."""
    if not call.flag("is_temp", False):
        return {}
    if not call.box.switches.medical:
        raise ApiError(48002, "temporary ways are for the medical industry")
    if kind != 1:
        raise ApiError(41039)
    return {
        "is_temp": True,
        "expires_in": _lifetime(call, "expires_in", TEMPORARY_SECONDS),
        "chat_expires_in": _lifetime(call, "chat_expires_in", CHAT_SECONDS),
        "unionid": call.text("unionid"),
        "conclusions": _conclusions(call),
    }


def _lifetime(call: Call, name: str, default: int) -> int:
    seconds = call.integer(name, default)
    if not 1 <= seconds <= TEMPORARY_MOST:
        raise ApiError(40058, f"invalid Request Parameter: {name}")
    return seconds


def _conclusions(call: Call) -> dict[str, Any]:
    """What is sent when a temporary chat ends: a text and one of picture, link, mini-program."""
    given = call.body.get("conclusions") or {}
    text = given.get("text", {}) if isinstance(given, dict) else None
    if not isinstance(text, dict) or len(str(text.get("content", "")).encode()) > CONCLUSION_BYTES:
        raise ApiError(40058, "invalid Request Parameter: conclusions")
    for kind, fields in CONCLUSIONS.items():
        content = given.get(kind, {})
        complete = isinstance(content, dict) and all(content.get(f) for f in fields)
        if kind in given and not complete:
            raise ApiError(40058, f"incomplete conclusions: {kind}")
    return dict(given)


def _people(call: Call, kind: int, before: Way | None = None) -> tuple[list[str], list[int]]:
    """The members and departments of a way; what is not given stays.

    Raises ApiError 60111, 84074, 41054, 60123, 41041 or 40058.
    """
    userids = before.user if before and "user" not in call.body else call.strings("user")
    parties = before.party if before and "party" not in call.body else call.body.get("party") or []
    users, parties, everybody = staff(call, userids, parties)
    if kind == 1 and (len(users) != 1 or parties):
        raise ApiError(40058, "type 1 needs exactly one user")
    if not everybody:
        raise ApiError(40058, "user and party are empty")
    if len(everybody) > PEOPLE_MOST:
        raise ApiError(41041)
    return users, parties


def _way(call: Call) -> Way:
    """The way that a call names; another app's way does not exist for it."""
    way = call.box.state.ways.get(call.text("config_id", missing=41043))
    if way is None or str(way.agent_id) != call.app:
        raise ApiError(41044)
    return way


def get_way(call: Call) -> dict[str, Any]:
    """B5: everything that was given when the way was made or changed."""
    way = _way(call)
    body = way.model_dump(exclude=HIDDEN if way.is_temp else HIDDEN | TEMPORARY)
    picture = way.conclusions.get("image")
    if picture:
        address = f"http://{call.host}/wecom/cgi-bin/media/get?media_id={picture['media_id']}"
        body["conclusions"] = {**way.conclusions, "image": {"pic_url": address}}
    return {"contact_way": body}


def list_ways(call: Call) -> dict[str, Any]:
    """B5: ids of the app's lasting ways, by default of the last 90 days; the cursor is opaque."""
    now = call.box.seconds()
    size = paging.limit(call, LIST_DEFAULT, LIST_MOST)
    start = call.integer("start_time", now - WINDOW_SECONDS)
    end = call.integer("end_time", now)
    if start > end:
        raise ApiError(40058)
    own = [w for w in call.box.state.ways.values() if str(w.agent_id) == call.app]
    lasting = [w for w in own if not w.is_temp and start <= w.created <= end]
    page, more = paging.page(call, "ways", lasting, size)
    return {"contact_way": [{"config_id": w.config_id} for w in page], "next_cursor": more}


def update_way(call: Call) -> dict[str, Any]:
    """B5: each given field replaces; type, scene and is_temp are fixed."""
    way = _way(call)
    changes = _changes(call)
    if way.is_temp:
        changes |= _temporary_changes(call)
    if call.body.keys() & {"user", "party"}:
        users, parties = _people(call, way.type, way)
        changes |= {"user": users, "party": parties}
    call.box.state.ways[way.config_id] = way.model_copy(update=changes)
    call.box.changed()
    return {}


def _changes(call: Call) -> dict[str, Any]:
    """The given ones of the fields that need no look at the way. Raises ApiError 40058 or 41042."""
    changes: dict[str, Any] = {}
    if "remark" in call.body:
        changes["remark"] = call.text("remark", most=REMARK_MOST)
    if "state" in call.body:
        changes["state"] = call.text("state", most=STATE_MOST)
    if "style" in call.body:
        changes["style"] = call.integer("style", 1)
        if not 1 <= changes["style"] <= STYLE_MOST:
            raise ApiError(41042)
    for name in ("skip_verify", "mark_source"):
        if name in call.body:
            changes[name] = call.flag(name, True)
    return changes


def _temporary_changes(call: Call) -> dict[str, Any]:
    changes: dict[str, Any] = {
        name: _lifetime(call, name, CHAT_SECONDS)
        for name in ("expires_in", "chat_expires_in")
        if name in call.body
    }
    if "unionid" in call.body:
        changes["unionid"] = call.text("unionid")
    if "conclusions" in call.body:
        changes["conclusions"] = _conclusions(call)
    return changes


def del_way(call: Call) -> dict[str, Any]:
    """B5: the code no longer leads anywhere."""
    del call.box.state.ways[_way(call).config_id]
    call.box.changed()
    return {}


def close_temp_chat(call: Call) -> dict[str, Any]:
    """B5, 92572: end a temporary chat, with the way's conclusions for the customer. 84061 when
    there is none."""
    userid = follower(call, call.text("userid", missing=40058)).userid
    person = call.box.state.by_external(call.text("external_userid", missing=40058))
    if person is None:
        raise ApiError(40096)
    temporary = (
        w for w in call.box.state.ways.values() if w.is_temp and w.assigned.get(person.id) == userid
    )
    if userid not in person.friends or next(temporary, None) is None:
        raise ApiError(84061)
    call.box.state.unfriend(person, userid)
    call.box.changed()
    return {}


ENDPOINTS = (
    Endpoint("POST", f"{EC}/add_contact_way", add_way, contact=True),
    Endpoint("POST", f"{EC}/get_contact_way", get_way, contact=True),
    Endpoint("POST", f"{EC}/list_contact_way", list_ways, contact=True),
    Endpoint("POST", f"{EC}/update_contact_way", update_way, contact=True),
    Endpoint("POST", f"{EC}/del_contact_way", del_way, contact=True),
    Endpoint("POST", f"{EC}/close_temp_chat", close_temp_chat, contact=True),
)
