"""Moments that members publish to their customers (contract/wechat B8 95094, 93333, 97612)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from services.wechat.core.checks import at_most, chars, need, page_of, span
from services.wechat.wecom.calls import Answer, Calls, Json, Page

_PATH = "externalcontact"
MOST_IMAGES = 9
TEXT_CHARS = 2000


class MomentJob(Answer, total=False):
    jobid: str


class MomentTaskResult(Answer, total=False):
    """`status` 1 queued, 2 running, 3 done; then `result` holds errcode, errmsg, moment_id and who
    was invalid."""

    status: int
    type: str
    result: Json


class MomentFields(TypedDict, total=False):
    """`create_type` 0 the corp's, 1 a member's own; `visible_type` 0 for some, 1 for all."""

    moment_id: str
    creator: str
    create_time: int | str
    create_type: int
    visible_type: int
    text: Json
    image: list[Json]
    video: Json
    link: Json
    location: Json


class MomentList(Page, total=False):
    moment_list: list[MomentFields]


class PublishTask(TypedDict, total=False):
    """`publish_status` 0 not published, 1 published."""

    userid: str
    publish_status: int


class MomentTasks(Page, total=False):
    task_list: list[PublishTask]


class MomentCustomer(TypedDict, total=False):
    userid: str
    external_userid: str


class MomentCustomers(Page, total=False):
    customer_list: list[MomentCustomer]


class MomentReaction(TypedDict, total=False):
    external_userid: str
    userid: str
    create_time: int


class MomentComments(Answer, total=False):
    comment_list: list[MomentReaction]
    like_list: list[MomentReaction]


class Moments(Calls):
    """Moments; BadRequest 41059, 41060, 41067 for a bad moment_id, TryLater 41079 while WeCom still
    makes the tasks."""

    async def create(self, body: Mapping[str, Any]) -> MomentJob:
        """Starts making a moment's tasks (95094) and answers `jobid`, good for 24 hours.

        `body` holds text (2000 characters), attachments (9 images, 1 video or 1 link, uploaded by
        `files.upload_attachment`) and visible_range. 100,000 a month, 10 a minute; TryLater 41078.
        """
        path = f"{_PATH}/add_moment_task"
        attachments = body.get("attachments") or ()
        text = (body.get("text") or {}).get("content")
        need(path, "a moment has a text or an attachment", text, attachments)
        chars(path, TEXT_CHARS, text=text)
        kinds = {attachment.get("msgtype") for attachment in attachments}
        at_most(path, "attachments", len(attachments), MOST_IMAGES if kinds == {"image"} else 1)
        return await self._submit(MomentJob, path, body)

    async def get_job(self, jobid: str) -> MomentTaskResult:
        """How far the making of a moment's tasks is (95094)."""
        return await self._fetch(MomentTaskResult, f"{_PATH}/get_moment_task_result", jobid=jobid)

    async def list(
        self,
        *,
        start_time: int,
        end_time: int,
        creator: str = "",
        filter_type: int = 2,
        cursor: str = "",
        limit: int = 20,
    ) -> MomentList:
        """A page of the moments of at most 30 days (93333); `filter_type` 0 the corp's, 1 members'
        own, 2 both."""
        path = f"{_PATH}/get_moment_list"
        limit = page_of(limit, 20)
        span(path, start_time, end_time, 30)
        body = {
            "start_time": start_time,
            "end_time": end_time,
            "creator": creator or None,
            "filter_type": filter_type,
            "cursor": cursor or None,
            "limit": limit,
        }
        return await self._submit(MomentList, path, body)

    async def list_tasks(
        self, moment_id: str, *, cursor: str = "", limit: int = 500
    ) -> MomentTasks:
        """A page of who has published the corp's moment and who has not."""
        path = f"{_PATH}/get_moment_task"
        limit = page_of(limit, 1000)
        return await self._submit(
            MomentTasks, path, {"moment_id": moment_id, "cursor": cursor or None, "limit": limit}
        )

    async def list_customers(
        self, moment_id: str, userid: str, *, cursor: str = "", limit: int = 500
    ) -> MomentCustomers:
        """A page of the customers whom the member meant it for; SubjectState 41061, TryLater
        41062 until he has posted it."""
        path = f"{_PATH}/get_moment_customer_list"
        limit = page_of(limit, 1000)
        return await self._submit(
            MomentCustomers, path, _of(moment_id, userid, cursor=cursor or None, limit=limit)
        )

    async def list_results(
        self, moment_id: str, userid: str, *, cursor: str = "", limit: int = 3000
    ) -> MomentCustomers:
        """A page of the customers who can see it; SubjectState 41061, TryLater 41062 until it
        is posted."""
        path = f"{_PATH}/get_moment_send_result"
        limit = page_of(limit, 5000)
        return await self._submit(
            MomentCustomers, path, _of(moment_id, userid, cursor=cursor or None, limit=limit)
        )

    async def get_comments(self, moment_id: str, userid: str) -> MomentComments:
        """Who commented on and who liked what the member published."""
        return await self._submit(
            MomentComments, f"{_PATH}/get_moment_comments", _of(moment_id, userid)
        )

    async def cancel(self, moment_id: str) -> Answer:
        """Takes back what has not been published yet (97612)."""
        return await self._submit(Answer, f"{_PATH}/cancel_moment_task", {"moment_id": moment_id})


def _of(moment_id: str, userid: str, **page: Any) -> dict[str, Any]:
    return {"moment_id": moment_id, "userid": userid, **page}
