"""Members and groups whom WeCom does not take into a channel: one of them holds up nobody else.

He is left out and named, in an alarm to the head of his branch and on the page of channels, and is
tried again every AGAIN_SECONDS, since WeCom does not tell when a member may have customers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from campaigns.channels.provisioning import WANTED
from campaigns.channels.rows import CHANNELS, Channel, LeftOut
from customers.alerts import alarms
from customers.banks import staff
from customers.banks.bank import Bank
from services.store.mongo import Doc
from services.wechat.core.errors import PlatformError
from services.wechat.core.lists import OF_ONE_GROUP, OF_ONE_MEMBER, put_all_but

AGAIN_SECONDS = 1800.0


def to_try(bank: Bank, row: Channel, wanted: Sequence[str]) -> list[str]:
    """Those of `wanted` whom WeCom did not refuse within AGAIN_SECONDS; all of them when it refused
    them all."""
    lately = {
        each["one"] for each in row.get("left_out", []) if each["at"] > bank.now() - AGAIN_SECONDS
    }
    return [one for one in wanted if one not in lately] or list(wanted)


async def put_members(
    bank: Bank,
    row: Mapping[str, Any],
    users: Sequence[str],
    put: Callable[[Sequence[str]], Awaitable[object]],
) -> Doc:
    """Has WeCom take these members into the channel of `row`; its fields `users` and `left_out`.
    Whoever is left out is told of. Raises PlatformError when nobody is taken."""
    taken, refused = await put_all_but(users, put, OF_ONE_MEMBER)
    left_out = _kept(bank, row, users, refused)
    for userid, error in refused.items():
        await tell(bank, row, userid, error)
    return {"users": taken, "left_out": left_out}


async def put_groups(
    bank: Bank,
    row: Mapping[str, Any],
    groups: Sequence[str],
    put: Callable[[Sequence[str]], Awaitable[object]],
) -> Doc:
    """Has WeCom take these groups into the code of `row`; its fields `groups` and `left_out`.
    Raises PlatformError when none is taken."""
    taken, refused = await put_all_but(groups, put, OF_ONE_GROUP)
    for chat_id, error in refused.items():
        key = f"{row['state']}:{chat_id}:{bank.today()}"
        data = {"state": row["state"], "chat_id": chat_id}
        heads = sorted(set(bank.heads.values()))
        await alarms.raise_alarm(
            bank, "channel.group_left_out", key, userids=heads, why=error.reason, **data
        )
    return {"groups": taken, "left_out": _kept(bank, row, groups, refused)}


def _kept(
    bank: Bank,
    row: Mapping[str, Any],
    tried: Sequence[str],
    refused: Mapping[str, PlatformError],
) -> list[LeftOut]:
    """Whom the channel is without now: those refused, and those who were not tried this time."""
    now = bank.now()
    before: Sequence[LeftOut] = row.get("left_out") or []
    untried = [
        each for each in before if each["one"] not in tried and each["at"] > now - 2 * AGAIN_SECONDS
    ]
    found: list[LeftOut] = [
        {"one": one, "why": error.reason, "at": now} for one, error in refused.items()
    ]
    return untried + found


async def tell(bank: Bank, row: Mapping[str, Any], userid: str, error: PlatformError) -> None:
    """The head of the branch is told once a day for each member and reason, however many channels
    lack him."""
    known = (await staff.rows_of(bank, [userid])).get(userid)
    branch = known["branch"] if known else str(row["branch"])
    head = bank.heads.get(branch)
    data = {
        "userid": userid,
        "member": known["name"] if known else userid,
        "branch": bank.branches.get(branch, branch),
        "state": row["state"],
        "why": error.reason,
    }
    key, told = f"{userid}:{error.reason}:{bank.today()}", [head] if head else []
    await alarms.raise_alarm(bank, "channel.left_out", key, userids=told, **data)


async def nobody_taken(
    bank: Bank, row: Mapping[str, Any], users: Sequence[str], error: PlatformError
) -> None:
    """The channel is not made until WeCom takes somebody: who should be in it is told of."""
    for userid in users:
        await tell(bank, row, userid, error)
    refused = dict.fromkeys(users, error)
    left_out = {"$set": {"left_out": _kept(bank, row, users, refused)}}
    await bank.db[CHANNELS].update({"_id": row["_id"], "at_wecom": WANTED}, left_out)


def names(left_out: Sequence[LeftOut]) -> str:
    """Whom a channel is without, for a sentence."""
    return ", ".join(f"{each['one']} ({each['why']})" for each in left_out)
