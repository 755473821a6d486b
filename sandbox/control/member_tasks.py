"""The control plane's verbs for what members do on their phones: broadcast tasks, moments,
hand-overs, cards."""

from __future__ import annotations

import calendar
from datetime import datetime, timedelta, timezone
from typing import Any

from sandbox.control.frame import ControlCall, Refused, Routes
from sandbox.core.errors import Impossible
from sandbox.core.events import Event, Value
from sandbox.core.records import Broadcast, Card, Moment, Receipt, Task, Transfer
from sandbox.core.sandbox import Sandbox
from sandbox.core.state import Message, Person
from sandbox.wecom import friendships, handovers, moments, template_cards

BEIJING = timezone(timedelta(hours=8))
UNSENT, SENT, NOT_FRIENDS, CAPPED = 0, 1, 2, 3
MOMENT_FIELDS = {"moment_id", "create_time", "text", "attachments", "cancelled"}


def member(call: ControlCall) -> str:
    """The member that the path names first, in the world's spelling."""
    found = call.box.world.member(call.parts[0])
    if found is None:
        raise Refused(404, "no_such_member", f"no member {call.parts[0]}")
    return found.userid


def _task(call: ControlCall) -> tuple[Broadcast, Task]:
    broadcast = call.box.state.records.broadcasts.get(call.parts[1])
    task = broadcast.tasks.get(member(call)) if broadcast else None
    if broadcast is None or task is None:
        raise Refused(404, "no_such_task", f"{call.parts[0]} has no task {call.parts[1]}")
    if broadcast.cancelled or task.sent_at or task.skipped:
        raise Impossible("the task is cancelled, sent or skipped")
    return broadcast, task


async def tasks(call: ControlCall) -> Any:
    """A member's broadcast tasks, oldest first."""
    userid = member(call)
    rows = []
    for broadcast in call.box.state.records.broadcasts.values():
        if userid in broadcast.tasks:
            task = broadcast.tasks[userid].model_dump(exclude={"userid"})
            rows.append({**broadcast.model_dump(exclude={"tasks", "reminders"}), **task})
    return {"tasks": rows}


async def confirm(call: ControlCall) -> Any:
    """The member sends it; with `allow_select` only to the `external_userids` or `chat_ids` that he
    picks."""
    broadcast, task = _task(call)
    picked = call.body.get("picked")
    if picked is not None and not broadcast.allow_select:
        raise Refused(400, "bad_field", "picked: this broadcast does not let the member choose")
    for receipt in task.receipts:
        if picked is None or receipt.external_userid in picked or receipt.chat_id in picked:
            _send(call.box, broadcast, task.userid, receipt)
    task.sent_at = call.box.seconds()
    call.box.changed()
    return task.model_dump()


async def skip(call: ControlCall) -> Any:
    """The member ignores it; for the API the task stays unsent."""
    _, task = _task(call)
    task.skipped = True
    call.box.changed()
    return task.model_dump()


def _send(box: Sandbox, broadcast: Broadcast, userid: str, receipt: Receipt) -> None:
    """One customer or group gets the message, unless they are no friends any more or had enough
    this month (B8)."""
    receipt.send_time = box.seconds()
    readers = _readers(box, userid, receipt)
    if readers is None:
        receipt.status = NOT_FRIENDS
        return
    period, most = _cap(box)
    by_period = box.state.records.received.setdefault(_reader_id(receipt), {})
    if by_period.get(period, 0) >= most:
        receipt.status = CAPPED
        return
    by_period[period] = by_period.get(period, 0) + 1
    receipt.status = SENT
    content = {
        "attachments": broadcast.attachments,
        "msgid": broadcast.msgid,
        "chat_id": receipt.chat_id,
    }
    for person in readers:
        message = Message(
            time=box.seconds(),
            sender=userid,
            kind="broadcast",
            text=broadcast.text,
            content=content,
        )
        person.inbox.append(message)


def _reader_id(receipt: Receipt) -> str:
    return receipt.chat_id or receipt.external_userid


def _readers(box: Sandbox, userid: str, receipt: Receipt) -> list[Person] | None:
    """Who reads it: the customer, or the customers in the group; None when the group is gone or
    the customer is no friend."""
    if receipt.chat_id:
        group = box.state.groups.get(receipt.chat_id)
        if group is None:
            return None
        return [person for who in group.members if (person := box.state.by_external(who))]
    person = box.state.by_external(receipt.external_userid)
    if person is None or userid not in person.friends:
        return None
    return [person]


def _cap(box: Sandbox) -> tuple[str, int]:
    """The period that it is, such as `2026-11`, and how many broadcasts a customer gets in it."""
    now = datetime.fromtimestamp(box.clock.now(), BEIJING)
    cap = box.switches.broadcast_cap
    if cap == "week7":
        return f"{now:%G-W%V}", 7
    if cap == "day1":
        return f"{now:%Y-%m-%d}", 1
    if cap == "month_days":
        return f"{now:%Y-%m}", calendar.monthrange(now.year, now.month)[1]
    return f"{now:%Y-%m}", 4 if cap == "month4" else cap


async def write(call: ControlCall) -> Any:
    """The member writes to a customer (`person`): `{sent, rule, warning}`."""
    person = call.box.state.people.get(call.text("person"))
    if person is None:
        raise Refused(404, "no_such_person", "no such person")
    written = friendships.write_to(call.box, member(call), person, call.text("text"))
    return {"sent": written.sent, "rule": written.rule, "warning": written.warning}


def _moment(call: ControlCall) -> Moment:
    moments.run_due(call.box)
    for moment in call.box.state.records.moments.values():
        if moment.moment_id and moment.moment_id == call.parts[1]:
            return moment
    raise Refused(404, "no_such_moment", f"no moment {call.parts[1]}")


async def list_moments(call: ControlCall) -> Any:
    """A member's moments, oldest first."""
    userid = member(call)
    moments.run_due(call.box)
    rows = []
    for moment in call.box.state.records.moments.values():
        if userid in moment.tasks:
            task = moment.tasks[userid].model_dump(exclude={"userid"})
            rows.append({**moment.model_dump(include=MOMENT_FIELDS), **task})
    return {"moments": rows}


async def publish(call: ControlCall) -> Any:
    """The member publishes a moment; his customers see it."""
    return moments.publish(call.box, member(call), _moment(call)).model_dump()


async def react(call: ControlCall) -> Any:
    """A customer (`person`) likes the member's moment, or comments on it with `text`."""
    person = call.box.state.people.get(call.text("person"))
    task = _moment(call).tasks.get(member(call))
    if (
        person is None
        or task is None
        or person.external_userid not in task.customers
        or not task.published_at
    ):
        raise Impossible("this customer does not see the moment")
    said = {"external_userid": person.external_userid, "create_time": call.box.seconds()}
    (task.comments if call.text("text", "") else task.likes).append(said)
    call.box.changed()
    return task.model_dump()


async def list_cards(call: ControlCall) -> Any:
    """A member's interactive cards, oldest first."""
    userid = member(call)
    mine = [c for c in call.box.state.records.cards.values() if userid in c.userids]
    return {"cards": [{**c.model_dump(), "keys": template_cards.keys(c)} for c in mine]}


def _card(call: ControlCall) -> Card:
    found = (c for c in call.box.state.records.cards.values() if c.task_id == call.parts[1])
    card = next(found, None)
    if card is None:
        raise Refused(404, "no_such_card", f"no card {call.parts[1]}")
    return card


async def click(call: ControlCall) -> Any:
    """The member presses a button of a card (`template_card_event`); `selected` has option ids by
    question."""
    selected = call.body.get("selected") or {}
    if not isinstance(selected, dict) or not all(isinstance(v, list) for v in selected.values()):
        raise Refused(400, "bad_field", "selected: lists of option ids by question are expected")
    return {
        "delivered": await template_cards.click(
            call.box, _card(call), member(call), call.text("key"), selected
        )
    }


async def transfers(call: ControlCall) -> Any:
    """Every hand-over of a customer, oldest first."""
    handovers.run_due(call.box)
    return {"transfers": [t.model_dump() for t in call.box.state.records.transfers]}


def _waiting(call: ControlCall) -> Transfer:
    person = call.box.state.people.get(call.parts[0])
    if person is None:
        raise Refused(404, "no_such_person", f"no person {call.parts[0]}")
    handovers.run_due(call.box)
    mine = [
        t for t in call.box.state.records.transfers if t.external_userid == person.external_userid
    ]
    waiting = [t for t in mine if t.status == handovers.WAITING]
    if not waiting:
        raise Impossible("nobody is handing this person over")
    return waiting[-1]


async def refuse_transfer(call: ControlCall) -> Any:
    """The person does not want another member (`transfer_fail`)."""
    transfer = _waiting(call)
    handovers.refuse(call.box, transfer, "customer_refused")
    return transfer.model_dump()


async def enter_app(call: ControlCall) -> Any:
    """The member opens the app (`enter_agent`), or presses an entry of its menu (`click` with
    `key`)."""
    key = call.text("key", "")
    app = call.box.world.corp.apps[0]
    fields: dict[str, Value | None] = {"EventKey": key, "AgentID": app.agent_id}
    event = Event(
        "click" if key else "enter_agent",
        call.box.seconds(),
        fields=fields,
        from_user=member(call),
        agent_id=app.agent_id,
    )
    return {"delivered": await call.box.sender.send(event)}


ROUTES: Routes = [
    ("/transfers", {"get": transfers}),
    ("/members/([^/]+)/write", {"post": write}),
    ("/members/([^/]+)/app", {"post": enter_app}),
    ("/members/([^/]+)/tasks", {"get": tasks}),
    ("/members/([^/]+)/tasks/([^/]+)/confirm", {"post": confirm}),
    ("/members/([^/]+)/tasks/([^/]+)/skip", {"post": skip}),
    ("/members/([^/]+)/moments", {"get": list_moments}),
    ("/members/([^/]+)/moments/([^/]+)/publish", {"post": publish}),
    ("/members/([^/]+)/moments/([^/]+)/react", {"post": react}),
    ("/members/([^/]+)/cards", {"get": list_cards}),
    ("/members/([^/]+)/cards/([^/]+)/click", {"post": click}),
    ("/people/([^/]+)/transfers/refuse", {"post": refuse_transfer}),
]
