"""The control plane's acquisition links: people who open one, the balance, and what an
administrator does (B6)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sandbox.control.frame import ControlCall, Refused, Routes, checked
from sandbox.core.errors import Impossible
from sandbox.core.models import Link, Quota, day_of
from sandbox.core.sandbox import Sandbox
from sandbox.core.state import Person
from sandbox.wecom import acquisition_links, friendships
from sandbox.wecom.acquisition_links import acquisition_event

ADD_WAY_LINK = 16
CHANNEL_BYTES = 64


def _link(call: ControlCall, wanted: str) -> Link:
    """The link of that id or address. Raises Refused 404."""
    link = call.box.state.links.get(wanted.partition("?")[0].rpartition("/")[2])
    if link is None:
        raise Refused(404, "no_such_link", f"no link {wanted}")
    return link


async def list_links(call: ControlCall) -> Any:
    """The links, with how many people opened each and how many came."""
    rows = []
    for link in call.box.state.links.values():
        counts = {"clicks": sum(link.clicks.values()), "customers": len(link.customers)}
        rows.append({**link.model_dump(exclude={"customers", "clicks", "turn"}), **counts})
    return {"links": rows, "quota": _quota(call)}


def _quota(call: ControlCall) -> Any:
    return call.box.state.quota.model_dump()


async def click(call: ControlCall) -> Any:
    """The person opens a `link` (id or address) with a `channel`, and unless `add` is false becomes
    a friend.

    The channel is cut at 64 bytes and becomes the State. An empty balance or a link that is out of
    order leads nowhere.
    """
    link = _link(call, call.text("link"))
    person = call.box.state.people.get(call.parts[0])
    if person is None:
        raise Refused(404, "no_such_person", f"no person {call.parts[0]}")
    _check_open(call.box, link)
    state = call.text("channel", "").encode()[:CHANNEL_BYTES].decode("utf-8", "ignore")
    today = day_of(call.box.seconds())
    link.clicks[today] = link.clicks.get(today, 0) + 1
    call.box.changed()
    if call.body.get("add") is False:
        return {"added": None, "link_id": link.link_id}
    userid = _choose(call.box, link, person, call.text("userid", ""))
    return {"link_id": link.link_id, **await _add_by_link(call.box, link, person, userid, state)}


def _check_open(box: Sandbox, link: Link) -> None:
    """Raises Impossible when the link leads nowhere."""
    if not link.available:
        raise Impossible("the link is out of order")
    if not box.state.quota.balance:
        raise Impossible("the balance is used up")


async def _add_by_link(
    box: Sandbox, link: Link, person: Person, userid: str, state: str
) -> dict[str, Any]:
    """The two become friends: what was `added`, and unless they were friends before whether all
    events were `delivered`."""
    if userid in person.friends:
        return {"added": asdict(await friendships.add(box, person, userid))}
    if state:  # WeCom tells of a request only where there is a State
        request = acquisition_event(box, "friend_request", LinkId=link.link_id, State=state)
        await box.sender.send(request)
    added = await friendships.add(box, person, userid, state=state, add_way=ADD_WAY_LINK)
    came = acquisition_links.came(box, link, person, userid, state)
    told = await box.sender.send_all(came)
    return {"added": asdict(added), "delivered": told and added.delivered}


def _choose(box: Sandbox, link: Link, person: Person, userid: str) -> str:
    """The member whom the link gives: the one asked for, a preferred friend, else in turn. Raises
    Impossible."""
    members = _members(box, link)
    if userid:
        if userid not in members:
            raise Impossible(f"{userid} is not behind this link")
        return userid
    if not members:
        raise Impossible("nobody is behind this link")
    if link.priority_type:
        preferred = link.priority_userid_list if link.priority_type == 2 else person.friends
        for friend in preferred:
            if friend in person.friends:
                return friend
    link.turn += 1
    return members[(link.turn - 1) % len(members)]


def _members(box: Sandbox, link: Link) -> list[str]:
    """The members behind a link: those named, and those of its departments who may have
    customers."""
    of_departments = box.world.members_in(link.department_list)
    userids = link.user_list + [member.userid for member in of_departments if member.contact]
    return [userid for userid in dict.fromkeys(userids) if box.world.member(userid)]


async def set_quota(call: ControlCall) -> Any:
    """Another `total`, `balance` or `quota_list`; a balance that crosses 20 or zero is told."""
    former = call.box.state.quota
    new = checked(Quota, former.model_dump() | call.body)
    call.box.state.quota = new.model_copy(update={"balance": former.balance})
    delivered = await call.box.sender.send_all(acquisition_links.set_balance(call.box, new.balance))
    return {"delivered": delivered, "quota": _quota(call)}


async def expire_soon(call: ControlCall) -> Any:
    """WeCom warns that `quota` of the balance ends at `expire_time`."""
    fields = {"ExpireTime": call.whole("expire_time"), "ExpireQuotaNum": call.whole("quota")}
    event = acquisition_event(call.box, "quota_expire_soon", **fields)
    return {"delivered": await call.box.sender.send(event)}


async def disable_link(call: ControlCall) -> Any:
    """The link goes out of order, or with `available` true back into it, which is not told."""
    link = _link(call, call.parts[0])
    link.available = call.body.get("available") is True
    call.box.changed()
    if link.available:
        return {"delivered": True}
    event = acquisition_event(call.box, "link_unavailable", LinkId=link.link_id)
    return {"delivered": await call.box.sender.send(event)}


async def remove_link(call: ControlCall) -> Any:
    """An administrator deletes the link on the console (`delete_link`)."""
    link = _link(call, call.parts[0])
    del call.box.state.links[link.link_id]
    call.box.changed()
    event = acquisition_event(call.box, "delete_link", LinkId=link.link_id)
    return {"delivered": await call.box.sender.send(event)}


async def open_profile(call: ControlCall) -> Any:
    """Somebody opens the member's card behind a link, which only certain industries are told."""
    link = _link(call, call.parts[0])
    state = call.text("channel", "")
    event = acquisition_event(call.box, "open_profile", LinkId=link.link_id, State=state)
    return {"delivered": await call.box.sender.send(event)}


ROUTES: Routes = [
    ("/links", {"get": list_links}),
    ("/links/([^/]+)", {"delete": remove_link}),
    ("/links/([^/]+)/unavailable", {"post": disable_link}),
    ("/links/([^/]+)/profile", {"post": open_profile}),
    ("/people/([^/]+)/click", {"post": click}),
    ("/acquisition/quota", {"post": set_quota}),
    ("/acquisition/expire-soon", {"post": expire_soon}),
]
