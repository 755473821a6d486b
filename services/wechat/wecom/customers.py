"""Customers and who follows them, and which ids are one person (contract/wechat B3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from services.wechat.core.checks import at_most, chars, need, page_of, some, span
from services.wechat.core.errors import SubjectState
from services.wechat.wecom.calls import CALLS_AT_ONCE, Answer, Calls, Json, Page
from services.wechat.wecom.members import OpenId

NOT_FRIENDS = 84061


class FollowUsers(Answer, total=False):
    follow_user: list[str]


class CustomerIds(Answer, total=False):
    external_userid: list[str]


class CustomerFields(TypedDict, total=False):
    """`type` is 1 for a WeChat user (who may have `unionid`), 2 for a WeCom member (who may have
    position and corp)."""

    external_userid: str
    name: str
    avatar: str
    type: int
    gender: int
    unionid: str
    position: str
    corp_name: str
    corp_full_name: str
    external_profile: Json


class Follow(TypedDict, total=False):
    """One member's friendship with a customer; `tags` (with names) in `customers.get`,
    `tag_id` in `customers.batch_get_by_user`."""

    userid: str
    remark: str
    description: str
    createtime: int
    tags: list[Json]
    tag_id: list[str]
    remark_corp_name: str
    remark_mobiles: list[str]
    oper_userid: str
    add_way: int
    state: str
    wechat_channels: Json


class Customer(Page, total=False):
    external_contact: CustomerFields
    follow_user: list[Follow]


class Friendship(TypedDict, total=False):
    external_contact: CustomerFields
    follow_info: Follow


class Friendships(Page, total=False):
    external_contact_list: list[Friendship]
    fail_info: Json


class ExternalUserId(Answer, total=False):
    """`pending_id` instead, for 90 days, when the person is nobody's customer yet."""

    external_userid: str
    pending_id: str


class BehaviorDay(TypedDict, total=False):
    """One day, the members asked for summed; a share or time is missing where there was nothing to
    measure."""

    stat_time: int
    chat_cnt: int
    message_cnt: int
    reply_percentage: float
    avg_reply_time: int
    negative_feedback_cnt: int
    new_apply_cnt: int
    new_contact_cnt: int


class Behavior(Answer, total=False):
    behavior_data: list[BehaviorDay]


class Customers(Calls):
    """Customers; SubjectState 84061 not the member's friend, 40096 bad external_userid, 84074 no
    customer permission."""

    async def list_followers(self) -> FollowUsers:
        """The members with the customer-contact permission that this app sees (92571)."""
        return await self._fetch(FollowUsers, "externalcontact/get_follow_user_list")

    async def list(self, userid: str) -> CustomerIds:
        """The member's customers by id (92113); WeCom's 84061 for a member who has none is an empty
        list here."""
        try:
            return await self._fetch(CustomerIds, "externalcontact/list", userid=userid)
        except SubjectState as error:
            if error.errcode != NOT_FRIENDS:
                raise
            return {"errcode": 0, "errmsg": "ok", "external_userid": []}

    async def get(self, external_userid: str, cursor: str = "") -> Customer:
        """A customer and a page of the members who follow him (92114); `next_cursor` while there
        are more than 500."""
        return await self._fetch(
            Customer, "externalcontact/get", external_userid=external_userid, cursor=cursor
        )

    async def batch_get_by_user(
        self, userids: Sequence[str], *, cursor: str = "", limit: int = 100
    ) -> Friendships:
        """A page of the customers of at most 100 members (92994), one entry a friendship; its tags
        are ids without names."""
        path = "externalcontact/batch/get_by_user"
        need(path, "at least one member", userids)
        at_most(path, "userid_list", len(userids), CALLS_AT_ONCE)
        limit = page_of(limit, 100)
        body = {"userid_list": list(userids), "cursor": cursor or None, "limit": limit}
        return await self._submit(Friendships, path, body)

    async def remark(
        self,
        userid: str,
        external_userid: str,
        *,
        remark: str | None = None,
        description: str | None = None,
        remark_company: str | None = None,
        remark_mobiles: Sequence[str] | None = None,
    ) -> Answer:
        """Writes what the member notes of the customer (92115): remark and company at most 20
        characters, description 150.

        `remark_mobiles` replaces the old ones, and an empty sequence clears them. Company is for
        WeChat users only.
        """
        path = "externalcontact/remark"
        mobiles = None if remark_mobiles is None else list(remark_mobiles) or [""]
        chars(path, 20, remark=remark, remark_company=remark_company)
        chars(path, 150, description=description)
        notes = {
            "remark": remark,
            "description": description,
            "remark_company": remark_company,
            "remark_mobiles": mobiles,
        }
        need(path, "at least one note", *(value is not None for value in notes.values()))
        return await self._submit(
            Answer, path, {"userid": userid, "external_userid": external_userid, **notes}
        )

    async def convert_to_openid(self, external_userid: str) -> OpenId:
        """The customer's openid at the payment account (92323)."""
        return await self._submit(
            OpenId, "externalcontact/convert_to_openid", {"external_userid": external_userid}
        )

    async def unionid_to_external_userid(self, unionid: str, openid: str) -> ExternalUserId:
        """The customer behind a unionid, by the older call (93274);
        `customers.idconvert_unionid` is the one to use."""
        body = {"unionid": unionid, "openid": openid}
        return await self._submit(
            ExternalUserId, "externalcontact/unionid_to_external_userid", body
        )

    async def idconvert_unionid(
        self, unionid: str, openid: str, *, subject_type: int = 0
    ) -> ExternalUserId:
        """The customer behind a unionid (95926); `subject_type` 0 when the mini-program is the
        corp's, 1 a provider's.

        SubjectState 610014 unknown unionid, 610018 the two ids are not one person's; BadConfig
        610015 to 610017 when the corp or the mini-program is not verified, or not the same body.
        100,000 an hour, 480,000 a day.
        """
        body = {"unionid": unionid, "openid": openid, "subject_type": subject_type}
        return await self._submit(ExternalUserId, "idconvert/unionid_to_external_userid", body)

    async def get_behavior_data(
        self,
        *,
        start_time: int,
        end_time: int,
        userids: Sequence[str] = (),
        departments: Sequence[int] = (),
    ) -> Behavior:
        """Chats and new customers a day (92132), summed over at most 100 members and 100
        departments.

        Times are seconds UTC within 180 days, at most 30 days apart.
        """
        path = "externalcontact/get_user_behavior_data"
        need(path, "a member or a department", userids, departments)
        at_most(path, "userid", len(userids), CALLS_AT_ONCE)
        at_most(path, "partyid", len(departments), CALLS_AT_ONCE)
        span(path, start_time, end_time, 30)
        body = {
            "userid": some(userids),
            "partyid": some(departments),
            "start_time": start_time,
            "end_time": end_time,
        }
        return await self._submit(Behavior, path, body)
