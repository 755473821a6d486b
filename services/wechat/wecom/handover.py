"""Customers and groups that go from one member to another (contract/wechat B9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

from services.wechat.core.checks import at_most, chars, need, page_of
from services.wechat.wecom.calls import CALLS_AT_ONCE, Answer, Calls, Page

_PATH = "externalcontact"
MESSAGE_CHARS = 200


class Transferred(TypedDict, total=False):
    """`errcode` 0 asked for, not done; else 40096, 40098 to 40100, 40128 to 40131 as in D2."""

    external_userid: str
    errcode: int


class Transfers(Answer, total=False):
    customer: list[Transferred]


class TransferState(TypedDict, total=False):
    """`status` 1 done, 2 waiting for the customer, 3 refused, 4 the new member has too many, 5
    nothing known."""

    external_userid: str
    status: int
    takeover_time: int


class TransferStates(Page, total=False):
    customer: list[TransferState]


class Unassigned(TypedDict, total=False):
    handover_userid: str
    external_userid: str
    dimission_time: int


class UnassignedList(Page, total=False):
    info: list[Unassigned]
    is_last: bool


class FailedGroup(TypedDict, total=False):
    chat_id: str
    errcode: int
    errmsg: str


class GroupTransfers(Answer, total=False):
    failed_chat_list: list[FailedGroup]


class Handover(Calls):
    """Hand-over. The answer says customer by customer what was refused; the call itself then
    succeeds."""

    async def transfer_customers(
        self,
        handover_userid: str,
        takeover_userid: str,
        external_userids: Sequence[str],
        *,
        transfer_success_msg: str = "",
    ) -> Transfers:
        """Asks for customers of a member who stays (92125), at most 100; the message has at most
        200 characters.

        A customer may refuse for 24 hours, and can be handed over twice in 90 days.
        """
        path = f"{_PATH}/transfer_customer"
        chars(path, MESSAGE_CHARS, transfer_success_msg=transfer_success_msg)
        body = _customers(path, handover_userid, takeover_userid, external_userids)
        return await self._submit(
            Transfers, path, {**body, "transfer_success_msg": transfer_success_msg or None}
        )

    async def get_result(
        self, handover_userid: str, takeover_userid: str, *, cursor: str = ""
    ) -> TransferStates:
        """A page of what became of the customers of a member who stays (94088)."""
        return await self._submit(
            TransferStates,
            f"{_PATH}/transfer_result",
            _pair(handover_userid, takeover_userid, cursor),
        )

    async def list_unassigned(self, *, cursor: str = "", page_size: int = 1000) -> UnassignedList:
        """A page of the customers of members who have left (92124)."""
        path = f"{_PATH}/get_unassigned_list"
        return await self._submit(
            UnassignedList, path, {"cursor": cursor or None, "page_size": page_of(page_size, 1000)}
        )

    async def transfer_resigned_customers(
        self, handover_userid: str, takeover_userid: str, external_userids: Sequence[str]
    ) -> Transfers:
        """Asks for customers of a member who has left (94081), at most 100. SubjectState 40097: he
        has not left yet."""
        path = f"{_PATH}/resigned/transfer_customer"
        return await self._submit(
            Transfers, path, _customers(path, handover_userid, takeover_userid, external_userids)
        )

    async def get_resigned_result(
        self, handover_userid: str, takeover_userid: str, *, cursor: str = ""
    ) -> TransferStates:
        """A page of what became of the customers of a member who has left (94082)."""
        path = f"{_PATH}/resigned/transfer_result"
        return await self._submit(
            TransferStates, path, _pair(handover_userid, takeover_userid, cursor)
        )

    async def transfer_resigned_groups(
        self, chat_ids: Sequence[str], new_owner: str
    ) -> GroupTransfers:
        """Gives groups of an owner who has left to another (92127), at most 100 at once and 300 a
        day for him.

        Of each failed group: 90500 the owner has not left, 90501 no customer group, 90507 under
        way, 90508 done already.
        """
        path = f"{_PATH}/groupchat/transfer"
        return await self._submit(GroupTransfers, path, _groups(path, chat_ids, new_owner))

    async def transfer_groups(self, chat_ids: Sequence[str], new_owner: str) -> GroupTransfers:
        """Gives groups of an owner who stays to another (95703), at most 100 at once, each twice in
        90 days; 90502."""
        path = f"{_PATH}/groupchat/onjob_transfer"
        return await self._submit(GroupTransfers, path, _groups(path, chat_ids, new_owner))


def _customers(
    path: str, handover: str, takeover: str, external_userids: Sequence[str]
) -> dict[str, Any]:
    need(path, "at least one customer", external_userids)
    at_most(path, "external_userid", len(external_userids), CALLS_AT_ONCE)
    return {
        "handover_userid": handover,
        "takeover_userid": takeover,
        "external_userid": list(external_userids),
    }


def _groups(path: str, chat_ids: Sequence[str], new_owner: str) -> dict[str, Any]:
    need(path, "at least one group", chat_ids)
    at_most(path, "chat_id_list", len(chat_ids), CALLS_AT_ONCE)
    return {"chat_id_list": list(chat_ids), "new_owner": new_owner}


def _pair(handover: str, takeover: str, cursor: str) -> dict[str, Any]:
    return {"handover_userid": handover, "takeover_userid": takeover, "cursor": cursor or None}
