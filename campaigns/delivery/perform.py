"""Performing effects, whatever their kind: tried until they are done, given up with a reason, or
too late.

What a try does is the kind's own (`campaigns/delivery/kinds.py`); what its refusal means, when it is
tried again and how it ends is the same for all.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from campaigns import live
from campaigns.delivery.kinds import KINDS
from campaigns.engine import pausing
from customers import relationships, timeline
from customers.alerts import troubles
from customers.banks.bank import Bank
from customers.identity import resolution
from services.errors import Conflict, Unavailable
from services.observe import trace
from services.observe.trace import Trace
from services.queue import outbox
from services.queue.effects import RETRY, EffectKind, Outcome
from services.queue.outbox import Effect
from services.queue.trace_rows import trace_row, tries_with
from services.store.mongo import Doc
from services.wechat.core.errors import AlreadyDone, PlatformError, SubjectState, behind

LEASE_SECONDS = {outbox.WELCOME: 6.0, outbox.EFFECTS: 20.0}
"""By lane. A welcome is soon too late, and trying it twice is harmless. Of the others none may look
dead while it still waits for its turn and its answer: a subscribe message is taken for lost when
somebody else finds it begun."""
PAUSED_SECONDS = 5.0
"""After so long at the latest all that slept is due again when its campaign goes on."""
URGENT_SECONDS = 20.0
"""An urgent effect does not wait for a limit that is over sooner than this."""
FIXED_SECONDS = 60.0
"""A pause that is asked for and as long as this is kept as it is."""
INTERNAL, PAUSED, DEADLINE = "internal", "paused", "deadline"
FRIENDSHIP_OVER = "friendship_over"
_FAULT = "an effect failed"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Try:
    """One try of a leased effect: its row, and under whose name it may be changed."""

    bank: Bank
    owner: str
    row: Doc
    kind: EffectKind[Bank]
    effect: Effect
    trace: Trace

    @property
    def attempt(self) -> int:
        return int(self.row["attempts"])


async def perform(bank: Bank, owner: str, row: Doc) -> None:
    """Tries a leased effect once and writes down what became of it. Never raises: a fault of ours
    is a later try, and after the last one the effect has failed for `internal`."""
    try:
        kind = KINDS[row["kind"]]
        effect = outbox.effect_of(bank.services, row)
        with trace.collect() as traced:
            outcome = await _attempt(bank, kind, effect)
        await _settle(_Try(bank, owner, row, kind, effect, traced), outcome)
    except Unavailable:
        log.warning(
            "an effect's outcome could not be written; it is due again",
            extra={"fields": {"effect": row["_id"]}},
        )
    except Exception:
        log.exception(_FAULT, extra={"fields": {"effect": row["_id"], "kind": row["kind"]}})
        await _give_back(bank, owner, row)


async def perform_new(bank: Bank, effect: Effect, row: Doc) -> None:
    """Tries an effect before its `row` is in the outbox, and puts that there as it ended, or leased
    to its owner when there is more to do about it. The story of what was done is told afterwards
    (`tell_done`).

    Only for what is safe to try again: who is killed in between leaves no row, and whoever asks for
    the effect anew cannot know (`in_doubt`). Raises Unavailable.
    """
    kind = KINDS[effect.kind]
    with trace.collect() as traced:
        outcome = await _attempt(bank, kind, effect)
    if outcome.state == "done":
        ended = outbox.Ended(outcome.state, outcome.reason, {"trace": trace_row(traced)})
        await outbox.insert(bank.services, outbox.as_ended(row, ended))
    elif await outbox.insert(bank.services, row):
        await _settle(_Try(bank, row["owner"], row, kind, effect, traced), outcome)


async def tell_done(bank: Bank, effect: Effect, reason: str) -> None:
    """Tells the customer's story that it was done."""
    kind = KINDS[effect.kind]
    if kind.story and effect.cid:
        await _tell_story(bank, kind.story, effect, reason)


async def _attempt(bank: Bank, kind: EffectKind[Bank], effect: Effect) -> Outcome:
    if effect.deadline is not None and bank.now() > effect.deadline:
        return Outcome("expired", "deadline")
    if effect.campaign and await live.is_paused(bank, effect.campaign):
        return Outcome("later", "paused", _until_it_goes_on(bank, effect), begun=False)
    try:
        if effect.run and await _is_friendship_over(bank, effect):
            return Outcome("failed", FRIENDSHIP_OVER, the_customers=True, quiet=True)
        return await kind.execute(bank, effect) or Outcome("done")
    except PlatformError as error:
        return _refused(effect, error)
    except Conflict as error:
        return Outcome("failed", error.code, the_customers=True)
    except Unavailable:
        raise
    except Exception:
        log.exception(_FAULT, extra={"fields": {"effect": effect.id, "kind": effect.kind}})
        return Outcome("later", "internal", 1.0)


def _until_it_goes_on(bank: Bank, effect: Effect) -> float:
    """Seconds for which a paused campaign's effect sleeps: until it is too late, if it has a
    deadline."""
    if effect.deadline is None:
        return pausing.SLEEP_SECONDS
    return max(0.1, effect.deadline - bank.now() + 0.1)


async def _is_friendship_over(bank: Bank, effect: Effect) -> bool:
    """Whether the friendship by which he entered is known to be over."""
    userid = str(effect.args.get("userid") or "")
    return bool(userid) and await relationships.is_over(
        bank, userid, await resolution.cids(bank, effect.cid)
    )


def _refused(effect: Effect, error: PlatformError) -> Outcome:
    """What a platform's refusal means for the effect (contract/wechat D2)."""
    urgent = effect.lane == outbox.WELCOME
    if isinstance(error, AlreadyDone):
        return Outcome("done", error.reason)
    if isinstance(error, SubjectState) or error.action == "give_up":
        return Outcome("failed", error.reason, the_customers=isinstance(error, SubjectState))
    if error.action == "defer":
        soon = urgent and error.retry_after < URGENT_SECONDS
        seconds = 1.0 if soon else float(error.retry_after)
        path = behind(error).get("behind", "")
        return Outcome("later", error.reason, seconds, begun=not path, behind=path)
    if error.action == "page":
        log.error(
            "WeCom refuses our configuration",
            extra={"fields": {"tenant": effect.tenant, "reason": error.reason}},
        )
        return Outcome("later", error.reason, 2.0 if urgent else 60.0)
    return Outcome("later", error.reason, 0.5 if urgent else 2.0)


async def _settle(this: _Try, outcome: Outcome) -> None:
    """Ends the effect, or leaves it for a later try."""
    if outcome.state != "later":
        await _end(this, outcome)
        return
    due = this.bank.now() + _pause(this, outcome)
    end = _last(this, outcome, due)
    if end is not None:
        await _end(this, end)
    else:
        await _try_later(this, outcome, due)


def _pause(this: _Try, outcome: Outcome) -> float:
    """Seconds until the next try."""
    if outcome.reason == PAUSED or outcome.seconds >= FIXED_SECONDS:
        return outcome.seconds
    return this.kind.retry.delay(this.attempt, at_least=outcome.seconds)


def _last(this: _Try, outcome: Outcome, due: float) -> Outcome | None:
    """How the effect ends when this try was the last; None when it is tried again at `due`."""
    deadline = this.effect.deadline
    if outcome.reason == PAUSED:
        return None
    if deadline is not None:
        return None if due <= deadline else Outcome("expired", outcome.reason)
    if not outcome.begun or not this.kind.retry.is_over(this.attempt):
        return None
    if outcome.reason == INTERNAL:
        return Outcome("failed", INTERNAL)
    return Outcome("failed", f"gave_up_after_{this.attempt}:{outcome.reason}")


async def _try_later(this: _Try, outcome: Outcome, due: float) -> None:
    """Makes the effect due at `due`, with this try and what was called in it; a pause is none."""
    fields: Doc = {"reason": outcome.reason, "attempts": this.attempt - (not outcome.begun)}
    if outcome.behind:
        fields["behind"] = outcome.behind
    if outcome.reason != PAUSED:
        fields["tries"] = tries_with(this.row, this.bank.now(), outcome.reason, this.trace)
    await outbox.put_back(this.bank.db, this.owner, this.effect.id, due, **fields)
    if outcome.reason == PAUSED and await pausing.goes_on(this.bank, this.effect.campaign):
        soon = this.bank.now() + pausing.SOON
        await outbox.wake(this.bank.db, this.effect.campaign, soon, pausing.TOGETHER)


async def _end(this: _Try, outcome: Outcome) -> None:
    """Tells the customer's story, then ends the effect with what was called and answered."""
    await _tell(this, outcome)
    ended = outbox.Ended(outcome.state, outcome.reason, {"trace": trace_row(this.trace)})
    await outbox.end(this.bank.services, this.row, this.owner, ended)


async def _tell(this: _Try, outcome: Outcome) -> None:
    """Whoever must hear of a failure, and the customer's story, before the effect is closed: told
    twice, it is there once."""
    kind, effect = this.kind, this.effect
    done = outcome.state == "done"
    if not done and (effect.lane == outbox.WELCOME or not outcome.the_customers):
        await troubles.failed(this.bank, kind.name, _cause(this, outcome))
    if done:
        await tell_done(this.bank, effect, outcome.reason)
    elif effect.cid:
        await _tell_story(this.bank, f"{kind.name}.{outcome.state}", effect, outcome.reason)
    if kind.unsent is not None and not done and not outcome.quiet:
        await kind.unsent(this.bank, effect)


async def _tell_story(bank: Bank, story: str, effect: Effect, reason: str) -> None:
    await timeline.record(
        bank,
        effect.cid,
        story,
        effect.id,
        campaign=effect.campaign,
        step=effect.step,
        reason=reason,
        **KINDS[effect.kind].details(effect),
    )


def _cause(this: _Try, outcome: Outcome) -> str:
    """Why it came to nothing: of what was too late, what kept it."""
    return str(this.row.get("reason") or DEADLINE) if outcome.reason == DEADLINE else outcome.reason


async def _give_back(bank: Bank, owner: str, row: Doc) -> None:
    """A later try of what could not even be begun or told, or its end after the last one."""
    kind = KINDS.get(row["kind"])
    retry = kind.retry if kind is not None else RETRY
    if not retry.is_over(row["attempts"]):
        due = bank.now() + retry.delay(row["attempts"], at_least=1.0)
        await outbox.put_back(bank.db, owner, row["_id"], due, reason=INTERNAL)
        return
    await troubles.failed(bank, row["kind"], INTERNAL)
    await outbox.end(bank.services, row, owner, outbox.Ended("failed", INTERNAL))
