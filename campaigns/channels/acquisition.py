"""Acquisition links (contract/wechat B6): those that campaigns want, and what they bring.

A link carries its state as `customer_channel`, so whoever comes through it is told with that state,
as with a live code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import cast
from urllib.parse import quote

from campaigns.channels import balance, left_out, links, provisioning, rosters
from campaigns.channels.rows import (
    ARRIVALS,
    CHANNELS,
    LINK,
    Arrival,
    Channel,
    Figures,
    LinkRow,
    channels,
    differs,
    invalidate_channels,
    new_channel,
    save,
)
from campaigns.document.model import Campaign
from campaigns.document.states import states_of
from customers import timeline
from customers.alerts import alarms
from customers.banks import userids
from customers.banks.bank import Bank
from customers.identity import resolution
from services import ids
from services.clock import utc
from services.limiter import lane
from services.observe import trace
from services.queue.inbox import InboxRow
from services.store.mongo import Doc
from services.wechat import events
from services.wechat.core.errors import PlatformError
from services.wechat.core.lists import OF_ONE_MEMBER
from services.wechat.core.paging import pages
from services.wechat.wecom import WeComClient
from services.wechat.wecom.acquisition import LinkFields
from services.wechat.wecom.calls import Json

LOOK_SECONDS = 3600.0
FIGURE_DAYS = 29
MOST_PEOPLE = 500
KEY_SECONDS = 1800.0
"""How long a chat key lives."""
SILENT, WROTE, UNKNOWN = 0, 1, 2
"""WeCom's `chat_status` of a link's customer."""


async def ensure(bank: Bank, campaign: Campaign) -> list[str]:
    """Makes the links that the campaign wants and WeCom does not have yet; returns what was done,
    as sentences. If an earlier try was cut short, a link of that name is looked for before another
    is made. Raises PlatformError."""
    staff = await rosters.staff_now(bank)
    done: list[str] = []
    for name, states in states_of(campaign.links, bank.branches).items():
        for branch, state in states.items():
            users = _users(campaign, name, branch, staff)
            row = new_channel(bank, campaign, LINK, name, state, branch)
            if users:
                done += await _ensure_one(bank, campaign, row, users)
    invalidate_channels(bank)
    return done


def _users(campaign: Campaign, name: str, branch: str, staff: dict[str, list[str]]) -> list[str]:
    """Whom the link leads to: the branch, or those whom the document names as far as they work
    here."""
    if branch:
        return staff.get(branch, [])[:MOST_PEOPLE]
    present = set(chain.from_iterable(staff.values()))
    return userids.those_of(campaign.links[name].staff, present)[:MOST_PEOPLE]


async def _ensure_one(bank: Bank, campaign: Campaign, row: Doc, users: list[str]) -> list[str]:
    """What was done, as sentences."""
    state, skip = row["state"], campaign.links[row["code"]].skip_verify
    told: list[str] = []

    async def create(again: bool) -> Doc:
        making = _Making(bank.wecom, state, skip)
        if again:
            making.link = await _find(bank.wecom, state)
        put = await left_out.put_members(bank, row, users, making.put)
        told.extend(_told(state, put))
        return {
            **making.made(),
            **put,
            "skip_verify": skip,
            **provisioning.first_look(bank.now()),
        }

    try:
        await provisioning.provision(bank, bank.db[CHANNELS], row, create)
    except PlatformError as error:
        if error.errcode not in OF_ONE_MEMBER:
            raise
        await left_out.nobody_taken(bank, row, users, error)
        return [f"acquisition link {state}: not made, WeCom takes nobody ({error.reason})"]
    return told


def _told(state: str, put: Doc) -> list[str]:
    done = [f"acquisition link {state}: made for {', '.join(put['users'])}"]
    if put["left_out"]:
        without = left_out.names(put["left_out"])
        done.append(f"acquisition link {state}: WeCom does not take {without}")
    return done


class _Making:
    """A link that is made for the first members whom WeCom takes, and then has the others too."""

    def __init__(self, client: WeComClient, state: str, skip_verify: bool) -> None:
        self._client = client
        self._state = state
        self._skip_verify = skip_verify
        self.link: LinkFields | None = None

    async def put(self, users: Sequence[str]) -> None:
        client, skip = self._client.links, self._skip_verify
        if self.link is not None:
            await client.update(self.link["link_id"], userids=users, skip_verify=skip)
        else:
            self.link = (await client.create(self._state, userids=users, skip_verify=skip))["link"]

    def made(self) -> Doc:
        """The link's fields of the row, once somebody was put into it: the address with the state,
        which WeCom tells of whoever comes through it."""
        link = cast("LinkFields", self.link)
        url = f"{link['url']}?customer_channel={quote(self._state)}"
        return {"link_id": link["link_id"], "url": url}


async def _find(client: WeComClient, name: str) -> LinkFields | None:
    """The link of that name at WeCom, if an earlier try made it."""
    async for page in pages(lambda cursor: client.links.list(cursor=cursor)):
        for link_id in page.get("link_id_list") or []:
            link = (await client.links.get(link_id)).get("link") or {}
            if link.get("link_name") == name:
                return {**link, "link_id": link_id}
    return None


async def reconcile_link(bank: Bank, row: LinkRow, campaign: Campaign) -> float:
    """Brings the link's members up to the branch, and reads its figures and the bank's balance; the
    seconds until the next look. Raises PlatformError."""
    if row["code"] in campaign.links:
        await _bring(bank, row, campaign)
    with lane("bulk"):
        await _read_figures(bank, row["link_id"])
        await balance.read(bank)
    return LOOK_SECONDS


async def _bring(bank: Bank, row: LinkRow, campaign: Campaign) -> None:
    """Changes the link at WeCom if it is not as it should be; one of nobody stays as it is."""
    staff = await rosters.staff_now(bank)
    wanted = _users(campaign, row["code"], row["branch"], staff) or row["users"]
    users = left_out.to_try(bank, row, userids.spelled_as(wanted, row["users"]))
    skip = campaign.links[row["code"]].skip_verify
    settings = {"users": users, "skip_verify": skip}
    if differs(row, settings):

        async def put(some: Sequence[str]) -> None:
            await bank.wecom.links.update(row["link_id"], userids=some, skip_verify=skip)

        await save(bank, row, settings | await left_out.put_members(bank, row, users, put))


async def _read_figures(bank: Bank, link_id: str) -> None:
    """Clicks and customers of the last 30 days, and how many of all who came have written."""
    client, now = bank.wecom.links, int(bank.now())
    link = await links.read_link(bank, link_id)
    start = now - FIGURE_DAYS * 86400
    days = await client.get_statistic(link_id, start_time=start, end_time=now)
    chats = await _chats(bank, link_id)
    figures: Figures = {
        "clicks": int(days.get("click_link_customer_cnt") or 0),
        "new": int(days.get("new_customer_cnt") or 0),
        "came": chats.total(),
        "silent": chats[SILENT],
        "wrote": chats[WROTE],
        "read_at": bank.utc(),
    }
    await links.put(bank, {**link, "figures": figures})


async def _chats(bank: Bank, link_id: str) -> Counter[int]:
    """How many customers of the link have which `chat_status`."""
    client = bank.wecom.links
    chats: Counter[int] = Counter()
    async for page in pages(lambda cursor: client.list_customers(link_id, cursor=cursor)):
        customers = page.get("customer_list") or []
        chats.update(int(one.get("chat_status", UNKNOWN)) for one in customers)
    return chats


async def acquisition_changed(bank: Bank, row: InboxRow, event: events.Event) -> None:
    """What WeCom tells of links, of their balance, and of customers who write to the member whom a
    link gave them."""
    at = events.happened(event, row)
    match event:
        case events.AcquisitionBalance():
            await balance.changed(bank, event, at, row["_id"])
        case events.QuotaExpiring():
            await balance.expires(bank, event, at)
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
    """Somebody must know; a link that was deleted is wanted again."""
    link_id = event.link_id
    kind = "link.unavailable"
    channel = await _channel(bank, link_id)
    if isinstance(event, events.LinkDeleted):
        kind = "link.deleted"
        await links.close(bank, [link_id])
        invalidate_channels(bank)
    head = bank.heads.get(channel["branch"]) if channel else None
    told = [head] if head else await balance.heads_of_links(bank)
    state = channel["state"] if channel else link_id
    await alarms.raise_alarm(bank, kind, f"{link_id}:{int(at)}", userids=told, at=at, state=state)


async def _channel(bank: Bank, link_id: str) -> Channel | None:
    found = await channels(bank, {"kind": LINK, "link_id": link_id})
    return found[0] if found else None


async def _looked_at(
    bank: Bank,
    row: InboxRow,
    event: events.LinkOpened | events.FriendRequested,
    at: float,
) -> None:
    """Counts who opened a link or asked to be a friend through it; nobody knows yet who he is."""
    channel = await _channel(bank, event.link_id)
    if channel is None:
        trace.note("channel.not_ours", state=event.state)
        return
    arrival: Arrival = {
        "_id": ids.tenant_id(bank.id, "arrival", row["_id"]),
        "day": rosters.day_of(channel["tz"], at),
        "state": channel["state"],
        "userid": "",
        "what": "opened" if isinstance(event, events.LinkOpened) else "requested",
        "at": utc(at),
    }
    await bank.insert(ARRIVALS, cast("Doc", arrival))


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


async def _chat(bank: Bank, event: events.MessageFromCustomer, at: float) -> Json:
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
