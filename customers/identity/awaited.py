"""Who is waited for: ids that somebody told something of, and that lead to no customer yet.

A row has the id's blind index in its `_id`. Whoever makes an id known has its row looked at at once
(`known`), behind the answer that he gives; a row that nobody wakes is looked at again by itself, more
and more seldom, so that a lost wake-up costs time and loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NotRequired, TypedDict

from customers.banks.bank import Bank
from customers.banks.tasks import JOIN_WAITING
from customers.identity.sealing import identity_id, phone_index
from services.store.mongo import Doc
from services.store.rows import Rows

PHONE = "phone"


class WaitRow(TypedDict):
    """Somebody who is waited for. `due` is in seconds UTC; `reason` is why he is not found although
    his id is known, and `cid` whom a clerk has chosen then."""

    _id: str
    by: str
    since: float
    open: bool
    due: float
    owner: str | None
    attempts: int
    reason: NotRequired[str]
    cid: NotRequired[str]


AWAITED = Rows(
    "awaited",
    indexes=((("tenant", 1), ("open", 1), ("due", 1)), (("tenant", 1), ("reason", 1))),
)
"""Ids that the bank's systems named, of customers who are not known yet."""


def wait_id(bank: Bank, kind: str, value: str) -> str:
    """The row that waits for the customer with this id, or with this phone (in E.164)."""
    if kind == PHONE:
        return f"{bank.id}:{PHONE}:{phone_index(bank, value)}"
    return identity_id(bank, kind, value)


def known(bank: Bank, wanted: Iterable[str]) -> None:
    """Somebody with these ids is known from now on: what waits for him is joined soon. Returns at
    once, and costs nothing where no system of the bank's sends anything."""
    if bank.systems:
        bank.services.groups.spawn(_wake(bank, list(wanted)))


async def _wake(bank: Bank, wanted: list[str]) -> None:
    found = list(await bank.by_id(AWAITED, wanted, {"_id": 1}))
    if found:
        await wake(bank, found)


async def wake(bank: Bank, rows: Iterable[str], **fields: object) -> int:
    """Has these rows looked at now, and told `fields`; how many there are."""
    waiting: Doc = {"_id": {"$in": list(rows)}, "open": True}
    woken = await bank.db[AWAITED].update_many(waiting, {"$set": {"due": bank.now(), **fields}})
    bank.signal(JOIN_WAITING)
    return woken
