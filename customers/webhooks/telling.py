"""What happened to customers becomes deliveries to the bank's webhooks that ask for it.

The customers' timeline tells of each of its entries (customers/timeline.py); what is in no timeline
is told by `tell_of`. A bank without webhooks pays for a look at its own file, which is in the hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from customers.banks.bank import Bank
from customers.banks.tasks import SEND_WEBHOOKS
from customers.webhooks import events
from customers.webhooks.rows import WAITING, WEBHOOK_DELIVERIES, Delivery
from services import ids
from services.clock import utc
from services.store.mongo import Doc

_NEXT = 1e-6
"""Seconds between two deliveries that are written down at once: they keep their order."""


@dataclass(frozen=True)
class Happened:
    """Something of a customer's; `id` is the same however often it is told."""

    id: str
    kind: str
    cid: str
    at: datetime
    data: Mapping[str, Any]


async def tell_of(
    bank: Bank, kind: str, cid: str, key: str, *, at: float | None = None, **data: Any
) -> None:
    """Tells the webhooks of what is in nobody's timeline; `key` tells repeated tellings apart from
    new happenings, `at` is in seconds UTC (now)."""
    if bank.webhooks:
        name = ids.tenant_id(bank.id, "happening", cid, kind, key)
        when = bank.utc() if at is None else utc(at)
        await tell(bank, [Happened(name, kind, cid, when, data)])


async def tell(bank: Bank, some: Sequence[Happened]) -> None:
    """Writes down what is to be delivered of these, once for each webhook that asks for it, however
    often it is told."""
    wanted = [
        (hook.id, event, one)
        for hook in bank.webhooks
        for one in some
        if (event := events.OF_KIND.get(one.kind)) is not None and event.name in hook.events
    ]
    if wanted:
        now = bank.now()
        rows = [_delivery(bank, *each, now + n * _NEXT) for n, each in enumerate(wanted)]
        await bank.db[WEBHOOK_DELIVERIES].insert_new(cast("list[Doc]", rows))
        bank.signal(SEND_WEBHOOKS)


def _delivery(
    bank: Bank, webhook: str, event: events.Event, one: Happened, noted_at: float
) -> Delivery:
    happening = one.id.partition(":")[2]
    return {
        "_id": ids.tenant_id(bank.id, "delivery", webhook, happening),
        "webhook": webhook,
        "happening": happening,
        "event": event.name,
        "cid": one.cid,
        "at": one.at,
        "noted_at": noted_at,
        "since": noted_at,
        "data": events.said(event, one.kind, one.data),
        "open": True,
        "due": noted_at,
        "state": WAITING,
        "attempts": 0,
        "reason": "",
        "status": 0,
    }
