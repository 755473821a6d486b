"""Acquisition links (contract/wechat B6): those that campaigns want, what they bring, and how much
of the bank's balance is left.

A link carries its state as `customer_channel`, so whoever comes through it is told with that state,
as with a live code. WeCom tells when the balance is low, gone, back or about to expire; what is
read every hour tells the same if an event was lost.
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import chain
from typing import Any
from urllib.parse import quote

from campaigns.channels import links, live_codes, provisioning, rosters
from campaigns.channels.rows import ACQUISITION_BALANCE, ACQUISITION_LINKS, ARRIVALS, CHANNELS
from campaigns.document.model import Campaign
from campaigns.document.states import states_of
from customers import timeline
from customers.alerts import alarms
from customers.banks.bank import Bank
from customers.identity import resolution
from services import ids
from services.cache import invalidate
from services.clock import utc
from services.limiter import lane
from services.observe import trace
from services.queue.inbox import InboxRow
from services.store.mongo import Doc
from services.wechat import events
from services.wechat.core.errors import PlatformError
from services.wechat.wecom import WeComClient

LOOK_SECONDS = 3600.0
LOW_BALANCE = 20
FIGURE_DAYS = 29
MOST_PEOPLE = 500
KEY_SECONDS = 1800.0
"""How long a chat key lives."""
WARNED_DAYS = (1, 2, 3, 7, 14)
OK, LOW, EXHAUSTED = "ok", "low", "exhausted"
BALANCE_ALARMS = {LOW: "links.balance_low", EXHAUSTED: "links.balance_exhausted"}


async def ensure(bank: Bank, campaign: Campaign) -> list[str]:
    """Makes the links that the campaign wants and WeCom does not have yet; returns what was done,
    as sentences. If an earlier try was cut short, a link of that name is looked for before another
    is made. Raises PlatformError."""
    staff = await rosters.staff_now(bank)
    done: list[str] = []
    for name, states in states_of(campaign.links, bank.branches).items():
        for branch, state in states.items():
            users = _users(campaign, name, branch, staff)
            if users and await _ensure_one(bank, campaign, name, branch, state, users):
                done.append(f"acquisition link {state}: made for {', '.join(users)}")
    invalidate(bank.services, f"channels:{bank.id}")
    return done


def _users(campaign: Campaign, name: str, branch: str, staff: dict[str, list[str]]) -> list[str]:
    """Whom the link leads to: the branch, or those whom the document names as far as they work
    here."""
    present = set(chain.from_iterable(staff.values()))
    wanted = (
        staff.get(branch, [])
        if branch
        else [one for one in campaign.links[name].staff if one in present]
    )
    return wanted[:MOST_PEOPLE]


async def _ensure_one(
    bank: Bank,
    campaign: Campaign,
    name: str,
    branch: str,
    state: str,
    users: list[str],
) -> bool:
    client, skip = bank.wecom, campaign.links[name].skip_verify

    async def make(again: bool) -> Doc:
        link = await _find(client, state) if again else None
        if link is None:
            answer = await client.links.create(state, userids=users, skip_verify=skip)
            link = {**answer["link"]}
        url = f"{link['url']}?customer_channel={quote(state)}"
        told = {"link_id": link["link_id"], "url": url, "users": users, "skip_verify": skip}
        return told | provisioning.looked_after(bank.now())

    row = live_codes.row_of(bank.id, campaign, live_codes.LINK, name, state, branch)
    return await provisioning.once(bank, bank.db[CHANNELS], row, make)


async def _find(client: WeComClient, name: str) -> dict[str, Any] | None:
    """The link of that name at WeCom, if an earlier try made it."""
    cursor = ""
    while True:
        page = await client.links.list(cursor=cursor)
        for link_id in page.get("link_id_list") or []:
            link = (await client.links.get(link_id)).get("link") or {}
            if link.get("link_name") == name:
                return {**link, "link_id": link_id}
        cursor = str(page.get("next_cursor") or "")
        if not cursor:
            return None


async def keep(bank: Bank, row: Doc, campaign: Campaign) -> float:
    """Brings the link's members up to the branch, and reads its figures and the bank's balance; the
    seconds until the next look. Raises PlatformError."""
    if row["code"] in campaign.links:
        await _bring(bank, row, campaign)
    with lane("bulk"):
        await _read_figures(bank, row["link_id"])
        await read_balance(bank)
    return LOOK_SECONDS


async def _bring(bank: Bank, row: Doc, campaign: Campaign) -> None:
    users = _users(campaign, row["code"], row["branch"], await rosters.staff_now(bank))
    users = users or row["users"]
    skip = campaign.links[row["code"]].skip_verify
    settings = {"users": users, "skip_verify": skip}
    if any(row.get(name) != value for name, value in settings.items()):
        client = bank.wecom
        await client.links.update(row["link_id"], userids=users, skip_verify=skip)
        await bank.db[CHANNELS].update({"_id": row["_id"]}, {"$set": settings})
        invalidate(bank.services, f"channels:{bank.id}")


async def _read_figures(bank: Bank, link_id: str) -> None:
    """Clicks and customers of the last 30 days, and how many of all who came have written."""
    client, now = bank.wecom, bank.now()
    told = links.row_of(bank.id, link_id, await client.links.get(link_id))
    start = int(now) - FIGURE_DAYS * 86400
    days = await client.links.get_statistic(link_id, start_time=start, end_time=int(now))
    chats: Counter[int] = Counter()
    cursor = ""
    while True:
        page = await client.links.list_customers(link_id, cursor=cursor)
        chats.update(int(one.get("chat_status", 2)) for one in page.get("customer_list") or [])
        cursor = str(page.get("next_cursor") or "")
        if not cursor:
            break
    figures = {
        "clicks": int(days.get("click_link_customer_cnt") or 0),
        "new": int(days.get("new_customer_cnt") or 0),
        "came": chats.total(),
        "silent": chats[0],
        "wrote": chats[1],
        "read_at": utc(now),
    }
    rows = bank.db[ACQUISITION_LINKS]
    row = {name: value for name, value in told.items() if name != "_id"}
    await rows.update({"_id": told["_id"]}, {"$set": {**row, "figures": figures}}, upsert=True)


async def read_balance(bank: Bank) -> None:
    """Reads what is left of the balance, once in an hour for all links, and raises what an event
    may have failed to tell."""
    db, now, row_id = bank.db, bank.now(), _balance_id(bank.id)
    await db[ACQUISITION_BALANCE].insert_new([_no_balance(bank.id)])
    due = {"_id": row_id, "asked": {"$lte": now - LOOK_SECONDS / 2}}
    if not await db[ACQUISITION_BALANCE].update(due, {"$set": {"asked": now}}):
        return
    try:
        told = await bank.wecom.links.get_quota()
    except PlatformError:
        await db[ACQUISITION_BALANCE].update(
            {"_id": row_id, "asked": now}, {"$set": {"asked": 0.0}}
        )
        raise
    balance = int(told.get("balance") or 0)
    parts = [
        (int(one.get("expire_date") or 0), int(one.get("balance") or 0))
        for one in told.get("quota_list") or []
    ]
    expiring = [{"at": at, "number": number} for at, number in sorted(parts)]
    counted = {"balance": balance, "total": int(told.get("total") or 0), "expiring": expiring}
    await db[ACQUISITION_BALANCE].update({"_id": row_id, "asked": now}, {"$set": counted})
    row = await db[ACQUISITION_BALANCE].find_one({"_id": row_id})
    level = EXHAUSTED if balance == 0 else LOW if balance < LOW_BALANCE else OK
    if row is not None and (level != OK or row["level"] != OK):
        await _level(bank, level, now, row_id)
    for at, number in parts:
        await _expiring(bank, float(at), number, now)


async def balance(bank: Bank) -> Doc:
    """What is known of the bank's balance: `balance`, `total`, and what is `expiring` when; None
    where nothing is known."""
    row = await bank.db[ACQUISITION_BALANCE].find_one({"_id": _balance_id(bank.id)})
    return row or _no_balance(bank.id)


def _balance_id(tenant: str) -> str:
    return f"{tenant}:balance"


def _no_balance(tenant: str) -> Doc:
    nothing: Doc = {"balance": None, "total": None, "expiring": []}
    return {
        "_id": _balance_id(tenant),
        "level": OK,
        "at": 0.0,
        "cleared": 0.0,
        "asked": 0.0,
        **nothing,
    }


async def _level(bank: Bank, level: str, at: float, cause: str) -> None:
    """The balance is at that level since `at` (seconds UTC), unless something newer is known. Each
    level is told once until the balance is back, which ends the alarms."""
    db, row_id = bank.db, _balance_id(bank.id)
    await db[ACQUISITION_BALANCE].insert_new([_no_balance(bank.id)])
    told: Doc = {"level": level, "at": at} | ({"cleared": at} if level == OK else {})
    if not await db[ACQUISITION_BALANCE].update(
        {"_id": row_id, "at": {"$lte": at}}, {"$set": told}
    ):
        trace.note("balance.newer_known")
        return
    if level == OK:
        over = await alarms.open_since(bank, list(BALANCE_ALARMS.values()), utc(at))
        await alarms.handle(bank, over, "wecom", "refilled", cause)
        return
    row = await db[ACQUISITION_BALANCE].find_one({"_id": row_id})
    since = int(row["cleared"]) if row else 0
    heads = await _heads(bank)
    await alarms.raise_alarm(bank, BALANCE_ALARMS[level], str(since), userids=heads, at=at)


async def _expiring(bank: Bank, expires: float, number: int, now: float) -> None:
    """Part of the balance ends soon: told once for each of the days ahead on which WeCom tells it
    too."""
    left = math.ceil((expires - now) / 86400)
    ahead = next((days for days in WARNED_DAYS if left <= days), None)
    if ahead is None or left < 0 or not number:
        return
    await alarms.raise_alarm(
        bank,
        "links.quota_expiring",
        f"{int(expires)}:{ahead}",
        userids=await _heads(bank),
        at=now,
        number=number,
        days=ahead,
        expires=utc(expires),
    )


async def _heads(bank: Bank) -> list[str]:
    """The heads of the branches that have links, or of all when a link is of no branch."""
    rows = await bank.db[CHANNELS].find({"kind": live_codes.LINK}, limit=None)
    wanted = {row["branch"] for row in rows}
    return sorted({head for branch, head in bank.heads.items() if branch in wanted or "" in wanted})


async def acquisition_changed(bank: Bank, row: InboxRow, event: events.Event) -> None:
    """What WeCom tells of links, of their balance, and of customers who write to the member whom a
    link gave them."""
    bank, at = bank, events.happened(event, row)
    match event:
        case events.AcquisitionBalance():
            level = {"low": LOW, "exhausted": EXHAUSTED, "increased": OK}[event.level]
            await _level(bank, level, at, row["_id"])
        case events.QuotaExpiring(expire_time=expires) if expires is not None:
            await _expiring(bank, expires.timestamp(), event.expire_quota_num, at)
        case events.LinkUnavailable() | events.LinkDeleted():
            await _broken(bank, event, at)
        case events.LinkOpened() | events.FriendRequested():
            await _looked_at(bank, row, event, at)
        case events.ChatStarted() | events.MessageFromCustomer():
            await _wrote(bank, row, event, at)
        case _:
            trace.note("link.unknown")


async def _broken(
    bank: Bank, event: events.LinkUnavailable | events.LinkDeleted, at: float
) -> None:
    link_id, deleted = event.link_id, isinstance(event, events.LinkDeleted)
    rows = bank.db[CHANNELS]
    channel = await rows.find_one({"kind": live_codes.LINK, "link_id": link_id})
    branch, state = (channel["branch"], channel["state"]) if channel else ("", link_id)
    if deleted:
        await links.close(bank, [link_id])
        invalidate(bank.services, f"channels:{bank.id}")
    told = [bank.heads[branch]] if branch in bank.heads else await _heads(bank)
    kind = "link.deleted" if deleted else "link.unavailable"
    await alarms.raise_alarm(bank, kind, f"{link_id}:{int(at)}", userids=told, at=at, state=state)


async def _looked_at(
    bank: Bank,
    row: InboxRow,
    event: events.LinkOpened | events.FriendRequested,
    at: float,
) -> None:
    """Counts who opened a link or asked to be a friend through it; nobody knows yet who he is."""
    query = {"kind": live_codes.LINK, "link_id": event.link_id}
    channel = await bank.db[CHANNELS].find_one(query)
    if channel is None:
        trace.note("channel.not_ours", state=event.state)
        return
    what = "opened" if isinstance(event, events.LinkOpened) else "requested"
    where = {"day": rosters.day_of(channel["tz"], at), "state": channel["state"], "userid": ""}
    arrival = {
        "_id": ids.tenant_id(bank.id, "arrival", row["_id"]),
        **where,
        "what": what,
        "at": utc(at),
    }
    await bank.insert(ARRIVALS, arrival)


async def _wrote(
    bank: Bank,
    row: InboxRow,
    event: events.ChatStarted | events.MessageFromCustomer,
    at: float,
) -> None:
    """Tells it in his story, with how much he has written as long as WeCom says so."""
    facts = resolution.Facts(external_userid=event.external_userid)
    cid = await resolution.identify(bank, facts, source="callback", proof=row["_id"])
    if isinstance(event, events.ChatStarted):
        came = {"userid": event.userid, "link_id": event.link_id, "state": event.state}
        await timeline.record(bank, cid, "link.chat_started", row["_id"], at=at, **came)
        return
    chat = await _chat(bank, event, at)
    told = {
        "messages": chat.get("recv_msg_cnt"),
        "link_id": chat.get("link_id", ""),
        "state": chat.get("state", ""),
    }
    await timeline.record(bank, cid, "link.message", row["_id"], at=at, userid=event.userid, **told)


async def _chat(bank: Bank, event: events.MessageFromCustomer, at: float) -> dict[str, Any]:
    """What the event's key opens; nothing once it is over."""
    if not event.chat_key or bank.now() >= at + KEY_SECONDS:
        trace.note("chat_key.over")
        return {}
    try:
        answer = await bank.wecom.links.get_chat_info(event.chat_key)
    except PlatformError as error:
        if error.action != "give_up":
            raise
        trace.note("chat_key.refused", why=error.code)
        return {}
    return dict(answer.get("chat_info") or {})
