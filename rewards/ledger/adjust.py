"""Adjustments: what a clerk posts by hand, once another has agreed (promise P7).

Nothing in the ledger is changed: an adjustment is an entry of its own, linked to what it corrects.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict, cast

from customers.actors import ClerkActor
from customers.approvals import approvals
from customers.banks.bank import Bank
from rewards.ledger import book, entries
from rewards.ledger.chart import kind_of
from rewards.ledger.entries import Entry
from rewards.ledger.lines import Leg
from rewards.ledger.rows import LEDGER_ADJUSTMENTS
from rewards.rows import TRANSFERS
from services import ids
from services.errors import InvalidInput, NotFound
from services.store.mongo import Doc

KIND = "adjust"
SUBMITTED, APPLIED, REJECTED = "submitted", "applied", "rejected"
ADJUSTMENT = approvals.Kind(
    name="ledger",
    right="ledger.adjust",
    submitted="ledger.adjustment_submitted",
    approved="ledger.adjustment_approved",
    rejected="ledger.adjustment_rejected",
    refused="ledger.adjustment_refused",
    decided="adjustment_decided",
    lapses=False,
)
MOST_SHOWN = 50
MOST_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Written:
    """An entry as a clerk wrote it; the amount in yuan, points or units."""

    debit: str
    credit: str
    amount: str


class AdjustmentRow(TypedDict):
    """An adjustment that was asked for; `of` is the transfer that it corrects, if there is one."""

    _id: str
    legs: list[Doc]
    of: str
    reason: str
    state: str
    asked_by: str
    at: datetime
    decided_by: str
    decided_at: datetime | None
    why: str


def _entry(row: AdjustmentRow, checker: str = "") -> Entry:
    legs = [Leg(leg["debit"], leg["credit"], leg["amount"]) for leg in row["legs"]]
    about = {"adjustment": row["_id"], "corrects": row["of"], "reason": row["reason"]}
    about |= {"maker": row["asked_by"], "checker": checker}
    return Entry(f"adjustment {row['_id']}", KIND, legs, about)


def _content(row: AdjustmentRow) -> dict[str, Any]:
    return {"adjustment": {name: row[name] for name in ("legs", "of", "reason")}}


async def ask(
    bank: Bank, actor: ClerkActor, written: Written, reason: str, *, of: str = "", key: str
) -> str:
    """Asks for another clerk's agreement; the adjustment's id, the same for the same clerk and key.

    Raises InvalidInput that names the field, NotFound `transfer_unknown`. What is refused is in the
    audit trail.
    """
    adjustment = ids.tenant_id(bank.id, "adjustment", actor.login, key)
    try:
        leg = await _checked(bank, written, reason, of)
    except (InvalidInput, NotFound) as error:
        await bank.audit(actor.login, "ledger.adjustment_invalid", adjustment, reason=error.code)
        raise
    row: AdjustmentRow = {
        "_id": adjustment,
        "legs": [{"debit": leg.debit, "credit": leg.credit, "amount": leg.amount}],
        "of": of,
        "reason": reason.strip(),
        "state": SUBMITTED,
        "asked_by": actor.login,
        "at": bank.utc(),
        "decided_by": "",
        "decided_at": None,
        "why": "",
    }
    await bank.db[LEDGER_ADJUSTMENTS].insert_new([cast("Doc", row)])
    await _submit(bank, actor, await find(bank, adjustment))
    return adjustment


async def _submit(bank: Bank, actor: ClerkActor, row: AdjustmentRow) -> None:
    await approvals.submit(bank, actor, ADJUSTMENT, row["_id"], _content(row))


async def _checked(bank: Bank, written: Written, reason: str, of: str) -> Leg:
    if not reason.strip():
        fields = {"reason": "entry_invalid"}
        raise InvalidInput("entry_invalid", "an adjustment needs a reason", fields=fields)
    leg = Leg(written.debit, written.credit, _amount(written.amount, written.debit))
    entries.check(Entry("adjustment", KIND, [leg]))
    if of and await bank.db[TRANSFERS].find_one({"_id": of}) is None:
        raise NotFound("transfer_unknown", "no such transfer")
    return leg


def _amount(text: str, account: str) -> int:
    """What a clerk wrote as an amount: of fen in yuan, with two places at most."""
    places = 2 if kind_of(account).currency == "fen" else 0
    whole, dot, rest = text.replace(",", "").removeprefix("¥").partition(".")
    digits = whole + rest
    is_number = digits.isascii() and digits.isdigit() and bool(whole)
    if not is_number or len(rest) > places or (dot and not rest) or len(digits) > MOST_DIGITS:
        fields = {"amount": "amount_invalid"}
        raise InvalidInput("amount_invalid", "write an amount above 0", fields=fields)
    return int(whole + rest.ljust(places, "0"))


async def find(bank: Bank, adjustment: str) -> AdjustmentRow:
    """The adjustment; raises NotFound `adjustment_unknown`."""
    row = await bank.db[LEDGER_ADJUSTMENTS].find_one({"_id": adjustment})
    if row is None:
        raise NotFound("adjustment_unknown", "no such adjustment")
    return cast("AdjustmentRow", row)


async def _asked(bank: Bank, adjustment: str) -> AdjustmentRow:
    """What is decided on; submitted now, if its author was cut short before he had."""
    row = await find(bank, adjustment)
    if row["state"] == SUBMITTED and await approvals.find(bank, ADJUSTMENT, adjustment) is None:
        await _submit(bank, ClerkActor(bank.id, row["asked_by"], row["asked_by"], frozenset()), row)
    return row


async def shown(bank: Bank) -> list[AdjustmentRow]:
    """The last adjustments, the newest first."""
    newest = [("at", -1)]
    rows = await bank.db[LEDGER_ADJUSTMENTS].find({}, sort=newest, limit=MOST_SHOWN)
    return cast("list[AdjustmentRow]", rows)


async def of_transfer(bank: Bank, transfer: str) -> list[AdjustmentRow]:
    """The adjustments that correct this transfer."""
    rows = await bank.db[LEDGER_ADJUSTMENTS].find({"of": transfer}, limit=MOST_SHOWN)
    return cast("list[AdjustmentRow]", rows)


async def approve(bank: Bank, actor: ClerkActor, adjustment: str) -> book.Posted:
    """Agrees to it and posts it. Raises Forbidden `approver_is_author`, Conflict
    `adjustment_decided`, or `insufficient` while an account has too little: approving again tries
    again."""
    row = await _asked(bank, adjustment)
    async with approvals.approve(bank, actor, ADJUSTMENT, adjustment, _content(row)) as approval:
        posted = await book.post(bank, _entry(row, approval.decided_by))
        decided = {"decided_by": approval.decided_by, "decided_at": bank.utc()}
        applied = {"$set": {"state": APPLIED, **decided}}
        await bank.db[LEDGER_ADJUSTMENTS].update({"_id": adjustment}, applied)
    return posted


async def reject(bank: Bank, actor: ClerkActor, adjustment: str, reason: str) -> None:
    """Turns it down. Raises InvalidInput `reason_missing`, Conflict `adjustment_decided`."""
    if not reason.strip():
        raise InvalidInput("reason_missing", "say why", fields={"reason": "required"})
    await _asked(bank, adjustment)
    approval = await approvals.reject(bank, actor, ADJUSTMENT, adjustment, reason)
    decided = {"decided_by": approval.decided_by, "decided_at": bank.utc(), "why": reason}
    rejected = {"$set": {"state": REJECTED, **decided}}
    await bank.db[LEDGER_ADJUSTMENTS].update({"_id": adjustment, "state": SUBMITTED}, rejected)
