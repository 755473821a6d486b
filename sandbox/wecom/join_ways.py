"""Codes that lead into customer groups (contract/wechat B7, 92229)."""

from __future__ import annotations

from typing import Any

from sandbox.core import ids
from sandbox.core.api import Call, Endpoint
from sandbox.core.errors import ApiError
from sandbox.core.models import JoinWay
from sandbox.wecom.contact_ways import REMARK_MOST, STATE_MOST, codes_in_use
from sandbox.wecom.groups import GC

GROUPS_MOST, BASE_NAME_MOST = 5, 40


def _given(call: Call) -> dict[str, Any]:
    """The fields of a join way. Raises ApiError 41038, 41040, 41091, 90501 or 40058."""
    scene = call.integer("scene", 0, missing=41038)
    auto = call.integer("auto_create_room", 1)
    if scene not in {1, 2}:
        raise ApiError(41040)
    if auto not in {0, 1}:
        raise ApiError(40058, "invalid Request Parameter: auto_create_room")
    return {
        "scene": scene,
        "auto_create_room": auto,
        "chat_id_list": _chats(call),
        "remark": call.text("remark")[:REMARK_MOST],
        "room_base_name": call.text("room_base_name", most=BASE_NAME_MOST),
        "room_base_id": call.integer("room_base_id", 1),
        "state": call.text("state", most=STATE_MOST),
        "mark_source": call.flag("mark_source", True),
    }


def _chats(call: Call) -> list[str]:
    """One to five groups. Raises ApiError 41091 for more, 40058 for none, 90501 for an unknown
    one."""
    chats = list(dict.fromkeys(call.strings("chat_id_list")))
    if not 1 <= len(chats) <= GROUPS_MOST:
        raise ApiError(41091 if chats else 40058, "chat_id_list: 1 to 5 groups are expected")
    if not call.box.state.groups.keys() >= set(chats):
        raise ApiError(90501)
    return chats


def add(call: Call) -> dict[str, Any]:
    """B7: a new code into up to five groups; a remark that is too long is cut."""
    given = _given(call)
    if codes_in_use(call) >= call.box.switches.contact_ways_most:
        raise ApiError(41045)
    way = JoinWay(config_id=ids.config_id(), agent_id=int(call.app), **given)
    if way.scene == 2:
        way.qr_code = f"http://{call.host}/qr/{way.config_id}.svg"
    call.box.state.join_ways[way.config_id] = way
    call.box.changed()
    return {"config_id": way.config_id}


def _way(call: Call) -> JoinWay:
    """The join way that a call names; another app's does not exist for it. Raises ApiError 41043 or
    41044."""
    way = call.box.state.join_ways.get(call.text("config_id", missing=41043))
    if way is None or str(way.agent_id) != call.app:
        raise ApiError(41044)
    return way


def get(call: Call) -> dict[str, Any]:
    """B7: everything about the code, with its picture's address."""
    return {"join_way": _way(call).model_dump(exclude={"agent_id"})}


def update(call: Call) -> dict[str, Any]:
    """B7: replaces everything; what is not given falls back to its default."""
    way = _way(call)
    call.box.state.join_ways[way.config_id] = way.model_copy(update=_given(call))
    call.box.changed()
    return {}


def delete(call: Call) -> dict[str, Any]:
    """B7: the code no longer leads anywhere."""
    del call.box.state.join_ways[_way(call).config_id]
    call.box.changed()
    return {}


ENDPOINTS = (
    Endpoint("POST", f"{GC}/add_join_way", add, contact=True),
    Endpoint("POST", f"{GC}/get_join_way", get, contact=True),
    Endpoint("POST", f"{GC}/update_join_way", update, contact=True),
    Endpoint("POST", f"{GC}/del_join_way", delete, contact=True),
)
