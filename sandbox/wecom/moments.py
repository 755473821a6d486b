"""Moments: an app writes one in an asynchronous job, members publish it (contract/wechat B8, 95094,
93333, 97612)."""

from __future__ import annotations

from typing import Any

from sandbox.core import ids, paging
from sandbox.core.api import Call, Endpoint
from sandbox.core.errors import ApiError, Impossible
from sandbox.core.models import DAY_SECONDS
from sandbox.core.records import Moment, MomentTask
from sandbox.core.sandbox import Sandbox
from sandbox.core.state import Message
from sandbox.core.world import Member
from sandbox.wecom.contacts import EC
from sandbox.wecom.media import WECOM

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
    text = _text(call)
    attachments = _attachments(call)
    if not text and not attachments:
        raise ApiError(41089)
    moments = call.box.state.records.moments
    now = call.box.seconds()
    if sum(now < moment.create_time + DONE_AFTER for moment in moments.values()) >= JOBS_MOST:
        raise ApiError(41078)
    moment = Moment(
        jobid=ids.code("jobid_"),
        agent_id=int(call.app),
        create_time=now,
        text=text,
        attachments=attachments,
        **_visible_range(call),
    )
    moments[moment.jobid] = moment
    call.box.changed()
    return {"jobid": moment.jobid}


def _visible_range(call: Call) -> dict[str, Any]:
    """Who publishes it and whose customers see it. Raises ApiError 40058."""
    given = _object(call.body, "visible_range")
    senders = _object(given, "sender_list")
    readers = _object(given, "external_contact_list")
    departments = senders.get("department_list") or []
    return {
        "users": [str(userid) for userid in senders.get("user_list") or []],
        "departments": [int(d) for d in departments if isinstance(d, int)],
        "tags": [str(tag_id) for tag_id in readers.get("tag_list") or []],
    }


def _text(call: Call) -> str:
    """`text.content` of the body. Raises ApiError 40058, or 45002 when it is too long."""
    given = call.body.get("text") or {}
    text = given.get("content", "") if isinstance(given, dict) else None
    if not isinstance(text, str):
        raise ApiError(40058, "invalid Request Parameter: text")
    if len(text) > TEXT_MOST:
        raise ApiError(45002)
    return text


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
    most = IMAGES_MOST if kinds == {"image"} else 1
    if len(kinds) > 1 or len(given) > most:
        raise ApiError(41064)
    for attachment in given:
        _check_attachment(call, attachment)
    return given


def _check_attachment(call: Call, attachment: dict[str, Any]) -> None:
    """Raises ApiError 40058 for an incomplete one, 40007 for media not uploaded for moments."""
    kind = attachment["msgtype"]
    content = _object(attachment, kind)
    if kind == "link" and not (content.get("title") and content.get("url")):
        raise ApiError(40058, "incomplete attachment: link")
    media_id = str(content.get("media_id", ""))
    media_kind = "image" if kind == "link" else kind
    call.box.files.need(WECOM, media_id, media_kind, attachment=FOR_MOMENTS)


def run_due(box: Sandbox) -> None:
    """Finish the jobs whose time has come: find the members and whom each may show it to."""
    for moment in box.state.records.moments.values():
        if not moment.moment_id and box.seconds() >= moment.create_time + DONE_AFTER:
            _finish(box, moment)


def _finish(box: Sandbox, moment: Moment) -> None:
    content = {"jobid": moment.jobid, "attachments": moment.attachments}
    for member in _publishers(box, moment):
        shown = _shown_to(box, moment, member.userid)
        moment.tasks[member.userid] = MomentTask(userid=member.userid, customers=shown)
        message = Message(
            time=box.seconds(),
            sender="wecom",
            kind="moment_task",
            text=moment.text,
            content=content,
        )
        box.state.tell_member(member.userid, message)
    moment.moment_id = ids.code("mom")
    box.changed()


def _publishers(box: Sandbox, moment: Moment) -> list[Member]:
    """The members who are asked to publish it: those named and those of the departments named, or
    all who may have customers."""
    members = [m for m in box.world.corp.members if m.contact]
    if not moment.users and not moment.departments:
        return members
    named = {m.userid for userid in moment.users if (m := box.world.member(userid))}
    departments = set(moment.departments)
    return [m for m in members if m.userid in named or departments.intersection(m.departments)]


def _shown_to(box: Sandbox, moment: Moment, userid: str) -> list[str]:
    """The member's customers who have one of the moment's tags; all of them without tags."""
    tags = set(moment.tags)
    return [
        person.external_userid
        for person in box.state.followers(userid)
        if not tags or tags.intersection(person.friends[userid].tags)
    ]


def result(call: Call) -> dict[str, Any]:
    """B8: 1 queued, 2 running, 3 done, for 24 hours. Raises ApiError 40058 for a job that is
    unknown or forgotten."""
    allowed = call.box.switches.moment_result_method
    if allowed not in {"both", call.method.lower()}:
        raise ApiError(43002 if call.method == "GET" else 43001)
    run_due(call.box)
    moment = _job(call)
    age = call.box.seconds() - moment.create_time
    status = 1 + (age >= RUNNING_AFTER) + (age >= DONE_AFTER)
    answer: dict[str, Any] = {"status": status, "type": "add_moment_task"}
    if moment.moment_id:
        answer["result"] = _outcome(call.box, moment)
    return answer


def _job(call: Call) -> Moment:
    """The moment of the job that a call names. Raises ApiError 40058 for one that is unknown,
    another app's, or a day old."""
    jobid = call.query.get("jobid", "") or call.text("jobid")
    moment = call.box.state.records.moments.get(jobid)
    if moment is None or str(moment.agent_id) != call.app:
        raise ApiError(40058, "invalid Request Parameter: jobid")
    if call.box.seconds() - moment.create_time >= DAY_SECONDS:
        raise ApiError(40058, "invalid Request Parameter: jobid")
    return moment


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
    run_due(call.box)
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
    run_due(call.box)
    start, end = call.span(LIST_SECONDS)
    creator = call.text("creator")
    personal = call.integer("filter_type", 2) == 1
    found = [
        _listed(m)
        for m in call.box.state.records.moments.values()
        if m.moment_id
        and str(m.agent_id) == call.app
        and start <= m.create_time <= end
        and not personal
        and (not creator or creator in m.tasks)
    ]
    page, more = paging.page(call, "moments", found, paging.limit(call, 20, 20))
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
    page, more = paging.page(call, "moment_tasks", found, paging.limit(call, 500, 1000))
    return {"task_list": page, "next_cursor": more}


def customers(call: Call) -> dict[str, Any]:
    """B8: whom a member's publication is meant for."""
    task = _task(call)
    found = [{"userid": task.userid, "external_userid": e} for e in task.customers]
    page, more = paging.page(call, "moment_customers", found, paging.limit(call, 500, 1000))
    return {"customer_list": page, "next_cursor": more}


def send_result(call: Call) -> dict[str, Any]:
    """B8: whom a member's publication reached."""
    found = [{"external_userid": e} for e in _task(call).customers]
    page, more = paging.page(call, "moment_results", found, paging.limit(call, 3000, 5000))
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
