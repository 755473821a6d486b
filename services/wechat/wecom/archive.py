"""Who may be archived and who has agreed (contract/wechat B10 91614, 91782, 92951, 91774). Wants
the archive secret.

The messages themselves have no HTTP call at WeCom: they come through its native library.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

from services.wechat.core.checks import at_most, need
from services.wechat.wecom.calls import CALLS_AT_ONCE, Answer, Calls, Json


class PermitUsers(Answer, total=False):
    ids: list[str]


class Agreement(TypedDict, total=False):
    """`agree_status` is Agree, Disagree or Default_Agree; `exteranalopenid` is WeCom's own
    spelling."""

    status_change_time: int
    userid: str
    exteranalopenid: str
    agree_status: str


class Agreements(Answer, total=False):
    agreeinfo: list[Agreement]


class ArchivedMember(TypedDict, total=False):
    memberid: str
    jointime: int


class ArchivedGroup(Answer, total=False):
    roomname: str
    creator: str
    room_create_time: int
    notice: str
    members: list[ArchivedMember]


class Robot(Answer, total=False):
    data: Json


class Archive(Calls):
    """The archive; BadConfig 301042 (address not trusted), SubjectState 301052 (expired), 301053
    (not bought)."""

    async def list_permitted_users(self, *, edition: int | None = None) -> PermitUsers:
        """The members whose talks are archived (91614); `edition` 1 office, 2 service, 3
        enterprise, or all."""
        return await self._submit(PermitUsers, "msgaudit/get_permit_user_list", {"type": edition})

    async def check_single_agree(self, pairs: Iterable[tuple[str, str]]) -> Agreements:
        """Whether customers have agreed (91782), for at most 100 pairs of userid and
        external_userid."""
        path = "msgaudit/check_single_agree"
        info = [
            {"userid": userid, "exteranalopenid": external_userid}
            for userid, external_userid in pairs
        ]
        need(path, "at least one pair", info)
        at_most(path, "info", len(info), CALLS_AT_ONCE)
        return await self._submit(Agreements, path, {"info": info})

    async def check_room_agree(self, roomid: str) -> Agreements:
        """Whether the outsiders of a group have agreed (91782)."""
        return await self._submit(Agreements, "msgaudit/check_room_agree", {"roomid": roomid})

    async def get_group(self, roomid: str) -> ArchivedGroup:
        """An internal group of the archive (92951)."""
        return await self._submit(ArchivedGroup, "msgaudit/groupchat/get", {"roomid": roomid})

    async def get_robot(self, robot_id: str) -> Robot:
        """A robot that took part in a talk (91774)."""
        return await self._fetch(Robot, "msgaudit/get_robot_info", robot_id=robot_id)
