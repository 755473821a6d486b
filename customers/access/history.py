"""What was done at this bank, and by whom: the audit trail as the console shows it."""

from __future__ import annotations

from typing import Any

from customers.actors import ClerkActor
from customers.banks.bank import Bank
from services.security import intents


async def audit_rows(bank: Bank, actor: ClerkActor, limit: int = 50) -> list[dict[str, Any]]:
    """The newest `limit` rows of the actor's own bank."""
    rows = await bank.services.audit.newest(bank.db, limit)
    return [
        {name: row[name] for name in ("seq", "at", "actor", "action", "object", "data")}
        for row in rows
    ]


async def begin_checkpoints(bank: Bank, by: str, reason: str) -> int:
    """Lets the trail stand as it is and begins its checkpoints anew, which the trail says with the
    reason; the row from which they count on."""
    await bank.audit(by, "audit.checkpoints_begun", bank.id, reason=reason)
    return await bank.services.audit.begin_checkpoints(bank.db)


async def finish_acts(bank: Bank) -> None:
    """Writes into the trail what was begun and cut short: whether it was done is not known."""
    while (row := await intents.take_old(bank.db, bank.services.clock)) is not None:
        await bank.audit(row["actor"], row["action"], row["object"], **row["data"], unfinished=True)
        await intents.end(bank.services, bank.id, row["_id"])
