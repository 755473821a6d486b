"""Customer groups, the codes that lead into them, and their figures (contract/wechat B7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict, Unpack

from services.wechat.core.checks import at_most, between, chars, need, page_of, span
from services.wechat.wecom.calls import CALLS_AT_ONCE, Answer, Calls, Json, Page

_PATH = "externalcontact/groupchat"
MOST_GROUPS = 5


class GroupEntry(TypedDict, total=False):
    """`status` 0 normal, 1 the owner has left, 2 being handed over, 3 handed over."""

    chat_id: str
    status: int


class GroupList(Page, total=False):
    group_chat_list: list[GroupEntry]


class GroupMember(TypedDict, total=False):
    """`type` 1 a member, 2 an outsider; `join_scene` 1 invited, 2 by an invitation link, 3 by a
    code."""

    userid: str
    type: int
    unionid: str
    join_time: int
    join_scene: int
    invitor: Json
    state: str
    group_nickname: str
    name: str


class GroupFields(TypedDict, total=False):
    chat_id: str
    name: str
    owner: str
    create_time: int
    notice: str
    member_list: list[GroupMember]
    admin_list: list[Json]
    member_version: str


class Group(Answer, total=False):
    group_chat: GroupFields


class JoinWayId(Answer, total=False):
    config_id: str


class JoinWayFields(TypedDict, total=False):
    config_id: str
    scene: int
    remark: str
    auto_create_room: int
    room_base_name: str
    room_base_id: int
    chat_id_list: list[str]
    qr_code: str
    state: str
    mark_source: bool


class JoinWay(Answer, total=False):
    join_way: JoinWayFields


class GroupFigures(TypedDict, total=False):
    new_chat_cnt: int
    chat_total: int
    chat_has_msg: int
    new_member_cnt: int
    member_total: int
    member_has_msg: int
    msg_total: int
    migrate_trainee_chat_cnt: int


class GroupStatisticItem(TypedDict, total=False):
    """`owner` in the figures of owners, `stat_time` in those of days."""

    owner: str
    stat_time: int
    data: GroupFigures


class GroupStatistic(Answer, total=False):
    total: int
    next_offset: int
    items: list[GroupStatisticItem]


class GroupDays(Answer, total=False):
    items: list[GroupStatisticItem]


class ChatId(Answer, total=False):
    chat_id: str


class JoinWaySettings(TypedDict, total=False):
    """What a code may be told besides its groups; what is not given has its default.

    `scene` is 2 for a code (default), 1 for a mini-program button. When all groups are full, a new
    one is made if `auto_create_room` (default), named `room_base_name` (at most 40 characters) and
    a number from `room_base_id`. `state` and `remark` have at most 30 characters.
    """

    scene: int
    remark: str
    auto_create_room: bool
    room_base_name: str
    room_base_id: int | None
    state: str
    mark_source: bool


class Ranking(TypedDict, total=False):
    """`order_by` 1 new groups (default), 2 all groups, 3 new people, 4 all people; a page of
    `limit` (500, at most 1000) from `offset`."""

    order_by: int
    order_asc: bool
    offset: int
    limit: int


class Groups(Calls):
    """Customer groups; SubjectState 90501 or 90509 not a customer group, 49008 dismissed."""

    async def list(
        self,
        *,
        owner_userids: Sequence[str] = (),
        status_filter: int = 0,
        cursor: str = "",
        limit: int = 1000,
    ) -> GroupList:
        """A page of groups (92120), of at most 100 owners or of all that the app sees (BadRequest
        81017: too many for that)."""
        path = f"{_PATH}/list"
        at_most(path, "owner_filter", len(owner_userids), CALLS_AT_ONCE)
        between(path, "limit", limit, 1, 1000)
        owners = {"userid_list": list(owner_userids)} if owner_userids else None
        body = {
            "status_filter": status_filter,
            "owner_filter": owners,
            "cursor": cursor or None,
            "limit": limit,
        }
        return await self._submit(GroupList, path, body)

    async def get(self, chat_id: str, *, need_name: bool = True) -> Group:
        """A group with its people (92122), their names only when asked for."""
        return await self._submit(
            Group, f"{_PATH}/get", {"chat_id": chat_id, "need_name": int(need_name)}
        )

    async def create_join_way(
        self, chat_ids: Sequence[str], **settings: Unpack[JoinWaySettings]
    ) -> JoinWayId:
        """A code into one of at most 5 groups (92229). BadConfig 41045: no more codes."""
        path = f"{_PATH}/add_join_way"
        return await self._submit(JoinWayId, path, _join_way(path, chat_ids, settings))

    async def get_join_way(self, config_id: str) -> JoinWay:
        """The code's settings and its `qr_code`."""
        return await self._submit(JoinWay, f"{_PATH}/get_join_way", {"config_id": config_id})

    async def update_join_way(
        self, config_id: str, chat_ids: Sequence[str], **settings: Unpack[JoinWaySettings]
    ) -> Answer:
        """Replaces all settings of a code; what is not given goes back to its default."""
        path = f"{_PATH}/update_join_way"
        body = _join_way(path, chat_ids, settings)
        return await self._submit(Answer, path, {"config_id": config_id, **body})

    async def delete_join_way(self, config_id: str) -> Answer:
        """Ends a code."""
        return await self._submit(Answer, f"{_PATH}/del_join_way", {"config_id": config_id})

    async def get_statistic(
        self,
        owner_userids: Sequence[str],
        *,
        day_begin_time: int,
        day_end_time: int | None = None,
        **ranking: Unpack[Ranking],
    ) -> GroupStatistic:
        """The figures of at most 100 owners (92133); days as seconds UTC, at most 30 apart and
        within 180. Go on at `next_offset` while it is below `total`."""
        path = f"{_PATH}/statistic"
        body = _statistic(path, owner_userids, day_begin_time, day_end_time)
        pages = {
            "order_by": ranking.get("order_by", 1),
            "order_asc": int(ranking.get("order_asc", False)),
            "offset": ranking.get("offset", 0),
            "limit": page_of(ranking.get("limit", 500), 1000),
        }
        return await self._submit(GroupStatistic, path, {**body, **pages})

    async def get_statistic_by_day(
        self, owner_userids: Sequence[str], *, day_begin_time: int, day_end_time: int | None = None
    ) -> GroupDays:
        """The same figures by day, all owners summed (92133)."""
        path = f"{_PATH}/statistic_group_by_day"
        return await self._submit(
            GroupDays, path, _statistic(path, owner_userids, day_begin_time, day_end_time)
        )

    async def opengid_to_chatid(self, opengid: str) -> ChatId:
        """The group behind a mini-program's opengid (94822); SubjectState 90509 not the corp's
        group, 90511 bad opengid."""
        return await self._submit(ChatId, "externalcontact/opengid_to_chatid", {"opengid": opengid})


def _join_way(path: str, chat_ids: Sequence[str], settings: JoinWaySettings) -> dict[str, Any]:
    need(path, "at least one group", chat_ids)
    at_most(path, "chat_id_list", len(chat_ids), MOST_GROUPS)
    chars(path, 30, remark=settings.get("remark"), state=settings.get("state"))
    chars(path, 40, room_base_name=settings.get("room_base_name"))
    return {
        "scene": settings.get("scene", 2),
        "remark": settings.get("remark") or None,
        "auto_create_room": int(settings.get("auto_create_room", True)),
        "room_base_name": settings.get("room_base_name") or None,
        "room_base_id": settings.get("room_base_id"),
        "chat_id_list": list(chat_ids),
        "state": settings.get("state") or None,
        "mark_source": settings.get("mark_source", True),
    }


def _statistic(
    path: str, owner_userids: Sequence[str], begin: int, end: int | None
) -> dict[str, Any]:
    need(path, "at least one owner", owner_userids)
    at_most(path, "owner_filter", len(owner_userids), CALLS_AT_ONCE)
    if end is not None:
        span(path, begin, end, 30)
    return {
        "day_begin_time": begin,
        "day_end_time": end,
        "owner_filter": {"userid_list": list(owner_userids)},
    }
