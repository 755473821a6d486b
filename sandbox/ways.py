"""WeCom's contact ways, the "live codes" (wechat-contract B5)."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from sandbox import ids
from sandbox.api import Call, Endpoint
from sandbox.contacts import EC
from sandbox.errors import ApiError
from sandbox.state import Way

PEOPLE_MOST = 100
STATE_MOST = 30
LIST_DEFAULT, LIST_MOST = 100, 1000
WINDOW_SECONDS = 90 * 86_400


def add_way(call: Call) -> dict[str, Any]:
    """B5: a new way; scene 2 answers the address of its QR code."""
    kind, scene = call.integer("type", 0, missing=41037), call.integer("scene", 0, missing=41038)
    style = call.integer("style", 1)
    if kind not in {1, 2}:
        raise ApiError(41039)
    if scene not in {1, 2}:
        raise ApiError(41040)
    if not 1 <= style <= 3:
        raise ApiError(41042)
    if call.flag("is_temp", False):
        raise ApiError(48002, "temporary ways are for the medical industry")
    users, parties = _people(call, kind)
    way = Way(
        config_id=ids.config_id(),
        agent_id=int(call.app),
        created=call.box.seconds(),
        type=kind,
        scene=scene,
        style=style,
        remark=call.text("remark", most=30),
        skip_verify=call.flag("skip_verify", True),
        state=call.text("state", most=STATE_MOST),
        user=users,
        party=parties,
        is_exclusive=call.flag("is_exclusive", False),
        mark_source=call.flag("mark_source", True),
    )
    if scene == 2:
        way.qr_code = f"http://{call.host}/qr/{way.config_id}.svg"
    call.box.state.ways[way.config_id] = way
    call.box.changed()
    return {"config_id": way.config_id, **({"qr_code": way.qr_code} if way.qr_code else {})}


def _people(call: Call, kind: int, before: Way | None = None) -> tuple[list[str], list[int]]:
    """The members and departments of a way; what is not given stays. Raises ApiError 60111, 60123, 41041 or 40058."""
    world = call.box.world
    users = []
    for userid in before.user if before and "user" not in call.body else call.strings("user"):
        member = world.member(userid)
        if member is None:
            raise ApiError(60111)
        users.append(member.userid)
    parties = before.party if before and "party" not in call.body else call.body.get("party") or []
    if not isinstance(parties, list) or any(not isinstance(p, int) or world.department(p) is None for p in parties):
        raise ApiError(60123)
    if kind == 1 and (len(users) != 1 or parties):
        raise ApiError(40058, "type 1 needs exactly one user")
    people = set(users) | {m.userid for m in world.corp.members if m.department in parties}
    if not people:
        raise ApiError(40058, "user and party are empty")
    if len(people) > PEOPLE_MOST:
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
    return {"contact_way": {**way.model_dump(exclude={"agent_id", "created", "turn", "assigned"}), "is_temp": False}}


def list_ways(call: Call) -> dict[str, Any]:
    """B5: ids of the app's ways, by default of the last 90 days; the cursor is opaque."""
    now = call.box.seconds()
    limit = call.integer("limit", LIST_DEFAULT)
    start, end = call.integer("start_time", now - WINDOW_SECONDS), call.integer("end_time", now)
    if not 1 <= limit <= LIST_MOST or start > end:
        raise ApiError(40058)
    after = _position(call.text("cursor"))
    own = [
        w.config_id for w in call.box.state.ways.values() if str(w.agent_id) == call.app and start <= w.created <= end
    ]
    page = own[after : after + limit]
    more = after + limit < len(own)
    cursor = base64.urlsafe_b64encode(f"ways:{after + limit}".encode()).decode() if more else ""
    return {"contact_way": [{"config_id": c} for c in page], "next_cursor": cursor}


def _position(cursor: str) -> int:
    if not cursor:
        return 0
    try:
        kind, _, position = base64.urlsafe_b64decode(cursor).decode().partition(":")
        if kind != "ways":
            raise ApiError(40058, "invalid cursor")
        return max(0, int(position))
    except (binascii.Error, ValueError) as error:
        raise ApiError(40058, "invalid cursor") from error


def update_way(call: Call) -> dict[str, Any]:
    """B5: each given field replaces; type and scene are fixed."""
    way = _way(call)
    changes: dict[str, Any] = {}
    if "remark" in call.body:
        changes["remark"] = call.text("remark", most=30)
    if "state" in call.body:
        changes["state"] = call.text("state", most=STATE_MOST)
    if "style" in call.body:
        changes["style"] = call.integer("style", 1)
        if not 1 <= changes["style"] <= 3:
            raise ApiError(41042)
    for name in ("skip_verify", "mark_source"):
        if name in call.body:
            changes[name] = call.flag(name, True)
    if call.body.keys() & {"user", "party"}:
        changes["user"], changes["party"] = _people(call, way.type, way)
    call.box.state.ways[way.config_id] = way.model_copy(update=changes)
    call.box.changed()
    return {}


def del_way(call: Call) -> dict[str, Any]:
    """B5: the code no longer leads anywhere."""
    del call.box.state.ways[_way(call).config_id]
    call.box.changed()
    return {}


ENDPOINTS = (
    Endpoint("POST", f"{EC}/add_contact_way", add_way, contact=True),
    Endpoint("POST", f"{EC}/get_contact_way", get_way, contact=True),
    Endpoint("POST", f"{EC}/list_contact_way", list_ways, contact=True),
    Endpoint("POST", f"{EC}/update_contact_way", update_way, contact=True),
    Endpoint("POST", f"{EC}/del_contact_way", del_way, contact=True),
)
