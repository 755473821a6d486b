"""Subscribe messages of mini-programs, with their allowance counted (contract/wechat A4).

A customer's accept in WeChat's prompt allows one message of a one-time template; accepts add up. A
long-term template (named in the bank's file) is allowed until he turns it off. The allowance lives
in one row for each openid and template: an accept adds to it once, by the id of its event; a send
takes from it by one conditional write, and gives back only what was surely not sent.

Where the bank has WeChat's message push, its events are what counts, and a report by the
mini-program changes nothing: counting both would count twice. Without push the report counts, once
for each Idempotency-Key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from customers import timeline
from customers.access import withdrawal
from customers.actors import CustomerActor
from customers.banks.bank import Bank
from customers.banks.tasks import SEND_EFFECTS
from customers.identity import resolution
from customers.identity.resolution import Facts
from customers.messaging.rows import SUBSCRIPTIONS, Subscription
from services import ids
from services.clock import utc
from services.errors import Conflict, InvalidInput
from services.queue import outbox, turns
from services.queue.effects import EffectKind, Outcome
from services.queue.inbox import InboxRow
from services.queue.outbox import Effect
from services.store.mongo import Doc
from services.wechat import events
from services.wechat.core.errors import PlatformError, SubjectState, UnknownOutcome

TURN_SECONDS = 30
"""Longer than a try may take."""
ONE_AT_A_TIME_SECONDS = 0.5
NOT_ALLOWED = 43101
REMEMBERED = 100
"""So many events and sends a row remembers; more of one customer and template are never under way
at once."""
MOST_REPORTED = 5

_CHARS = r"[0-9A-Za-z!-/:-@\[-`{-~]"
_VALUES = {
    "thing": r".{1,20}",
    "number": r"(?=.{1,33}$)\d{1,32}(\.\d+)?",
    "letter": r"[A-Za-z]{1,32}",
    "symbol": r"[^\w\s]{1,5}",
    "character_string": _CHARS + r"{1,32}",
    "time": r"(.*\s)?\d{1,2}:\d{2}(:\d{2})?(~.*)?",
    "date": r"\d{4}[年/-]\d{1,2}[月/-]\d{1,2}日?(\s+\d{1,2}:\d{2}(:\d{2})?)?(~.*)?",
    "amount": r"[^\d\s]?\d{1,10}(\.\d{1,2})?元?",
    "phone_number": r"[+\d\s()*-]{1,17}",
    "car_number": r".{1,8}",
    "name": r"[\u4e00-\u9fff·]{1,10}|[A-Za-z .'-]{1,20}",
    "phrase": r"[\u4e00-\u9fff]{1,5}",
}
_KEY = re.compile(r"([a-z_]+?)(\d+)")


def check_values(data: Mapping[str, str]) -> None:
    """Raises InvalidInput `template_value` that names every value which the kind of its key does
    not allow."""
    wrong = {key: "not allowed here" for key, value in data.items() if not _fits(key, value)}
    if wrong or not data:
        raise InvalidInput("template_value", "WeChat would not take these values", fields=wrong)


def _fits(key: str, value: str) -> bool:
    found = _KEY.fullmatch(key)
    pattern = _VALUES.get(found[1]) if found else None
    return pattern is not None and re.fullmatch(pattern, value) is not None


def _row_id(bank: Bank, appid: str, openid: str, template_id: str) -> str:
    blind = bank.vault.blind("subscriptions.openid", openid)
    return ids.tenant_id(bank.id, "subscription", appid, blind, template_id)


async def _row(bank: Bank, appid: str, openid: str, template_id: str) -> str:
    """The id of the allowance's row, which is there from now on."""
    row_id = _row_id(bank, appid, openid, template_id)
    row: Subscription = {
        "_id": row_id,
        "appid": appid,
        "template_id": template_id,
        "long_term": template_id in bank.miniprograms[appid].long_term_templates,
        "allowance": 0,
        "state": "unknown",
        "heard": [],
        "taken": [],
        "at": bank.utc(),
    }
    await bank.insert(SUBSCRIPTIONS, {**row})
    return row_id


@dataclass(frozen=True, slots=True)
class _Answer:
    """One answer for one template, given `at` (seconds UTC) in the prompt or in the settings."""

    accepted: bool
    prompt: bool
    at: float


class _Try(NamedTuple):
    """A change that is right unless the row has a later time in the field `unless` (empty: always);
    `counts` says whether the answer counted then."""

    unless: str
    change: Doc
    counts: bool


async def _count(bank: Bank, row_id: str, key: str, answer: _Answer) -> bool:
    """Counts one answer, unless it was counted under this key before. Only an accept in the prompt
    allows a message; a change of the settings turns messages off, or on again for a long-term
    template. Told late, an answer changes no newer state, an accept from before messages were
    turned off allows none, and turning them off takes no later accept away. (Of accepts before and
    after it, one too many may then be thought allowed: WeChat refuses it with 43101.)"""
    heard: Doc = {"$push": {"heard": {"$each": [key], "$slice": -REMEMBERED}}}
    unheard = {"_id": row_id, "heard": {"$ne": key}}
    for unless, change, counts in _tries(answer):
        older: Doc = {unless: {"$not": {"$gt": utc(answer.at)}}} if unless else {}
        if await bank.db[SUBSCRIPTIONS].update({**unheard, **older}, {**heard, **change}):
            return counts
    return False


def _tries(answer: _Answer) -> list[_Try]:
    """What an answer changes, from the newest word to one that came too late for anything."""
    at = utc(answer.at)
    state = {"state": "accepted" if answer.accepted else "refused", "state_at": at}
    late_counts = not answer.accepted
    if answer.accepted != answer.prompt:  # no allowance comes or goes by it
        return [_Try("state_at", {"$set": state}, True), _Try("", {}, late_counts)]
    if answer.accepted:
        own, opposite = "accepted_at", "off_at"
        allowed: Doc = {"$inc": {"allowance": 1}}
        newest: Doc = {**allowed, "$set": state}
    else:
        own, opposite = "off_at", "accepted_at"
        allowed = {"$set": {"allowance": 0}}
        newest = {"$set": {"allowance": 0, **state}}
    seen: Doc = {"$max": {own: at}}
    return [
        _Try("state_at", {**seen, **newest}, True),
        _Try(opposite, {**seen, **allowed}, True),
        _Try("", seen, late_counts),
    ]


async def answered(bank: Bank, row: InboxRow, event: events.SubscribeAnswered) -> None:
    """The customer answered the prompt, or changed his settings."""
    appid = event.corp_id
    at = events.happened(event, row)
    facts = Facts(openids={appid: event.openid})
    cid = await resolution.identify(bank, facts, source="callback", proof=row["_id"])
    for template_id, accepted in event.answers:
        row_id = await _row(bank, appid, event.openid, template_id)
        await _count(bank, row_id, row["_id"], _Answer(accepted, event.how == "popup", at))
        kind = "subscribe.accepted" if accepted else "subscribe.refused"
        key = f"{row['_id']}|{template_id}"
        await timeline.record(bank, cid, kind, key, at=at, appid=appid, template=template_id)


async def sent(bank: Bank, row: InboxRow, event: events.SubscribeSent) -> None:
    """What became of a message that WeChat had taken."""
    facts = Facts(openids={event.corp_id: event.openid})
    cid = await resolution.identify(bank, facts, source="callback", proof=row["_id"])
    kind = "subscribe.undelivered" if event.error_code else "subscribe.delivered"
    key = event.msg_id or row["_id"]
    why = event.error_status if event.error_code else ""
    data = {"appid": event.corp_id, "template": event.template_id, "reason": why}
    await timeline.record_many(bank, [timeline.entry(bank, cid, kind, key, data)])


async def report(
    bank: Bank, actor: CustomerActor, answers: Mapping[str, bool], key: str
) -> dict[str, bool]:
    """What the mini-program says that its customer answered: template → whether it was counted.

    `key` is the request's Idempotency-Key. Nothing is counted where WeChat's push tells. Raises
    Conflict `no_openid`, InvalidInput `too_many_templates`, and `template_unknown` for one that the
    bank's file does not name: a made-up id would be a row for good.
    """
    if len(answers) > MOST_REPORTED:
        raise InvalidInput("too_many_templates", f"a prompt has at most {MOST_REPORTED} templates")
    program = bank.miniprograms[actor.appid]
    if program.token and program.aes_key:
        return dict.fromkeys(answers, False)
    unknown = answers.keys() - {*program.templates, *program.long_term_templates}
    if unknown:
        raise InvalidInput("template_unknown", "this mini-program has no such template")
    openid = await openid_of(bank, actor.cid, actor.appid)
    counted = {}
    for template_id, accepted in answers.items():
        row_id = await _row(bank, actor.appid, openid, template_id)
        answer = _Answer(accepted, prompt=True, at=bank.now())
        counted[template_id] = await _count(bank, row_id, f"report:{key}", answer)
    return counted


async def openid_of(bank: Bank, cid: str, appid: str) -> str:
    """The customer's openid at that mini-program; raises Conflict `no_openid` for somebody who was
    never there."""
    openid = (await resolution.customer(bank, cid)).openids.get(appid, "")
    if not openid:
        raise Conflict("no_openid", "this customer was never in this mini-program")
    return openid


async def is_allowed(bank: Bank, cid: str, appid: str, template_id: str) -> bool:
    """Whether the customer allows such a message now, as far as we know; False for who was never
    there."""
    openid = (await resolution.customer(bank, cid)).openids.get(appid, "")
    if not openid:
        return False
    row_id = _row_id(bank, appid, openid, template_id)
    row = await bank.db[SUBSCRIPTIONS].find_one({"_id": row_id})
    if row is None:
        return False
    return bool(row["state"] == "accepted" if row["long_term"] else row["allowance"] > 0)


async def send(
    bank: Bank,
    appid: str,
    cid: str,
    template_id: str,
    data: Mapping[str, str],
    *,
    key: str,
    page: str = "",
) -> str:
    """Sends a message as soon as a worker is free; the effect's id. The same `key` (what caused it)
    sends no second one.

    Raises InvalidInput `template_value`, Conflict `no_openid`. Whether it is allowed is asked when
    it is sent: the effect then ends with `no_allowance`, `subscription_refused` or
    `subscribe_unknown`.
    """
    check_values(data)
    await openid_of(bank, cid, appid)
    effect = Effect(
        id=ids.tenant_id(bank.id, "subscribe", cid, template_id, key),
        tenant=bank.id,
        kind=SUBSCRIBE.name,
        cid=cid,
        args={"appid": appid, "template_id": template_id, "data": dict(data), "page": page},
    )
    if await outbox.put(bank.services, effect, due=bank.now()):
        bank.signal(SEND_EFFECTS)
    return effect.id


async def deliver(bank: Bank, effect: Effect) -> Outcome | None:
    """The effect's one try, when no other message is on its way to the customer: WeChat refuses
    two at once to one openid (43108). Raises what `_deliver` does."""
    openid = await openid_of(bank, effect.cid, effect.args["appid"])
    name = ids.tenant_id(bank.id, "subscribe", effect.args["appid"], openid)
    async with turns.turn(bank.services.redis, name, TURN_SECONDS) as mine:
        if not mine:
            return Outcome("later", "one_at_a_time", ONE_AT_A_TIME_SECONDS, begun=False)
        await _deliver(bank, effect, openid)
    return None


async def _deliver(bank: Bank, effect: Effect, openid: str) -> None:
    """Takes from the allowance, then sends.

    Raises Conflict `consent_withdrawn`, `no_allowance`, `subscription_refused` (43101: nothing is
    left there),
    `subscribe_unknown` when an earlier or this try's answer was lost, since a second message is
    worse than none; and PlatformError, with the allowance given back.
    """
    args = effect.args
    await withdrawal.check_may_contact(bank, effect.cid)
    row_id = await _row(bank, args["appid"], openid, args["template_id"])
    await _take(bank, row_id, effect.id)
    client = bank.miniprogram(args["appid"])
    try:
        await client.subscribe_send(openid, args["template_id"], args["data"], page=args["page"])
    except UnknownOutcome as error:
        raise Conflict(
            "subscribe_unknown", "WeChat's answer was lost; the message may have gone out"
        ) from error
    except SubjectState as error:
        if error.errcode != NOT_ALLOWED:
            await _give_back(bank, row_id, effect.id)
            raise
        empty = {"$set": {"allowance": 0, "state": "refused"}}
        await bank.db[SUBSCRIPTIONS].update({"_id": row_id}, empty)
        raise Conflict(
            "subscription_refused", "the customer does not accept this message"
        ) from error
    except PlatformError:
        await _give_back(bank, row_id, effect.id)
        raise


async def _take(bank: Bank, row_id: str, effect_id: str) -> None:
    rows = bank.db[SUBSCRIPTIONS]
    taken = {"$push": {"taken": {"$each": [effect_id], "$slice": -REMEMBERED}}}
    free = {"_id": row_id, "taken": {"$ne": effect_id}}
    if await rows.update(
        {**free, "long_term": False, "allowance": {"$gt": 0}}, {**taken, "$inc": {"allowance": -1}}
    ):
        return
    if await rows.update({**free, "long_term": True, "state": "accepted"}, taken):
        return
    row = await rows.find_one({"_id": row_id})
    if row is not None and effect_id in row["taken"]:
        raise Conflict(
            "subscribe_unknown", "an earlier try was cut short; the message may have gone out"
        )
    raise Conflict("no_allowance", "the customer has allowed no such message")


async def _give_back(bank: Bank, row_id: str, effect_id: str) -> None:
    rows = bank.db[SUBSCRIPTIONS]
    untake = {"$pull": {"taken": {"$in": [effect_id]}}}
    mine = {"_id": row_id, "taken": effect_id}
    if not await rows.update({**mine, "long_term": False}, {**untake, "$inc": {"allowance": 1}}):
        await rows.update(mine, untake)


SUBSCRIBE: EffectKind[Bank] = EffectKind(name="subscribe", execute=deliver, story="subscribe.sent")
"""A subscribe message; a lost answer is never tried again."""
