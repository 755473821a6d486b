"""Members and departments as WeCom has them, and who of the members works for which branch
(contract/wechat B2, C4).

An event says who changed; what he is now is asked for, so that the order of events does not matter.
A row keeps when its newest event happened (`at`) and when WeCom was asked last (`told`), both in
seconds UTC; an older answer never undoes a newer one. A member of a department that the bank's file
gives to a branch is staff of that branch; who is in the file stays as it says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from customers import relationships
from customers.banks.bank import Bank
from customers.banks.rows import STAFF
from customers.banks.staff import FROM_WECOM
from customers.handover import departures
from customers.wecom_mirror.rows import DEPARTMENTS, MEMBERS
from customers.wecom_mirror.sync import (
    Batch,
    Difference,
    Job,
    Outcome,
    Part,
    Problem,
    code_of,
    follow_users,
    note,
)
from services.cache import cached, invalidate
from services.store.mongo import Doc
from services.wechat import events
from services.wechat.core.errors import PlatformError

if TYPE_CHECKING:
    from services.wechat.events import DepartmentChanged, MemberChanged, MemberLeft

UNKNOWN_MEMBER = 60111
UNKNOWN_DEPARTMENT = frozenset({60003, 60123})
GONE_STATUS = frozenset({2, 5})
"""Disabled, or left the corp."""
MAPPED_SECONDS = 60.0
AT_ONCE = 20
_REST = "+"
_BRANCH_HOPS = 15


def _member_row(tenant: str, member: Mapping[str, Any]) -> Doc:
    return {
        "_id": f"{tenant}:{member['userid']}",
        "userid": str(member["userid"]),
        "name": str(member.get("name") or member["userid"]),
        "departments": sorted(int(one) for one in member.get("department") or []),
        "main_department": int(member.get("main_department") or 0),
        "position": str(member.get("position") or ""),
        "status": int(member.get("status") or 1),
        "active": True,
    }


def _department_row(tenant: str, department: Mapping[str, Any]) -> Doc:
    return {
        "_id": f"{tenant}:{department['id']}",
        "department_id": int(department["id"]),
        "name": str(department.get("name") or ""),
        "parent_id": int(department.get("parentid") or 0),
        "order": int(department.get("order") or 0),
        "leaders": sorted(str(one) for one in department.get("department_leader") or []),
        "active": True,
    }


def _differs(row: Mapping[str, Any], there: Mapping[str, Any]) -> bool:
    return any(there.get(name) != value for name, value in row.items())


async def _put(bank: Bank, collection: str, row: Doc, asked: float, at: float) -> None:
    """Writes what WeCom told when `asked`, unless a newer answer is there; `at` is the event's own
    time."""
    rows = bank.db[collection]
    if not await rows.insert_new([{**row, "told": asked, "at": at}]):
        return
    older: Doc = {"_id": row["_id"], "$or": [{"told": {"$lt": asked}}, {"told": None}]}
    await rows.update(older, {"$set": {**row, "told": asked}, "$max": {"at": at}})


async def _close(bank: Bank, collection: str, row: Doc, at: float) -> bool:
    """Ends a member or department that is gone since `at`, unless something newer is known; whether
    it is ended now."""
    rows = bank.db[collection]
    ended = {"active": False, "at": at, "told": bank.now()}
    if not await rows.insert_new([{**row, **ended}]):
        return True
    return await rows.update({"_id": row["_id"], "at": {"$lte": at}}, {"$set": ended})


async def member_changed(bank: Bank, row: Doc, event: MemberChanged) -> None:
    """A member is new, changed, or has a new userid, which his friendships and his place among the
    staff take over."""
    bank, at = bank, events.happened(event, row)
    if event.new_userid and event.new_userid != event.userid:
        await _rename(bank, event.userid, event.new_userid, at)
    await read_member(bank, event.new_userid or event.userid, at)


async def member_left(bank: Bank, row: Doc, event: MemberLeft) -> None:
    """The member was deleted: nothing of his works any more, unless he is known to have come back
    since."""
    await _end_member(bank, event.userid, events.happened(event, row))


async def read_member(bank: Bank, userid: str, at: float) -> None:
    """Asks WeCom who the member is now and brings our rows up to it; raises PlatformError."""
    asked = bank.now()
    try:
        member = await bank.wecom.user_get(userid)
    except PlatformError as error:
        if error.errcode != UNKNOWN_MEMBER:
            raise
        await _end_member(bank, userid, at)
        return
    row = _member_row(bank.id, member)
    await _put(bank, "members", row, asked, at)
    await employ(bank, [row], at, asked)


async def _end_member(bank: Bank, userid: str, at: float) -> None:
    """Ends him, unless he is known to be there since; who is known to have left later has left."""
    row_id = f"{bank.id}:{userid}"
    if not await _close(bank, "members", {"_id": row_id, "userid": userid}, at):
        gone = await bank.db[MEMBERS].find_one({"_id": row_id, "active": False})
        if gone is None:
            return
        at = gone["at"]
    await departures.left(bank, userid, at)


async def _rename(bank: Bank, old: str, new: str, at: float) -> None:
    """Safe to repeat: what was moved already is not there under the old userid."""
    staff = bank.db[STAFF]
    there = await staff.find_one({"_id": f"{bank.id}:{old}", "active": True})
    if there is not None:
        moved: Doc = {
            "userid": new,
            "active": True,
            "changed_at": at,
            "source": there.get("source", "file"),
        }
        moved |= {"name": there["name"], "branch": there["branch"]}
        await staff.update({"_id": f"{bank.id}:{new}"}, {"$set": moved}, upsert=True)
    await relationships.rename(bank, old, new)
    await _end_member(bank, old, at)


async def employ(bank: Bank, members: Sequence[Doc], at: float, asked: float) -> None:
    """Makes members of mapped departments staff of their branch, and ends the staff that is
    disabled, gone or moved away. Who left after WeCom was `asked` (seconds UTC) stays out."""
    db = bank.db
    rows = await db[STAFF].find({"_id": {"$in": [member["_id"] for member in members]}}, limit=None)
    staff = {row["_id"]: row for row in rows}
    parents = await _parents(bank) if bank.departments else {}
    for member in members:
        there = staff.get(member["_id"])
        ours = there is None or there.get("source") == FROM_WECOM or not there["active"]
        branch = _branch_of(bank, parents, member["departments"])
        if member["status"] in GONE_STATUS or (
            not branch and there is not None and there.get("source") == FROM_WECOM
        ):
            if there is not None and there["active"]:
                await departures.left(bank, member["userid"], at)
        elif branch and ours:
            row = {
                "userid": member["userid"],
                "name": member["name"],
                "branch": branch,
                "active": True,
            }
            if there is None or _differs(row, there):
                await _hire(
                    bank,
                    {"_id": member["_id"], **row, "source": FROM_WECOM, "changed_at": at},
                    asked,
                )


async def _hire(bank: Bank, row: Doc, asked: float) -> None:
    staff = bank.db[STAFF]
    if await staff.insert_new([row]):
        known: Doc = {
            "$or": [{"active": True}, {"changed_at": {"$lt": asked}}, {"changed_at": None}]
        }
        await staff.update({"_id": row["_id"], **known}, {"$set": row})
    invalidate(bank.services, f"staff:{bank.id}")


async def _parents(bank: Bank) -> dict[int, int]:
    rows = await bank.db[DEPARTMENTS].find({"active": True}, limit=None)
    return {row["department_id"]: row["parent_id"] for row in rows if "parent_id" in row}


def _branch_of(bank: Bank, parents: Mapping[int, int], departments: Iterable[int]) -> str:
    """The branch that the nearest of the departments or of their parents is given to; "" for
    none."""
    for department in departments:
        at = department
        for _ in range(_BRANCH_HOPS):
            if at in bank.departments:
                return bank.departments[at]
            at = parents.get(at, 0)
    return ""


async def department_changed(bank: Bank, row: Doc, event: DepartmentChanged) -> None:
    """Asks WeCom what the department is now, or notes that it is gone."""
    bank, at = bank, events.happened(event, row)
    asked = bank.now()
    gone = {"_id": f"{bank.id}:{event.department_id}", "department_id": event.department_id}
    if event.change == "delete":
        await _close(bank, "departments", gone, at)
        return
    try:
        answer = await bank.wecom.department_get(event.department_id)
    except PlatformError as error:
        if error.errcode not in UNKNOWN_DEPARTMENT:
            raise
        await _close(bank, "departments", gone, at)
        return
    await _put(bank, "departments", _department_row(bank.id, answer["department"]), asked, at)


async def _read_departments(job: Job, _cursor: str) -> Batch:
    asked = job.bank.now()
    told = (await job.client.department_list()).get("department") or []
    return Batch([_department_row(job.bank.id, one) for one in told], "", asked, total=len(told))


async def _write_departments(job: Job, batch: Batch) -> Outcome:
    fresh = {row["_id"]: row for row in batch.items}
    there = {row["_id"]: row for row in await job.db[DEPARTMENTS].find({}, limit=None)}
    gone = [
        row
        for row_id, row in there.items()
        if row["active"] and row_id not in fresh and row["at"] < job.started
    ]
    outcome = await _bring(
        job, "departments", "department_id", list(fresh.values()), there, batch.asked
    )
    outcome.gone = len(gone)
    await note(job, [Difference("gone", str(row["department_id"])) for row in gone])
    for row in gone if job.mend else []:
        await _close(
            job.bank,
            "departments",
            {"_id": row["_id"]},
            job.started,
        )
    return outcome


async def _bring(
    job: Job,
    collection: str,
    name: str,
    fresh: Sequence[Doc],
    there: Mapping[str, Doc],
    asked: float,
) -> Outcome:
    """Inserts what is missing and changes what differs."""
    missing = [row for row in fresh if row["_id"] not in there]
    changed = [row for row in fresh if row["_id"] in there and _differs(row, there[row["_id"]])]
    found = [Difference("missing", str(row[name])) for row in missing]
    await note(job, found + [Difference("changed", str(row[name])) for row in changed])
    if job.mend:
        new = [{**row, "told": asked, "at": 0.0} for row in missing]
        refused = await job.db[collection].insert_new(new)
        for row in changed + [missing[position] for position in refused]:
            await _put(job.bank, collection, row, asked, 0.0)
    return Outcome(done=len(fresh), new=len(missing), changed=len(changed))


async def _department_ids(job: Job) -> list[int]:
    async def load() -> list[int]:
        told = (await job.client.department_list()).get("department") or []
        return sorted(int(one["id"]) for one in told)

    return await cached(job.bank.services, f"department_ids:{job.bank.id}", MAPPED_SECONDS, load)


async def _read_members(job: Job, cursor: str) -> Batch:
    """The members of one department after the other; at the end those whom no department showed."""
    everywhere = await _department_ids(job)
    if cursor.startswith(_REST):
        return await _read_rest(job, cursor.removeprefix(_REST))
    left = [one for one in everywhere if one > int(cursor or 0)]
    asked = job.bank.now()
    if not left:
        return Batch([], _REST, asked)
    try:
        told = (await job.client.user_list(left[0])).get("userlist") or []
    except PlatformError as error:
        if error.errcode not in UNKNOWN_DEPARTMENT:
            raise
        told = []  # it is gone since the walk began, and its members are in others
    return Batch(
        [_member_row(job.bank.id, one) for one in told],
        str(left[0]) if len(left) > 1 else _REST,
        asked,
    )


async def _read_rest(job: Job, after: str) -> Batch:
    """Members that this walk has not seen: each is asked for by name. An item without a name is
    gone."""
    known = await job.db[MEMBERS].find(
        {}, fields={"userid": 1, "active": 1, "seen": 1, "at": 1}, limit=None
    )
    seen = {row["userid"] for row in known if row.get("seen") == job.number}
    ended = {row["userid"] for row in known if not row["active"]}
    unseen = {row["userid"] for row in known if row["active"] and row["at"] < job.started} - seen
    unseen |= set(await follow_users(job)) - seen - ended
    left = sorted(userid for userid in unseen if userid > after)
    asked = job.bank.now()
    items: list[Doc] = []
    problems = []
    for userid in left[:AT_ONCE]:
        try:
            items.append(_member_row(job.bank.id, await job.client.user_get(userid)))
        except PlatformError as error:
            if error.errcode == UNKNOWN_MEMBER:
                items.append({"_id": f"{job.bank.id}:{userid}", "userid": userid})
            elif error.action == "give_up":
                problems.append(Problem(userid, code_of(error)))
            else:
                raise
    more = f"{_REST}{left[AT_ONCE - 1]}" if len(left) > AT_ONCE else ""
    return Batch(items, more, asked, problems=problems)


async def _write_members(job: Job, batch: Batch) -> Outcome:
    fresh = [row for row in batch.items if "name" in row]
    gone = [row for row in batch.items if "name" not in row]
    wanted = [row["_id"] for row in batch.items]
    there = {
        row["_id"]: row for row in await job.db[MEMBERS].find({"_id": {"$in": wanted}}, limit=None)
    }
    outcome = await _bring(job, "members", "userid", fresh, there, batch.asked)
    outcome.gone, outcome.problems = len(gone), list(batch.problems)
    await note(job, [Difference("gone", row["userid"]) for row in gone])
    if job.mend:
        await employ(job.bank, fresh, job.started, batch.asked)
        for row in gone:
            await _end_member(job.bank, row["userid"], job.started)
    if wanted:
        await job.db[MEMBERS].update_many({"_id": {"$in": wanted}}, {"$set": {"seen": job.number}})
    return outcome


async def _again(job: Job, userid: str) -> None:
    await read_member(job.bank, userid, job.bank.now())


DEPARTMENTS_PART = Part("departments", _read_departments, _write_departments)
MEMBERS_PART = Part("members", _read_members, _write_members, _again)
