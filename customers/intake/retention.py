"""How long what the bank's systems sent is kept: the counts by day outlive the events."""

from __future__ import annotations

from datetime import timedelta

from customers.banks.bank import Bank
from customers.intake.checking import DAY_SECONDS
from customers.intake.rows import BANK_EVENTS, BANK_TOLD, INTAKE, INTAKE_FILES

REQUEST_DAYS = 3
"""So long a request is shown after it was split; what it brought lies in its events."""


async def forget_old(bank: Bank) -> None:
    """Deletes events that are older than the bank keeps them, what waited so long in vain, and the
    requests of some days ago that need nobody any more."""
    kept = bank.services.settings.bank_events_days * DAY_SECONDS
    old = {"received": {"$lt": bank.now() - kept}}
    await bank.db[BANK_EVENTS].delete(old)
    await bank.db[BANK_TOLD].delete(old)
    over = {"open": False, "due": {"$lt": bank.now() - REQUEST_DAYS * DAY_SECONDS}}
    await bank.db[INTAKE].delete({**over, "state": {"$in": ["done", "refused"]}})
    await bank.db[INTAKE].delete({"open": False, "due": {"$lt": bank.now() - kept}})
    files = {"done": True, "at": {"$lt": bank.utc() - timedelta(seconds=kept)}}
    await bank.db[INTAKE_FILES].delete(files)
