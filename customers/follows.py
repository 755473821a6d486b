"""Who follows whom: a row for each pair of RM and customer, told in any order.

Each change carries the time of its event (CreateTime); an older event never undoes a newer one, so delete before add ends as add
before delete (wechat-contract C3: delivery is not ordered).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, cast

from services import grouped, ids
from services.container import Services
from services.mongo import Doc


def _follow_id(tenant: str, userid: str, cid: str) -> str:
    return ids.tenant_id(tenant, "follow", userid, cid)


async def changed(
    services: Services, tenant: str, userid: str, cid: str, *, at: float, active: bool, **fields: Any
) -> None:
    """Records that the friendship began or ended `at` (seconds UTC, the event's own time)."""
    row_id = _follow_id(tenant, userid, cid)
    row: Doc = {"userid": userid, "cid": cid, "active": active, "at": at, **fields}
    if not await grouped.insert(services, tenant, "follows", {"_id": row_id, **row}):
        db = services.store.tenant(tenant)
        newer: Doc = {"_id": row_id, "at": {"$lt": at}}
        same_second: Doc = {"_id": row_id, "at": at, "active": True}  # of one second, the end is believed
        changed_ = await db["follows"].update(newer if active else {"$or": [newer, same_second]}, {"$set": row})
        if active and not changed_:  # details that come after the event of the same second complete it
            for name, value in fields.items():
                if value is not None:
                    await db["follows"].update({**same_second, name: None}, {"$set": {name: value}})


async def move(services: Services, tenant: str, cid: str, to: str) -> None:
    """Gives a merged customer's friendships to whom he was merged into; of two with one RM the newer word counts."""
    rows = services.store.tenant(tenant)["follows"]
    present = [await rows.find({"active": active, "cid": cid}, limit=None) for active in (True, False)]
    for row in chain(*present):
        told = {name: row[name] for name in ("state", "add_way") if name in row}
        await changed(services, tenant, row["userid"], to, at=row["at"], active=row["active"], **told)
        await rows.delete({"_id": row["_id"]})


async def of_staff(services: Services, tenant: str, userid: str, limit: int = 200) -> list[Doc]:
    """The RM's present friends, newest first."""
    rows = services.store.tenant(tenant)["follows"]
    return await rows.find({"userid": userid, "active": True}, sort=[("at", -1)], limit=limit)


async def of_customer(services: Services, tenant: str, cids: Sequence[str]) -> list[Doc]:
    """The RMs who follow the customer now, newest first; customers who are asked for in one moment share one query."""

    async def flush(asked: list[Sequence[str]]) -> list[list[Doc]]:
        every = list(dict.fromkeys(cid for cids in asked for cid in cids))
        by_cid: dict[str, list[Doc]] = {}
        for row in await services.store.tenant(tenant)["follows"].find(
            {"active": True, "cid": {"$in": every}}, limit=None
        ):
            by_cid.setdefault(row["cid"], []).append(row)
        found = [[row for cid in cids for row in by_cid.get(cid, [])] for cids in asked]
        return [sorted(rows, key=lambda row: float(row["at"]), reverse=True) for rows in found]

    group = services.groups.get(f"follows:{tenant}", flush, limit=32, lanes=2)
    return cast("list[Doc]", await group.submit(cids))


async def pair(services: Services, tenant: str, userid: str, cids: list[str]) -> Doc | None:
    """The present friendship of the two, or None."""
    wanted = [_follow_id(tenant, userid, cid) for cid in cids]
    found = await grouped.read(services, tenant, "follows", wanted)
    return next((row for row in found.values() if row["active"]), None)
