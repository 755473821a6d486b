"""Who the bank's people are: sign-in codes, tickets for pages, members and departments
(contract/wechat B1, B2)."""

from __future__ import annotations

from typing import TypedDict

from services.wechat.core.checks import page_of
from services.wechat.wecom.calls import Answer, Calls, Json, Page


class UserInfo(Answer, total=False):
    """A member has `userid`; anybody else `openid`, and `external_userid` when he is a customer."""

    userid: str
    user_ticket: str
    openid: str
    external_userid: str


class UserDetail(Answer, total=False):
    """Only what the member has consented to."""

    userid: str
    gender: str
    avatar: str
    qr_code: str
    mobile: str
    email: str
    biz_mail: str
    address: str


class Ticket(Answer, total=False):
    ticket: str
    expires_in: int


class MemberSession(Answer, total=False):
    corpid: str
    userid: str
    session_key: str


class MemberFields(TypedDict, total=False):
    """A member; `status` is 1 active, 2 disabled, 4 not activated, 5 left. What a newer app may not
    see is missing."""

    userid: str
    name: str
    department: list[int]
    order: list[int]
    position: str
    mobile: str
    gender: str
    email: str
    biz_mail: str
    is_leader_in_dept: list[int]
    direct_leader: list[str]
    avatar: str
    thumb_avatar: str
    telephone: str
    alias: str
    status: int
    qr_code: str
    address: str
    open_userid: str
    main_department: int
    extattr: Json
    external_position: str
    external_profile: Json


class Member(Answer, MemberFields, total=False):
    """One member, his fields beside errcode."""


class MemberList(Answer, total=False):
    userlist: list[MemberFields]


class MemberPlace(TypedDict, total=False):
    userid: str
    department: int


class MemberIds(Page, total=False):
    dept_user: list[MemberPlace]


class DepartmentFields(TypedDict, total=False):
    id: int
    name: str
    name_en: str
    department_leader: list[str]
    parentid: int
    order: int


class DepartmentList(Answer, total=False):
    department: list[DepartmentFields]


class DepartmentIds(Answer, total=False):
    department_id: list[DepartmentFields]


class Department(Answer, total=False):
    department: DepartmentFields


class OpenId(Answer, total=False):
    openid: str


class UserId(Answer, total=False):
    userid: str


class IpList(Answer, total=False):
    ip_list: list[str]


class Members(Calls):
    """Sign-in, page tickets, members and departments; SubjectState 60111 for a userid unknown or
    out of sight."""

    async def get_user_info(self, code: str) -> UserInfo:
        """Who came back with an OAuth code (91023), which is good for one use and 5 minutes;
        SubjectState 40029, 42003."""
        return await self._fetch(UserInfo, "auth/getuserinfo", code=code)

    async def get_user_detail(self, user_ticket: str) -> UserDetail:
        """What a member consented to show (95833); the ticket of snsapi_privateinfo lives 1800
        s."""
        return await self._submit(UserDetail, "auth/getuserdetail", {"user_ticket": user_ticket})

    async def get_jsapi_ticket(self) -> Ticket:
        """The corp's ticket for wx.config signatures (90506); at most 400 an hour, so keep it for
        `expires_in` seconds."""
        return await self._fetch(Ticket, "get_jsapi_ticket")

    async def get_agent_ticket(self) -> Ticket:
        """This app's ticket for wx.agentConfig signatures (90506); at most 100 an hour: keep it for
        `expires_in` s."""
        return await self._fetch(Ticket, "ticket/get", type="agent_config")

    async def code_to_session(self, js_code: str) -> MemberSession:
        """Which member opened the mini-program inside WeCom (91507); SubjectState 40029."""
        path = "miniprogram/jscode2session"
        return await self._fetch(
            MemberSession, path, js_code=js_code, grant_type="authorization_code"
        )

    async def get(self, userid: str) -> Member:
        """One member (90196); a newer app is not told mobile, email, avatar, gender, qr_code and
        address."""
        return await self._fetch(Member, "user/get", userid=userid)

    async def list(self, department_id: int) -> MemberList:
        """The department's own members with their fields (90201), without those of departments
        below."""
        return await self._fetch(MemberList, "user/list", department_id=department_id)

    async def list_simple(self, department_id: int) -> MemberList:
        """The department's own members by userid, name and department (90200)."""
        return await self._fetch(MemberList, "user/simplelist", department_id=department_id)

    async def list_ids(self, *, cursor: str = "", limit: int = 10000) -> MemberIds:
        """A page of all members by userid and department; wants the contact-sync secret, else
        BadConfig 48002."""
        path = "user/list_id"
        limit = page_of(limit, 10000)
        return await self._submit(MemberIds, path, {"cursor": cursor or None, "limit": limit})

    async def list_departments(self, department_id: int | None = None) -> DepartmentList:
        """A department and all below it, or all that the app sees (90208); the root is 1."""
        return await self._fetch(DepartmentList, "department/list", id=department_id)

    async def list_simple_departments(self, department_id: int | None = None) -> DepartmentIds:
        """As `members.list_departments`, by id, parentid and order only (95350)."""
        return await self._fetch(DepartmentIds, "department/simplelist", id=department_id)

    async def get_department(self, department_id: int) -> Department:
        """One department (95351); SubjectState 60003 or 60123 when there is none."""
        return await self._fetch(Department, "department/get", id=department_id)

    async def convert_to_openid(self, userid: str) -> OpenId:
        """The member's openid for payments; SubjectState 43004 when he has no WeChat bound."""
        return await self._submit(OpenId, "user/convert_to_openid", {"userid": userid})

    async def get_userid(self, mobile: str) -> UserId:
        """The member with that phone; SubjectState 46004 or 60111. Wrong guesses over a fifth of the
        corp's size close the call for a day (SlowDown 45009): ask for numbers of members only."""
        return await self._submit(UserId, "user/getuserid", {"mobile": mobile})

    async def get_api_domain_ip(self) -> IpList:
        """The addresses of WeCom's API, for a firewall."""
        return await self._fetch(IpList, "get_api_domain_ip")

    async def get_callback_ip(self) -> IpList:
        """The addresses that callbacks come from, for a firewall."""
        return await self._fetch(IpList, "getcallbackip")
