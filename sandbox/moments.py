"""Moments: an app writes one in an asynchronous job, members publish it (contract/wechat B8, 95094,
93333, 97612)."""

from __future__ import annotations

from typing import Any

from sandbox import ids, pages
from sandbox.api import Call, Endpoint
from sandbox.contacts import EC
from sandbox.core import Sandbox
from sandbox.errors import ApiError
from sandbox.media import WECOM
from sandbox.models import DAY_SECONDS
from sandbox.records import Moment, MomentTask
from sandbox.state import Message
from sandbox.verbs import Impossible

TEXT_MOST = 2000
IMAGES_MOST = 9
RUNNING_AFTER, DONE_AFTER = 1, 3
"""Seconds after which a job runs, and is done."""
JOBS_MOST = 5
"""Jobs that may be unfinished at once; WeCom does not publish its figure."""
FOR_MOMENTS = 1
LIST_SECONDS = 30 * DAY_SECONDS


def add(call: Call) -> dict[str, Any]:
    """B8: start the job. Raises ApiError 41089 empty, 41064, 41065, 40007 media not made for
    moments, 41078."""
    given = call.body.get("text") or {}
    text = given.get("content", "") if isinstance(given, dict) else None
    if not isinstance(text, str):
        raise ApiError(40058, "invalid Request Parameter: text")
    if len(text) > TEXT_MOST:
        raise ApiError(45002)
    attachments = _attachments(call)
    if not text and not attachments:
        raise ApiError(41089)
    moments, now = call.box.state.records.moments, call.box.seconds()
    if sum(now < m.create_time + DONE_AFTER for m in moments.values()) >= JOBS_MOST:
        raise ApiError(41078)
    visible = _object(call.body, "visible_range")
    senders, readers = _object(visible, "sender_list"), _object(visible, "external_contact_list")
    moment = Moment(
        jobid=ids.code("jobid_"),
        agent_id=int(call.app),
        create_time=now,
        text=text,
        attachments=attachments,
        users=[str(u) for u in senders.get("user_list") or []],
        departments=[int(d) for d in senders.get("department_list") or [] if isinstance(d, int)],
        tags=[str(t) for t in readers.get("tag_list") or []],
    )
    moments[moment.jobid] = moment
    call.box.changed()
    return {"jobid": moment.jobid}


def _object(within: dict[str, Any], name: str) -> dict[str, Any]:
    value = within.get(name) or {}
    if not isinstance(value, dict):
        raise ApiError(40058, f"invalid Request Parameter: {name}")
    return value


def _attachments(call: Call) -> list[dict[str, Any]]:
    """Up to nine pictures, or one video, or one link."""
    given = call.body.get("attachments") or []
    if not isinstance(given, list) or not all(isinstance(a, dict) for a in given):
        raise ApiError(40058, "invalid Request Parameter: attachments")
    kinds = {a.get("msgtype") for a in given}
    if not kinds <= {"image", "video", "link"}:
        raise ApiError(41065)
    if len(kinds) > 1 or len(given) > (IMAGES_MOST if kinds == {"image"} else 1):
        raise ApiError(41064)
    for attachment in given:
        kind = attachment["msgtype"]
        content = _object(attachment, kind)
        if kind == "link" and not (content.get("title") and content.get("url")):
            raise ApiError(40058, "incomplete attachment: link")
        picture = "image" if kind == "link" else kind
        call.box.files.need(
            WECOM, str(content.get("media_id", "")), picture, attachment=FOR_MOMENTS
        )
    return given


def settle(box: Sandbox) -> None:
    """Finish the jobs whose time has come: find the members and whom each may show it to."""
    for moment in box.state.records.moments.values():
        if not moment.moment_id and box.seconds() >= moment.create_time + DONE_AFTER:
            _finish(box, moment)


def _finish(box: Sandbox, moment: Moment) -> None:
    members = [m for m in box.world.corp.members if m.contact]
    if moment.users or moment.departments:
        named = {m.userid for u in moment.users if (m := box.world.member(u))}
        members = [
            m
            for m in members
            if m.userid in named or set(m.departments).intersection(moment.departments)
        ]
    tags = set(moment.tags)
    for member in members:
        people = box.state.followers(member.userid)
        shown = [
            p.external_userid
            for p in people
            if not tags or tags.intersection(p.friends[member.userid].tags)
        ]
        moment.tasks[member.userid] = MomentTask(userid=member.userid, customers=shown)
        about = {"jobid": moment.jobid, "attachments": moment.attachments}
        message = Message(
            time=box.seconds(), sender="wecom", kind="moment_task", text=moment.text, content=about
        )
        box.state.tell_member(member.userid, message)
    moment.moment_id = ids.code("mom")
    box.changed()


def result(call: Call) -> dict[str, Any]:
    """B8: 1 queued, 2 running, 3 done, for 24 hours. Raises ApiError 40058 for a job that is
    unknown or forgotten."""
    wanted = {"GET": "get", "POST": "post"}[call.method]
    if call.box.switches.moment_result_method not in {"both", wanted}:
        raise ApiError(43002 if wanted == "get" else 43001)
    settle(call.box)
    jobid = call.query.get("jobid", "") or call.text("jobid")
    moment = call.box.state.records.moments.get(jobid)
    age = call.box.seconds() - moment.create_time if moment else 0
    if moment is None or str(moment.agent_id) != call.app or age >= DAY_SECONDS:
        raise ApiError(40058, "invalid Request Parameter: jobid")
    answer: dict[str, Any] = {
        "status": 1 + (age >= RUNNING_AFTER) + (age >= DONE_AFTER),
        "type": "add_moment_task",
    }
    if moment.moment_id:
        answer["result"] = _outcome(call.box, moment)
    return answer


def _outcome(box: Sandbox, moment: Moment) -> dict[str, Any]:
    departments = {d.id for d in box.world.corp.departments}
    return {
        "errcode": 0,
        "errmsg": "ok",
        "moment_id": moment.moment_id,
        "invalid_sender_list": {
            "user_list": [u for u in moment.users if box.world.member(u) is None],
            "department_list": [d for d in moment.departments if d not in departments],
        },
        "invalid_external_contact_list": {
            "tag_list": [t for t in moment.tags if box.state.tag(t) is None]
        },
    }


def _moment(call: Call) -> Moment:
    """The moment that a call names. Raises ApiError 41059, 41060, or 41079 while it is handed
    out."""
    settle(call.box)
    wanted = call.text("moment_id", missing=41059)
    found = (m for m in call.box.state.records.moments.values() if m.moment_id == wanted)
    moment = next(found, None)
    if moment is None or str(moment.agent_id) != call.app:
        raise ApiError(41060)
    if call.box.seconds() < moment.create_time + DONE_AFTER + call.box.switches.dispatch_seconds:
        raise ApiError(41079)
    return moment


def _task(call: Call) -> MomentTask:
    """A member's part, published. Raises ApiError 41061 for a member who has none, 41062 before he
    published."""
    task = _moment(call).tasks.get(call.text("userid", missing=40058))
    if task is None:
        raise ApiError(41061)
    if not task.published_at:
        raise ApiError(41062)
    return task


def listed(call: Call) -> dict[str, Any]:
    """B8, 93333: moments of a span of at most 30 days."""
    settle(call.box)
    start, end = (
        call.integer("start_time", 0, missing=40058),
        call.integer("end_time", 0, missing=40058),
    )
    if not 0 <= end - start <= LIST_SECONDS:
        raise ApiError(40058, "invalid Request Parameter: start_time or end_time")
    creator, personal = call.text("creator"), call.integer("filter_type", 2) == 1
    found = [
        _listed(m)
        for m in call.box.state.records.moments.values()
        if m.moment_id
        and str(m.agent_id) == call.app
        and start <= m.create_time <= end
        and not personal
        if not creator or creator in m.tasks
    ]
    page, more = pages.page(call, "moments", found, pages.limit(call, 20, 20))
    return {"moment_list": page, "next_cursor": more}


def _listed(moment: Moment) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for attachment in moment.attachments:
        kind = attachment["msgtype"]
        if kind == "image":
            content.setdefault("image", []).append({"media_id": attachment["image"]["media_id"]})
        else:
            content[kind] = attachment[kind]
    return {
        "moment_id": moment.moment_id,
        "create_time": str(moment.create_time),
        "create_type": 0,
        "visible_type": 0 if moment.tags else 1,
        "text": {"content": moment.text},
        **content,
    }


def tasks(call: Call) -> dict[str, Any]:
    """B8: who has published it."""
    found = [
        {"userid": t.userid, "publish_status": int(t.published_at > 0)}
        for t in _moment(call).tasks.values()
    ]
    page, more = pages.page(call, "moment_tasks", found, pages.limit(call, 500, 1000))
    return {"task_list": page, "next_cursor": more}


def customers(call: Call) -> dict[str, Any]:
    """B8: whom a member's publication is meant for."""
    task = _task(call)
    found = [{"userid": task.userid, "external_userid": e} for e in task.customers]
    page, more = pages.page(call, "moment_customers", found, pages.limit(call, 500, 1000))
    return {"customer_list": page, "next_cursor": more}


def send_result(call: Call) -> dict[str, Any]:
    """B8: whom a member's publication reached."""
    found = [{"external_userid": e} for e in _task(call).customers]
    page, more = pages.page(call, "moment_results", found, pages.limit(call, 3000, 5000))
    return {"customer_list": page, "next_cursor": more}


def comments(call: Call) -> dict[str, Any]:
    """B8: what people said to a member's publication."""
    task = _task(call)
    return {"comment_list": task.comments, "like_list": task.likes}


def cancel(call: Call) -> dict[str, Any]:
    """B8, 97612: who has not published cannot any more."""
    _moment(call).cancelled = True
    call.box.changed()
    return {}


def publish(box: Sandbox, userid: str, moment: Moment) -> MomentTask:
    """The member publishes it, and his customers see it. Raises Impossible when there is nothing to
    publish."""
    task = moment.tasks.get(userid)
    if task is None or task.published_at or moment.cancelled:
        raise Impossible("the moment is not this member's, cancelled or published")
    task.published_at = box.seconds()
    for external_userid in task.customers:
        person = box.state.by_external(external_userid)
        if person:
            about = {"attachments": moment.attachments, "moment_id": moment.moment_id}
            message = Message(
                time=box.seconds(), sender=userid, kind="moment", text=moment.text, content=about
            )
            person.inbox.append(message)
    box.changed()
    return task


ENDPOINTS = (
    Endpoint("POST", f"{EC}/add_moment_task", add, contact=True),
    Endpoint("GET|POST", f"{EC}/get_moment_task_result", result, contact=True),
    Endpoint("POST", f"{EC}/get_moment_list", listed, contact=True),
    Endpoint("POST", f"{EC}/get_moment_task", tasks, contact=True),
    Endpoint("POST", f"{EC}/get_moment_customer_list", customers, contact=True),
    Endpoint("POST", f"{EC}/get_moment_send_result", send_result, contact=True),
    Endpoint("POST", f"{EC}/get_moment_comments", comments, contact=True),
    Endpoint("POST", f"{EC}/cancel_moment_task", cancel, contact=True),
)
