"""What vouchers cost: paid from the campaign's budget when one is made good, and given back when one is
recalled or refunded. What is granted is paid for by the grant's own row."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from customers.banks.bank import Bank
from rewards.ledger import accounts, book
from rewards.ledger.entries import Entry, transfer_id
from rewards.ledger.lines import VOID, Leg
from rewards.rows import TRANSFERS
from rewards.vouchers.rows import Voucher
from services.errors import Conflict, KeyReused


async def pay(bank: Bank, old: Voucher, new: str) -> str:
    """Takes what the voucher `new` costs, which takes the place of `old`; the account that paid,
    empty when it costs nothing. Once, however often. Raises Conflict `budget`."""
    if not old["cost"]:
        return ""
    budget = f"budget:{old['campaign']}"
    has_budget = "_id" in (await accounts.read(bank, [budget]))[budget]
    paid_by = budget if has_budget else f"funds:{old['campaign']}"
    leg = Leg(paid_by, f"spent:{old['campaign']}", old["cost"])
    about = {"voucher": new, "reward": old["reward"]}
    entry = Entry(f"voucher|{new}|cost", "voucher.made_good", [leg], about)
    try:
        await book.post(bank, entry)
    except KeyReused:  # by a try of before the campaign's budget was opened
        paid = transfer_id(bank.id, entry.key)
        return str((await bank.by_id(TRANSFERS, [paid]))[paid]["debit"])
    except Conflict as error:
        raise Conflict("budget", "the campaign's budget has not so much left") from error
    return paid_by


async def is_paid(bank: Bank, old: Voucher, new: str) -> bool:
    """Whether the voucher `new` was paid for, which takes the place of `old`."""
    paid = transfer_id(bank.id, f"voucher|{new}|cost")
    found = (await bank.by_id(TRANSFERS, [paid])).get(paid)
    return bool(old["cost"]) and found is not None and found["kind"] != VOID


async def give_back(bank: Bank, rows: Sequence[Voucher]) -> None:
    """What these vouchers cost goes back to where it was taken from, once for each."""
    grants = await bank.by_id(TRANSFERS, [row["_id"] for row in rows])
    paid: list[tuple[Voucher, Leg]] = []
    for row in rows:
        spent = f"spent:{row['campaign']}"
        legs = grants.get(row["_id"], {}).get("legs", ())
        paid += [
            (row, Leg(spent, leg["debit"], leg["amount"]))
            for leg in legs
            if leg["credit"] == spent and leg["amount"]
        ]
        if row.get("paid_by"):
            paid.append((row, Leg(spent, row["paid_by"], row["cost"])))
    await asyncio.gather(*(_give_back(bank, row, leg) for row, leg in paid))


async def _give_back(bank: Bank, row: Voucher, leg: Leg) -> None:
    about = {"voucher": row["_id"], "reward": row["reward"]}
    await book.post(bank, Entry(f"voucher|{row['_id']}|back", "voucher.back", [leg], about))
