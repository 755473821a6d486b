"""Handling what was stored: each message of the inbox, once, until it is done or set aside."""

from __future__ import annotations

import logging
import re

import orjson

from campaigns.engine import runs
from customers import timeline
from customers.banks.bank import Bank
from customers.banks.tasks import HANDLE_INBOX
from customers.identity import resolution
from customers.timeline import TIMELINE
from operations.events import dispatch
from operations.events.rows import DEAD_LETTERS
from services.cache import Slot
from services.errors import Conflict, NotFound, Unavailable, YinqiaoError
from services.observe import trace
from services.observe.trace import Story
from services.queue import inbox, trace_rows
from services.queue.inbox import INBOX
from services.queue.retry import DEAD_LETTER, Retry
from services.store import leases
from services.store.mongo import Doc
from services.wechat import events
from services.wechat.core.errors import EventUnreadable, PlatformError, no_turn

LEASE_SECONDS = 6.0
RETRY = Retry(12, first=0.5, then=DEAD_LETTER)
MOST_NAMES = 50
"""Of this many kinds of unknown events each is counted by its name, the others together."""
DEAD = DEAD_LETTER
_WORD = re.compile(r"[A-Za-z0-9_.-]{0,64}")
_NAMES: Slot[set[str]] = Slot("events.unknown", set)
log = logging.getLogger(__name__)


async def handle_message(bank: Bank, owner: str, row: Doc) -> None:
    """Handles a message of the inbox that is leased to `owner`, and writes down what became of it:
    handled, to be tried again, or a dead letter. Raises nothing but Unavailable."""
    with trace.collect() as story:
        try:
            message = bank.vault.open(INBOX, "body", row["_id"], bytes(row["body"]))
            ended = await _act(bank, row, message)
            own = {"story": trace_rows.told(story)}
            await bank.close_each(INBOX, owner, row["_id"], own, **ended)
        except Unavailable:
            raise
        except Exception as error:
            await _not_handled(bank, owner, row, error, story)


async def _act(bank: Bank, row: Doc, message: bytes) -> Doc:
    """Does what a message asks for; the `state` and `type` with which its row ends."""
    if row["source"] == inbox.REWARDS:
        await _reward_event(bank, message)
        return {"state": dispatch.HANDLED, "type": "reward_claimed"}
    ended: Doc = {"state": dispatch.NOTED, "type": "empty"}
    for event in read(row["source"], message):  # several of one kind, if any
        state = await dispatch.react(bank, row, event)
        name = (
            await _unknown(bank, row, event)
            if isinstance(event, events.Unknown)
            else events.kind(event)
        )
        ended = {"state": state, "type": name}
    return ended


def read(source: str, message: bytes) -> tuple[events.Event, ...]:
    """The events in a platform's message; raises EventUnreadable."""
    if source == inbox.WECOM:
        return (events.parse_event(message),)
    return events.parse_push(source.removeprefix(f"{inbox.WECHAT}:"), message)


async def _unknown(bank: Bank, row: Doc, event: events.Unknown) -> str:
    """Counts an event that nobody knows and puts it on the list of what is set aside; its name
    there."""
    names = bank.services.cache.of(_NAMES)
    event_name, change = plain(event.event), plain(event.change_type)
    name = f"{event_name}/{change}" if change else event_name
    if name in names or len(names) < MOST_NAMES:
        names.add(name)
        bank.services.metrics.events_unknown.labels(event_name, change).inc()
    else:
        bank.services.metrics.events_unknown.labels("other", "other").inc()
    await _set_aside(bank, row, dispatch.UNKNOWN, name=name)
    return name


def plain(name: str) -> str:
    """A platform's name as a label: what is no word of a platform could be anything, and is shown
    to nobody."""
    return name if _WORD.fullmatch(name) else "unreadable"


async def _set_aside(bank: Bank, row: Doc, state: str, **fields: str) -> None:
    aside = {"_id": row["_id"], "state": state, "at": row["at"], "name": "", "reason": "", **fields}
    await bank.insert(DEAD_LETTERS, aside)


async def _not_handled(bank: Bank, owner: str, row: Doc, error: Exception, story: Story) -> None:
    """A later try, or after the last of RETRY the quarantine: the row stays, with its reasons, for a
    person."""
    rows = bank.db[INBOX]
    fields = {"event": row["_id"], "attempts": row["attempts"], "error": type(error).__name__}
    reason = error.code if isinstance(error, YinqiaoError) else type(error).__name__
    tries = trace_rows.tried(row, bank.now(), reason, story)
    if (RETRY.is_over(row["attempts"]) and not no_turn(error)) or isinstance(
        error, EventUnreadable
    ):
        log.error("an event was set aside", extra={"fields": fields})
        await _set_aside(bank, row, DEAD, reason=reason)
        await leases.close(rows, owner, [row["_id"]], state=DEAD, reason=reason, tries=tries)
        return
    log.warning("an event failed; it will be tried again", extra={"fields": fields}, exc_info=error)
    asked = (
        error.retry_after if isinstance(error, PlatformError) and error.action == "defer" else 0.0
    )
    wait = RETRY.delay(row["attempts"], at_least=asked)
    attempts = row["attempts"] - no_turn(error)
    await leases.put_back(
        rows,
        owner,
        [row["_id"]],
        bank.now() + wait,
        reason=reason,
        tries=tries,
        attempts=attempts,
    )


async def _reward_event(bank: Bank, message: bytes) -> None:
    """A batch of grants, as rewards/claims.py tells it: into the customers' stories, and to the
    runs that wait for it."""
    event = orjson.loads(message)
    data = {"reward": event["reward"]}
    entries = [
        timeline.entry(bank, cid, "reward.claimed", grant, data, at)
        for grant, cid, at in event["grants"]
    ]
    await bank.db[TIMELINE].insert_new(entries)
    if event["offered"]:
        for _, cid, _ in event["grants"]:
            person = await resolution.customer(bank, cid)
            await runs.on_event(bank, person.cids, "reward.claimed")


async def retry(bank: Bank, actor: str, event: str) -> None:
    """Makes an event due again that was set aside, that nobody knew, or that needed no reaction
    then.

    Raises NotFound `event_unknown`, or Conflict `event_not_set_aside`.
    """
    db = bank.db
    again = {"open": True, "due": bank.now(), "attempts": 0, "state": None, "reason": ""}
    ended = {
        "_id": event,
        "open": False,
        "state": {"$in": [DEAD, dispatch.UNKNOWN, dispatch.NOTED]},
    }
    if not await db[INBOX].update(ended, {"$set": again}):
        if await db[INBOX].find_one({"_id": event}, {"_id": 1}) is None:
            raise NotFound("event_unknown", "no such event")
        raise Conflict("event_not_set_aside", "this event waits already, or was handled")
    await db[DEAD_LETTERS].delete({"_id": event})
    await bank.audit(actor, "event.retried", event)
    bank.signal(HANDLE_INBOX)
