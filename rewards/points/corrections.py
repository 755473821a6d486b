"""Corrections of a customer's points by hand: one clerk asks, with a reason, another agrees, and then
the ledger has a new entry (promise P7). Nothing that was posted is ever changed: what was wrong is
given back by an entry that is linked to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from customers.actors import ClerkActor
from customers.approvals import approvals
from customers.approvals.rows import LAPSED, REJECTED, SUBMITTED
from customers.banks.bank import Bank
from customers.identity import resolution
from rewards.ledger import book
from rewards.ledger.entries import Entry, checked_amount
from rewards.ledger.lines import Leg, changes_of
from rewards.points import accounts, document, program
from rewards.points.rows import POINTS_CORRECTIONS, CorrectionRow
from rewards.rows import TRANSFERS
from services import ids
from services.errors import Conflict, InvalidInput, KeyReused, NotFound
from services.store.mongo import Doc

CORRECTION = approvals.Kind(
    name="points_correction",
    right="points.adjust",
    submitted="points.correction_asked",
    approved="points.corrected",
    rejected="points.correction_rejected",
    refused="points.correction_refused",
    decided="points_decided",
    revocable=True,
)
CORRECT = "correction"
"""What the ledger calls a correction."""
REFUND = "refund"
DONE = "applied"
MOST = 100_000_000
"""points of one correction"""


async def ask(bank: Bank, actor: ClerkActor, cid: str, points: int, reason: str) -> str:
    """Asks for so many points more (below zero: fewer); the correction's id.

    Raises InvalidInput `reason_missing` or `amount_invalid`, which the audit trail keeps, NotFound
    `customer_unknown`, Conflict `points_none`.
    """
    if type(points) is not int or not 0 < abs(points) <= MOST:
        fields = {"points": "amount_invalid"}
        problem = f"a whole number from 1 to {MOST:,}, or below zero"
        await bank.audit(actor.login, "points.correction_invalid", cid, reason="amount_invalid")
        raise InvalidInput("amount_invalid", problem, fields=fields)
    await program.live(bank)
    return await _ask(bank, actor, cid, points, "", reason)


async def ask_back(bank: Bank, actor: ClerkActor, cid: str, transfer: str, reason: str) -> str:
    """Asks that a line of the customer's statement is given back as a whole; the correction's id.
    Raises InvalidInput `reason_missing`, NotFound `transfer_unknown` also for another customer's,
    Conflict `not_refundable`."""
    row = (await bank.by_id(TRANSFERS, [transfer])).get(transfer)
    his = {accounts.of(one) for one in await resolution.cids(bank, cid)}
    brought = {} if row is None else changes_of(row)
    if row is None or not his & brought.keys():
        raise NotFound("transfer_unknown", "no such transfer of this customer")
    if row["kind"] == REFUND:
        raise Conflict("not_refundable", "this moved nothing that could be given back")
    points = -sum(n for account, n in brought.items() if account in his)
    return await _ask(bank, actor, cid, points, transfer, reason)


async def _ask(bank: Bank, actor: ClerkActor, cid: str, points: int, of: str, reason: str) -> str:
    if not reason.strip():
        raise InvalidInput("reason_missing", "say why", fields={"reason": "required"})
    owner = (await resolution.cids(bank, cid))[0]
    row: CorrectionRow = {
        "_id": ids.new_id(bank.id),
        "cid": owner,
        "points": points,
        "of": of,
        "reason": reason.strip(),
        "state": SUBMITTED,
        "author": actor.login,
        "at": bank.utc(),
        "decided_by": "",
        "decided_at": None,
        "note": "",
        "transfer": "",
    }
    said: Doc = {"cid": owner, "points": points, "reason": row["reason"]}
    await approvals.submit(bank, actor, CORRECTION, row["_id"], _content(row), **said)
    await bank.db[POINTS_CORRECTIONS].insert(cast("Doc", row))
    return row["_id"]


def _content(row: CorrectionRow) -> approvals.Content:
    """What is decided on."""
    names = ("cid", "points", "of", "reason")
    return {"correction": {name: cast("Doc", row)[name] for name in names}}


async def approve(bank: Bank, actor: ClerkActor, correction: str) -> None:
    """Agrees to another clerk's correction, which is posted; what was cut short is completed by
    approving again.

    Raises NotFound `correction_unknown`, Forbidden `approver_is_author`, Conflict `points_decided`,
    `insufficient` when he has fewer than are to be taken: the request is over then.
    """
    row = await _correction(bank, correction)
    try:
        async with approvals.approve(bank, actor, CORRECTION, correction, _content(row)) as agreed:
            posted = await _carry_out(bank, row)
            done: Doc = {"state": DONE, "transfer": posted}
            done |= {"decided_by": agreed.decided_by, "decided_at": agreed.decided_at}
            await bank.db[POINTS_CORRECTIONS].update({"_id": correction}, {"$set": done})
    except Conflict:
        await _catch_up(bank, row)
        raise


async def _catch_up(bank: Bank, row: CorrectionRow) -> None:
    """The correction's own row says what its request says, which ended without it."""
    found = await approvals.find(bank, CORRECTION, row["_id"])
    if found is not None and found.state in (REJECTED, LAPSED):
        ended: Doc = {"state": found.state, "note": found.reason}
        ended |= {"decided_by": found.decided_by, "decided_at": found.decided_at}
        waits = {"_id": row["_id"], "state": SUBMITTED}
        await bank.db[POINTS_CORRECTIONS].update(waits, {"$set": ended})


async def _carry_out(bank: Bank, row: CorrectionRow) -> str:
    """The transfer that the correction is; safe to repeat."""
    if row["of"]:
        done = await book.refund(
            bank, row["of"], reason=row["reason"], maker=row["author"], key=row["_id"]
        )
        return done.id
    key = f"correct:{row['_id']}"
    known = await accounts.find(bank, key)
    if known is not None:
        return str(known["_id"])
    try:
        return (await book.post(bank, await _entry(bank, row, key))).id
    except KeyReused:  # by somebody else, from other accounts of his
        posted = await accounts.find(bank, key)
        if posted is None:
            raise
        return str(posted["_id"])


async def _entry(bank: Bank, row: CorrectionRow, key: str) -> Entry:
    live = await program.live(bank)
    cids = await resolution.cids(bank, row["cid"])
    adjusted, n = accounts.adjusted(live.program.id), checked_amount(abs(row["points"]), "points")
    about = {"program": live.program.id, "correction": row["_id"]}
    if row["points"] > 0:
        expires = document.expires(bank.today(), live.program.lifetime, bank.tz)
        return Entry(key, CORRECT, [Leg(adjusted, accounts.of(cids[0]), n)], about, expires)
    gives = accounts.split(await accounts.read(bank, cids), n, bank.utc())
    legs = [Leg(account, adjusted, part) for account, part in gives.items()]
    return Entry(key, CORRECT, legs, about)


async def reject(bank: Bank, actor: ClerkActor, correction: str, reason: str) -> None:
    """Turns a correction down. Raises InvalidInput `reason_missing`, NotFound `correction_unknown`,
    Conflict `points_decided`."""
    if not reason.strip():
        raise InvalidInput("reason_missing", "say why", fields={"reason": "required"})
    row = await _correction(bank, correction)
    await approvals.reject(bank, actor, CORRECTION, correction, reason.strip())
    await _catch_up(bank, row)


async def _correction(bank: Bank, correction: str) -> CorrectionRow:
    row = await bank.db[POINTS_CORRECTIONS].find_one({"_id": correction})
    if row is None:
        raise NotFound("correction_unknown", "there is no such correction")
    return cast("CorrectionRow", row)


async def newest(
    bank: Bank, cids: Sequence[str] | None = None, limit: int = 50
) -> list[CorrectionRow]:
    """The newest corrections, newest first; of one customer with his `cids`."""
    wanted: Doc = {} if cids is None else {"cid": {"$in": list(cids)}}
    rows = await bank.db[POINTS_CORRECTIONS].find(wanted, sort=[("at", -1)], limit=limit)
    return cast("list[CorrectionRow]", rows)
