"""send: a message to the customer or to his RM.

A welcome greets the new friend: its code dies after 20 s and is good for one message, so that trying
again is safe. Of a message to the RM WeCom swallows a repeat within half an hour.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal

from campaigns.engine import facts
from campaigns.engine.facts import Scene
from campaigns.engine.verbs.verb import Asked, Cause, Reference, Verb
from config import bounds
from customers.archive import consents
from customers.banks.bank import Bank
from customers.banks.staff import Staff, staff_member
from customers.banks.tasks import SEND_EFFECTS, SEND_WELCOMES
from customers.identity import resolution
from services import ids
from services.documents.parts import Part
from services.documents.problems import Fault, fault
from services.errors import NotFound
from services.limiter import lane
from services.queue import outbox
from services.queue.effects import EffectKind, Outcome
from services.queue.outbox import Effect
from services.texts import sentence
from services.wechat.core.checks import APP_TEXT_BYTES, WELCOME_BYTES
from services.wechat.core.errors import AlreadyDone, PlatformError

WELCOME_SECONDS = 20.0
BY_HAND = "greet_by_hand"
"""The sentence before a message that asks the RM to greet."""
CODE_GONE = 41050
REPEAT_SECONDS = 1800
log = logging.getLogger(__name__)


class Send(Part):
    """`wecom.welcome` greets within 20 s of adding; `staff` tells the RM. `fallback: [staff]` when
    the welcome cannot go out."""

    via: Literal["wecom.welcome", "staff"]
    template: bounds.Word
    fallback: bounds.Few[Literal["staff"]] = []

    @property
    def greets(self) -> bool:
        return self.via == "wecom.welcome"


def _references(send: Send) -> tuple[Reference]:
    """The one limit that is the lower: of the welcome, or of the message that takes its place."""
    if send.greets and not send.fallback:
        return (Reference("template", "templates", send.template, WELCOME_BYTES),)
    added = len(sentence(BY_HAND).encode()) if send.greets else 0
    return (Reference("template", "templates", send.template, APP_TEXT_BYTES, added),)


def _lint(send: Send, after_wait: bool) -> list[Fault]:
    if send.greets and after_wait:
        return [fault((), "welcome_late")]
    return []


def _prepare(send: Send, cause: Cause) -> Asked:
    args = {
        "userid": cause.context["userid"],
        "text": cause.templates[send.template].zh,
        "facts": dict(cause.facts),
        "fallback": bool(send.fallback),
    }
    if not send.greets:
        return Asked(STAFF, args)
    args["welcome_code"] = cause.context.get("welcome_code") or ""
    return Asked(WELCOME, args, float(cause.context["received_at"]) + WELCOME_SECONDS)


async def _text(bank: Bank, effect: Effect) -> str:
    """The step's message for this customer."""
    staff = await _staff_of(bank, effect)
    customer = await resolution.customer(bank, effect.cid)
    scene = Scene(bank=bank, customer=customer, staff=staff)
    return facts.fill(effect.args["text"], facts.for_message(effect.args["facts"], scene))


async def _staff_of(bank: Bank, effect: Effect) -> Staff | None:
    try:
        return await staff_member(bank, effect.args["userid"])
    except NotFound:
        log.warning(
            "a run speaks of an RM who is not on file", extra={"fields": {"run": effect.run}}
        )
        return None


async def _welcome(bank: Bank, effect: Effect) -> Outcome:
    code = effect.args["welcome_code"]
    if not code:
        return Outcome("failed", "no_welcome_code")
    text = await _text(bank, effect)
    try:
        with lane("welcome"):
            await bank.wecom.welcome.send(code, text=text)
    except AlreadyDone:
        if effect.in_doubt:  # that was our own earlier try, whose answer was lost
            return Outcome("done", "already_greeted")
        return Outcome("failed", "greeted_elsewhere", quiet=True)
    except PlatformError as error:
        await consents.explain(bank, effect, error)
        if error.errcode == CODE_GONE:
            return Outcome("expired", error.reason)
        raise
    return Outcome("done")


async def greet_plainly(bank: Bank, cid: str, context: Mapping[str, Any]) -> None:
    """Has a new friend greeted with a sentence that promises nothing, while the campaign of his
    code is paused. Asked twice for one event, he is greeted once."""
    effect = Effect(
        id=ids.tenant_id(bank.id, "plain_welcome", context["event"]),
        tenant=bank.id,
        kind=WELCOME.name,
        cid=cid,
        args={
            "userid": context["userid"],
            "text": sentence("plain_welcome"),
            "facts": {},
            "fallback": False,
            "welcome_code": context.get("welcome_code") or "",
        },
        lane=WELCOME.lane,
        deadline=float(context["received_at"]) + WELCOME_SECONDS,
    )
    await outbox.put(bank.services, effect, due=bank.now())
    bank.signal(SEND_WELCOMES)


async def _greet_by_hand(bank: Bank, effect: Effect) -> None:
    """The RM is asked to greet whom we could not greet."""
    if not effect.args["fallback"]:
        return
    asked = Effect(
        id=ids.tenant_id(bank.id, "fallback", effect.id),
        tenant=bank.id,
        kind=STAFF.name,
        cid=effect.cid,
        args={**effect.args, "note": BY_HAND},
        campaign=effect.campaign,
        version=effect.version,
        run=effect.run,
        step=f"{effect.step}.fallback",
    )
    await outbox.put(bank.services, asked, due=bank.now())
    bank.signal(SEND_EFFECTS)


def _note(effect: Effect) -> str:
    """What stands before the message: the sentence of a code, or nothing."""
    code = effect.args.get("note", "")
    return sentence(code) if code else ""


async def _tell_staff(bank: Bank, effect: Effect) -> None:
    message = {
        "msgtype": "text",
        "text": {"content": _note(effect) + await _text(bank, effect)},
        "enable_duplicate_check": 1,
        "duplicate_check_interval": REPEAT_SECONDS,
    }
    await bank.wecom.messages.send([effect.args["userid"]], message)


WELCOME: EffectKind[Bank] = EffectKind(
    name="welcome",
    execute=_welcome,
    lane=outbox.WELCOME,
    story="welcome.sent",
    unsent=_greet_by_hand,
)
STAFF: EffectKind[Bank] = EffectKind(
    name="staff", execute=_tell_staff, story="staff.told", is_app_message=True
)

SEND = Verb(
    name="send",
    model=Send,
    label="stage_send",
    references=_references,
    lint=_lint,
    prepare=_prepare,
    kinds=(WELCOME, STAFF),
)
