"""The rows of webhooks: how each one goes, and everything that is or was to be delivered."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NotRequired, TypedDict

from services.store.rows import Rows

WAITING, DELIVERED, FAILED = "waiting", "delivered", "failed"


class WebhookRow(TypedDict):
    """How a webhook of the bank's file goes; its `_id` is `tenant:webhook`. Times without a zone are
    seconds UTC. Whoever delivers to it is `owner` until `leased_until`. After `silent` rounds in
    which nobody answered as he should, nothing is sent before `pause`. Once it is `off`, nothing is
    sent before a person turns it on. `secrets` are sealed: what is signed with, and until when each
    earlier one still signs too."""

    _id: str
    webhook: str
    owner: str | None
    leased_until: float
    pause: float
    silent: int
    off: datetime | None
    secrets: NotRequired[bytes]
    rotated_at: NotRequired[datetime]
    delivered_at: NotRequired[datetime]


class Delivery(TypedDict):
    """One happening for one webhook. `event` is what its receiver calls it, `happening` the id that
    stays the same however often it is sent and to whom. It is sent when `due` (seconds UTC) has come
    and no earlier one of this customer waits; once it has ended, `due` is when the row is deleted.
    `noted_at` is when it was written down, `since` when its three days began; `status` is what the
    receiver answered last, `reason` why that was no delivery."""

    _id: str
    webhook: str
    happening: str
    event: str
    cid: str
    at: datetime
    noted_at: float
    since: float
    data: dict[str, Any]
    open: bool
    due: float
    state: str
    attempts: int
    reason: str
    status: int
    ended_at: NotRequired[datetime]


WEBHOOKS = Rows("webhooks", sealed=("secrets",))
"""How each webhook of a bank's file goes."""
WEBHOOK_DELIVERIES = Rows(
    "webhook_deliveries",
    indexes=(
        (("tenant", 1), ("open", 1), ("due", 1)),
        (("tenant", 1), ("webhook", 1), ("open", 1), ("due", 1)),
        (("tenant", 1), ("webhook", 1), ("state", 1), ("noted_at", 1)),
        (("tenant", 1), ("cid", 1), ("webhook", 1), ("open", 1)),
    ),
)
"""Everything that is or was to be delivered; `_id` is made of webhook and happening."""


def row_id(tenant: str, webhook: str) -> str:
    return f"{tenant}:{webhook}"
