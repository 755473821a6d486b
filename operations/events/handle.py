"""Handling what was stored: each message of the inbox, once, until it is done or a dead letter."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TypedDict

import orjson

from campaigns.engine import runs
from customers import happenings, timeline
from customers.alerts import alarms
from customers.banks.bank import Bank
from customers.banks.tasks import HANDLE_INBOX
from customers.identity import resolution
from operations.events import dead_letters, dispatch
from operations.events.rows import DEAD
from rewards.points import earning
from rewards.points.occasions import Happening
from rewards.shipping import shipments
from rewards.vouchers import issuing
from services.cache import Slot
from services.clock import utc
from services.errors import Unavailable, YinqiaoError
from services.observe import trace
from services.observe.trace import Trace
from services.queue import inbox, trace_rows
from services.queue.inbox import InboxRow
from services.queue.retry import DEAD_LETTER, Retry
from services.store.mongo import Doc
from services.wechat import events
from services.wechat.core.errors import EventUnreadable, PlatformError, behind

LEASE_SECONDS = 6.0
RETRY = Retry(12, first=0.5, then=DEAD_LETTER)
MOST_NAMES = 50
"""Of this many kinds of unknown events each is counted by its name, the others together."""
_WORD = re.compile(r"[A-Za-z0-9_.-]{0,64}")
_NAMES: Slot[set[str]] = Slot("events.unknown", set)
log = logging.getLogger(__name__)


class Handled(TypedDict):
    """How the row of a message ends: what was done (operations/events/dispatch.py), and the kind of
    its event."""

    state: str
    type: str


async def handle_message(bank: Bank, owner: str, row: InboxRow) -> None:
    """Handles a message of the inbox that is leased to `owner`, and writes down what became of it:
    handled, put off with what is left, to be tried again, or a dead letter. Raises nothing but
    Unavailable."""
    begun = trace_rows.trace_of(row["trace"]) if "left" in row and "trace" in row else None
    with trace.collect(begun) as traced:
        try:
            handled, left = await _react(bank, row)
            kept = trace_rows.trace_row(traced)
            if left is None:
                await inbox.end(bank.services, row, owner, kept, **handled)
            else:
                await inbox.put_off(bank.services, row, owner, kept, left)
        except Unavailable:
            raise
        except Exception as error:
            await _failed(bank, owner, row, error, traced)


async def _react(bank: Bank, row: InboxRow) -> tuple[Handled, Doc | None]:
    """Does what a message asks for, and what is left of it; of several events in one it answers for
    the last."""
    message = inbox.message_of(bank.services, row)
    if row["source"] == inbox.REWARDS:
        await _rewards_claimed(bank, message)
        return Handled(state=dispatch.HANDLED, type="reward_claimed"), None
    if row["source"] == inbox.HAPPENED:
        await earning.happened(bank, happenings.read(message))
        return Handled(state=dispatch.HANDLED, type="happened"), None
    left: Doc | None = None
    handled = Handled(state=dispatch.NOTED, type="empty")
    for event in read(row["source"], message):
        state, left = await dispatch.react(bank, row, event)
        kind = events.kind(event)
        if isinstance(event, events.Unknown):
            kind = await _count_unknown(bank, row, event)
        handled = Handled(state=state, type=kind)
    return handled, left


def read(source: str, message: bytes) -> tuple[events.Event, ...]:
    """The events in a platform's message; raises EventUnreadable."""
    if source == inbox.WECOM:
        return (events.parse_event(message),)
    return events.parse_push(source.removeprefix(f"{inbox.WECHAT}:"), message)


async def _count_unknown(bank: Bank, row: InboxRow, event: events.Unknown) -> str:
    """Counts an event that nobody knows, and keeps it as a dead letter; its name there."""
    kind, change = plain(event.event), plain(event.change_type)
    name = f"{kind}/{change}" if change else kind
    names = bank.services.cache.of(_NAMES)
    if name in names or len(names) < MOST_NAMES:
        names.add(name)
    else:
        kind = change = "other"
    bank.services.metrics.events_unknown.labels(kind, change).inc()
    await dead_letters.add_unknown(bank, row, name)
    return name


def plain(name: str) -> str:
    """A platform's name as a label: what is no word of a platform could be anything, and is shown
    to nobody."""
    return name if _WORD.fullmatch(name) else "unreadable"


async def _failed(bank: Bank, owner: str, row: InboxRow, error: Exception, traced: Trace) -> None:
    """A later try, or after the last of RETRY a dead letter."""
    fields = {"event": row["_id"], "attempts": row["attempts"], "error": type(error).__name__}
    reason = error.code if isinstance(error, YinqiaoError) else type(error).__name__
    kept: Doc = {"reason": reason, "tries": trace_rows.tries_with(row, bank.now(), reason, traced)}
    if _is_over(row, error):
        log.error("an event is a dead letter", extra={"fields": fields})
        await dead_letters.add_dead(bank, row, reason)
        await inbox.give_up(bank.db, row, owner, state=DEAD, **kept)
        await alarms.work_failed(bank, HANDLE_INBOX, reason)
        return
    log.warning("an event failed; it will be tried again", extra={"fields": fields}, exc_info=error)
    due = bank.now() + RETRY.delay(row["attempts"], at_least=_asked_for(error))
    limited = behind(error)
    attempts = row["attempts"] - bool(limited)
    await inbox.put_back(bank.db, row, owner, due=due, attempts=attempts, **kept, **limited)


def _is_over(row: InboxRow, error: Exception) -> bool:
    """Whether this was the last try. What a platform's limit refused is none: it is waited for as
    long as it takes."""
    if isinstance(error, EventUnreadable):
        return True
    return RETRY.is_over(row["attempts"]) and not behind(error)


def _asked_for(error: Exception) -> float:
    """How long the platform wants us to wait, in seconds."""
    if isinstance(error, PlatformError) and error.action == "defer":
        return float(error.retry_after)
    return 0.0


async def _rewards_claimed(bank: Bank, message: bytes) -> None:
    """A batch of grants, as rewards/claims.py tells it: into the customers' timelines, to the runs
    that wait for it, and to the points that come with it or are earned by it. What fails for one
    holds up nothing else; it is tried again with all of it, and whatever was done is done once."""
    event = orjson.loads(message)
    data = {"reward": event["reward"]}
    entries = [
        timeline.entry(bank, cid, "reward.claimed", grant, data, at)
        for grant, cid, at in event["grants"]
    ]
    granted = [(grant, cid, utc(at)) for grant, cid, at in event["grants"]]
    doing: list[Callable[[], Awaitable[object]]] = [
        partial(timeline.record_many, bank, entries),
        partial(shipments.claimed, bank, event["reward"], granted),
        partial(issuing.of_claims, bank, [grant for grant, _, _ in event["grants"]]),
    ]
    if event["offered"]:
        doing += [partial(_run_on, bank, cid) for _, cid, _ in event["grants"]]
    for grant, cid, at in event["grants"]:
        if points := event.get("points"):
            doing.append(partial(earning.grant, bank, cid, grant, event["reward"], points))
        doing.append(partial(earning.earn, bank, Happening("reward.claimed", cid, grant, at)))
    await _one_after_the_other(doing)


async def _run_on(bank: Bank, cid: str) -> None:
    person = await resolution.customer(bank, cid)
    await runs.on_event(bank, person.cids, "reward.claimed")


async def _one_after_the_other(doing: Iterable[Callable[[], Awaitable[object]]]) -> None:
    """Does all of it, and raises what failed first; Unavailable at once."""
    failed: Exception | None = None
    for one in doing:
        try:
            await one()
        except Unavailable:
            raise
        except Exception as error:
            if failed is not None:
                log.warning("more of an event failed", exc_info=error)
            failed = failed or error
    if failed is not None:
        raise failed
