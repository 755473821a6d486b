"""The rows of fields: what a customer's declared fields hold, and what they held before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NotRequired, TypedDict, cast

from customers.banks.bank import Bank
from customers.banks.declarations import FieldEntry
from services.store.rows import Rows


class Told(TypedDict):
    """Where a value comes from: `at` is when it was last told to be true (seconds UTC), `since` when
    first, without another value between; `source` who said it (a system's id, `rm`), `proof` by what
    (an event's id, a request), `by` which person, if it was one. `identity` is the row of the id by
    which the customer was found."""

    at: float
    since: float
    source: str
    proof: str
    by: NotRequired[str]
    identity: NotRequired[str]


class FieldRow(TypedDict):
    """What a customer's fields hold, by key: `values` as they are, or `sealed` with their `blind`
    indexes; of a value that was taken back `provenance` is there alone. `rev` counts the writes."""

    _id: str
    rev: int
    values: dict[str, Any]
    sealed: dict[str, bytes]
    blind: dict[str, str]
    provenance: dict[str, Told]


class HistoryRow(TypedDict):
    """A value that a customer's field held before, or that was told too late to be held: in `value`
    or sealed, in neither when it was taken back. The `_id` is made of customer, field, time and
    proof."""

    _id: str
    cid: str
    key: str
    at: float
    since: float
    source: str
    proof: str
    by: NotRequired[str]
    identity: NotRequired[str]
    value: NotRequired[Any]
    sealed: NotRequired[bytes]


FIELD_VALUES = Rows("field_values", indexes=((("tenant", 1), ("_id", 1)),))
"""What a customer's declared fields hold; the `_id` is his cid."""
FIELD_HISTORY = Rows(
    "field_history",
    indexes=((("tenant", 1), ("cid", 1), ("key", 1)),),
    sealed=("sealed",),
)
"""What the fields held before."""


async def rows_of(bank: Bank, cids: Sequence[str]) -> dict[str, FieldRow]:
    """The rows of these customers of the bank's, by cid; any number of them."""
    found = await bank.by_id(FIELD_VALUES, cids)
    his = {cid: row for cid, row in found.items() if row["tenant"] == bank.id}
    return cast("dict[str, FieldRow]", his)


async def is_used(bank: Bank, key: str) -> bool:
    """Whether any customer has, or had, a value of this field."""
    row = await bank.db[FIELD_VALUES].find_one({f"provenance.{key}": {"$exists": True}}, {"_id": 1})
    return row is not None


async def count_holding(bank: Bank, declared: Iterable[FieldEntry]) -> dict[str, int]:
    """How many rows hold a value of each of these fields, by key; all are read once."""
    places = {one.key: f"${'sealed' if one.sealed else 'values'}.{one.key}" for one in declared}
    holds = {
        key: {"$sum": {"$cond": [{"$eq": [{"$type": place}, "missing"]}, 0, 1]}}
        for key, place in places.items()
    }
    found = await bank.db[FIELD_VALUES].aggregate([{"$group": {"_id": None, **holds}}])
    counted = found[0] if found else {}
    return {key: int(counted.get(key, 0)) for key in places}


async def drop(bank: Bank, key: str) -> None:
    """Deletes all values of a field, also those of before; safe to repeat. While any are left,
    `is_used` says so."""
    gone = {f"{part}.{key}": "" for part in ("values", "sealed", "blind", "provenance")}
    used = {f"provenance.{key}": {"$exists": True}}
    await bank.db[FIELD_HISTORY].delete({"key": key})
    await bank.db[FIELD_VALUES].update_many(used, {"$unset": gone, "$inc": {"rev": 1}})


async def erase(bank: Bank, cids: Sequence[str], keys: Sequence[str]) -> None:
    """Deletes what these customers hold and held of these fields; safe to repeat."""
    gone = {
        f"{part}.{key}": "" for key in keys for part in ("values", "sealed", "blind", "provenance")
    }
    theirs = {"_id": {"$in": list(cids)}}
    await bank.db[FIELD_VALUES].update_many(theirs, {"$unset": gone, "$inc": {"rev": 1}})
    asked = {"cid": {"$in": list(cids)}, "key": {"$in": list(keys)}}
    await bank.db[FIELD_HISTORY].delete(asked)
