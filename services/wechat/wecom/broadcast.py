"""Messages that members confirm and send to many customers or groups (contract/wechat B8 92135,
93338, 97610)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict, Unpack

from services.wechat.core.checks import at_most, need, page_of, span
from services.wechat.wecom.calls import Answer, Calls, Json, Page, check_message

MOST_CUSTOMERS = 10000
MOST_GROUPS = 2000
TO_GROUPS = "group"


class NewBroadcast(Answer, total=False):
    """`fail_list` holds those who cannot be reached, or not any more this month."""

    msgid: str
    fail_list: list[str]


class BroadcastFields(TypedDict, total=False):
    """`create_type` 0 the corp's, 1 a member's own; `create_time` is text in some answers."""

    msgid: str
    creator: str
    create_time: int | str
    create_type: int
    text: Json
    attachments: list[Json]


class Broadcasts(Page, total=False):
    group_msg_list: list[BroadcastFields]


class SendTask(TypedDict, total=False):
    """Any `status` but 0 means that the member has sent it; WeCom's own documents say 1 and 2."""

    userid: str
    status: int
    send_time: int


class SendTasks(Page, total=False):
    task_list: list[SendTask]


class SendResult(TypedDict, total=False):
    """`status` 0 not sent, 1 sent, 2 not friends any more, 3 the customer has had his share of
    messages."""

    external_userid: str
    chat_id: str
    userid: str
    status: int
    send_time: int


class SendResults(Page, total=False):
    send_list: list[SendResult]


class BroadcastFilter(TypedDict, total=False):
    """Whose broadcasts: `creator`'s alone, and `filter_type` 0 the corp's, 1 members' own, 2 both
    (default); a page of `limit` (50, at most 100) from `cursor`."""

    creator: str
    filter_type: int
    limit: int
    cursor: str


class Broadcast(Calls):
    """Broadcasts; TryLater 41063 while WeCom still makes the tasks, BadRequest 41046 and 41047 for
    a bad msgid."""

    async def create(self, body: Mapping[str, Any]) -> NewBroadcast:
        """Makes the tasks of a broadcast (92135); each member confirms his on the phone.

        `body` holds chat_type, external_userid (at most 10,000) or chat_id_list (2000) or
        tag_filter, sender, text (4000 bytes) and attachments (9). SubjectState 41048: nobody can be
        reached.
        """
        path = "externalcontact/add_msg_template"
        customers, groups = body.get("external_userid") or (), body.get("chat_id_list") or ()
        at_most(path, "external_userid", len(customers), MOST_CUSTOMERS)
        at_most(path, "chat_id_list", len(groups), MOST_GROUPS)
        if body.get("chat_type") == TO_GROUPS:
            need(path, "a broadcast to groups names its sender", body.get("sender"))
        else:
            need(
                path,
                "customers, a sender or tags",
                customers,
                body.get("sender"),
                body.get("tag_filter"),
            )
        check_message(path, body.get("text"), body.get("attachments") or ())
        return await self._submit(NewBroadcast, path, body)

    async def list(
        self,
        *,
        chat_type: str,
        start_time: int,
        end_time: int,
        **which: Unpack[BroadcastFilter],
    ) -> Broadcasts:
        """A page of the broadcasts of at most a month (93338)."""
        path = "externalcontact/get_groupmsg_list_v2"
        limit = which.get("limit", 50)
        limit = page_of(limit, 100)
        span(path, start_time, end_time, 31)
        body = {
            "chat_type": chat_type,
            "start_time": start_time,
            "end_time": end_time,
            "creator": which.get("creator") or None,
            "filter_type": which.get("filter_type", 2),
            "limit": limit,
            "cursor": which.get("cursor") or None,
        }
        return await self._submit(Broadcasts, path, body)

    async def list_tasks(self, msgid: str, *, limit: int = 500, cursor: str = "") -> SendTasks:
        """A page of the members' tasks (93338)."""
        path = "externalcontact/get_groupmsg_task"
        limit = page_of(limit, 1000)
        return await self._submit(
            SendTasks, path, {"msgid": msgid, "limit": limit, "cursor": cursor or None}
        )

    async def list_results(
        self, msgid: str, userid: str, *, limit: int = 500, cursor: str = ""
    ) -> SendResults:
        """A page of what became of one member's task (93338), a row a customer or group."""
        path = "externalcontact/get_groupmsg_send_result"
        limit = page_of(limit, 1000)
        body = {"msgid": msgid, "userid": userid, "limit": limit, "cursor": cursor or None}
        return await self._submit(SendResults, path, body)

    async def remind(self, msgid: str) -> Answer:
        """Reminds those who have not sent (97610), at most 3 times in 24 hours: SubjectState 41094.
        41093: it was cancelled."""
        return await self._submit(Answer, "externalcontact/remind_groupmsg_send", {"msgid": msgid})

    async def cancel(self, msgid: str) -> Answer:
        """Takes back what has not been sent yet (97611); AlreadyDone 41093."""
        return await self._submit(Answer, "externalcontact/cancel_groupmsg_send", {"msgid": msgid})
