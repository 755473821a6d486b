"""A night is asked for: by what the bank's file declares, or by a command."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Any

from customers.banks.bank import Bank
from customers.identity.rows import count_customers
from customers.rfm import rows
from customers.rfm.rows import RFM_NIGHTS
from services.errors import Conflict
from services.store.mongo import Doc, Duplicate

TASK = "customers.rank_rfm"
RANKING, RANKED = "ranking", "ranked"
MEASURE, MOVE = "measure", "move"
AFTER_MIDNIGHT = 60.0
SETTLE_SECONDS = 8.0
"""So long after a change nobody works by what was before any more."""


async def declare(bank: Bank) -> None:
    """Ranks the customers by what the bank's file says now, quietly, if it says something else than
    before; without a declaration nobody is ranked any more. Where there are no customers yet, the
    first night will do. Safe to repeat."""
    row, declared = await rows.find(bank), _declared(bank)
    known = None if row is None else row["declared"]
    if known == declared:
        return
    change = _anew(bank, declared, quiet=True)
    if not await count_customers(bank):
        change["$set"] |= {"due": after_midnight(bank), "state": RANKED}
    await bank.db[RFM_NIGHTS].update({"_id": bank.id}, change, upsert=True)
    bank.signal(TASK)


async def ask(bank: Bank) -> None:
    """Ranks the customers now; a night that is under way goes on as it is. Raises Conflict
    `rfm_undeclared`."""
    declared = _declared(bank)
    if declared is None:
        raise Conflict("rfm_undeclared", "the bank's file declares no rfm")
    rests = {"_id": bank.id, "state": {"$ne": RANKING}}
    try:
        change = _anew(bank, declared, quiet=False)
        await bank.db[RFM_NIGHTS].update(rests, change, upsert=True)
    except Duplicate:
        pass  # one is under way
    bank.signal(TASK)


def after_midnight(bank: Bank) -> float:
    """When the bank's next night is due, in seconds UTC."""
    tomorrow = bank.today() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), bank.tz).timestamp() + AFTER_MIDNIGHT


def _declared(bank: Bank) -> dict[str, Any] | None:
    return None if bank.rfm is None else bank.rfm.model_dump()


def _anew(bank: Bank, declared: dict[str, Any] | None, *, quiet: bool) -> Doc:
    fields = {
        "declared": declared,
        "step": MEASURE,
        "customers": None,
        "done": 0,
        "changed": 0,
        "quiet": quiet,
        "open": True,
        "due": bank.now() + (SETTLE_SECONDS if quiet else 0.0),
        "owner": None,
        "attempts": 0,
        "state": RANKING,
    }
    return {"$set": fields, "$inc": {"turn": 1}}
