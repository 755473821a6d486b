"""What may be posted: entries as they are asked for, checked, and as the row that they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

import orjson

from customers.banks.bank import Bank
from rewards.ledger.chart import MOST_AMOUNT, Kind, kind_of
from rewards.ledger.lines import HOLD, RESERVED, UNMOVED, Leg, legs_of
from rewards.ledger.rows import LotChange, Piece
from services import ids
from services.errors import InvalidInput
from services.store.mongo import Doc

MOST_LEGS = 20
MOST_KEY = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """A journal entry that happens whole: `kind` says what it is for, `key` makes it one (the same
    key again gets the first answer), `about` is what is kept with it, without personal data.

    `expires`: when what it credits to accounts with lots expires (None: never). `of_expired`: what
    it takes from such accounts is what has expired, and nothing else.
    """

    key: str
    kind: str
    legs: Sequence[Leg]
    about: Mapping[str, Any] = field(default_factory=dict)
    expires: datetime | None = None
    of_expired: bool = False


def transfer_id(tenant: str, key: str) -> str:
    """The `_id` of the transfer that an entry with this key becomes."""
    return ids.tenant_id(tenant, "transfer", key)


def end_id(hold_id: str) -> str:
    """The `_id` of a hold's end, whichever it is: so there is one."""
    tenant = hold_id.partition(":")[0]
    return ids.tenant_id(tenant, "hold_end", hold_id)


def refund_id(transfer: str, number: int) -> str:
    """The `_id` of a transfer's refund of that number, from 0."""
    tenant = transfer.partition(":")[0]
    return ids.tenant_id(tenant, "refund", transfer, number)


def checked_amount(amount: Any, name: str) -> int:
    """A whole number from 1 to MOST_AMOUNT; raises InvalidInput `amount_invalid` that names the
    field."""
    if type(amount) is not int or not 0 < amount <= MOST_AMOUNT:
        problem = f"{name} must be a whole number from 1 to {MOST_AMOUNT}"
        raise InvalidInput("amount_invalid", problem, fields={name: "amount_invalid"})
    return amount


def one_account(account: str) -> Kind:
    """The account's kind; raises InvalidInput `account_unknown`, also for `kind:*`."""
    if account.endswith(":*"):
        raise InvalidInput("account_unknown", f"{account} stands for many accounts")
    return kind_of(account)


def check(entry: Entry) -> None:
    """Raises InvalidInput that names the field: `entry_invalid`, `amount_invalid`,
    `account_unknown`."""
    if not 0 < len(entry.key) <= MOST_KEY or not 0 < len(entry.legs) <= MOST_LEGS:
        name = "legs" if entry.key else "key"
        problem = f"an entry has a key and 1 to {MOST_LEGS} legs"
        raise InvalidInput("entry_invalid", problem, fields={name: "entry_invalid"})
    if not entry.kind or entry.kind in RESERVED:
        fields = {"kind": "entry_invalid"}
        raise InvalidInput("entry_invalid", f"no entry has kind {entry.kind!r}", fields=fields)
    for number, leg in enumerate(entry.legs):
        checked_amount(leg.amount, f"legs.{number}.amount")
        debit, credit = one_account(leg.debit), one_account(leg.credit)
        if leg.debit == leg.credit or debit.currency != credit.currency:
            problem = f"{leg.debit} cannot pay {leg.credit}"
            fields = {f"legs.{number}": "entry_invalid"}
            raise InvalidInput("entry_invalid", problem, fields=fields)
        if debit.in_stock or credit.in_stock:
            problem = "a reward's stock is changed by its claims and its document alone"
            fields = {f"legs.{number}": "entry_invalid"}
            raise InvalidInput("entry_invalid", problem, fields=fields)


def body_of(row: Mapping[str, Any]) -> str:
    """What a repetition under the same key must say as well, as a hash."""
    names = ("kind", "what", "of", "debit", "credit", "amount", "legs", "about", "lot_expires")
    said = {name: row[name] for name in names if name in row}
    return ids.fingerprint(orjson.dumps(said, option=orjson.OPT_SORT_KEYS, default=str))


def row_of(bank: Bank, entry: Entry) -> Doc:
    """The transfer that the entry becomes, without batch, time and lots."""
    row: Doc = {
        "_id": transfer_id(bank.id, entry.key),
        "tenant": bank.id,
        "kind": entry.kind,
        **with_legs(entry.legs),
        "key": entry.key,
        "about": dict(entry.about),
    }
    if entry.expires is not None:
        row["lot_expires"] = entry.expires
    if entry.of_expired:
        row["of_expired"] = True
    return row | {"body": body_of(row)}


def with_legs(legs: Sequence[Leg]) -> Doc:
    """A row's fields for these legs: the first in the row itself, the others in `legs`."""
    first, *others = legs
    fields: Doc = {
        "debit": first.debit,
        "credit": first.credit,
        "amount": first.amount,
        "currency": kind_of(first.debit).currency,
    }
    if others:
        fields["legs"] = [
            {
                "debit": leg.debit,
                "credit": leg.credit,
                "amount": leg.amount,
                "currency": kind_of(leg.debit).currency,
            }
            for leg in others
        ]
    return fields


def pieces_of(row: Mapping[str, Any], hold: Mapping[str, Any] | None = None) -> dict[str, Piece]:
    """What a transfer does to each guarded account, without lots. `hold` is the hold that it
    ends."""
    pieces: dict[str, Piece] = {}

    def of(account: str) -> Piece:
        none = {"take": 0, "debited": 0, "posted": 0, "held": 0}
        fresh = cast("Piece", {"id": row["_id"], **none, "lots": []})
        return pieces.setdefault(account, fresh)

    if hold is not None:
        for leg in legs_of(hold):
            if kind_of(leg.debit).guarded:
                of(leg.debit)["held"] -= leg.amount
    for leg in legs_of(row) if row["kind"] not in UNMOVED or row["kind"] == HOLD else ():
        _add(row, leg, of, covered=hold is not None)
    return pieces


def _add(row: Mapping[str, Any], leg: Leg, of: Any, *, covered: bool) -> None:
    """`covered`: a hold has set aside what the leg takes."""
    if kind_of(leg.debit).guarded:
        piece = of(leg.debit)
        piece["take"] += 0 if covered else leg.amount
        if row["kind"] == HOLD:
            piece["held"] += leg.amount
        else:
            piece["posted"] -= leg.amount
            piece["debited"] += leg.amount
    if kind_of(leg.credit).guarded and row["kind"] != HOLD:
        of(leg.credit)["posted"] += leg.amount


def lots_row(account: str, changes: Sequence[LotChange]) -> list[Doc]:
    """How a transfer's row says which lots it took (below zero) and gave."""
    return [
        {"account": account, "expires": change["expires"], "n": change["left"] or -change["take"]}
        for change in changes
    ]


def held_by(row: Mapping[str, Any]) -> list[Doc]:
    """What a hold sets aside on each guarded account, as the row of its end says it."""
    return [
        {"account": leg.debit, "n": leg.amount}
        for leg in legs_of(row)
        if kind_of(leg.debit).guarded
    ]


__all__ = ["Entry", "Leg"]
