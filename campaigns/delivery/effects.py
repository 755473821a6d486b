"""Effects: the outside part of steps, tried until they are done, given up with a reason, or too
late.

welcome   WeCom greets the new friend; the code dies after 20 s and is good for one message, so trying again is safe
tag       corp tags on the friendship (idempotent at WeCom)
offer     the right to claim a reward
staff     an app message to the RM; WeCom swallows a repeat within half an hour
enrich    the customer's details, when WeCom could not tell them at once
card      alarms told to a member, and card_update the card after his click
convert   who a mini-program's customer is at WeCom
subscribe a subscribe message; a lost answer is never tried again
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from campaigns import live
from campaigns.delivery import tagging
from campaigns.document.model import Step
from campaigns.document.reading import PLACEHOLDER
from customers import timeline
from customers.alerts import cards
from customers.archive import consents
from customers.banks.bank import Bank
from customers.banks.staff import staff_member
from customers.banks.tasks import SEND_EFFECTS
from customers.identity import conversion, resolution
from customers.messaging import subscriptions
from customers.wecom_mirror import details
from rewards import catalogue, offers
from services import ids
from services.errors import Conflict, NotFound, Unavailable
from services.limiter import lane
from services.observe import trace
from services.observe.trace import Story
from services.queue import outbox
from services.queue.outbox import OUTBOX, Effect
from services.queue.retry import FAIL, Retry
from services.queue.trace_rows import told, tried
from services.store import leases
from services.store.mongo import Doc
from services.texts import sentence
from services.wechat.core.errors import AlreadyDone, PlatformError, SubjectState, no_turn

LEASE_SECONDS = {outbox.WELCOME: 6.0, outbox.EFFECTS: 20.0}
"""By lane. A welcome is soon too late, and trying it twice is harmless. Of the others none may look
dead while it still waits for its turn and its answer: a subscribe message is taken for lost when
somebody else finds it begun."""
WELCOME_SECONDS = 20.0
MOST_TRIES = 12
RETRY = Retry(MOST_TRIES, first=0.25, then=FAIL)
PAUSED_SECONDS = 5.0
CODE_GONE = 41050
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What became of a try: `done`, `failed`, `expired` end it; `later` tries again in `seconds`.
    What was never begun does not count as one."""

    state: str
    reason: str = ""
    seconds: float = 0.0
    begun: bool = True


def fill(template: str, facts: Mapping[str, Any]) -> str:
    """The template with its placeholders filled; what is not known is left out."""
    return PLACEHOLDER.sub(lambda match: str(facts.get(match[1]) or ""), template)


def prepare(run: Doc, step: Step, facts: Mapping[str, Any], context: Mapping[str, Any]) -> Effect:
    """The effect of one step of a run; the same step of the same run always has the same id."""
    args: dict[str, Any] = {"userid": context["userid"]}
    kind, lane, deadline = step.verb, outbox.EFFECTS, None
    if step.send is not None:
        args |= {
            "template": step.send.template,
            "facts": dict(facts),
            "fallback": bool(step.send.fallback),
        }
        kind = "staff"
        if step.send.via == "wecom.welcome":
            kind, lane = "welcome", outbox.WELCOME
            args["welcome_code"] = context.get("welcome_code") or ""
            deadline = float(context["received_at"]) + WELCOME_SECONDS
    elif step.tag is not None:
        args |= {
            "add": [fill(tag, facts) for tag in step.tag.add],
            "del": [fill(tag, facts) for tag in step.tag.del_],
        }
    elif step.grant is not None:
        kind = "offer"
        args["reward"] = catalogue.reward_id(run["campaign"], step.grant.reward)
    return Effect(
        id=ids.tenant_id(run["tenant"], "effect", run["_id"], step.id),
        tenant=run["tenant"],
        kind=kind,
        cid=run["cid"],
        args=args,
        lane=lane,
        campaign=run["campaign"],
        version=run["version"],
        run=run["_id"],
        step=step.id,
        deadline=deadline,
    )


async def perform(bank: Bank, owner: str, row: Doc) -> None:
    """Tries a leased effect once and writes down what became of it. Never raises: a fault of ours
    is a later try."""
    try:
        effect = outbox.effect_of(bank.services, row)
        with trace.collect() as story:
            outcome = await _attempt(bank, effect)
        await _finish(bank, owner, row, effect, outcome, story)
    except Unavailable:
        log.warning(
            "an effect's outcome could not be written; it is due again",
            extra={"fields": {"effect": row["_id"]}},
        )
    except Exception:
        log.exception(
            "an effect failed", extra={"fields": {"effect": row["_id"], "kind": row["kind"]}}
        )
        later = bank.now() + leases.backoff(row["attempts"])
        await _put_back(bank, owner, row, Outcome("later", "internal", 0.0), later)


async def _attempt(bank: Bank, effect: Effect) -> Outcome:
    if effect.deadline is not None and bank.now() > effect.deadline:
        return Outcome("expired", "deadline")
    if effect.campaign and await live.is_paused(bank, effect.campaign):
        return Outcome("later", "paused", PAUSED_SECONDS, begun=False)
    try:
        return await _EXECUTORS[effect.kind](bank, effect)
    except PlatformError as error:
        await consents.explain(bank, effect, error)
        return _after(effect, error)
    except Conflict as error:
        return Outcome("failed", error.code)


def _after(effect: Effect, error: PlatformError) -> Outcome:
    """What a platform's refusal means for the effect (contract/wechat D2)."""
    reason = f"{error.code}:{error.errcode}" if error.errcode is not None else error.code
    if isinstance(error, AlreadyDone):
        return Outcome("done", "already_greeted" if effect.kind == "welcome" else reason)
    if effect.kind == "welcome" and error.errcode == CODE_GONE:
        return Outcome("expired", reason)
    if isinstance(error, SubjectState) or error.action == "give_up":
        return Outcome("failed", reason)
    urgent = effect.lane == outbox.WELCOME
    if error.action == "defer":
        seconds = (
            1.0 if urgent and error.retry_after < WELCOME_SECONDS else float(error.retry_after)
        )
        return Outcome("later", reason, seconds, begun=not no_turn(error))
    if error.action == "page":
        log.error(
            "WeCom refuses our configuration",
            extra={"fields": {"tenant": effect.tenant, "reason": reason}},
        )
        return Outcome("later", reason, 2.0 if urgent else 60.0)
    return Outcome("later", reason, 0.5 if urgent else 2.0)


async def _finish(
    bank: Bank, owner: str, row: Doc, effect: Effect, outcome: Outcome, story: Story
) -> None:
    """Ends the effect with its story (what was called and answered), or leaves it for a later try,
    which keeps this one's."""
    now = bank.now()
    if outcome.reason == "paused":
        await _put_back(
            bank, owner, row, outcome, now + outcome.seconds, attempts=row["attempts"] - 1
        )
        return
    if outcome.state == "later":
        due = now + max(
            outcome.seconds,
            leases.backoff(row["attempts"], first=0.25) if outcome.seconds < 60 else 0,
        )
        if effect.deadline is None and outcome.begun and row["attempts"] >= MOST_TRIES:
            outcome = Outcome("failed", f"gave_up_after_{row['attempts']}:{outcome.reason}")
        elif effect.deadline is None or due <= effect.deadline:
            tries = tried(row, now, outcome.reason, story)
            attempts = row["attempts"] - (not outcome.begun)
            await _put_back(bank, owner, row, outcome, due, tries=tries, attempts=attempts)
            return
        else:
            outcome = Outcome("expired", outcome.reason)
    await _tell(bank, effect, outcome)
    ended = {"state": outcome.state, "reason": outcome.reason}
    own = {"story": told(story)}
    await bank.close_each(OUTBOX, owner, effect.id, own, **ended)


async def _put_back(
    bank: Bank, owner: str, row: Doc, outcome: Outcome, due: float, **fields: Any
) -> None:
    rows = bank.db[OUTBOX]
    await leases.put_back(rows, owner, [row["_id"]], due, reason=outcome.reason, **fields)


async def _tell(bank: Bank, effect: Effect, outcome: Outcome) -> None:
    """The customer's story, before the effect is closed: told twice, it is there once."""
    if effect.kind in ("offer", "enrich", "convert") and outcome.state == "done":
        return  # these tell their own story
    if not effect.cid:
        return  # no customer's
    kind = _STORY.get((effect.kind, outcome.state), f"{effect.kind}.{outcome.state}")
    data: dict[str, Any] = {
        "campaign": effect.campaign,
        "step": effect.step,
        "reason": outcome.reason,
    }
    if effect.kind == "tag":
        data["tags"] = ", ".join(effect.args["add"])
    await timeline.record(bank, effect.cid, kind, effect.id, **data)
    if (
        effect.kind == "welcome"
        and outcome.state in ("failed", "expired")
        and effect.args["fallback"]
    ):
        await _fall_back(bank, effect)


_STORY = {
    ("welcome", "done"): "welcome.sent",
    ("tag", "done"): "tag.added",
    ("staff", "done"): "staff.told",
    ("subscribe", "done"): "subscribe.sent",
}


async def _fall_back(bank: Bank, effect: Effect) -> None:
    """The RM is asked to greet by hand what could not be greeted by us."""
    told = Effect(
        id=ids.tenant_id(bank.id, "fallback", effect.id),
        tenant=bank.id,
        kind="staff",
        cid=effect.cid,
        args={**effect.args, "note": "greet_by_hand"},
        campaign=effect.campaign,
        version=effect.version,
        run=effect.run,
        step=f"{effect.step}.fallback",
    )
    row = outbox.row_of(bank.services, told, due=bank.now(), owner=None)
    await bank.insert(OUTBOX, row)
    bank.signal(SEND_EFFECTS)


def _note(effect: Effect) -> str:
    """What stands before the message: the sentence of a code, or nothing."""
    code = effect.args.get("note", "")
    return sentence(code) if code else ""


async def _text(bank: Bank, effect: Effect) -> str:
    """The step's message for this customer, from the version that his run is in."""
    program = await live.program(bank, effect.campaign, effect.version)
    facts = dict(effect.args["facts"])
    try:
        staff = await staff_member(bank, effect.args["userid"])
        facts |= {"staff.name": staff.name, "branch.name": bank.branches.get(staff.branch, "")}
    except NotFound:
        log.warning(
            "a run speaks of an RM who is not on file", extra={"fields": {"run": effect.run}}
        )
    facts["bank.name"] = bank.name.get("zh", "")
    person = await resolution.customer(bank, effect.cid)
    facts["customer.name"] = person.name
    return fill(program.campaign.templates[effect.args["template"]].zh, facts)


async def _welcome(bank: Bank, effect: Effect) -> Outcome:
    if not effect.args["welcome_code"]:
        return Outcome("failed", "no_welcome_code")
    text = await _text(bank, effect)
    with lane("welcome"):
        await bank.wecom.welcome.send(effect.args["welcome_code"], text=text)
    return Outcome("done")


async def _staff(bank: Bank, effect: Effect) -> Outcome:
    message = {
        "msgtype": "text",
        "text": {"content": _note(effect) + await _text(bank, effect)},
        "enable_duplicate_check": 1,
        "duplicate_check_interval": 1800,
    }
    await bank.wecom.messages.send([effect.args["userid"]], message)
    return Outcome("done")


async def _tag(bank: Bank, effect: Effect) -> Outcome:
    person = await resolution.customer(bank, effect.cid)
    await tagging.mark(
        bank,
        effect.args["userid"],
        person.external_userid,
        effect.args["add"],
        effect.args["del"],
    )
    await tagging.remember(
        bank,
        person.cid,
        effect.args["userid"],
        effect.args["add"],
        effect.args["del"],
    )
    return Outcome("done")


async def _offer(bank: Bank, effect: Effect) -> Outcome:
    await offers.make(bank, effect.cid, effect.args["reward"], effect.run)
    return Outcome("done")


async def _enrich(bank: Bank, effect: Effect) -> Outcome:
    await details.fetch(bank, effect.args["external_userid"])
    return Outcome("done")


async def _card(bank: Bank, effect: Effect) -> Outcome:
    await cards.send(bank, effect)
    return Outcome("done")


async def _card_update(bank: Bank, effect: Effect) -> Outcome:
    await cards.update(bank, effect)
    return Outcome("done")


async def _convert(bank: Bank, effect: Effect) -> Outcome:
    await conversion.convert(bank, effect)
    return Outcome("done")


async def _subscribe(bank: Bank, effect: Effect) -> Outcome:
    await subscriptions.deliver(bank, effect)
    return Outcome("done")


_EXECUTORS: dict[str, Callable[[Bank, Effect], Awaitable[Outcome]]] = {
    "welcome": _welcome,
    "staff": _staff,
    "tag": _tag,
    "offer": _offer,
    "enrich": _enrich,
    "card": _card,
    "card_update": _card_update,
    "convert": _convert,
    "subscribe": _subscribe,
}
