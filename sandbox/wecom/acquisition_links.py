"""Customer acquisition links (contract/wechat B6; 97297, 97298, 97375, 100130)."""

from __future__ import annotations

from typing import Any

from sandbox.core import ids, paging
from sandbox.core.api import Call, Endpoint
from sandbox.core.errors import ApiError
from sandbox.core.events import Event
from sandbox.core.models import DAY_SECONDS, ChatKey, Link, LinkCustomer, day_of
from sandbox.core.sandbox import Sandbox
from sandbox.core.state import Person
from sandbox.wecom.contact_ways import staff
from sandbox.wecom.contacts import EC, follower

CA = f"{EC}/customer_acquisition"
NAME_MOST, RANGE_MOST, PRIORITY_MOST = 30, 500, 1000
LIST_MOST, CUSTOMERS_MOST = 100, 1000
SPAN_DAYS, HISTORY_DAYS = 30, 180
LOW_BALANCE = 20
CHAT_KEY_SECONDS = 1800
TOLD_MESSAGES = frozenset({3, 5, 10})
"""Which of a customer's messages are told with a chat key (C4)."""


def acquisition_event(box: Sandbox, change: str, **fields: str | int) -> Event:
    """C4: an event of the links or of their balance."""
    return Event("customer_acquisition", box.seconds(), change, fields)


def _link(call: Call) -> Link:
    """The link that a call names; another app's link does not exist for it. Raises ApiError
    40058."""
    link = call.box.state.links.get(call.text("link_id", missing=40058))
    if link is None or str(link.agent_id) != call.app:
        raise ApiError(40058, "invalid link_id")
    return link


def list_links(call: Call) -> dict[str, Any]:
    """B6: ids of the app's links."""
    own = [link.link_id for link in call.box.state.links.values() if str(link.agent_id) == call.app]
    page, more = paging.page(call, "links", own, paging.limit(call, LIST_MOST, LIST_MOST))
    return {"link_id_list": page, "next_cursor": more}


def get_link(call: Call) -> dict[str, Any]:
    """B6: one link with its range and priorities."""
    link = _link(call)
    head = {"link_name", "url", "create_time", "skip_verify", "mark_source"}
    priority = {
        "priority_type": link.priority_type,
        "priority_userid_list": link.priority_userid_list,
    }
    return {
        "link": link.model_dump(include=head),
        "range": {"user_list": link.user_list, "department_list": link.department_list},
        **({"priority_option": priority} if link.priority_type else {}),
    }


def _name(call: Call) -> str:
    return call.text("link_name", most=NAME_MOST, missing=40058)


def _range(call: Call) -> dict[str, Any]:
    """Members and departments of a link. Raises ApiError 40058, 60111, 84074, 41054 or 60123."""
    given = call.body.get("range")
    users = given.get("user_list") or [] if isinstance(given, dict) else None
    if (
        not isinstance(given, dict)
        or not isinstance(users, list)
        or not all(isinstance(u, str) for u in users)
    ):
        raise ApiError(40058, "invalid Request Parameter: range")
    named, parties, everybody = staff(call, users, given.get("department_list") or [])
    if not 1 <= len(everybody) <= RANGE_MOST:
        raise ApiError(40058, "range: 1 to 500 people are expected")
    return {"user_list": named, "department_list": parties}


def _priority(call: Call) -> dict[str, Any]:
    """Whom the link prefers: 1 members who are friends already, 2 those of a list. Raises ApiError
    40058 or 60111."""
    given = call.body.get("priority_option")
    if given is None:
        return {}
    kind = given.get("priority_type") if isinstance(given, dict) else None
    users = given.get("priority_userid_list") or [] if isinstance(given, dict) else []
    if (
        kind not in {1, 2}
        or not isinstance(users, list)
        or len(users) > PRIORITY_MOST
        or (kind == 2 and not users)
    ):
        raise ApiError(40058, "invalid Request Parameter: priority_option")
    return {
        "priority_type": kind,
        "priority_userid_list": [follower(call, str(u)).userid for u in users],
    }


def _marked(call: Call, before: bool) -> bool:
    """Whether a link's source is marked: apps for marketing alone may say so, and what others say
    changes nothing (B6)."""
    given = call.flag("mark_source", before)
    return given if call.box.switches.marketing_acquisition else before


def create_link(call: Call) -> dict[str, Any]:
    """B6: a new link of the calling app. Raises ApiError 41095 at the corp's cap."""
    link_id = ids.link_id()
    link = Link(
        link_id=link_id,
        agent_id=int(call.app),
        link_name=_name(call),
        url=f"https://work.weixin.qq.com/ca/{link_id}",
        create_time=call.box.seconds(),
        skip_verify=call.flag("skip_verify", True),
        mark_source=_marked(call, True),
        **_range(call),
        **_priority(call),
    )
    if len(call.box.state.links) >= call.box.switches.acquisition_links_most:
        raise ApiError(41095)
    call.box.state.links[link_id] = link
    call.box.changed()
    return {"link": link.model_dump(include={"link_id", "link_name", "url", "create_time"})}


def update_link(call: Call) -> dict[str, Any]:
    """B6: each given field replaces; a given range replaces the old one whole."""
    link = _link(call)
    changes: dict[str, Any] = {}
    if "link_name" in call.body:
        changes["link_name"] = _name(call)
    if "range" in call.body:
        changes |= _range(call)
    changes |= _priority(call)
    if "skip_verify" in call.body:
        changes["skip_verify"] = call.flag("skip_verify", True)
    changes["mark_source"] = _marked(call, link.mark_source)
    call.box.state.links[link.link_id] = link.model_copy(update=changes)
    call.box.changed()
    return {}


def delete_link(call: Call) -> dict[str, Any]:
    """B6: the link leads nowhere; a deletion through the API is never told."""
    del call.box.state.links[_link(call).link_id]
    call.box.changed()
    return {}


def customers(call: Call) -> dict[str, Any]:
    """B6: who came through a link; `chat_status` 0 has not written, 1 has written."""
    link = _link(call)
    came = list(link.customers.values())
    page, more = paging.page(
        call, "link customers", came, paging.limit(call, CUSTOMERS_MOST, CUSTOMERS_MOST)
    )
    rows = [
        {
            "external_userid": c.external_userid,
            "userid": c.userid,
            "chat_status": int(c.messages > 0),
            "state": c.state,
        }
        for c in page
    ]
    return {"customer_list": rows, "next_cursor": more}


def _method(call: Call, official: str) -> None:
    """Quota is GET and statistic POST in the official text, and the other way about in one kit
    (switch)."""
    swapped = {"GET": "POST", "POST": "GET"}[official]
    wanted = {"both": call.method, "official": official, "swapped": swapped}[
        call.box.switches.acquisition_methods
    ]
    if call.method != wanted:
        raise ApiError(43001 if wanted == "GET" else 43002)


def quota(call: Call) -> dict[str, Any]:
    """B6: how many customers the corp's links may still bring."""
    _method(call, "GET")
    return call.box.state.quota.model_dump()


def statistic(call: Call) -> dict[str, Any]:
    """B6: how many people opened a link and how many came, in at most 30 days of the last 180."""
    _method(call, "POST")
    link = _link(call)
    start, end = call.span(SPAN_DAYS * DAY_SECONDS)
    if start < call.box.seconds() - HISTORY_DAYS * DAY_SECONDS:
        raise ApiError(40058, "invalid Request Parameter: start_time or end_time")
    days = range(day_of(start), day_of(end) + 1, DAY_SECONDS)
    return {
        "click_link_customer_cnt": sum(link.clicks.get(day, 0) for day in days),
        "new_customer_cnt": sum(day_of(c.at) in days for c in link.customers.values()),
    }


def chat_info(call: Call) -> dict[str, Any]:
    """B6: the chat behind the key of a callback, for 30 minutes."""
    key = call.box.state.chat_keys.get(call.text("chat_key", missing=40058))
    if key is None or call.box.seconds() >= key.at + CHAT_KEY_SECONDS:
        raise ApiError(40058, "invalid chat_key")
    chat = {"recv_msg_cnt": key.messages, "link_id": key.link_id, "state": key.state}
    return {"userid": key.userid, "external_userid": key.external_userid, "chat_info": chat}


def came(box: Sandbox, link: Link, person: Person, userid: str, state: str) -> list[Event]:
    """Note that a person came through a link, which costs one of the balance; the events of
    that."""
    friend = person.friends[userid]
    friend.link_id = link.link_id
    link.customers[f"{person.external_userid} {userid}"] = LinkCustomer(
        external_userid=person.external_userid, userid=userid, state=state, at=box.seconds()
    )
    return set_balance(box, max(0, box.state.quota.balance - 1))


def set_balance(box: Sandbox, balance: int) -> list[Event]:
    """Another balance; the events of the step: below 20, at zero, up from zero (C4)."""
    former = box.state.quota.balance
    box.state.quota.balance = balance
    box.changed()
    if former == 0 and balance > 0:
        return [acquisition_event(box, "balance_increased")]
    if former > 0 and balance == 0:
        return [acquisition_event(box, "balance_exhausted")]
    if former >= LOW_BALANCE > balance:
        return [acquisition_event(box, "balance_low")]
    return []


def wrote(box: Sandbox, person: Person, userid: str) -> list[Event]:
    """Count what a customer who came through a link wrote; the events of his first, 3rd, 5th and
    10th message (C4)."""
    link = box.state.links.get(person.friends[userid].link_id)
    customer = link.customers.get(f"{person.external_userid} {userid}") if link else None
    if link is None or customer is None:
        return []
    customer.messages += 1
    pair = {"UserID": userid, "ExternalUserID": person.external_userid}
    if customer.messages == 1:
        return [acquisition_event(box, "customer_start_chat", **pair)]
    if customer.messages not in TOLD_MESSAGES:
        return []
    key = _new_chat_key(box, link, customer)
    return [acquisition_event(box, "message_from_customer", **pair, ChatKey=key)]


def _new_chat_key(box: Sandbox, link: Link, customer: LinkCustomer) -> str:
    """A key that `get_chat_info` opens for 30 minutes; the keys that are over go."""
    now = box.seconds()
    live = {k: c for k, c in box.state.chat_keys.items() if now < c.at + CHAT_KEY_SECONDS}
    key = ids.code("CHAT")
    chat = customer.model_dump(exclude={"at"})
    live[key] = ChatKey(link_id=link.link_id, **chat, at=now)
    box.state.chat_keys = live
    return key


ENDPOINTS = (
    Endpoint("POST", f"{CA}/list_link", list_links, own=True),
    Endpoint("POST", f"{CA}/get", get_link, own=True),
    Endpoint("POST", f"{CA}/create_link", create_link, own=True),
    Endpoint("POST", f"{CA}/update_link", update_link, own=True),
    Endpoint("POST", f"{CA}/delete_link", delete_link, own=True),
    Endpoint("POST", f"{CA}/customer", customers, own=True),
    Endpoint("GET|POST", f"{EC}/customer_acquisition_quota", quota, own=True),
    Endpoint("GET|POST", f"{CA}/statistic", statistic, own=True),
    Endpoint("POST", f"{CA}/get_chat_info", chat_info, own=True),
)
