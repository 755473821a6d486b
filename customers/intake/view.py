"""What the bank's own systems sent, as clerks see it: requests, events and whose they are, and who
waits for a clerk. Customers are masked."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import NotRequired, TypedDict, cast

from customers.actors import ClerkActor
from customers.banks.bank import Bank
from customers.identity import awaited
from customers.identity.awaited import WaitRow
from customers.identity.facts import mask_name
from customers.identity.rows import customers_by_id
from customers.identity.sealing import open_customer
from customers.intake import joining, receiving
from customers.intake.rows import BANK_EVENTS, BANK_TOLD, INTAKE, EventRow, IntakeRow, ToldRow
from services.errors import Conflict, NotFound
from services.store.mongo import Doc

SHOWN = 50
SPANS = (10.0, 300.0, 3_600.0, 86_400.0, 31 * 86_400.0)
"""seconds: the newest are looked for in longer and longer spans, since the embedded store reads all
that a query fits before it sorts"""


class Whose(TypedDict):
    """A customer, and his name masked."""

    cid: str
    name: str


class EventView(TypedDict):
    """An event. Without a customer it waits: `by` is the kind of id that it names, `why` the reason
    if his id is known."""

    event: str
    name: str
    system: str
    at: datetime
    received: datetime
    by: str
    why: str
    customer: NotRequired[Whose]


class SharedView(TypedDict):
    """Somebody whose phone `among` have; `events` wait for him."""

    wait: str
    since: datetime
    events: int
    among: list[Whose]


async def requests(bank: Bank) -> list[IntakeRow]:
    """The newest requests."""
    return cast("list[IntakeRow]", await _newest(bank, INTAKE, "due", {}))


async def events(bank: Bank, name: str = "") -> list[EventView]:
    """The newest events, of one name or of all."""
    found = cast(
        "list[EventRow]",
        await _newest(bank, BANK_EVENTS, "received", {"name": name} if name else {}),
    )
    names = await _named(bank, {row["cid"] for row in found if "cid" in row})
    waits = await awaited.find(bank, sorted({row["wait"] for row in found if "wait" in row}))
    return [_event(bank, row, names, waits) for row in found]


async def _newest(bank: Bank, rows: str, when: str, query: Doc) -> list[Doc]:
    for span in SPANS:
        wanted = {**query, when: {"$gte": bank.now() - span}}
        found = await bank.db[rows].find(
            wanted, sort=[(when, -1)], limit=SHOWN, fields={"body": 0, "data": 0}
        )
        if len(found) == SHOWN:
            break
    return found


def _event(
    bank: Bank, row: EventRow, names: dict[str, str], waits: dict[str, WaitRow]
) -> EventView:
    seen: EventView = {
        "event": row["_id"],
        "name": row["name"],
        "system": row["system"],
        "at": datetime.fromtimestamp(row["at"], bank.tz),
        "received": datetime.fromtimestamp(row["received"], bank.tz),
        "by": row["by"],
        "why": _reason(waits.get(row.get("wait", ""))),
    }
    if "cid" in row:
        seen["customer"] = {"cid": row["cid"], "name": names.get(row["cid"], "")}
    return seen


def _reason(row: WaitRow | None) -> str:
    return row.get("reason", "") if row is not None else ""


async def _named(bank: Bank, cids: Collection[str]) -> dict[str, str]:
    rows = await customers_by_id(bank, sorted(cids))
    return {cid: mask_name(open_customer(bank, row).name) for cid, row in rows.items()}


async def waiting(bank: Bank) -> int:
    """How many are waited for."""
    return await awaited.count(bank)


async def failed(bank: Bank) -> int:
    """How many requests cannot be split."""
    return await bank.db[INTAKE].count({"open": False, "state": receiving.FAILED})


async def shared(bank: Bank) -> list[SharedView]:
    """Those who wait for a clerk, since two customers have their phone."""
    rows = await awaited.with_reason(bank, joining.PHONE_SHARED, SHOWN)
    meant = await joining.find(bank, [row["_id"] for row in rows])
    among = {row["_id"]: meant[row["_id"]].among if row["_id"] in meant else () for row in rows}
    names = await _named(bank, {cid for cids in among.values() for cid in cids})
    return [
        {
            "wait": row["_id"],
            "since": datetime.fromtimestamp(row["since"], bank.tz),
            "events": await bank.db[BANK_EVENTS].count({"wait": row["_id"]}),
            "among": [{"cid": cid, "name": names.get(cid, "")} for cid in among[row["_id"]]],
        }
        for row in rows
        if among[row["_id"]]
    ]


async def refused_later(bank: Bank) -> list[ToldRow]:
    """What was told of known customers and could not be written, the newest first."""
    found = await bank.db[BANK_TOLD].find({"wait": ""}, limit=1_000, fields={"data": 0})
    newest = sorted(found, key=lambda row: row["received"], reverse=True)[:SHOWN]
    return cast("list[ToldRow]", newest)


async def join(bank: Bank, actor: ClerkActor, wait: str, cid: str) -> None:
    """Says which of the customers with one phone is meant, now and in what comes later. Raises
    NotFound `wait_unknown`, and Conflict `wait_changed` when he is none of them any more."""
    row = (await awaited.find(bank, [wait])).get(wait)
    if row is None or not row["open"]:
        raise NotFound("wait_unknown", "nobody is waited for under this, or not any more")
    found = (await joining.find(bank, [wait])).get(wait)
    if found is None or cid not in found.among:
        raise Conflict("wait_changed", "this customer does not have the phone any more")
    async with bank.audited(actor.login, "intake.joined", cid, wait=wait):
        await awaited.wake(bank, [wait], cid=cid)
