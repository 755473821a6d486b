""" "Contact me" ways: the live codes of members (contract/wechat B5 92228)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

from services.wechat.core.checks import at_most, chars, need, page_of, some
from services.wechat.wecom.calls import Answer, Calls, Json, Page

MOST_PEOPLE = 100
QR_CODE = 2
ONE_MEMBER, SEVERAL = 1, 2


class NewWay(Answer, total=False):
    config_id: str
    qr_code: str


class WayFields(TypedDict, total=False):
    config_id: str
    type: int
    scene: int
    style: int
    remark: str
    skip_verify: bool
    state: str
    qr_code: str
    user: list[str]
    party: list[int]
    is_temp: bool
    expires_in: int
    chat_expires_in: int
    unionid: str
    mark_source: bool
    conclusions: Json


class Way(Answer, total=False):
    contact_way: WayFields


class Ways(Page, total=False):
    contact_way: list[WayFields]


class ContactWays(Calls):
    """Live codes; an app sees its own only. BadRequest 41037 to 41044, SubjectState 41054, 40098,
    84074 for a member."""

    async def create(
        self,
        userids: Sequence[str],
        *,
        state: str,
        remark: str = "",
        skip_verify: bool = True,
        party: Sequence[int] = (),
        several: bool = False,
    ) -> NewWay:
        """A permanent live code of one or several members or departments: `config_id` and
        `qr_code`.

        A code of one member stays one of one member, unless it was made for `several`. `state` and
        `remark` have at most 30 characters; at most 100 people. BadConfig 41045: the corp has
        500,000 codes.
        """
        path = "externalcontact/add_contact_way"
        need(path, "a member or a department", userids, party)
        _check(path, userids, remark, state)
        body = {
            "type": ONE_MEMBER if len(userids) == 1 and not party and not several else SEVERAL,
            "scene": QR_CODE,
            "remark": remark or None,
            "skip_verify": skip_verify,
            "state": state,
            "user": some(userids),
            "party": some(party),
        }
        return await self._submit(NewWay, path, body)

    async def get(self, config_id: str) -> Way:
        """The live code's settings under `contact_way`; the list of one that older documents show
        is read as its one."""
        answer = await self._submit(
            Way, "externalcontact/get_contact_way", {"config_id": config_id}
        )
        way: Any = answer.get("contact_way")
        return {**answer, "contact_way": way[0]} if isinstance(way, list) and way else answer

    async def list(
        self,
        *,
        start_time: int | None = None,
        end_time: int | None = None,
        cursor: str = "",
        limit: int = 100,
    ) -> Ways:
        """A page of this app's `contact_way` ids; times in seconds UTC, by default the last 90
        days."""
        path = "externalcontact/list_contact_way"
        limit = page_of(limit, 1000)
        body = {
            "start_time": start_time,
            "end_time": end_time,
            "cursor": cursor or None,
            "limit": limit,
        }
        return await self._submit(Ways, path, body)

    async def update(
        self,
        config_id: str,
        *,
        userids: Sequence[str] | None = None,
        party: Sequence[int] | None = None,
        remark: str | None = None,
        state: str | None = None,
        skip_verify: bool | None = None,
    ) -> Answer:
        """Replaces each given setting; a code of one member stays one of one member."""
        path = "externalcontact/update_contact_way"
        _check(path, userids or (), remark, state)
        body = {
            "config_id": config_id,
            "remark": remark,
            "skip_verify": skip_verify,
            "state": state,
            "user": None if userids is None else list(userids),
            "party": None if party is None else list(party),
        }
        return await self._submit(Answer, path, body)

    async def delete(self, config_id: str) -> Answer:
        """Ends a live code; whoever scans it afterwards adds nobody."""
        return await self._submit(
            Answer, "externalcontact/del_contact_way", {"config_id": config_id}
        )

    async def close_temp_chat(self, userid: str, external_userid: str) -> Answer:
        """Ends a temporary conversation (92572)."""
        body = {"userid": userid, "external_userid": external_userid}
        return await self._submit(Answer, "externalcontact/close_temp_chat", body)


def _check(path: str, userids: Sequence[str], remark: str | None, state: str | None) -> None:
    at_most(path, "user", len(userids), MOST_PEOPLE)
    chars(path, 30, remark=remark, state=state)
