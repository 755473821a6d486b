"""Codes that lead into customer groups (contract/wechat B7).

WeCom does not list them, so a code whose answer was lost may be made a second time; the row keeps
one, and nobody sees the other. When a code's groups are full, WeCom makes another group by itself
if it may and puts it behind the code; such a group stays there when we change the code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from campaigns.channels import live_codes, provisioning, rosters
from campaigns.channels.rows import CHANNELS
from campaigns.document.model import Campaign, GroupCode
from customers.alerts import alarms
from customers.banks.bank import Bank
from customers.wecom_mirror import groups
from customers.wecom_mirror.rows import Group
from services import ids
from services.cache import invalidate
from services.queue.inbox import InboxRow
from services.store.mongo import Doc
from services.wechat import events

LOOK_SECONDS = 600.0
MOST_GROUPS = 5


async def ensure(bank: Bank, campaign: Campaign) -> list[str]:
    """Makes the group codes that the campaign wants; what was done, as sentences. Raises
    PlatformError."""
    rows = bank.db[CHANNELS]
    done: list[str] = []
    for name, code in campaign.group_codes.items():

        async def make(_again: bool, name: str = name, code: GroupCode = code) -> Doc:
            client = bank.wecom
            config_id = (
                await client.groups.create_join_way(
                    code.groups, remark=name, **_settings(code, name)
                )
            )["config_id"]
            way = (await client.groups.get_join_way(config_id)).get("join_way") or {}
            told: Doc = {"config_id": config_id, "qr_code": way.get("qr_code", "")}
            told |= {"groups": list(code.groups), "listed": list(code.groups)}
            return told | provisioning.looked_after(bank.now())

        if await provisioning.once(
            bank, rows, live_codes.row_of(bank.id, campaign, live_codes.GROUP, name, name), make
        ):
            done.append(f"group code {name}: made for {len(code.groups)} groups")
    invalidate(bank.services, f"channels:{bank.id}")
    return done


def _settings(code: GroupCode, state: str) -> dict[str, Any]:
    return {
        "state": state,
        "auto_create_room": code.auto_create_room,
        "room_base_name": code.room_base_name,
        "room_base_id": code.room_base_id,
    }


async def keep(bank: Bank, row: Doc, campaign: Campaign) -> float:
    """Brings the code's groups up to the document and to what became of them; the seconds until the
    next look. Raises PlatformError."""
    code = campaign.group_codes.get(row["code"])
    if code is None:
        return rosters.IDLE_SECONDS
    client = bank.wecom
    way = (await client.groups.get_join_way(row["config_id"])).get("join_way") or {}
    present = [str(one) for one in way.get("chat_id_list") or []]
    listed: list[str] = row["listed"]
    made = [one for one in present if one not in listed]
    there = await groups.by_chat_id(bank, [*code.groups, *made])
    alive = [
        one
        for one in dict.fromkeys([*code.groups, *made])
        if one not in there or there[one]["active"]
    ]
    wanted = sorted(alive, key=lambda one: _is_full(there, one, code))[:MOST_GROUPS]
    if not wanted:
        await _tell(bank, row, "group_code.nowhere")
        return LOOK_SECONDS
    settings = _settings(code, row["state"])
    settings["room_base_id"] = max(
        code.room_base_id, int(way.get("room_base_id") or 1)
    )  # WeCom counts on by itself
    if set(present) != set(wanted) or any(
        _told(way, name) != value for name, value in settings.items()
    ):
        await client.groups.update_join_way(
            row["config_id"], wanted, remark=row["state"], **settings
        )
    fresh = {
        "groups": wanted,
        "listed": list(code.groups),
        "qr_code": way.get("qr_code") or row["qr_code"],
    }
    if any(row.get(name) != value for name, value in fresh.items()):
        await bank.db[CHANNELS].update({"_id": row["_id"]}, {"$set": fresh})
        invalidate(bank.services, f"channels:{bank.id}")
    may_grow = code.auto_create_room and len(wanted) < MOST_GROUPS
    if not may_grow and all(_is_full(there, one, code) for one in wanted):
        which = ids.fingerprint("|".join(sorted(wanted)).encode())[:12]
        await _tell(bank, row, "group_code.full", which)
    return LOOK_SECONDS


def _told(way: Mapping[str, Any], name: str) -> Any:
    """What WeCom says of a setting, as we would write it."""
    if name == "room_base_id":
        return int(way.get(name) or 1)
    return bool(way.get(name, 1)) if name == "auto_create_room" else str(way.get(name) or "")


def _is_full(there: Mapping[str, Group], chat_id: str, code: GroupCode) -> bool:
    return chat_id in there and there[chat_id]["people"] >= code.full_at


async def _tell(bank: Bank, row: Doc, kind: str, which: str = "") -> None:
    key = f"{row['state']}:{which}"
    heads = sorted(set(bank.heads.values()))
    await alarms.raise_alarm(bank, kind, key, userids=heads, state=row["state"])


async def group_changed(bank: Bank, row: InboxRow, event: events.GroupEvent) -> None:
    """Brings the mirror up, and has the codes of that group looked at."""
    await groups.group_changed(bank, row, event)
    await provisioning.wake(bank, {"kind": live_codes.GROUP, "groups": event.chat_id})
