"""Batches for a shipper: which shipments go out together, decided by two clerks since their addresses
leave the bank (promise P7), and the file.

A shipment is in one batch: taking it is one conditional write on its row, which wants it ready and
in no batch. The list is fixed when the batch is submitted. Until another clerk agrees customers may
change their addresses; what was cancelled or deleted meanwhile stays behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast

from customers.actors import ClerkActor
from customers.approvals import approvals
from customers.approvals.rows import Approval
from customers.banks.bank import Bank
from rewards.shipping import addresses, rows, shipments
from rewards.shipping.rows import (
    APPROVED,
    DROPPED,
    EXPORTED,
    GATHERING,
    OUT,
    READY,
    REJECTED,
    SHIPMENT_BATCHES,
    SHIPMENTS,
    SUBMITTED,
    Batch,
    Shipment,
)
from services import ids, sheets, spreadsheets
from services.errors import Conflict, InvalidInput, NotFound
from services.store.mongo import Doc

SHIPPING = approvals.Kind(
    name="shipping",
    right="shipments.export",
    submitted="shipping.submitted",
    approved="shipping.approved",
    rejected="shipping.rejected",
    refused="shipping.approval_refused",
    decided="shipping_decided",
    revocable=True,
)
MOST = 2_000
"""Shipments of one batch."""
GATHER_SECONDS = 60.0
"""After this a batch that was not submitted is given up, and its shipments are free again."""
HEADING = ("订单号 order", "收件人 name", "电话 phone", "地区 region", "地址 address", "邮编 postcode", "物品 item")  # fmt: skip
FORMATS = {
    "csv": ("text/csv; charset=UTF-8", sheets.csv_file),
    "xlsx": (
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        spreadsheets.xlsx_file,
    ),
}
UNFINISHED: Doc = {"state": GATHERING}


async def submit(bank: Bank, actor: ClerkActor, key: str, reward: str = "") -> str:
    """Takes what is ready (of this reward, or of all) into a batch that waits for another clerk; its
    id. `key` is the form's: the same again is the same batch. Raises Conflict `nothing_ready`."""
    batch_id = ids.tenant_id(bank.id, "shipping", actor.login, key)
    known = await rows.batch(bank, batch_id)
    if known is None:
        known = _fresh(bank, actor, batch_id, reward)
        await bank.insert(SHIPMENT_BATCHES, cast("Doc", known))
    if known["state"] == DROPPED:
        raise Conflict("nothing_ready", "no shipment waited to be sent; begin anew")
    if known["state"] != GATHERING:
        return batch_id
    await _take(bank, batch_id, known["reward"])
    listed = [one["_id"] for one in await rows.shipments(bank, {"batch": batch_id, "state": READY})]
    if not listed:
        await _drop(bank, batch_id)
        raise Conflict("nothing_ready", "no shipment waits to be sent")
    content = _content(batch_id, listed)
    what: Doc = {"shipments": len(listed), **({"reward": reward} if reward else {})}
    if not await approvals.submit(bank, actor, SHIPPING, batch_id, content, **what):
        await _drop(bank, batch_id)
    fixed = {"$set": {"state": SUBMITTED, "shipments": listed}}
    if not await bank.db[SHIPMENT_BATCHES].update({"_id": batch_id, "state": GATHERING}, fixed):
        again = await _batch(bank, batch_id)
        if again["state"] == DROPPED:
            raise Conflict("nothing_ready", "this took too long; try again")
    return batch_id


def _fresh(bank: Bank, actor: ClerkActor, batch_id: str, reward: str) -> Batch:
    return {
        "_id": batch_id,
        "reward": reward,
        "shipments": [],
        "state": GATHERING,
        "author": actor.login,
        "at": bank.utc(),
        "decided_by": "",
        "decided_at": None,
        "reason": "",
        "exported": 0,
        "downloads": 0,
    }


async def _take(bank: Bank, batch_id: str, reward: str) -> None:
    """Takes shipments into the batch, each by a write that wants it ready and in no batch."""
    free: Doc = {"state": READY, "batch": ""}
    wanted = {**free, "reward": reward} if reward else free
    found = [one["_id"] for one in await rows.shipments(bank, wanted, limit=MOST)]
    await _mark(bank, batch_id, found, free)


async def _mark(bank: Bank, batch_id: str, found: Sequence[str], free: Doc) -> None:
    taken = {"$set": {"batch": batch_id}}
    await bank.db[SHIPMENTS].update_many({"_id": {"$in": list(found)}, **free}, taken)


async def _release(bank: Bank, batch_id: str) -> None:
    """What did not go out is free for another batch."""
    stays = {"batch": batch_id, "state": {"$in": list(rows.OPEN)}}
    await bank.db[SHIPMENTS].update_many(stays, {"$set": {"batch": ""}})


async def _drop(bank: Bank, batch_id: str) -> None:
    given_up = {"$set": {"state": DROPPED}}
    if await bank.db[SHIPMENT_BATCHES].update({"_id": batch_id, "state": GATHERING}, given_up):
        await approvals.replace(bank, SHIPPING, [batch_id])
        await _release(bank, batch_id)


async def drop_unfinished(bank: Bank) -> None:
    """Gives up the batches whose clerk was cut short before they were submitted."""
    oldest = bank.utc() - timedelta(seconds=GATHER_SECONDS)
    old = {**UNFINISHED, "at": {"$lte": oldest}}
    for row in await bank.db[SHIPMENT_BATCHES].find(old):
        await _drop(bank, row["_id"])


def _content(batch_id: str, listed: Sequence[str]) -> approvals.Content:
    """What is decided on."""
    return {"list": [batch_id, *listed]}


async def _batch(bank: Bank, batch_id: str) -> Batch:
    row = await rows.batch(bank, batch_id)
    if row is None:
        raise NotFound("shipping_unknown", "no such batch")
    return row


async def approve(bank: Bank, actor: ClerkActor, batch_id: str) -> int:
    """Agrees to another clerk's batch: its shipments are exported, and their addresses stand; how
    many. Approving again completes what was cut short.

    Raises Forbidden `approver_is_author`, NotFound `shipping_unknown`, Conflict.
    """
    row = await _batch(bank, batch_id)
    content = _content(batch_id, row["shipments"])
    async with approvals.approve(bank, actor, SHIPPING, batch_id, content) as approval:
        await _follow(bank, batch_id, approval, APPROVED)
        out = {"_id": {"$in": row["shipments"]}, "batch": batch_id, "state": READY}
        change = shipments.step(bank, EXPORTED, exported_at=bank.utc())
        await bank.db[SHIPMENTS].update_many(out, change)
        await _release(bank, batch_id)
        listed = await rows.of_ids(bank, row["shipments"])
        sent = [one for one in listed.values() if one["batch"] == batch_id]
        done = {"state": OUT, "exported": len(sent)}
        agreed = {"_id": batch_id, "state": APPROVED}
        await bank.db[SHIPMENT_BATCHES].update(agreed, {"$set": done})
    for one in sent:
        await shipments.tell(bank, one)
    return len(sent)


async def reject(bank: Bank, actor: ClerkActor, batch_id: str, reason: str) -> None:
    """Turns a batch down; its shipments are free for another. Raises InvalidInput
    `reason_missing`, NotFound, Conflict `shipping_decided`."""
    if not reason.strip():
        raise InvalidInput("reason_missing", "say why", fields={"reason": "required"})
    row = await _batch(bank, batch_id)
    if row["state"] not in (SUBMITTED, REJECTED):
        raise Conflict("shipping_decided", f"this batch is {row['state']}")
    rejected = await approvals.reject(bank, actor, SHIPPING, batch_id, reason.strip())
    await _follow(bank, batch_id, rejected, REJECTED)
    await _release(bank, batch_id)


async def _follow(bank: Bank, batch_id: str, approval: Approval, state: str) -> None:
    """The batch's own row says what was decided."""
    decided = {
        "state": state,
        "decided_by": approval.decided_by,
        "decided_at": approval.decided_at,
        "reason": approval.reason,
    }
    waits = {"_id": batch_id, "state": SUBMITTED}
    await bank.db[SHIPMENT_BATCHES].update(waits, {"$set": decided})


async def file(bank: Bank, actor: ClerkActor, batch_id: str, form: str) -> tuple[bytes, str]:
    """The batch as a file for the shipper, and its type: `csv` or `xlsx`. Every download is counted
    and in the audit trail before a byte of it goes out. Raises NotFound `shipping_unknown`,
    InvalidInput `file_kind`, Conflict `shipping_not_out` or `address_gone`."""
    row = await _batch(bank, batch_id)
    if form not in FORMATS:
        raise InvalidInput("file_kind", "csv or xlsx")
    if row["state"] != OUT:
        raise Conflict("shipping_not_out", "another clerk has not agreed to this batch")
    listed = await rows.of_ids(bank, row["shipments"])
    sent = [listed[one] for one in row["shipments"] if listed[one]["batch"] == batch_id]
    lines = [line for one in sent if (line := _line(bank, one)) is not None]
    if not lines:
        raise Conflict("address_gone", "the addresses of this batch are deleted")
    said: Doc = {"file": form, "shipments": len(lines), "number": row["downloads"] + 1}
    await bank.db[SHIPMENT_BATCHES].update({"_id": batch_id}, {"$inc": {"downloads": 1}})
    await bank.audit(actor.login, "shipping.downloaded", batch_id, **said)
    kind, make = FORMATS[form]
    return make([HEADING, *lines]), kind


def _line(bank: Bank, row: Shipment) -> Sequence[str] | None:
    address = addresses.opened(bank, row)
    if address is None:
        return None
    phone = address.phone.removeprefix("+86") if address.phone.startswith("+86") else address.phone
    where = (address.region, address.detail, address.postcode)
    return (
        row["order"],
        address.name,
        phone.replace("+", "00"),
        *where,
        row["title"].get("zh", ""),
    )


async def overview(
    bank: Bank, actor: ClerkActor, state: str = "", limit: int = 100
) -> dict[str, Any]:
    """How many shipments are in which state, the newest `limit` of one state (of all when empty),
    and the newest batches."""
    counts = {one: await bank.db[SHIPMENTS].count({"state": one}) for one in rows.STATES}
    wanted = {"state": state} if state in rows.STATES else {}
    found = await rows.shipments(bank, wanted, limit, newest=True)
    listed = await bank.db[SHIPMENT_BATCHES].find(
        {"state": {"$nin": [DROPPED, GATHERING]}}, sort=[("at", -1)], limit=50
    )
    free = await bank.db[SHIPMENTS].count({"state": READY, "batch": ""})
    shown = [{**one, "shown": addresses.masked(bank, one)} for one in found]
    return {"counts": counts, "shipments": shown, "batches": listed, "free": free}


async def get(bank: Bank, actor: ClerkActor, batch_id: str) -> dict[str, Any]:
    """One batch with its shipments, addresses masked; raises NotFound `shipping_unknown`."""
    row = await _batch(bank, batch_id)
    listed = await rows.of_ids(bank, row["shipments"])
    shown = [
        {
            **listed[one],
            "shown": addresses.masked(bank, listed[one]),
            "out": listed[one]["batch"] == batch_id,
        }
        for one in row["shipments"]
        if one in listed
    ]
    return {**row, "listed": shown}


async def shipment(bank: Bank, actor: ClerkActor, shipment_id: str) -> dict[str, Any]:
    """One shipment, its address masked; raises NotFound `shipment_unknown`."""
    row = await rows.find(bank, shipment_id)
    if row is None:
        raise NotFound("shipment_unknown", "no such shipment")
    may = [state for state, before in shipments.MARKS.items() if row["state"] in before]
    return {**row, "shown": addresses.masked(bank, row), "may": may}
