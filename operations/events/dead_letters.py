"""Dead letters: what needs a person, because it could not be handled or because nobody knows it.

They are put here before the event's own row ends. The inbox row says what holds: a letter whose
event was handled since is not shown.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TypedDict

from customers.banks.bank import Bank
from customers.banks.tasks import HANDLE_INBOX
from operations.events import outcome
from operations.events.dispatch import NOTED
from operations.events.rows import DEAD, DEAD_LETTERS, UNKNOWN, DeadLetter
from services.errors import Conflict, InvalidInput, NotFound
from services.queue import inbox
from services.queue.inbox import InboxRow
from services.store.mongo import Doc

BATCH = 100
"""Dead letters that are made due together."""


async def add_dead(bank: Bank, row: InboxRow, reason: str) -> None:
    """Keeps an event that could not be handled, with the reason."""
    await _keep(bank, _letter(bank, row, DEAD, reason=reason))


async def add_unknown(bank: Bank, row: InboxRow, name: str) -> None:
    """Keeps an event of a kind that nobody knows, under the platform's name for it."""
    await _keep(bank, _letter(bank, row, UNKNOWN, name=name))


async def _keep(bank: Bank, letter: DeadLetter) -> None:
    """Puts a letter there, or in the place of that of an earlier try: whoever had the event tried
    again takes off the letter that he saw, and no newer one."""
    if not await bank.insert(DEAD_LETTERS, {**letter}):
        await bank.db[DEAD_LETTERS].update({"_id": letter["_id"]}, {"$set": {**letter}})


def _letter(
    bank: Bank, row: InboxRow, state: str, *, name: str = "", reason: str = ""
) -> DeadLetter:
    return DeadLetter(
        _id=row["_id"],
        tenant=row["tenant"],
        state=state,
        at=row["at"],
        name=name,
        reason=reason,
        token=secrets.token_hex(8),
        since=bank.now(),
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


async def count(bank: Bank, state: str) -> int:
    """How many dead letters there are of that state."""
    return await bank.db[DEAD_LETTERS].count({"state": state})


async def retry_some(bank: Bank, actor: str, state: str, limit: int = BATCH) -> int:
    """Has the dead letters of that state handled again that lie there the longest, at most `limit`;
    how many there were. What comes back lies there anew, after the others; cut short, it goes on
    where it was. Raises InvalidInput `event_state`."""
    if state not in (DEAD, UNKNOWN):
        raise InvalidInput("event_state", "there are no dead letters of that kind")
    letters = await bank.db[DEAD_LETTERS].find(
        {"state": state}, sort=[("since", 1)], limit=limit, fields={"_id": 1, "token": 1}
    )
    if not letters:
        return 0
    wanted = [letter["_id"] for letter in letters]
    async with bank.audited(actor, "event.retried", state, events=len(wanted)) as act:
        act.data["events"] = await inbox.reopen_all(bank.db, wanted, (DEAD, UNKNOWN), bank.now())
        await _take_off(bank, letters)
    bank.signal(HANDLE_INBOX)
    return len(letters)


async def _take_off(bank: Bank, letters: Sequence[Doc]) -> None:
    """Takes these letters off, and none that was put in their place since."""
    seen = [{"_id": letter["_id"], "token": letter.get("token")} for letter in letters]
    if seen:
        await bank.db[DEAD_LETTERS].delete({"$or": seen})


async def download(bank: Bank, actor: str, row: InboxRow, reason: str) -> bytes:
    """A message's bytes as they came; who has them, and why, stands in the audit trail before.

    Raises InvalidInput `event_no_reason` without one.
    """
    if not reason.strip():
        raise InvalidInput("event_no_reason", "say what the message is needed for")
    await bank.audit(actor, "event.downloaded", row["_id"], reason=reason.strip())
    return inbox.message_of(bank.services, row)


async def retry(bank: Bank, actor: str, event: str) -> None:
    """Has an event handled again that is a dead letter, or that needed no reaction then; of one that
    was handled what failed is tried again.

    Raises NotFound `event_unknown`, or Conflict `event_not_set_aside` when there is nothing to try.
    """
    letters = await bank.db[DEAD_LETTERS].find({"_id": event}, limit=1)
    async with bank.audited(actor, "event.retried", event):
        if await inbox.reopen(bank.db, event, (DEAD, UNKNOWN, NOTED), bank.now()):
            await _take_off(bank, letters)
        else:
            await _retry_what_failed(bank, event)
    bank.signal(HANDLE_INBOX)


async def _retry_what_failed(bank: Bank, event: str) -> None:
    found = await inbox.by_ids(bank.services, bank.id, [event])
    if not found:
        raise NotFound("event_unknown", "no such event")
    if found[0]["open"] or not await outcome.retry(bank, found[0]):
        raise Conflict("event_not_set_aside", "this event waits already, or was handled")
