"""Who stands behind a live code now: RMs by time slot, out for the day when their cap is reached,
and the backup.

WeCom gives a code's new friends to its members by itself, so a cap can only be kept by taking a
member off the code. Between the add that reaches it and WeCom's update lie the delivery of the
event and one call, as a rule a second or two, and what is scanned meanwhile is over the cap; when
WeCom or we are down, that is until both are back. A code changes at most MOST_UPDATES times a
minute.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import cast
from zoneinfo import ZoneInfo

from campaigns.channels import left_out, provisioning
from campaigns.channels.rows import ARRIVALS, Arrival, Channel, LiveCodeRow, differs, save
from campaigns.document.model import Campaign, Codes, Slot
from campaigns.document.parts import DAYS
from customers.alerts import alarms
from customers.banks import userids
from customers.banks.bank import Bank
from customers.banks.staff import staff_of_branches
from services import ids
from services.cache import cached
from services.clock import utc
from services.store.mongo import Doc

LOOK_SECONDS = 60.0
IDLE_SECONDS = 3600.0
STAFF_SECONDS = 1.0
MOST_UPDATES = 3
KEPT_DAYS = 60
MOST_BEHIND = 100
"""people behind a code (contract/wechat B5)"""


def behind(
    code: Codes,
    staff: Sequence[str],
    now: datetime,
    counts: Mapping[str, int],
    present: Collection[str],
) -> list[str]:
    """The userids that belong behind a branch's code at `now` (in the bank's time zone), at most
    100.

    `staff` are the branch's RMs, `present` everybody who works at the bank, `counts` today's new
    customers by userid. Those on duty (without slots: all of the branch) who are below the cap;
    else the backup, whom no cap counts; else nobody.
    """
    on_duty = chain.from_iterable(slot.staff for slot in code.slots if _covers(slot, now))
    named = {userids.key(one) for one in on_duty}
    ours = [one for one in staff if not code.slots or userids.key(one) in named]
    cap = code.daily_cap
    free = [one for one in ours if cap is None or counts.get(userids.key(one), 0) < cap]
    backup = userids.those_of(code.backup, present)
    return (free or backup)[:MOST_BEHIND]


def _covers(slot: Slot, now: datetime) -> bool:
    minute, start, end = now.hour * 60 + now.minute, _minutes(slot.from_), _minutes(slot.to)
    today, yesterday = DAYS[now.weekday()] in slot.days, DAYS[now.weekday() - 1] in slot.days
    if start < end:
        return today and start <= minute < end
    return (today and minute >= start) or (yesterday and minute < end)


def _minutes(time: str) -> int:
    hours, minutes = time.split(":")
    return int(hours) * 60 + int(minutes)


def local(tz: str, at: float) -> datetime:
    """The moment `at` (seconds UTC) in that time zone."""
    return datetime.fromtimestamp(at, ZoneInfo(tz))


def day_of(tz: str, at: float) -> str:
    """The day on which an add of `at` (seconds UTC) counts."""
    return local(tz, at).date().isoformat()


def first(
    campaign: Campaign, group: str, branch: str, staff: Mapping[str, Sequence[str]], now: float
) -> list[str]:
    """Whom a new code begins with: who belongs behind it now, or the whole branch, since a code of
    nobody cannot be made."""
    ours = staff.get(branch, [])
    present = set(chain.from_iterable(staff.values()))
    wanted = behind(campaign.codes[group], ours, local(campaign.window.tz, now), {}, present)
    return wanted or list(ours)[:MOST_BEHIND]


async def came(bank: Bank, channel: Channel | None, userid: str, cid: str, at: float) -> None:
    """Counts a customer who came through one of our channels, once a day for each RM, on the day of
    `at` (seconds UTC) there. The add that reaches the cap has the code looked at now."""
    if channel is None:
        return
    state = channel["state"]
    day = day_of(channel["tz"], at)
    arrival: Arrival = {
        "_id": ids.tenant_id(bank.id, "arrival", state, day, userid, cid),
        "day": day,
        "state": state,
        "userid": userid,
        "at": utc(at),
    }
    await bank.insert(ARRIVALS, cast("Doc", arrival))
    cap = cast("LiveCodeRow", channel).get("cap")
    his = {"day": day, "state": state, "userid": userid}
    if cap and await bank.db[ARRIVALS].count(his) >= cap:
        await provisioning.wake(bank, {"_id": channel["_id"], "users": userid})


async def today(bank: Bank, state: str, day: str) -> dict[str, int]:
    """The key of a userid → customers who came to him through that channel on that day."""
    rows = bank.db[ARRIVALS]
    found = await rows.find({"day": day, "state": state}, fields={"userid": 1}, limit=None)
    return Counter(userids.key(row["userid"]) for row in found if row["userid"])


async def forget_old(bank: Bank) -> None:
    """Arrivals of more than KEPT_DAYS ago count for nothing any more."""
    oldest = utc(bank.now() - KEPT_DAYS * 86400).date().isoformat()
    await bank.db[ARRIVALS].delete({"day": {"$lt": oldest}})


async def staff_now(bank: Bank) -> dict[str, list[str]]:
    """The userids of each branch, at most STAFF_SECONDS old."""

    async def load() -> dict[str, list[str]]:
        return await staff_of_branches(bank)

    return await cached(bank.services, f"branch_staff:{bank.id}", STAFF_SECONDS, load)


async def reconcile_live_code(bank: Bank, row: LiveCodeRow, campaign: Campaign) -> float:
    """Brings the code's members at WeCom up to who belongs there now; the seconds until the next
    look. Raises PlatformError."""
    code = campaign.codes.get(row["code"])
    if code is None:
        return IDLE_SECONDS
    tz = campaign.window.tz
    belong = await _who_belongs(bank, row, code, tz)
    users = left_out.to_try(bank, row, userids.spelled_as(belong, row["users"]))
    settings: Doc = {"users": users, "skip_verify": code.skip_verify}
    fields: Doc = {**settings, "cap": code.daily_cap, "tz": tz}
    if differs(row, settings):
        now = bank.now()
        recent = _recent_updates(row, now)
        if len(recent) >= MOST_UPDATES:
            return recent[0] + LOOK_SECONDS - now
        config_id, skip = row["config_id"], code.skip_verify

        async def put(some: Sequence[str]) -> None:
            await bank.wecom.ways.update(config_id, userids=some, skip_verify=skip)

        fields |= await left_out.put_members(bank, row, users, put)
        fields["updates"] = [*recent, now]
    await save(bank, row, fields)
    return LOOK_SECONDS


def _recent_updates(row: LiveCodeRow, now: float) -> list[float]:
    """When the code was changed within the last minute, oldest first."""
    return [at for at in row.get("updates", []) if at > now - LOOK_SECONDS]


async def _who_belongs(bank: Bank, row: LiveCodeRow, code: Codes, tz: str) -> list[str]:
    """The userids that belong behind the code now. When there are none, those who were behind it
    stay, since a code of nobody does not work, and the head is told."""
    now = bank.now()
    day = day_of(tz, now)
    staff = await staff_now(bank)
    present = set(chain.from_iterable(staff.values()))
    counts = await today(bank, row["state"], day)
    wanted = behind(code, staff.get(row["branch"], []), local(tz, now), counts, present)
    if wanted:
        return wanted
    await _nobody(bank, row, day)
    return userids.those_of(row["users"], present) or row["users"]


async def _nobody(bank: Bank, row: LiveCodeRow, day: str) -> None:
    head = bank.heads.get(row["branch"])
    told = [head] if head else []
    state = row["state"]
    await alarms.raise_alarm(bank, "code.nobody", f"{state}:{day}", userids=told, state=state)
