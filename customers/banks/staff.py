"""A bank's staff: the RMs who may sign in to the side panel, and the branch of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NotRequired, TypedDict, cast

from customers.banks import userids
from customers.banks.bank import CACHE_SECONDS, Bank
from customers.banks.rows import STAFF
from services.cache import cached, invalidate
from services.clock import utc
from services.errors import NotFound
from services.store.mongo import Doc

GONE_STATUS = frozenset({2, 5})
"""A member's `status` at WeCom: disabled, or left the corp."""
FROM_FILE, FROM_WECOM = "file", "wecom"
"""The `source` of staff: the bank's file, or a department that belongs to a branch."""


class StaffRow(TypedDict):
    """Somebody who is or was staff. `changed_at` is when he last joined or left by WeCom's word,
    `left_at` when he left by it; he is `leaving` until all that follows from it is done. A session
    is good in the `epoch` in which it was opened: whatever ends him as staff counts it up in the same
    write, missing is 0."""

    _id: str
    userid: str
    name: str
    branch: str
    active: bool
    source: str
    changed_at: NotRequired[datetime]
    left_at: NotRequired[datetime]
    leaving: NotRequired[bool]
    epoch: NotRequired[int]


@dataclass(frozen=True)
class Staff:
    """Somebody who is staff; `epoch` as in StaffRow."""

    userid: str
    name: str
    branch: str
    epoch: int = field(default=0, compare=False)


def row_id(bank: Bank, userid: str) -> str:
    return f"{bank.id}:{userids.key(userid)}"


async def staff_member(bank: Bank, userid: str) -> Staff:
    """The active staff member, as of CACHE_SECONDS ago at most; raises NotFound."""

    async def load() -> dict[str, Staff]:
        rows = await bank.db[STAFF].find({"active": True}, limit=None)
        return {
            userids.key(row["userid"]): Staff(
                row["userid"], row["name"], row["branch"], row.get("epoch", 0)
            )
            for row in rows
        }

    staff = (await cached(bank.services, f"staff:{bank.id}", CACHE_SECONDS, load)).get(
        userids.key(userid)
    )
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


async def find(bank: Bank, userid: str) -> StaffRow | None:
    """The row of somebody who is or was staff, read afresh."""
    return cast("StaffRow | None", await bank.db[STAFF].find_one({"_id": row_id(bank, userid)}))


async def everybody(bank: Bank) -> list[StaffRow]:
    """All who are or were staff, by userid."""
    found = await bank.db[STAFF].find({}, sort=[("userid", 1)], limit=None)
    return cast("list[StaffRow]", found)


async def rows_of(bank: Bank, asked: Sequence[str]) -> dict[str, StaffRow]:
    """Those of them who are or were staff, by userid as asked; read afresh."""
    wanted = {"_id": {"$in": [row_id(bank, userid) for userid in asked]}}
    found = await bank.db[STAFF].find(wanted, limit=None)
    rows = {row["_id"]: cast("StaffRow", row) for row in found}
    by_userid = {userid: rows.get(row_id(bank, userid)) for userid in asked}
    return {userid: row for userid, row in by_userid.items() if row is not None}


async def branches_of(bank: Bank, asked: Iterable[str]) -> dict[str, str]:
    """userid as asked → branch, of those who are staff; read afresh."""
    rows = await bank.by_id(STAFF, sorted({row_id(bank, userid) for userid in asked}))
    found = {userid: rows.get(row_id(bank, userid)) for userid in asked}
    return {
        userid: row["branch"] for userid, row in found.items() if row is not None and row["active"]
    }


async def names_of(bank: Bank, asked: Sequence[str]) -> dict[str, str]:
    """userid as asked → name, of those who are or were staff."""
    rows = await bank.read(STAFF, [row_id(bank, userid) for userid in asked])
    by_userid = {userid: rows.get(row_id(bank, userid)) for userid in asked}
    return {userid: row["name"] for userid, row in by_userid.items() if row is not None}


async def respell(bank: Bank, userid: str) -> None:
    """Has his row say his userid as WeCom spells it."""
    changed = {"_id": row_id(bank, userid), "userid": {"$ne": userid}}
    await bank.db[STAFF].update(changed, {"$set": {"userid": userid}})
    invalidate(bank.services, f"staff:{bank.id}")


async def take_from_file(bank: Bank, one: Staff) -> bool:
    """Writes what the bank's file says of somebody, and makes him staff; False when he left by
    WeCom's word (customers/handover/departures.py)."""
    row, staff = {"_id": row_id(bank, one.userid)}, bank.db[STAFF]
    said = {"userid": one.userid, "name": one.name, "branch": one.branch, "source": FROM_FILE}
    await staff.update(row, {"$set": said, "$setOnInsert": {"active": True}}, upsert=True)
    not_left = {**row, "$or": [{"active": True}, {"left_at": None}]}
    return await staff.update(not_left, {"$set": {"active": True}})


async def take_back(bank: Bank, userid: str, left_at: datetime, at: float) -> bool:
    """Makes somebody staff again who left at `left_at` and was at work `at` (seconds UTC); False
    when he left again meanwhile."""
    gone = {"_id": row_id(bank, userid), "left_at": left_at}
    back = {"active": True, "changed_at": utc(at)}
    again = {"$set": back, "$unset": {"left_at": "", "leaving": ""}}
    return await bank.db[STAFF].update(gone, again)


async def end_all_but(bank: Bank, present: Sequence[str]) -> list[str]:
    """Whom the bank's file does not name any more is staff no more, except by WeCom's word; who
    that was."""
    rows = [row_id(bank, userid) for userid in present]
    gone = {"_id": {"$nin": rows}, "source": {"$ne": FROM_WECOM}, "active": True}
    found = await bank.db[STAFF].find(gone, fields={"userid": 1}, limit=None)
    for row in found:
        ended = {"$set": {"active": False}, "$inc": {"epoch": 1}}
        await bank.db[STAFF].update({"_id": row["_id"], "active": True}, ended)
    invalidate(bank.services, f"staff:{bank.id}")
    return [row["userid"] for row in found]


async def hire(bank: Bank, one: Staff, known: StaffRow | None, *, at: float, asked: float) -> None:
    """Makes a member of a mapped department staff since `at`, or tells his row what is new; `known`
    is his row. Who left after WeCom was `asked` stays out (all in seconds UTC)."""
    said: Doc = {"userid": one.userid, "name": one.name, "branch": one.branch, "active": True}
    if known is not None and said.items() <= known.items():
        return
    row = said | {
        "_id": row_id(bank, one.userid),
        "source": FROM_WECOM,
        "changed_at": utc(at),
    }
    staff = bank.db[STAFF]
    if await staff.insert_new([row]):
        unchanged = [
            {"active": True},
            {"changed_at": {"$lt": utc(asked)}},
            {"changed_at": None},
        ]
        await staff.update({"_id": row["_id"], "$or": unchanged}, {"$set": row})
    invalidate(bank.services, f"staff:{bank.id}")


async def rename(bank: Bank, old: str, new: str, at: float) -> None:
    """Gives a member's place among the staff to his new userid, since `at` (seconds UTC); safe to
    repeat."""
    row = await find(bank, old)
    if row is None or not row["active"]:
        return
    moved: Doc = {
        "userid": new,
        "name": row["name"],
        "branch": row["branch"],
        "active": True,
        "source": row.get("source", FROM_FILE),
        "changed_at": utc(at),
    }
    await bank.db[STAFF].update({"_id": row_id(bank, new)}, {"$set": moved}, upsert=True)


async def end_staff(bank: Bank, userid: str, at: float) -> None:
    """The member is staff no more since `at` (seconds UTC), unless something newer is known. He is
    `leaving` until `end_leaving`."""
    older = {"$or": [{"changed_at": {"$exists": False}}, {"changed_at": {"$lte": utc(at)}}]}
    present = {"_id": row_id(bank, userid), "active": True, **older}
    leaving = {"active": False, "leaving": True, "changed_at": utc(at), "left_at": utc(at)}
    await bank.db[STAFF].update(present, {"$set": leaving, "$inc": {"epoch": 1}})


async def end_leaving(bank: Bank, row: StaffRow) -> None:
    """Everybody has been told that he left."""
    same = {"_id": row["_id"], "left_at": row["left_at"]}
    await bank.db[STAFF].update(same, {"$unset": {"leaving": ""}})
