"""What was done at this bank, and by whom: the audit trail as the console shows it."""

from __future__ import annotations

from typing import Any

from customers.actors import ClerkActor
from customers.banks.bank import Bank


async def audit_rows(bank: Bank, actor: ClerkActor, limit: int = 50) -> list[dict[str, Any]]:
    """The newest `limit` rows of the actor's own bank."""
    rows = await bank.services.audit.newest(bank.db, limit)
    return [
        {name: row[name] for name in ("seq", "at", "actor", "action", "object", "data")}
        for row in rows
    ]
