"""Dead letters: what needs a person, because it could not be handled or because nobody knows it.

They are put here before the event's own row ends. The inbox row says what holds: a letter whose
event was handled since is not shown.
"""

from __future__ import annotations

from typing import TypedDict

from customers.banks.bank import Bank
from customers.banks.tasks import HANDLE_INBOX
from operations.events.dispatch import NOTED
from operations.events.rows import DEAD, DEAD_LETTERS, UNKNOWN, DeadLetter
from services.errors import Conflict, NotFound
from services.queue import inbox
from services.queue.inbox import InboxRow
from services.store.mongo import Doc


async def add_dead(bank: Bank, row: InboxRow, reason: str) -> None:
    """Keeps an event that could not be handled, with the reason."""
    await bank.insert(DEAD_LETTERS, {**_letter(row, DEAD, reason=reason)})


async def add_unknown(bank: Bank, row: InboxRow, name: str) -> None:
    """Keeps an event of a kind that nobody knows, under the platform's name for it."""
    await bank.insert(DEAD_LETTERS, {**_letter(row, UNKNOWN, name=name)})


def _letter(row: InboxRow, state: str, *, name: str = "", reason: str = "") -> DeadLetter:
    return DeadLetter(
        _id=row["_id"], tenant=row["tenant"], state=state, at=row["at"], name=name, reason=reason
    )


async def newest(bank: Bank, state: str, limit: int) -> list[InboxRow]:
    """The newest events that are dead letters of that state."""
    letters = await bank.db[DEAD_LETTERS].find(
        {"state": state}, sort=[("at", -1)], limit=limit, fields={"_id": 1}
    )
    rows = await inbox.by_ids(bank.services, bank.id, [letter["_id"] for letter in letters])
    return [row for row in rows if row.get("state") == state]


class UnknownCount(TypedDict):
    """How many events of one name came; `last` is when, as people read it."""

    event: str
    events: int
    last: str


async def unknown_counts(bank: Bank) -> list[UnknownCount]:
    """How often which event came that nobody knows, the most frequent first."""
    group: Doc = {"_id": "$name", "events": {"$sum": 1}, "last": {"$max": "$at"}}
    found = {"$match": {"state": UNKNOWN}}
    rows = await bank.db[DEAD_LETTERS].aggregate([found, {"$group": group}])
    rows.sort(key=lambda row: (-row["events"], row["_id"]))
    return [
        UnknownCount(
            event=row["_id"], events=row["events"], last=row["last"].isoformat(" ", "seconds")
        )
        for row in rows
    ]


async def retry(bank: Bank, actor: str, event: str) -> None:
    """Has an event handled again that is a dead letter, or that needed no reaction then.

    Raises NotFound `event_unknown`, or Conflict `event_not_set_aside`.
    """
    if not await inbox.reopen(bank.db, event, (DEAD, UNKNOWN, NOTED), bank.now()):
        if not await inbox.exists(bank.db, event):
            raise NotFound("event_unknown", "no such event")
        raise Conflict("event_not_set_aside", "this event waits already, or was handled")
    await bank.db[DEAD_LETTERS].delete({"_id": event})
    await bank.audit(actor, "event.retried", event)
    bank.signal(HANDLE_INBOX)
