"""What the bank's systems send, taken in: each item is looked at, those that are good are stored
together as one sealed row, durably, and then answered.

The row's `_id` is made of what was sent, so that a request of events that is sent again is one row;
and each event's row has an `_id` of its system and its own id, so that an event that is sent again in
another request adds nothing. Splitting the row, and finding whose the events are, is the
workers' (splitting.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import orjson

from customers.banks.bank import Bank
from customers.banks.tasks import SPLIT_INTAKE
from customers.intake import checking
from customers.intake.checking import Wrong
from customers.intake.rows import INTAKE, IntakeRow, Kind
from services import ids
from services.errors import InvalidInput, TooLarge
from services.store.mongo import Doc

MOST_ITEMS = 500
WAITING, DONE, REFUSED, FAILED = "waiting", "done", "refused", "failed"
"""How a row stands: its items wait for a worker, are split, were all refused, or cannot be split."""


@dataclass(frozen=True)
class Sent:
    """A request of a system's. `name` is the same when it is sent again: of events, which are once
    whatever is sent, the hash of the body; of what is told of customers, which counts from now on,
    the request's nonce."""

    system: str
    kind: Kind
    name: str
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Checked:
    """The items of a request in their order, and what is wrong with those that are refused, by their
    place."""

    items: Sequence[Any]
    wrong: Mapping[int, Wrong]

    @property
    def good(self) -> list[Any]:
        return [one for place, one in enumerate(self.items) if place not in self.wrong]


def read_items(body: bytes, kind: Kind) -> list[Any]:
    """The items of a body; raises InvalidInput `invalid_body` for what has none, and TooLarge
    `too_many_items`."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise _unreadable("expected JSON in UTF-8") from None
    if type(said) is not dict or said.keys() != {kind} or type(said[kind]) is not list:
        raise _unreadable(f'expected {{"{kind}": [...]}}')
    items = cast("list[Any]", said[kind])
    if not items:
        raise _unreadable(f"{kind} is empty")
    if len(items) > MOST_ITEMS:
        raise TooLarge("too_many_items", f"at most {MOST_ITEMS} in one request")
    return items


def _unreadable(why: str) -> InvalidInput:
    return InvalidInput(
        "invalid_body", "the request cannot be read as what it should be", fields={"body": why}
    )


def check(bank: Bank, kind: Kind, items: Sequence[Any]) -> Checked:
    """Looks at every item."""
    wrong = checking.checker(bank, kind).all_wrong(items, checking.ages(bank))
    return Checked(items, wrong)


async def store(bank: Bank, row: IntakeRow) -> None:
    """Keeps a request; durable when it returns, and there once."""
    await bank.insert(INTAKE, cast("Doc", row))
    if row["open"]:
        bank.signal(SPLIT_INTAKE)


def row_of(bank: Bank, sent: Sent, checked: Checked) -> IntakeRow:
    """The row of a request: its good items, sealed; of a request without any, only the counts."""
    refused_now = ",".join(map(str, checked.wrong))
    row_id = ids.tenant_id(bank.id, "intake", sent.system, sent.kind, sent.name, refused_now)
    good = len(checked.items) - len(checked.wrong)
    body = sent.body
    if checked.wrong or not body:
        body = orjson.dumps({sent.kind: checked.good})
    row: IntakeRow = {
        "_id": row_id,
        "tenant": bank.id,
        "system": sent.system,
        "kind": sent.kind,
        "accepted": good,
        "refused": dict(Counter(code for code, _ in checked.wrong.values())),
        "at": bank.utc(),
        "open": good > 0,
        "due": bank.now(),
        "owner": None,
        "attempts": 0,
        "state": WAITING if good else REFUSED,
    }
    if good:
        row["body"] = bank.vault.seal(INTAKE, "body", row_id, body)
    return row


def items_of(bank: Bank, row: IntakeRow) -> list[Any]:
    """The items that were accepted."""
    body = bank.vault.open(INTAKE, "body", row["_id"], row["body"])
    return cast("list[Any]", orjson.loads(body)[row["kind"]])
