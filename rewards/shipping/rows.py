"""The rows of shipping: one of each physical reward that was granted, and one of each batch that was
exported to a shipper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NotRequired, TypedDict, cast

from customers.banks.bank import Bank
from services.store.mongo import Doc
from services.store.rows import Rows

AWAITING, READY, EXPORTED, SHIPPED = "awaiting_address", "ready", "exported", "shipped"
DELIVERED, RETURNED, CANCELLED = "delivered", "returned", "cancelled"
STATES = (AWAITING, READY, EXPORTED, SHIPPED, DELIVERED, RETURNED, CANCELLED)
OPEN = (AWAITING, READY)
"""The states in which the customer may give his address and change it."""
ENDED = (DELIVERED, RETURNED, CANCELLED)

SHIPMENTS = Rows(
    "shipments",
    indexes=(
        (("tenant", 1), ("state", 1), ("at", 1)),
        (("tenant", 1), ("reward", 1), ("state", 1), ("at", 1)),
        (("tenant", 1), ("batch", 1)),
        (("tenant", 1), ("order", 1)),
        (("tenant", 1), ("cid", 1)),
    ),
    unique="parcel",
    sealed=("address",),
)
"""Physical rewards on their way to customers, each under the `_id` of its grant. The row guards what
is done with it: every change names the states in which it may happen."""

SHIPMENT_BATCHES = Rows(
    "shipment_batches",
    indexes=((("tenant", 1), ("at", -1)),),
)
"""Lists of shipments for a shipper; what a list holds never changes once it is submitted."""

GATHERING, SUBMITTED, APPROVED = "gathering", "submitted", "approved"
OUT, REJECTED, DROPPED = "exported", "rejected", "dropped"


class Untold(TypedDict):
    """A change that the customer's timeline and the ledger do not have yet."""

    state: str
    at: datetime


class Shipment(TypedDict):
    """`order` is what a shipper's file calls it. `address` is sealed, and gone some days after the
    end. `changes` counts what was done with the row. `batch` is the list that it is in, empty for
    none. `carrier` and `number` are the parcel's, `parcel` both together, which no other shipment
    has. With `forget` the address goes as soon as the parcel is there: its customer withdrew his
    consent when it was out already. One that came back after it was there `was_delivered`."""

    _id: str
    order: str
    reward: str
    campaign: str
    title: Mapping[str, str]
    cid: str
    at: datetime
    state: str
    batch: str
    untold: list[Untold]
    changes: int
    address: NotRequired[bytes]
    address_at: NotRequired[datetime]
    exported_at: NotRequired[datetime]
    carrier: NotRequired[str]
    number: NotRequired[str]
    parcel: NotRequired[str]
    shipped_at: NotRequired[datetime]
    ended_at: NotRequired[datetime]
    reason: NotRequired[str]
    forget: NotRequired[bool]
    was_delivered: NotRequired[bool]


class Batch(TypedDict):
    """`shipments` is the list, fixed when it was submitted; `exported` how many of them went out.
    `reward` is the one that was asked for, empty for all."""

    _id: str
    reward: str
    shipments: list[str]
    state: str
    author: str
    at: datetime
    decided_by: str
    decided_at: datetime | None
    reason: str
    exported: int
    downloads: int


async def find(bank: Bank, shipment: str) -> Shipment | None:
    row = await bank.db[SHIPMENTS].find_one({"_id": shipment})
    return cast("Shipment | None", row)


async def shipments(
    bank: Bank, query: Mapping[str, Any], limit: int | None = None, *, newest: bool = False
) -> list[Shipment]:
    """The shipments that match, oldest first (or newest)."""
    order = [("at", -1 if newest else 1), ("_id", 1)]
    found = await bank.db[SHIPMENTS].find(dict(query), sort=order, limit=limit)
    return cast("list[Shipment]", found)


async def of_ids(bank: Bank, wanted: Sequence[str]) -> dict[str, Shipment]:
    """These shipments, by id."""
    found = await bank.by_id(SHIPMENTS, list(wanted))
    return cast("dict[str, Shipment]", found)


async def batch(bank: Bank, batch_id: str) -> Batch | None:
    row = await bank.db[SHIPMENT_BATCHES].find_one({"_id": batch_id})
    return cast("Batch | None", row)


async def change(
    bank: Bank, shipment: str, states: Sequence[str], change: Doc, **more: Any
) -> bool:
    """Changes a shipment by one write, while it is in one of `states` and `more` holds; False when
    it is not."""
    query = {"_id": shipment, "state": {"$in": list(states)}, **more}
    return await bank.db[SHIPMENTS].update(query, change)
