"""The control plane's acquisition links: people who open one, the balance, and what an
administrator does (B6)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sandbox.control.frame import Ask, Refused, Routes, checked
from sandbox.core.errors import Impossible
from sandbox.core.events import Event
from sandbox.core.models import Link, Quota, day_of
from sandbox.core.sandbox import Sandbox
from sandbox.core.state import Person
from sandbox.wecom import acquisition_links, friendships
from sandbox.wecom.acquisition_links import acquisition_event

ADD_WAY_LINK = 16
CHANNEL_BYTES = 64


def _link(ask: Ask, wanted: str) -> Link:
    """The link of that id or address. Raises Refused 404."""
    link = ask.box.state.links.get(wanted.partition("?")[0].rpartition("/")[2])
    if link is None:
        raise Refused(404, "no_such_link", f"no link {wanted}")
    return link


async def _send(box: Sandbox, events: list[Event]) -> bool:
    return all([await box.sender.send(event) for event in events])


async def list_links(ask: Ask) -> Any:
    """The links, with how many people opened each and how many came."""
    links = ask.box.state.links.values()
    rows = [link.model_dump(exclude={"customers", "clicks", "turn"}) for link in links]
    counts = [
        {"clicks": sum(link.clicks.values()), "customers": len(link.customers)} for link in links
    ]
    return {
        "links": [row | count for row, count in zip(rows, counts, strict=True)],
        "quota": _quota(ask),
    }


def _quota(ask: Ask) -> Any:
    return ask.box.state.quota.model_dump()


async def click(ask: Ask) -> Any:
    """The person opens a `link` (id or address) with a `channel`, and unless `add` is false becomes
    a friend.

    The channel is cut at 64 bytes and becomes the State. An empty balance or a link that is out of
    order leads nowhere.
    """
    box, link = ask.box, _link(ask, ask.text("link"))
    person = box.state.people.get(ask.parts[0])
    if person is None:
        raise Refused(404, "no_such_person", f"no person {ask.parts[0]}")
    if not link.available or not box.state.quota.balance:
        raise Impossible(
            "the link is out of order" if not link.available else "the balance is used up"
        )
    state = ask.text("channel", "").encode()[:CHANNEL_BYTES].decode("utf-8", "ignore")
    today = day_of(box.seconds())
    link.clicks[today] = link.clicks.get(today, 0) + 1
    box.changed()
    if ask.body.get("add") is False:
        return {"added": None, "link_id": link.link_id}
    userid = _choose(box, link, person, ask.text("userid", ""))
    if userid in person.friends:
        return {
            "added": asdict(await friendships.add(box, person, userid)),
            "link_id": link.link_id,
        }
    await _send(box, [acquisition_event(box, "friend_request", LinkId=link.link_id, State=state)])
    added = await friendships.add(box, person, userid, state=state, add_way=ADD_WAY_LINK)
    told = await _send(box, acquisition_links.came(box, link, person, userid, state))
    return {"added": asdict(added), "link_id": link.link_id, "delivered": told and added.delivered}


def _choose(box: Sandbox, link: Link, person: Person, userid: str) -> str:
    """The member whom the link gives: the one asked for, a preferred friend, else in turn. Raises
    Impossible."""
    parties = box.world.members_in(link.department_list)
    members = list(dict.fromkeys([*link.user_list, *(m.userid for m in parties if m.contact)]))
    members = [u for u in members if box.world.member(u)]
    if userid:
        if userid not in members:
            raise Impossible(f"{userid} is not behind this link")
        return userid
    if not members:
        raise Impossible("nobody is behind this link")
    preferred = link.priority_userid_list if link.priority_type == 2 else person.friends
    already = next((u for u in preferred if u in person.friends), "") if link.priority_type else ""
    if already:
        return already
    link.turn += 1
    return members[(link.turn - 1) % len(members)]


async def set_quota(ask: Ask) -> Any:
    """Another `total`, `balance` or `quota_list`; a balance that crosses 20 or zero is told."""
    former = ask.box.state.quota
    new = checked(Quota, former.model_dump() | ask.body)
    ask.box.state.quota = new.model_copy(update={"balance": former.balance})
    delivered = await _send(ask.box, acquisition_links.set_balance(ask.box, new.balance))
    return {"delivered": delivered, "quota": _quota(ask)}


async def expire_soon(ask: Ask) -> Any:
    """WeCom warns that `quota` of the balance ends at `expire_time`."""
    fields = {"ExpireTime": ask.whole("expire_time"), "ExpireQuotaNum": ask.whole("quota")}
    return {
        "delivered": await _send(
            ask.box, [acquisition_event(ask.box, "quota_expire_soon", **fields)]
        )
    }


async def disable_link(ask: Ask) -> Any:
    """The link goes out of order, or with `available` true back into it, which is not told."""
    link, available = _link(ask, ask.parts[0]), ask.body.get("available") is True
    link.available = available
    ask.box.changed()
    events = (
        [] if available else [acquisition_event(ask.box, "link_unavailable", LinkId=link.link_id)]
    )
    return {"delivered": await _send(ask.box, events)}


async def remove_link(ask: Ask) -> Any:
    """An administrator deletes the link on the console (`delete_link`)."""
    link = _link(ask, ask.parts[0])
    del ask.box.state.links[link.link_id]
    ask.box.changed()
    return {
        "delivered": await _send(
            ask.box, [acquisition_event(ask.box, "delete_link", LinkId=link.link_id)]
        )
    }


async def open_profile(ask: Ask) -> Any:
    """Somebody opens the member's card behind a link, which only certain industries are told."""
    link, state = _link(ask, ask.parts[0]), ask.text("channel", "")
    return {
        "delivered": await _send(
            ask.box, [acquisition_event(ask.box, "open_profile", LinkId=link.link_id, State=state)]
        )
    }


ROUTES: Routes = [
    ("/links", {"get": list_links}),
    ("/links/([^/]+)", {"delete": remove_link}),
    ("/links/([^/]+)/unavailable", {"post": disable_link}),
    ("/links/([^/]+)/profile", {"post": open_profile}),
    ("/people/([^/]+)/click", {"post": click}),
    ("/acquisition/quota", {"post": set_quota}),
    ("/acquisition/expire-soon", {"post": expire_soon}),
]
