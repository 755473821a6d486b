"""Guarded accounts: what is scarce, in one document each, and how it is taken.

Whoever is about to write transfers takes a *lease* on each account first, in one conditional write:
what the rows will take is set aside under the batch, with the rows' ids. When the rows are in, the
lease ends: what arrived is counted, the rest goes back. The transfer's row decides for every
account that has a lease of its batch (docs/decisions/0042). If the process dies in between, the
sweep (rewards/ledger/sweep.py) puts voids where rows never arrived, and ends the leases.

The state of an account is changed by pure functions here; the book (rewards/ledger/book.py) writes
it back by compare-and-set on `rev`. `take` and `settle`, for whoever writes many rows of one
amount, are a conditional write of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from customers.banks.bank import Bank
from rewards.ledger.chart import MOST_AMOUNT, kind_of
from rewards.ledger.rows import (
    ACCOUNTS,
    LEDGER_BATCHES,
    AccountRow,
    BatchRow,
    Lot,
    LotChange,
    Piece,
    account_id,
)
from services import ids
from services.errors import InvalidInput, Unavailable
from services.store.mongo import Doc

LEASE_SECONDS = 5.0
"""After this a lease is taken for dead, as that of a stock (rewards/stock.py)."""
DEAD_KEPT = 50
"""So many batches of dead processes an account remembers, so that none of their late writes takes
anything from it."""
FOREVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account has: `posted` by its transfers, `held` of it by holds and by what is under
    way, and what may be `available` now: not what has expired or is held."""

    posted: int
    held: int
    available: int


def blank(account: str) -> AccountRow:
    """An account on which nothing was posted yet, without its `_id`."""
    row: Doc = {"account": account, "posted": 0, "debited": 0, "held": 0, "taken": 0}
    return cast("AccountRow", row | {"lots": [], "leases": {}, "rev": 0})


def available(row: AccountRow, now: datetime, floor: int = 0, *, expired: bool = False) -> int:
    """What may be taken without going below `floor`; of lots, what has not expired (or, with
    `expired`, what has)."""
    free = row["posted"] - row["held"] - row["taken"] - floor
    if not kind_of(row["account"]).lots:
        return free
    return min(free, sum(lot["left"] - lot["aside"] for lot in _open_lots(row, now, expired)))


def _open_lots(row: AccountRow, now: datetime, expired: bool) -> list[Lot]:
    """The lots that have not expired (or that have), soonest first."""
    wanted = [lot for lot in row["lots"] if ((lot["expires"] or FOREVER) <= now) == expired]
    return sorted(wanted, key=lambda lot: lot["expires"] or FOREVER)


def pick(row: AccountRow, amount: int, now: datetime, *, expired: bool = False) -> list[LotChange]:
    """The lots that a spending of `amount` takes, soonest to expire first."""
    picked: list[LotChange] = []
    for lot in _open_lots(row, now, expired):
        n = min(amount, lot["left"] - lot["aside"])
        if n > 0:
            picked.append({"expires": lot["expires"], "take": n, "left": -n, "aside": -n})
            amount -= n
    if amount:
        raise ValueError("more is taken from an account's lots than they have")
    return picked


def lease(row: AccountRow, batch: str, now: datetime, piece: Piece) -> None:
    """Sets aside what the piece takes, under the batch."""
    row["taken"] += piece["take"]
    for change in piece["lots"]:
        if change["take"]:
            _lot(row, change["expires"])["aside"] += change["take"]
    row["leases"].setdefault(batch, {"at": now, "pieces": []})["pieces"].append(piece)


def end(row: AccountRow, batch: str, arrived: Collection[str]) -> None:
    """Ends the batch's lease, if there is one: the pieces of the transfers that `arrived` are
    counted, what the others would have taken goes back."""
    leased = row["leases"].pop(batch, None)
    if leased is None:
        return
    if "each" in leased:
        n = sum(1 for row_id in leased["ids"][: leased["n"]] if row_id in arrived)
        row["taken"] -= leased["each"] * leased["n"]
        row["posted"] -= leased["each"] * n
        row["debited"] += leased["each"] * n
        return
    for piece in leased["pieces"]:
        _end_piece(row, piece, arrived=piece["id"] in arrived)
    row["lots"] = [lot for lot in row["lots"] if lot["left"] or lot["aside"]]


def _end_piece(row: AccountRow, piece: Piece, *, arrived: bool) -> None:
    row["taken"] -= piece["take"]
    if arrived:
        row["posted"] += piece["posted"]
        row["debited"] += piece["debited"]
        row["held"] += piece["held"]
    for change in piece["lots"]:
        lot = _lot(row, change["expires"])
        lot["aside"] += change["aside"] if arrived else -change["take"]
        lot["left"] += change["left"] if arrived else 0


def _lot(row: AccountRow, expires: datetime | None) -> Lot:
    found = next((lot for lot in row["lots"] if lot["expires"] == expires), None)
    if found is None:
        found = {"expires": expires, "left": 0, "aside": 0}
        row["lots"].append(found)
    return found


def shut_out(row: AccountRow, batch: str) -> None:
    """Sees to it that a batch that was settled takes no lease on the account any more."""
    row["dead"] = [*row.get("dead", []), batch][-DEAD_KEPT:]


def is_shut_out(row: AccountRow, batch: str) -> bool:
    """Whether the batch was settled, since its process was taken for dead."""
    return batch in row.get("dead", [])


def leased_ids(row: AccountRow, batch: str) -> list[str]:
    """The transfers for which the batch has a lease on the account."""
    leased = row["leases"].get(batch)
    if leased is None:
        return []
    if "each" in leased:
        return cast("list[str]", leased["ids"][: leased["n"]])
    return [piece["id"] for piece in leased["pieces"]]


def taken_by(row: AccountRow, batch: str) -> int:
    """What the batch's lease takes."""
    leased = row["leases"][batch]
    if "each" in leased:
        return int(leased["each"] * leased["n"])
    return sum(piece["take"] for piece in leased["pieces"])


async def read(bank: Bank, accounts: Iterable[str]) -> dict[str, AccountRow]:
    """The accounts by name; those without a transfer so far are blank, without `_id`."""
    wanted = {account_id(bank.id, account): account for account in accounts}
    found = await bank.by_id(ACCOUNTS, list(wanted))
    return {
        account: cast("AccountRow", found[row_id]) if row_id in found else blank(account)
        for row_id, account in wanted.items()
    }


async def balance(bank: Bank, account: str, *, floor: int = 0) -> Balance:
    """What a guarded account has now; zeros for one on which nothing was posted."""
    row = (await read(bank, [account]))[account]
    free = available(row, bank.utc(), floor)
    return Balance(row["posted"], row["held"] + row["taken"], free)


async def take(
    bank: Bank,
    account: str,
    batch: str,
    row_ids: Sequence[str],
    each: int,
    *,
    floor: int = 0,
    now: datetime | None = None,
) -> int:
    """Takes `each` for as many of `row_ids` as the account allows without going below `floor`, in
    one conditional write: how many it is, always the first of them.

    Repeating it with the same batch takes nothing more. Afterwards the rows are written, in which
    the account is debited by `each`, and `settle` says how many arrived. Raises UnknownOutcome when
    the write's answer was lost: the batch is then left to the sweep, and Unavailable
    `posting_unknown` when the sweep has settled it already.
    """
    kind = kind_of(account)
    if not kind.guarded or kind.lots or not 0 < each <= MOST_AMOUNT:
        raise InvalidInput("amount_invalid", f"{each} cannot be taken from {account}")
    at = now or bank.utc()
    row_id = account_id(bank.id, account)
    await begin(bank, batch, [account], at, one=account)
    fresh = {"_id": row_id, f"leases.{batch}": {"$exists": False}, "dead": {"$ne": batch}}
    change = _taking(batch, list(row_ids), each, floor, at)
    if not await bank.db[ACCOUNTS].update(fresh, change):
        await bank.db[ACCOUNTS].insert_new([{"_id": row_id, **cast("Doc", blank(account))}])
        await bank.db[ACCOUNTS].update(fresh, change)
    row = await bank.db[ACCOUNTS].find_one({"_id": row_id}, {f"leases.{batch}": 1, "dead": 1})
    leased = (row or {}).get("leases", {}).get(batch)
    if leased is None and is_shut_out(cast("AccountRow", row), batch):
        raise Unavailable("posting_unknown", "try again with the same key")
    if leased is None:
        await finish(bank, batch, account)
        return 0
    return int(leased["n"])


def _taking(batch: str, row_ids: list[str], each: int, floor: int, now: datetime) -> list[Doc]:
    """The pipeline: n = min(wanted, what is free / each); n * each is taken and leased."""
    free = {"$subtract": ["$posted", {"$add": ["$held", "$taken", floor]}]}
    whole = {"$divide": [{"$subtract": ["$free", {"$mod": ["$free", each]}]}, each]}
    leased = {
        "at": now,
        "n": "$n",
        "each": each,
        "ids": {"$slice": [row_ids, {"$max": [1, "$n"]}]},
    }
    return [
        {"$set": {"free": {"$max": [0, free]}}},
        {"$set": {"n": {"$toLong": {"$min": [len(row_ids), whole]}}}},
        {
            "$set": {
                "taken": {"$add": ["$taken", {"$multiply": ["$n", each]}]},
                "rev": {"$add": ["$rev", 1]},
                f"leases.{batch}": {"$cond": [{"$gt": ["$n", 0]}, leased, "$$REMOVE"]},
            }
        },
        {"$unset": ["free", "n"]},
    ]


async def settle(bank: Bank, account: str, batch: str, arrived: int) -> bool:
    """Ends a lease that `take` took: `arrived` of its rows were written, what the others would have
    taken goes back. False when it was settled already."""
    leased = f"$leases.{batch}"
    change = [
        {"$set": {"ending": leased}},
        {
            "$set": {
                "posted": {"$subtract": ["$posted", {"$multiply": ["$ending.each", arrived]}]},
                "debited": {"$add": ["$debited", {"$multiply": ["$ending.each", arrived]}]},
                "taken": {"$subtract": ["$taken", {"$multiply": ["$ending.each", "$ending.n"]}]},
                "rev": {"$add": ["$rev", 1]},
            }
        },
        {"$unset": [f"leases.{batch}", "ending"]},
    ]
    open_lease = {"_id": account_id(bank.id, account), f"leases.{batch}": {"$exists": True}}
    settled = await bank.db[ACCOUNTS].update(open_lease, change)
    await finish(bank, batch, account)
    return settled


async def begin(
    bank: Bank,
    batch: str,
    accounts: Sequence[str],
    at: datetime,
    *,
    row_ids: Sequence[str] = (),
    one: str = "",
) -> None:
    """Writes down what is about to be under way, so that the sweep finds it. `one` tells the leases
    of one batch apart that begin and end one by one."""
    row: BatchRow = {
        "_id": ids.tenant_id(bank.id, "batch", batch, one),
        "batch": batch,
        "accounts": list(accounts),
        "ids": list(row_ids),
        "at": at,
    }
    await bank.db[LEDGER_BATCHES].insert_new([cast("Doc", row)])


async def finish(bank: Bank, batch: str, one: str = "") -> None:
    """Says that all of it is counted."""
    await bank.db[LEDGER_BATCHES].delete({"_id": ids.tenant_id(bank.id, "batch", batch, one)})


async def write(bank: Bank, rows: Sequence[AccountRow], batch: str) -> set[str]:
    """Writes changed accounts back, each only if nobody else has changed it since it was read; the
    names of those that somebody else did change. Each of them has a lease of `batch`, or had one
    that was to end. The rows are as they were written then."""
    new = [row for row in rows if "_id" not in row]
    known = [row for row in rows if "_id" in row]
    lost = set()
    if new:
        docs = [{**row, "_id": account_id(bank.id, row["account"]), "rev": 1} for row in new]
        refused = await bank.db[ACCOUNTS].insert_new(cast("list[Doc]", docs))
        lost |= {new[position]["account"] for position in refused}
    if known:
        changes = [(cast("Doc", {**row, "rev": row["rev"] + 1}), row["rev"]) for row in known]
        if await bank.db[ACCOUNTS].replace_each(changes, "rev") < len(known):
            lost |= await _changed_by_others(bank, known, batch)
    for row in rows:
        row["_id"], row["rev"] = account_id(bank.id, row["account"]), row["rev"] + 1
    return lost


async def _changed_by_others(bank: Bank, rows: Sequence[AccountRow], batch: str) -> set[str]:
    """Which of the accounts are not as we wrote them. Those with a lease are ours if it is there;
    only we can have put it in."""
    found = await bank.by_id(ACCOUNTS, [row["_id"] for row in rows])
    return {
        row["account"]
        for row in rows
        if (batch in row["leases"]) != (batch in found[row["_id"]]["leases"])
        or batch not in row["leases"]
    }


async def some_of(bank: Bank, kind: str, after: str, limit: int) -> list[AccountRow]:
    """At most `limit` accounts of a kind, in the order of their `_id`s, from behind `after` (the
    empty text: from the first)."""
    first, end = account_id(bank.id, f"{kind}:"), account_id(bank.id, f"{kind};")
    behind = {"_id": {"$gt": after or first, "$lt": end}}
    found = await bank.db[ACCOUNTS].find(behind, sort=[("_id", 1)], limit=limit)
    return cast("list[AccountRow]", found)
