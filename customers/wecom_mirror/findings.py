"""What syncs leave behind, read: errors of objects that could not be brought in, and differences
that a comparison found."""

from __future__ import annotations

from typing import cast

from customers.banks.bank import Bank
from customers.wecom_mirror.rows import SYNC_DIFFERENCES, SYNC_ERRORS, SyncDifference, SyncError


async def error(bank: Bank, error: str) -> SyncError | None:
    """The error with that id, which is the row's without the tenant."""
    found = await bank.db[SYNC_ERRORS].find_one({"_id": f"{bank.id}:{error}"})
    return cast("SyncError | None", found)


async def errors(bank: Bank, limit: int) -> list[SyncError]:
    """The newest errors, newest first."""
    found = await bank.db[SYNC_ERRORS].find({}, sort=[("last", -1)], limit=limit)
    return cast("list[SyncError]", found)


async def differences(bank: Bank, number: int, limit: int) -> list[SyncDifference]:
    """What the sync with that number found."""
    found = await bank.db[SYNC_DIFFERENCES].find({"number": number}, limit=limit)
    return cast("list[SyncDifference]", found)


async def forget_differences(bank: Bank, *, before: int) -> None:
    """Forgets what syncs with a number less than `before` found."""
    await bank.db[SYNC_DIFFERENCES].delete({"number": {"$lt": before}})


def object_of_error(bank: Bank, row: SyncError) -> str:
    """The object that could not be brought in, or WHOLE_PART."""
    return bank.vault.open_text(SYNC_ERRORS, "object", row["_id"], row["object"])


def object_of_difference(bank: Bank, row: SyncDifference) -> str:
    """The object that is different."""
    return bank.vault.open_text(SYNC_DIFFERENCES, "object", row["_id"], row["object"])
