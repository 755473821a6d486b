"""Requests of the bank's systems, split into events and into what is told of customers.

A request's row stays open until all that follows from it is done, and every step may be done again:
an event's row has an `_id` of its own, what follows is counted anew or has such an `_id` too.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from customers.banks.bank import Bank
from customers.intake import checking, effects, joining, receiving, tallies, telling, waits
from customers.intake.joining import Found
from customers.intake.rows import BANK_EVENTS, EVENTS, INTAKE, EventRow, IntakeRow
from services import ids
from services.errors import YinqiaoError
from services.queue.retry import FAIL, Retry
from services.store.mongo import Doc

LEASE_SECONDS = 60.0
"""So long 5,000 events may take, a file's, where the embedded store shares two cores with much else."""
RETRY = Retry(tries=8, first=2.0, most=300.0, then=FAIL)
GROUP = 5
"""So many requests are split together."""
log = logging.getLogger(__name__)


async def split(bank: Bank, owner: str, row: IntakeRow) -> None:
    """Splits a leased request, together with others that are split at this moment."""

    async def flush(given: list[tuple[Bank, str, IntakeRow]]) -> Sequence[None | Exception]:
        return await _split_some(given)

    group = bank.services.groups.get(f"split:{bank.id}", flush, limit=GROUP, lanes=2)
    await group.submit((bank, owner, row))


async def _split_some(
    given: list[tuple[Bank, str, IntakeRow]],
) -> Sequence[None | Exception]:
    """All of them of one bank. One that cannot be read holds up none of the others."""
    bank = given[-1][0]
    found = _Contents()
    answers = [_read(bank, row, found) for _, _, row in given]
    await bring(bank, found.events)
    await telling.bring(bank, found.told)
    for answer, (_, owner, row) in zip(answers, given, strict=True):
        if answer is None:
            await _end(bank, owner, row)
    return answers


@dataclass
class _Contents:
    """What lies in requests."""

    events: list[EventRow] = field(default_factory=list)
    told: list[telling.Told] = field(default_factory=list)


def _read(bank: Bank, row: IntakeRow, found: _Contents) -> YinqiaoError | None:
    """Adds what lies in a request; why it cannot be read, if it cannot."""
    try:
        items = receiving.items_of(bank, row)
        if row["kind"] == EVENTS:
            found.events += [_event(bank, row, item) for item in items]
        else:
            found.told += [telling.told(bank, row, n, item) for n, item in enumerate(items)]
    except YinqiaoError as error:
        return error
    return None


async def _end(bank: Bank, owner: str, row: IntakeRow) -> None:
    """The request is split; what its row had sealed is in its events' rows."""
    mine = {"_id": row["_id"], "owner": owner}
    ended = {"open": False, "owner": None, "state": receiving.DONE}
    await bank.db[INTAKE].update(mine, {"$set": ended, "$unset": {"body": ""}})


def event_id(tenant: str, system: str, given: str) -> str:
    """The `_id` of an event's row."""
    return ids.tenant_id(tenant, "event", system, given)


def _event(bank: Bank, row: IntakeRow, item: dict[str, Any]) -> EventRow:
    """The row of an accepted event; it waits for its customer."""
    row_id = event_id(bank.id, row["system"], item["id"])
    at = checking.read_time(item["at"]) or 0.0
    said = {"id": item["id"], "customer": item["customer"], "data": item.get("data", {})}
    return {
        "_id": row_id,
        "system": row["system"],
        "name": item["name"],
        "at": at,
        "day": tallies.day_of(at, bank.tz),
        "received": row["at"].timestamp(),
        "by": joining.kind_of(item["customer"]),
        "data": bank.vault.seal_json(BANK_EVENTS, "data", row_id, said),
        "intake": row["_id"],
        "wait": joining.wait_id(bank, item["customer"]),
    }


async def bring(bank: Bank, events: Sequence[EventRow]) -> None:
    """Puts events in that are not there yet, joins those whose customers are known, and does what
    follows. Safe to repeat."""
    if not events:
        return
    new = list({row["_id"]: row for row in events}.values())
    found = await joining.find(bank, {row["wait"] for row in new})
    for row in new:
        _join(row, found.get(row["wait"]))
    there = await bank.db[BANK_EVENTS].insert_new(cast("Sequence[Doc]", new))
    rows = [row for place, row in enumerate(new) if place not in there]
    rows += await _as_stored(bank, [new[place]["_id"] for place in there])
    await waits.wait_for(bank, {row["wait"]: row["by"] for row in rows if "wait" in row}, found)
    await effects.follow(bank, [row for row in rows if "wait" not in row])


def _join(row: EventRow, found: Found | None) -> None:
    if found is not None and found.cid:
        row["cid"] = found.cid
        row["bucket"] = tallies.bucket_of(found.cid, row["name"], row["day"])
        del row["wait"]


async def _as_stored(bank: Bank, wanted: Sequence[str]) -> list[EventRow]:
    """The rows of events that were there: what follows from them may have been cut short."""
    fields = {name: 1 for name in EventRow.__annotations__ if name != "data"}
    return cast("list[EventRow]", list((await bank.by_id(BANK_EVENTS, wanted, fields)).values()))


async def give_up(bank: Bank, row: IntakeRow, reason: str) -> None:
    """Told when a request is not tried any more; its row keeps what came."""
    fields = {"tenant": bank.id, "intake": row["_id"], "reason": reason}
    log.error("a request of the bank's cannot be split", extra={"fields": fields})
