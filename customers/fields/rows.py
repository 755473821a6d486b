"""The rows of fields: what a customer's declared fields hold, and what they held before."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from customers.banks.bank import Bank
from services.store.rows import Rows


class Told(TypedDict):
    """Where a value comes from: `at` is when it was true (seconds UTC), `source` who said it (a
    system's id, `rm`, `file`), `proof` by what (an event's id, a request), `by` which person, if it
    was one. `identity` is the row of the id by which the customer was found; `origin` the customer
    with whom the value came when he was merged into this one."""

    at: float
    source: str
    proof: str
    by: NotRequired[str]
    identity: NotRequired[str]
    origin: NotRequired[str]


class FieldRow(TypedDict):
    """What a customer's fields hold, by key: `values` as they are, or `sealed` with their `blind`
    indexes; `told` is where each comes from, and is there alone for a value that was taken back.
    Every write counts `rev` up, and names the one that it read."""

    _id: str
    rev: int
    values: dict[str, Any]
    sealed: dict[str, bytes]
    blind: dict[str, str]
    told: dict[str, Told]


class HistoryRow(TypedDict):
    """A value that a customer's field held, or was told of too late to hold: in `value`, or sealed;
    in neither when it was taken back. The `_id` is made of customer, field, time and proof."""

    _id: str
    cid: str
    key: str
    at: float
    source: str
    proof: str
    by: NotRequired[str]
    identity: NotRequired[str]
    origin: NotRequired[str]
    value: NotRequired[Any]
    sealed: NotRequired[bytes]


FIELD_VALUES = Rows("field_values")
"""What a customer's declared fields hold; the `_id` is his cid."""
FIELD_HISTORY = Rows(
    "field_history",
    indexes=((("tenant", 1), ("cid", 1), ("key", 1)),),
    sealed=("sealed",),
)
"""What the fields held before."""


async def is_used(bank: Bank, key: str) -> bool:
    """Whether any customer has, or had, a value of this field."""
    row = await bank.db[FIELD_VALUES].find_one({f"told.{key}": {"$exists": True}}, {"_id": 1})
    return row is not None


async def drop(bank: Bank, key: str) -> None:
    """Deletes all values of a field, also those of before; safe to repeat."""
    gone = {f"{part}.{key}": "" for part in ("values", "sealed", "blind", "told")}
    used = {f"told.{key}": {"$exists": True}}
    await bank.db[FIELD_VALUES].update_many(used, {"$unset": gone, "$inc": {"rev": 1}})
    await bank.db[FIELD_HISTORY].delete({"key": key})
