"""A customer's story: one append-only row for everything that happened to him, from every room, in
one order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services import ids
from services.clock import utc
from services.container import Services
from services.store import batching
from services.store.mongo import Doc


def entry_id(tenant: str, cid: str, kind: str, key: str) -> str:
    return ids.tenant_id(tenant, "timeline", cid, kind, key)


def entry(
    services: Services,
    tenant: str,
    cid: str,
    kind: str,
    key: str,
    data: dict[str, Any],
    at: float | None = None,
) -> Doc:
    """The row of one happening, for callers that write many at once. `at` is in seconds UTC
    (now)."""
    when = utc(services.clock() if at is None else at)
    return {
        "_id": entry_id(tenant, cid, kind, key),
        "tenant": tenant,
        "cid": cid,
        "kind": kind,
        "at": when,
        "data": data,
    }


async def record(
    services: Services,
    tenant: str,
    cid: str,
    kind: str,
    key: str,
    *,
    at: float | None = None,
    **data: Any,
) -> bool:
    """Writes one row; `key` tells repeated tellings of the same happening apart from new ones.
    False when told already.

    `data` carries no person's data in clear.
    """
    return await batching.insert(
        services, tenant, "timeline", entry(services, tenant, cid, kind, key, data, at)
    )


async def story(
    services: Services, tenant: str, cids: Sequence[str], limit: int = 100
) -> list[Doc]:
    """The newest `limit` rows, newest first, of a customer; `cids` are his and those of whom he was
    before a merge."""
    rows = services.store.tenant(tenant)["timeline"]
    return await rows.find(
        {"cid": {"$in": list(cids)}}, sort=[("at", -1), ("_id", -1)], limit=limit
    )
