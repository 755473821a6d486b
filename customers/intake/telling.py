"""What the bank's systems tell of customers: written to those who are known, kept for those who are
not known yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from customers.banks.bank import Bank
from customers.fields import values
from customers.fields.values import Update
from customers.intake import checking, joining, waits
from customers.intake.rows import BANK_TOLD, IntakeRow, ToldRow
from services import ids
from services.store.mongo import Doc

AT_ONCE = 500
REFUSED = ":refused"
"""How the `_id` of a row ends whose values could not be written."""


@dataclass(frozen=True)
class Told:
    """What a system told of one customer: values by the key of the field, None for one that is taken
    back. `at` is when it was true, in seconds UTC; `proof` is the same however often it is split."""

    proof: str
    system: str
    at: float
    received: float
    by: str
    wait: str
    fields: dict[str, Any] = field(repr=False)


def told(bank: Bank, row: IntakeRow, place: int, item: dict[str, Any]) -> Told:
    """What the item at this place of a request says."""
    received = row["at"].timestamp()
    return Told(
        proof=ids.tenant_id(bank.id, "told", row["_id"], place),
        system=row["system"],
        at=checking.read_time(item["at"]) or received if "at" in item else received,
        received=received,
        by=joining.kind_of(item["customer"]),
        wait=joining.wait_id(bank, item["customer"]),
        fields=item["fields"],
    )


async def bring(bank: Bank, told: Sequence[Told]) -> None:
    """Writes it to the customers who are known, and keeps the rest for later. Safe to repeat."""
    if not told:
        return
    found = await joining.find(bank, {one.wait for one in told})
    known = {wait: who.cid for wait, who in found.items() if who.cid}
    await write(bank, [(known[one.wait], one) for one in told if one.wait in known])
    kept = [one for one in told if one.wait not in known]
    await bank.db[BANK_TOLD].insert_new([cast("Doc", _row(bank, one)) for one in kept])
    await waits.wait_for(bank, {one.wait: one.by for one in kept}, found)


async def write(bank: Bank, whose: Sequence[tuple[str, Told]]) -> None:
    """Writes to these customers what was told of each, the oldest first. What is refused only now,
    since a choice may not change so, is kept with its reason for a clerk to see."""
    in_order = sorted(whose, key=lambda one: (one[1].at, one[1].proof))
    for start in range(0, len(in_order), AT_ONCE):
        some = in_order[start : start + AT_ONCE]
        answers = await values.write_many(
            bank,
            [
                Update(cid, one.fields, one.at, one.system, one.proof, identity=one.wait)
                for cid, one in some
            ],
        )
        refused = [
            cast("Doc", {**_row(bank, one, REFUSED), "wait": "", "cid": cid, "reason": answer.code})
            for (cid, one), answer in zip(some, answers, strict=True)
            if not answer.taken
        ]
        await bank.db[BANK_TOLD].insert_new(refused)


def _row(bank: Bank, one: Told, ending: str = "") -> ToldRow:
    row_id = one.proof + ending
    return {
        "_id": row_id,
        "system": one.system,
        "at": one.at,
        "received": one.received,
        "by": one.by,
        "wait": one.wait,
        "data": bank.vault.seal_json(BANK_TOLD, "data", row_id, one.fields),
    }


def opened(bank: Bank, row: ToldRow) -> Told:
    """What a row keeps."""
    fields = bank.vault.open_json(BANK_TOLD, "data", row["_id"], row["data"])
    return Told(
        proof=row["_id"],
        system=row["system"],
        at=row["at"],
        received=row["received"],
        by=row["by"],
        wait=row["wait"],
        fields=cast("dict[str, Any]", fields),
    )
