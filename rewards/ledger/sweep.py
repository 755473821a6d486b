"""What is left behind: batches whose process died, and holds that nobody ended."""

from __future__ import annotations

import logging
from collections.abc import Sequence, Set
from datetime import timedelta
from typing import Any, cast

from customers.banks.bank import Bank
from rewards.ledger import accounts, book
from rewards.ledger.lines import VOID
from rewards.ledger.rows import ACCOUNTS, HOLDS, LEDGER_BATCHES, AccountRow, BatchRow
from rewards.rows import TRANSFERS, void
from services.queue.retry import Retry
from services.store import leases
from services.store.mongo import Doc

TRIES = 50
LEASE_SECONDS = 20.0
"""How long a worker has for the end of a hold."""
RETRY = Retry(12, first=1.0)
log = logging.getLogger(__name__)


async def settle_stale(bank: Bank) -> int:
    """Ends the batches of processes that died: voids what never arrived, counts what did; how many
    batches. May run several times at once."""
    oldest = bank.utc() - timedelta(seconds=accounts.LEASE_SECONDS)
    stale = await bank.db[LEDGER_BATCHES].find({"at": {"$lt": oldest}})
    for row in cast("list[BatchRow]", stale):
        await _settle(bank, row)
    return len(stale)


async def _settle(bank: Bank, batch: BatchRow) -> None:
    rows = await accounts.read(bank, batch["accounts"])
    leased = {
        row_id for row in rows.values() for row_id in accounts.leased_ids(row, batch["batch"])
    }
    wanted = sorted({*batch["ids"], *leased})
    arrived = await _decide(bank, batch["batch"], wanted)
    if batch["ids"]:
        await book.follow(bank, batch["batch"], arrived)
    ids = {row["_id"] for row in arrived}
    ended = [
        await _end(bank, account, batch["batch"], set(wanted), ids) for account in batch["accounts"]
    ]
    if all(ended):
        await bank.db[LEDGER_BATCHES].delete({"_id": batch["_id"]})
    fields = {"tenant": bank.id, "posted": len(arrived), "of": len(wanted)}
    log.warning("settled a dead batch", extra={"fields": fields})


async def _decide(bank: Bank, batch: str, wanted: Sequence[str]) -> list[Doc]:
    """Voids those of the batch's transfers that never arrived; the others."""
    if not wanted:
        return []
    await void(bank, batch, wanted)
    found = await bank.by_id(TRANSFERS, wanted)
    return [row for row in found.values() if row["kind"] != VOID and row.get("batch") == batch]


async def _end(bank: Bank, account: str, batch: str, decided: Set[str], arrived: Set[str]) -> bool:
    """Ends the batch's lease on the account, and shuts the batch out of it: a process that only
    stalled, or a write that is still on its way, takes no lease that nobody would end. False for a
    lease that came meanwhile, for rows of which it is not `decided` whether they arrive: that is
    left to the next round."""
    for _ in range(TRIES):
        row = (await accounts.read(bank, [account]))[account]
        if batch in row["leases"]:
            if not decided >= set(accounts.leased_ids(row, batch)):
                return False
            accounts.end(row, batch, arrived)
        elif accounts.is_shut_out(row, batch):
            return True
        accounts.shut_out(row, batch)
        await accounts.write(bank, [row], batch)
    return False


async def end_hold(bank: Bank, owner: str, row: Doc) -> None:
    """The job of a hold whose time is over: it expires, unless it has ended."""
    ended = await book.expire(bank, row["_id"])
    await leases.close(bank.db[HOLDS], owner, [row["_id"]], state=ended.row["kind"])


async def open_leases(bank: Bank, account: str) -> dict[str, Any]:
    """The leases on an account now, by batch."""
    row = await bank.db[ACCOUNTS].find_one({"account": account})
    return {} if row is None else cast("AccountRow", row)["leases"]
