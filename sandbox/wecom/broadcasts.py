"""Broadcasts: an app writes them, members confirm them on their phones (contract/wechat B8)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sandbox.core import ids, paging
from sandbox.core.api import Call, Endpoint
from sandbox.core.errors import ApiError
from sandbox.core.models import DAY_SECONDS
from sandbox.core.records import Broadcast, Receipt, Task
from sandbox.core.state import Friend, Message, Person
from sandbox.wecom import message_content
from sandbox.wecom.contacts import EC, follower

TEXT_BYTES = 4000
CUSTOMERS_MOST, GROUPS_MOST = 10_000, 2_000
REMINDERS = 3
LIST_SECONDS = 31 * DAY_SECONDS
CORP, PERSONAL, ALL = 0, 1, 2
SENT = 1


def add(call: Call) -> dict[str, Any]:
    """B8, 92135: make the tasks; `fail_list` names who cannot be reached, 41048 when nobody can."""
    chat_type = call.text("chat_type") or "single"
    if chat_type not in {"single", "group"}:
        raise ApiError(40058, "invalid Request Parameter: chat_type")
    text, attachments = message_content.required(call, TEXT_BYTES)
    sender = _sender(call)
    make_tasks = _group_tasks if chat_type == "group" else _customer_tasks
    tasks, failed = make_tasks(call, sender)
    if not tasks:
        raise ApiError(41048)
    broadcast = Broadcast(
        msgid=ids.code("msgGC"),
        agent_id=int(call.app),
        chat_type=chat_type,
        sender=sender,
        create_time=call.box.seconds(),
        text=text,
        attachments=attachments,
        allow_select=call.flag("allow_select", False),
        tasks=tasks,
    )
    call.box.state.records.broadcasts[broadcast.msgid] = broadcast
    for userid in tasks:
        _notify(call, userid, broadcast, "broadcast_task")
    call.box.changed()
    return {"fail_list": failed, "msgid": broadcast.msgid}


def _sender(call: Call) -> str:
    """The member who sends it, "" when none is named. Raises ApiError 60111 or 84074."""
    sender = call.text("sender")
    return follower(call, sender).userid if sender else ""


def _group_tasks(call: Call, sender: str) -> tuple[dict[str, Task], list[str]]:
    """The tasks of a broadcast to groups: those of the list, or all, that the sender owns."""
    if not sender:
        raise ApiError(40058, "sender is required for groups")
    wanted = call.strings("chat_id_list")
    if len(wanted) > GROUPS_MOST:
        raise ApiError(40058, "too many groups")
    own = [g.chat_id for g in call.box.state.groups.values() if g.owner == sender]
    found = [chat_id for chat_id in wanted if chat_id in own] if wanted else own
    failed = [chat_id for chat_id in wanted if chat_id not in own]
    if not found:
        return {}, failed
    receipts = [Receipt(chat_id=chat_id) for chat_id in dict.fromkeys(found)]
    return {sender: Task(userid=sender, receipts=receipts)}, failed


def _customer_tasks(call: Call, sender: str) -> tuple[dict[str, Task], list[str]]:
    """The tasks of a broadcast to customers; who has several members hears from the one he talked
    to last."""
    wanted = call.strings("external_userid")
    tags = _tag_filter(call)
    if len(wanted) > CUSTOMERS_MOST:
        raise ApiError(40058, "too many customers")
    if not wanted and not tags and not sender:
        raise ApiError(40058, "sender, external_userid and tag_filter are empty")
    tasks: dict[str, Task] = {}
    failed = []
    people = _named(call, wanted) if wanted else _filtered(call, sender, tags)
    for external_userid, person in people:
        userid = _speaker(person, sender) if person else ""
        if userid:
            task = tasks.setdefault(userid, Task(userid=userid))
            task.receipts.append(Receipt(external_userid=external_userid))
        else:
            failed.append(external_userid)
    return tasks, failed


def _tag_filter(call: Call) -> list[set[str]]:
    """Groups of tags: a customer needs one tag of each. Raises ApiError 40068 for an unknown
    tag."""
    given = call.body.get("tag_filter") or {}
    groups = given.get("group_list") or [] if isinstance(given, dict) else None
    if not isinstance(groups, list) or not all(isinstance(g, dict) for g in groups):
        raise ApiError(40058, "invalid Request Parameter: tag_filter")
    found = [set(map(str, group.get("tag_list") or [])) for group in groups]
    for tag_id in set().union(*found):
        if call.box.state.tag(tag_id) is None:
            raise ApiError(40068)
    return [tags for tags in found if tags]


def _named(call: Call, wanted: list[str]) -> Iterable[tuple[str, Person | None]]:
    return ((e, call.box.state.by_external(e)) for e in dict.fromkeys(wanted))


def _filtered(call: Call, sender: str, tags: list[set[str]]) -> Iterable[tuple[str, Person]]:
    """The sender's customers, or everybody's, that bear the tags."""
    people = call.box.state.followers(sender) if sender else call.box.state.people.values()
    for person in people:
        friends = [person.friends[sender]] if sender else list(person.friends.values())
        if any(_bears(friend, tags) for friend in friends):
            yield person.external_userid, person


def _bears(friend: Friend, tags: list[set[str]]) -> bool:
    """Whether the relation has a tag of each group."""
    return all(group.intersection(friend.tags) for group in tags)


def _speaker(person: Person, sender: str) -> str:
    """Who of the members sends to this person; "" when nobody is his friend."""
    if sender:
        return sender if sender in person.friends else ""
    if not person.friends:
        return ""
    latest = max(person.friends.values(), key=lambda f: (f.talked, f.createtime, f.number))
    return latest.userid


def _notify(call: Call, userid: str, broadcast: Broadcast, kind: str) -> None:
    """What the member's WeCom shows him of a task."""
    about = {"msgid": broadcast.msgid, "attachments": broadcast.attachments}
    message = Message(
        time=call.box.seconds(), sender="wecom", kind=kind, text=broadcast.text, content=about
    )
    call.box.state.tell_member(userid, message)


def _broadcast(call: Call) -> Broadcast:
    """The broadcast that a call names. Raises ApiError 41046, 41047 (another app's too) or 41063
    while dispatching."""
    broadcast = call.box.state.records.broadcasts.get(call.text("msgid", missing=41046))
    if broadcast is None or str(broadcast.agent_id) != call.app:
        raise ApiError(41047)
    if call.box.seconds() < broadcast.create_time + call.box.switches.dispatch_seconds:
        raise ApiError(41063)
    return broadcast


def listed(call: Call) -> dict[str, Any]:
    """B8, 93338: broadcasts of a span of at most a month."""
    start, end = call.span(LIST_SECONDS)
    chat_type = call.text("chat_type", missing=40058)
    creator = call.text("creator")
    personal = call.integer("filter_type", ALL) == PERSONAL
    found = [
        _listed(b)
        for b in call.box.state.records.broadcasts.values()
        if str(b.agent_id) == call.app
        and b.chat_type == chat_type
        and start <= b.create_time <= end
        and (not creator or b.sender == creator)
        and not personal
    ]
    page, more = paging.page(call, "broadcasts", found, paging.limit(call, 50, 100))
    return {"group_msg_list": page, "next_cursor": more}


def _listed(broadcast: Broadcast) -> dict[str, Any]:
    row: dict[str, Any] = {"msgid": broadcast.msgid}
    if broadcast.sender:
        row["creator"] = broadcast.sender
    return {
        **row,
        "create_time": str(broadcast.create_time),
        "create_type": CORP,
        "text": {"content": broadcast.text},
        "attachments": broadcast.attachments,
    }


def tasks(call: Call) -> dict[str, Any]:
    """B8: each member's part of a broadcast: 0 not sent, else the value of the switch (2)."""
    broadcast = _broadcast(call)
    sent = call.box.switches.groupmsg_task_sent_value
    found = [
        {"userid": t.userid, "status": sent, "send_time": t.sent_at}
        if t.sent_at
        else {"userid": t.userid, "status": 0}
        for t in broadcast.tasks.values()
    ]
    page, more = paging.page(call, "tasks", found, paging.limit(call, 500, 1000))
    return {"task_list": page, "next_cursor": more}


def results(call: Call) -> dict[str, Any]:
    """B8: what became of one member's part: 0 unsent, 1 sent, 2 not friends, 3 the customer's cap
    was reached. Of a broadcast to groups only what was sent."""
    broadcast = _broadcast(call)
    userid = follower(call, call.text("userid", missing=40058)).userid
    receipts = broadcast.tasks[userid].receipts if userid in broadcast.tasks else []
    if broadcast.chat_type == "group":
        receipts = [r for r in receipts if r.status == SENT]
    found = [
        {"userid": userid, **r.model_dump(exclude_defaults=True), "status": r.status}
        for r in receipts
    ]
    page, more = paging.page(call, "results", found, paging.limit(call, 500, 1000))
    return {"send_list": page, "next_cursor": more}


def remind(call: Call) -> dict[str, Any]:
    """B8, 97610: remind members who have not sent, three times in 24 hours."""
    broadcast = _broadcast(call)
    now = call.box.seconds()
    if broadcast.cancelled:
        raise ApiError(41093)
    broadcast.reminders = [at for at in broadcast.reminders if now - at < DAY_SECONDS]
    if len(broadcast.reminders) >= REMINDERS:
        raise ApiError(41094)
    broadcast.reminders.append(now)
    for task in broadcast.tasks.values():
        if not task.sent_at and not task.skipped:
            _notify(call, task.userid, broadcast, "broadcast_reminder")
    call.box.changed()
    return {}


def cancel(call: Call) -> dict[str, Any]:
    """B8, 97611: nobody sends it any more; what was sent stays. Raises ApiError 41093 when it was
    cancelled before."""
    broadcast = _broadcast(call)
    if broadcast.cancelled:
        raise ApiError(41093)
    broadcast.cancelled = True
    call.box.changed()
    return {}


ENDPOINTS = (
    Endpoint("POST", f"{EC}/add_msg_template", add, contact=True),
    Endpoint("POST", f"{EC}/get_groupmsg_list_v2", listed, contact=True),
    Endpoint("POST", f"{EC}/get_groupmsg_task", tasks, contact=True),
    Endpoint("POST", f"{EC}/get_groupmsg_send_result", results, contact=True),
    Endpoint("POST", f"{EC}/remind_groupmsg_send", remind, contact=True),
    Endpoint("POST", f"{EC}/cancel_groupmsg_send", cancel, contact=True),
)
