"""The control plane's verbs for what members do on their phones: broadcast tasks, moments,
hand-overs, cards."""

from __future__ import annotations

import calendar
from datetime import datetime, timedelta, timezone
from typing import Any

from sandbox.control.frame import Ask, Refused, Routes
from sandbox.core.errors import Impossible
from sandbox.core.events import Event, Value
from sandbox.core.records import Broadcast, Card, Moment, Receipt, Task, Transfer
from sandbox.core.sandbox import Sandbox
from sandbox.core.state import Message
from sandbox.wecom import friendships, handovers, moments, template_cards

BEIJING = timezone(timedelta(hours=8))
UNSENT, SENT, NOT_FRIENDS, CAPPED = 0, 1, 2, 3


def member(ask: Ask) -> str:
    """The member that the path names first, in the world's spelling."""
    found = ask.box.world.member(ask.parts[0])
    if found is None:
        raise Refused(404, "no_such_member", f"no member {ask.parts[0]}")
    return found.userid


def _task(ask: Ask) -> tuple[Broadcast, Task]:
    broadcast = ask.box.state.records.broadcasts.get(ask.parts[1])
    task = broadcast.tasks.get(member(ask)) if broadcast else None
    if broadcast is None or task is None:
        raise Refused(404, "no_such_task", f"{ask.parts[0]} has no task {ask.parts[1]}")
    if broadcast.cancelled or task.sent_at or task.skipped:
        raise Impossible("the task is cancelled, sent or skipped")
    return broadcast, task


async def tasks(ask: Ask) -> Any:
    """A member's broadcast tasks, oldest first."""
    userid = member(ask)
    mine = [b for b in ask.box.state.records.broadcasts.values() if userid in b.tasks]
    return {
        "tasks": [
            {
                **b.model_dump(exclude={"tasks", "reminders"}),
                **b.tasks[userid].model_dump(exclude={"userid"}),
            }
            for b in mine
        ]
    }


async def confirm(ask: Ask) -> Any:
    """The member sends it; with `allow_select` only to the `external_userids` or `chat_ids` that he
    picks."""
    broadcast, task = _task(ask)
    picked = ask.body.get("picked")
    if picked is not None and not broadcast.allow_select:
        raise Refused(400, "bad_field", "picked: this broadcast does not let the member choose")
    for receipt in task.receipts:
        if picked is None or receipt.external_userid in picked or receipt.chat_id in picked:
            _send(ask.box, broadcast, task.userid, receipt)
    task.sent_at = ask.box.seconds()
    ask.box.changed()
    return task.model_dump()


async def skip(ask: Ask) -> Any:
    """The member ignores it; for the API the task stays unsent."""
    _, task = _task(ask)
    task.skipped = True
    ask.box.changed()
    return task.model_dump()


def _send(box: Sandbox, broadcast: Broadcast, userid: str, receipt: Receipt) -> None:
    """One customer or group gets the message, unless they are no friends any more or had enough
    this month (B8)."""
    receipt.send_time = box.seconds()
    if receipt.chat_id:
        group = box.state.groups.get(receipt.chat_id)
        readers = [p for m in group.members if (p := box.state.by_external(m))] if group else []
        gone = group is None
    else:
        person = box.state.by_external(receipt.external_userid)
        gone = person is None or userid not in person.friends
        readers = [person] if person else []
    if gone:
        receipt.status = NOT_FRIENDS
        return
    month = f"{datetime.fromtimestamp(box.clock.now(), BEIJING):%Y-%m}"
    had = box.state.records.received.setdefault(receipt.chat_id or receipt.external_userid, {})
    if had.get(month, 0) >= _cap(box, month):
        receipt.status = CAPPED
        return
    had[month] = had.get(month, 0) + 1
    receipt.status = SENT
    for person in readers:
        about = {
            "attachments": broadcast.attachments,
            "msgid": broadcast.msgid,
            "chat_id": receipt.chat_id,
        }
        message = Message(
            time=box.seconds(), sender=userid, kind="broadcast", text=broadcast.text, content=about
        )
        person.inbox.append(message)


def _cap(box: Sandbox, month: str) -> int:
    cap = box.switches.broadcast_cap
    return calendar.monthrange(*map(int, month.split("-")))[1] if cap == "days_in_month" else cap


async def write(ask: Ask) -> Any:
    """The member writes to a customer (`person`): `{sent, rule, warning}`."""
    person = ask.box.state.people.get(ask.text("person"))
    if person is None:
        raise Refused(404, "no_such_person", "no such person")
    written = friendships.write_to(ask.box, member(ask), person, ask.text("text"))
    return {"sent": written.sent, "rule": written.rule, "warning": written.warning}


def _moment(ask: Ask) -> Moment:
    moments.settle(ask.box)
    found = (
        m
        for m in ask.box.state.records.moments.values()
        if m.moment_id and m.moment_id == ask.parts[1]
    )
    moment = next(found, None)
    if moment is None:
        raise Refused(404, "no_such_moment", f"no moment {ask.parts[1]}")
    return moment


async def list_moments(ask: Ask) -> Any:
    """A member's moments, oldest first."""
    userid = member(ask)
    moments.settle(ask.box)
    mine = [m for m in ask.box.state.records.moments.values() if userid in m.tasks]
    return {
        "moments": [
            {
                **m.model_dump(
                    include={"moment_id", "create_time", "text", "attachments", "cancelled"}
                ),
                **m.tasks[userid].model_dump(exclude={"userid"}),
            }
            for m in mine
        ]
    }


async def publish(ask: Ask) -> Any:
    """The member publishes a moment; his customers see it."""
    return moments.publish(ask.box, member(ask), _moment(ask)).model_dump()


async def react(ask: Ask) -> Any:
    """A customer (`person`) likes the member's moment, or comments on it with `text`."""
    person, task = ask.box.state.people.get(ask.text("person")), _moment(ask).tasks.get(member(ask))
    if (
        person is None
        or task is None
        or person.external_userid not in task.customers
        or not task.published_at
    ):
        raise Impossible("this customer does not see the moment")
    said = {"external_userid": person.external_userid, "create_time": ask.box.seconds()}
    (task.comments if ask.text("text", "") else task.likes).append(said)
    ask.box.changed()
    return task.model_dump()


async def list_cards(ask: Ask) -> Any:
    """A member's interactive cards, oldest first."""
    userid = member(ask)
    mine = [c for c in ask.box.state.records.cards.values() if userid in c.userids]
    return {"cards": [{**c.model_dump(), "keys": template_cards.keys(c)} for c in mine]}


def _card(ask: Ask) -> Card:
    found = (c for c in ask.box.state.records.cards.values() if c.task_id == ask.parts[1])
    card = next(found, None)
    if card is None:
        raise Refused(404, "no_such_card", f"no card {ask.parts[1]}")
    return card


async def click(ask: Ask) -> Any:
    """The member presses a button of a card (`template_card_event`); `selected` has option ids by
    question."""
    selected = ask.body.get("selected") or {}
    if not isinstance(selected, dict) or not all(isinstance(v, list) for v in selected.values()):
        raise Refused(400, "bad_field", "selected: lists of option ids by question are expected")
    return {
        "delivered": await template_cards.click(
            ask.box, _card(ask), member(ask), ask.text("key"), selected
        )
    }


async def transfers(ask: Ask) -> Any:
    """Every hand-over of a customer, oldest first."""
    handovers.settle(ask.box)
    return {"transfers": [t.model_dump() for t in ask.box.state.records.transfers]}


def _waiting(ask: Ask) -> Transfer:
    person = ask.box.state.people.get(ask.parts[0])
    if person is None:
        raise Refused(404, "no_such_person", f"no person {ask.parts[0]}")
    handovers.settle(ask.box)
    mine = [
        t for t in ask.box.state.records.transfers if t.external_userid == person.external_userid
    ]
    waiting = [t for t in mine if t.status == handovers.WAITING]
    if not waiting:
        raise Impossible("nobody is handing this person over")
    return waiting[-1]


async def refuse_transfer(ask: Ask) -> Any:
    """The person does not want another member (`transfer_fail`)."""
    transfer = _waiting(ask)
    handovers.refuse(ask.box, transfer, "customer_refused")
    return transfer.model_dump()


async def enter_app(ask: Ask) -> Any:
    """The member opens the app (`enter_agent`), or presses an entry of its menu (`click` with
    `key`)."""
    key, app = ask.text("key", ""), ask.box.world.corp.apps[0]
    fields: dict[str, Value | None] = {"EventKey": key, "AgentID": app.agent_id}
    event = Event(
        "click" if key else "enter_agent",
        ask.box.seconds(),
        fields=fields,
        from_user=member(ask),
        agent_id=app.agent_id,
    )
    return {"delivered": await ask.box.sender.send(event)}


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
