"""Customer acquisition links (contract/wechat B6 97297, 97298, 97375, 100130)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict, Unpack

from services.wechat.core.checks import at_most, chars, need, page_of, span
from services.wechat.wecom.calls import Answer, Calls, Json, Page

_PATH = "externalcontact/customer_acquisition"
MOST_PEOPLE = 500


class LinkIds(Page, total=False):
    link_id_list: list[str]


class LinkFields(TypedDict, total=False):
    link_id: str
    link_name: str
    url: str
    create_time: int
    skip_verify: bool
    mark_source: bool


class LinkRange(TypedDict, total=False):
    user_list: list[str]
    department_list: list[int]


class Link(Answer, total=False):
    link: LinkFields
    range: LinkRange
    priority_option: Json


class LinkCustomer(TypedDict, total=False):
    """`chat_status` 0 has not written, 1 has written, 2 unknown."""

    external_userid: str
    userid: str
    chat_status: int
    state: str


class LinkCustomers(Page, total=False):
    customer_list: list[LinkCustomer]


class Quota(Answer, total=False):
    total: int
    balance: int
    quota_list: list[Json]


class LinkStatistic(Answer, total=False):
    click_link_customer_cnt: int
    new_customer_cnt: int


class ChatInfo(Answer, total=False):
    userid: str
    external_userid: str
    chat_info: Json


class Priority(TypedDict, total=False):
    """Who is preferred among a link's people: `priority_type` 1 whoever is the customer's friend
    already, 2 those among `priority_userids` (at most 1000)."""

    priority_type: int | None
    priority_userids: Sequence[str]


class LinkChanges(Priority, total=False):
    """What a link may be changed in. Members and departments together replace the old ones."""

    link_name: str | None
    userids: Sequence[str]
    departments: Sequence[int]
    skip_verify: bool | None
    mark_source: bool | None


class Acquisition(Calls):
    """Acquisition links; only those that this app made, and never with the customer-contact secret
    (BadConfig 48002)."""

    async def list(self, *, cursor: str = "", limit: int = 100) -> LinkIds:
        """A page of this app's links."""
        path = f"{_PATH}/list_link"
        limit = page_of(limit, 100)
        return await self._submit(LinkIds, path, {"limit": limit, "cursor": cursor or None})

    async def get(self, link_id: str) -> Link:
        """A link, whom it leads to, and who is preferred."""
        return await self._submit(Link, f"{_PATH}/get", {"link_id": link_id})

    async def create(
        self,
        link_name: str,
        *,
        userids: Sequence[str] = (),
        departments: Sequence[int] = (),
        skip_verify: bool = True,
        mark_source: bool | None = None,
        **priority: Unpack[Priority],
    ) -> Link:
        """Makes a link to at most 500 people; the name has at most 30 characters. `mark_source` is
        for apps of marketing acquisition only. BadConfig 41095: no more links."""
        path = f"{_PATH}/create_link"
        need(path, "a member or a department", userids, departments)
        body = {
            "link_name": link_name,
            "skip_verify": skip_verify,
            "mark_source": mark_source,
            **_whom(path, userids, departments),
            **_priority(path, priority),
        }
        chars(path, 30, link_name=link_name)
        return await self._submit(Link, path, body)

    async def update(self, link_id: str, **changes: Unpack[LinkChanges]) -> Answer:
        """Changes each given setting."""
        path = f"{_PATH}/update_link"
        chars(path, 30, link_name=changes.get("link_name"))
        userids, departments = changes.get("userids", ()), changes.get("departments", ())
        body = {
            "link_id": link_id,
            "link_name": changes.get("link_name"),
            "skip_verify": changes.get("skip_verify"),
            "mark_source": changes.get("mark_source"),
            **(_whom(path, userids, departments) if userids or departments else {}),
            **_priority(path, changes),
        }
        return await self._submit(Answer, path, body)

    async def delete(self, link_id: str) -> Answer:
        """Ends a link."""
        return await self._submit(Answer, f"{_PATH}/delete_link", {"link_id": link_id})

    async def list_customers(
        self, link_id: str, *, cursor: str = "", limit: int = 1000
    ) -> LinkCustomers:
        """A page of the customers who came through a link, with the channel each came by as
        `state`."""
        path = f"{_PATH}/customer"
        limit = page_of(limit, 1000)
        return await self._submit(
            LinkCustomers, path, {"link_id": link_id, "limit": limit, "cursor": cursor or None}
        )

    async def get_quota(self) -> Quota:
        """How many customers the corp may still win, and what expires when; at 0 all links stop."""
        return await self._fetch(Quota, "externalcontact/customer_acquisition_quota")

    async def get_statistic(self, link_id: str, *, start_time: int, end_time: int) -> LinkStatistic:
        """Who clicked and who was won; seconds UTC, at most 30 days apart and within 180 days."""
        path = f"{_PATH}/statistic"
        span(path, start_time, end_time, 30)
        body = {"link_id": link_id, "start_time": start_time, "end_time": end_time}
        return await self._submit(LinkStatistic, path, body)

    async def get_chat_info(self, chat_key: str) -> ChatInfo:
        """What a customer who wrote first came by (100130); the key of the event lives 30
        minutes."""
        return await self._submit(ChatInfo, f"{_PATH}/get_chat_info", {"chat_key": chat_key})


def _whom(path: str, userids: Sequence[str], departments: Sequence[int]) -> dict[str, Any]:
    at_most(path, "user_list", len(userids), MOST_PEOPLE)
    people = {"user_list": list(userids), "department_list": list(departments)}
    return {"range": {name: values for name, values in people.items() if values}}


def _priority(path: str, priority: Priority) -> dict[str, Any]:
    kind, userids = priority.get("priority_type"), priority.get("priority_userids", ())
    if kind is None:
        return {}
    at_most(path, "priority_userid_list", len(userids), 1000)
    if kind == 2:
        need(path, "priority type 2 names the members it prefers", userids)
    option: dict[str, Any] = {"priority_type": kind}
    return {
        "priority_option": option | ({"priority_userid_list": list(userids)} if userids else {})
    }
