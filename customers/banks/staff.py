"""A bank's staff: the RMs who may sign in to the side panel, and the branch of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NotRequired, TypedDict, cast

from customers.banks.bank import CACHE_SECONDS, Bank
from customers.banks.rows import STAFF
from services.cache import cached
from services.clock import utc
from services.errors import NotFound

GONE_STATUS = frozenset({2, 5})
"""A member's `status` at WeCom: disabled, or left the corp."""
FROM_WECOM = "wecom"
"""The `source` of staff who are in no file: members of a department that belongs to a branch."""


@dataclass(frozen=True)
class Staff:
    userid: str
    name: str
    branch: str


async def staff_member(bank: Bank, userid: str) -> Staff:
    """The active staff member, as of CACHE_SECONDS ago at most; raises NotFound."""

    async def load() -> dict[str, Staff]:
        rows = await bank.db[STAFF].find({"active": True}, limit=None)
        return {row["userid"]: Staff(row["userid"], row["name"], row["branch"]) for row in rows}

    staff = (await cached(bank.services, f"staff:{bank.id}", CACHE_SECONDS, load)).get(userid)
    if staff is None:
        raise NotFound("staff_unknown", "not a member of this bank's staff")
    return staff


async def staff_of_branches(bank: Bank) -> dict[str, list[str]]:
    """The userids of each branch, in order."""
    rows = await bank.db[STAFF].find({"active": True}, sort=[("userid", 1)], limit=None)
    branches: dict[str, list[str]] = {}
    for row in rows:
        branches.setdefault(row["branch"], []).append(row["userid"])
    return branches


class StaffRow(TypedDict):
    """A row of `staff`, also of one who left. `changed_at` (seconds UTC) is the time of the last
    word of WeCom's; whoever has `leaving` left, and not everybody has been told."""

    _id: str
    userid: str
    name: str
    branch: str
    active: bool
    changed_at: NotRequired[float]
    left_at: NotRequired[datetime]
    leaving: NotRequired[bool]


async def find_staff(bank: Bank, userid: str) -> StaffRow | None:
    """Whoever is or was staff, as the database says now."""
    row = await bank.db[STAFF].find_one({"_id": f"{bank.id}:{userid}"})
    return cast("StaffRow | None", row)


async def everybody(bank: Bank) -> list[StaffRow]:
    """Who is or was staff, by userid."""
    rows = await bank.db[STAFF].find({}, sort=[("userid", 1)], limit=None)
    return cast("list[StaffRow]", rows)


async def names_of(bank: Bank, userids: Sequence[str]) -> dict[str, str]:
    """userid → name of those who are or were staff."""
    rows = await bank.read(STAFF, [f"{bank.id}:{userid}" for userid in userids])
    return {row["userid"]: row["name"] for row in rows.values()}


async def end_staff(bank: Bank, userid: str, at: float) -> None:
    """The member is staff no more since `at` (seconds UTC), unless something newer is known. He is
    `leaving` until `end_leaving`."""
    older = {"$or": [{"changed_at": {"$exists": False}}, {"changed_at": {"$lte": at}}]}
    present = {"_id": f"{bank.id}:{userid}", "active": True, **older}
    leaving = {"active": False, "leaving": True, "changed_at": at, "left_at": utc(at)}
    await bank.db[STAFF].update(present, {"$set": leaving})


async def end_leaving(bank: Bank, row: StaffRow) -> None:
    """Everybody has been told that he left."""
    same = {"_id": row["_id"], "left_at": row["left_at"]}
    await bank.db[STAFF].update(same, {"$unset": {"leaving": ""}})
