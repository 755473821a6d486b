"""What somebody is about to do, written before he does it, so that no act is without its row of the
audit trail: whoever dies between the two leaves the intent, and a worker writes the row for him.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypedDict, cast

from services import ids
from services.clock import Clock
from services.container import Services
from services.store import batching
from services.store.mongo import Doc, TenantStore
from services.store.rows import Rows

AUDIT_INTENTS = Rows("audit_intents", indexes=((("tenant", 1), ("due", 1)),))
"""Acts that are under way; one that is older than GRACE was cut short."""
GRACE = 60.0
"""Seconds that an act may take before its row is written for whoever began it."""


class IntentRow(TypedDict):
    """An act under way; at `due` (seconds UTC) somebody else sees to its row of the trail."""

    _id: str
    actor: str
    action: str
    object: str
    data: dict[str, Any]
    due: float


@dataclass
class Act:
    """An act under way: what the trail will say of it, to which may be added; `done` is False where
    nothing was changed after all."""

    data: dict[str, Any] = field(default_factory=dict)
    done: bool = True


async def begin(
    services: Services, tenant: str, actor: str, action: str, object_: str, data: dict[str, Any]
) -> str:
    """Writes down what `actor` is about to do, together with what others are; the intent's id."""
    row: IntentRow = {
        "_id": ids.new_id(tenant),
        "actor": actor,
        "action": action,
        "object": object_,
        "data": data,
        "due": services.clock() + GRACE,
    }
    await batching.insert(services, tenant, AUDIT_INTENTS, cast("Doc", row))
    return row["_id"]


async def end(services: Services, tenant: str, row_id: str) -> None:
    """The trail says it, or nothing was done."""
    await batching.remove(services, tenant, AUDIT_INTENTS, row_id)


async def take_old(db: TenantStore, clock: Clock) -> IntentRow | None:
    """An act that was cut short, for the caller alone for GRACE; None when there is none."""
    now = clock()
    row = await db[AUDIT_INTENTS].update_and_get(
        {"due": {"$lte": now}}, {"$set": {"due": now + GRACE}}
    )
    return cast("IntentRow | None", row)
