"""Codes that lead into customer groups (contract/wechat B7).

WeCom does not list them, so a code whose answer was lost may be made a second time; the row keeps
one, and nobody sees the other. When a code's groups are full, WeCom makes another group by itself
if it may and puts it behind the code; such a group stays there when we change the code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from campaigns.channels import left_out, provisioning, rosters
from campaigns.channels.rows import (
    CHANNELS,
    GROUP,
    GroupCodeRow,
    differs,
    invalidate_channels,
    new_channel,
    save,
)
from campaigns.document.model import Campaign, GroupCode
from customers.alerts import alarms
from customers.banks.bank import Bank
from customers.wecom_mirror import groups
from customers.wecom_mirror.rows import Group
from services import ids
from services.queue.inbox import InboxRow
from services.store.mongo import Doc
from services.wechat import events
from services.wechat.wecom.groups import JoinWayFields, JoinWaySettings

LOOK_SECONDS = 600.0
MOST_GROUPS = 5
Known = Mapping[str, Group]


async def ensure(bank: Bank, campaign: Campaign) -> list[str]:
    """Makes the group codes that the campaign wants; what was done, as sentences. Raises
    PlatformError."""
    done: list[str] = []
    for name, code in campaign.group_codes.items():
        if await _ensure_one(bank, campaign, name, code):
            done.append(f"group code {name}: made for {len(code.groups)} groups")
    invalidate_channels(bank)
    return done


async def _ensure_one(bank: Bank, campaign: Campaign, name: str, code: GroupCode) -> bool:
    async def create(_again: bool) -> Doc:
        client = bank.wecom.groups
        config_id = ""

        async def put(some: Sequence[str]) -> None:
            nonlocal config_id
            if config_id:
                await client.update_join_way(config_id, some, **_settings(code, name))
            else:
                answer = await client.create_join_way(some, **_settings(code, name))
                config_id = answer["config_id"]

        groups_put = await left_out.put_groups(bank, row, code.groups, put)
        way = (await client.get_join_way(config_id)).get("join_way") or {}
        return {
            "config_id": config_id,
            "qr_code": way.get("qr_code", ""),
            **groups_put,
            "listed": list(code.groups),
            **provisioning.first_look(bank.now()),
        }

    row = new_channel(bank, campaign, GROUP, name, name)
    return await provisioning.provision(bank, bank.db[CHANNELS], row, create)


def _settings(code: GroupCode, state: str) -> JoinWaySettings:
    return {
        "state": state,
        "remark": state,
        "auto_create_room": code.auto_create_room,
        "room_base_name": code.room_base_name,
        "room_base_id": code.room_base_id,
    }


async def reconcile_group_code(bank: Bank, row: GroupCodeRow, campaign: Campaign) -> float:
    """Brings the code's groups up to the document and to what became of them; the seconds until the
    next look. Raises PlatformError."""
    code = campaign.group_codes.get(row["code"])
    if code is None:
        return rosters.IDLE_SECONDS
    answer = await bank.wecom.groups.get_join_way(row["config_id"])
    way: JoinWayFields = answer.get("join_way") or {}
    candidates = _candidates(row, code, way)
    known = await groups.by_chat_id(bank, candidates)
    wanted = left_out.to_try(bank, row, _wanted(code, candidates, known))
    if not wanted:
        await _tell(bank, row, "group_code.nowhere")
        return LOOK_SECONDS
    put = await _bring_way(bank, row, code, way, wanted)
    qr_code = way.get("qr_code") or row["qr_code"]
    await save(bank, row, {**put, "listed": list(code.groups), "qr_code": qr_code})
    wanted = put["groups"]
    if _takes_nobody(code, wanted, known):
        await _tell(bank, row, "group_code.full", _name_of(wanted))
    return LOOK_SECONDS


def _name_of(chat_ids: Sequence[str]) -> str:
    """The same for the same groups in any order."""
    return ids.fingerprint("|".join(sorted(chat_ids)).encode())[:12]


def _candidates(row: GroupCodeRow, code: GroupCode, way: JoinWayFields) -> list[str]:
    """The groups of the document, and those that WeCom made by itself."""
    behind = [str(one) for one in way.get("chat_id_list") or []]
    made = [one for one in behind if one not in row["listed"]]
    return list(dict.fromkeys([*code.groups, *made]))


def _wanted(code: GroupCode, candidates: Sequence[str], known: Known) -> list[str]:
    """The groups that still exist, those first that have room."""
    alive = [one for one in candidates if one not in known or known[one]["active"]]
    return sorted(alive, key=lambda one: _is_full(code, one, known))[:MOST_GROUPS]


def _is_full(code: GroupCode, chat_id: str, known: Known) -> bool:
    return chat_id in known and known[chat_id]["people"] >= code.full_at


def _takes_nobody(code: GroupCode, wanted: Sequence[str], known: Known) -> bool:
    """Whether every group is full and WeCom may not make another."""
    may_grow = code.auto_create_room and len(wanted) < MOST_GROUPS
    return not may_grow and all(_is_full(code, one, known) for one in wanted)


async def _bring_way(
    bank: Bank, row: GroupCodeRow, code: GroupCode, way: JoinWayFields, wanted: list[str]
) -> Doc:
    """Changes the code at WeCom if it is not as it should be; the fields of the row that say so."""
    settings = _settings(code, row["state"])
    told: JoinWaySettings = {
        "state": str(way.get("state") or ""),
        "remark": row["state"],  # somebody may have written another there
        "auto_create_room": bool(way.get("auto_create_room", 1)),
        "room_base_name": str(way.get("room_base_name") or ""),
        "room_base_id": int(way.get("room_base_id") or 1),
    }
    settings["room_base_id"] = max(code.room_base_id, told["room_base_id"] or 1)  # WeCom counts on
    if set(way.get("chat_id_list") or []) != set(wanted) or differs(told, settings):

        async def put(some: Sequence[str]) -> None:
            await bank.wecom.groups.update_join_way(row["config_id"], some, **settings)

        return await left_out.put_groups(bank, row, wanted, put)
    return {"groups": wanted}


async def _tell(bank: Bank, row: GroupCodeRow, kind: str, which: str = "") -> None:
    key = f"{row['state']}:{which}"
    heads = sorted(set(bank.heads.values()))
    await alarms.raise_alarm(bank, kind, key, userids=heads, state=row["state"])


async def group_changed(bank: Bank, row: InboxRow, event: events.GroupEvent) -> None:
    """Brings the mirror up, and has the codes of that group looked at."""
    await groups.group_changed(bank, row, event)
    await provisioning.wake(bank, {"kind": GROUP, "groups": event.chat_id})
