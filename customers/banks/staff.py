"""A bank's staff: the RMs who may sign in to the side panel, and the branch of each."""

from __future__ import annotations

from dataclasses import dataclass

from customers.banks.bank import CACHE_SECONDS, Bank
from customers.banks.rows import STAFF
from services.cache import cached
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
