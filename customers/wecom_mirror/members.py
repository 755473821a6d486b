"""Members and departments as WeCom has them, and who of the members works for which branch
(contract/wechat B2, C4).

An event says who changed; what he is now is asked for, so that the order of events does not matter.
A row keeps when its newest event happened (`at`, in seconds UTC) and when WeCom was asked last
(`fetched_at`); an older answer never undoes a newer one. A member of a department that the bank's
file gives to a branch is staff of that branch; who is in the file stays as it says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from customers import relationships
from customers.banks import staff, userids
from customers.banks.bank import Bank
from customers.banks.staff import GONE_STATUS
from customers.handover import departures
from customers.wecom_mirror.rows import DEPARTMENTS, MEMBERS, Department, Member
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
from services.cache import cached
from services.clock import utc
from services.observe import trace
from services.queue.inbox import InboxRow
from services.store.mongo import Doc
from services.wechat import events
from services.wechat.core.errors import PlatformError

if TYPE_CHECKING:
    from services.wechat.events import DepartmentChanged, MemberChanged, MemberLeft

UNKNOWN_MEMBER = 60111
UNKNOWN_DEPARTMENT = frozenset({60003, 60123})
MAPPED_SECONDS = 60.0
AT_ONCE = 20
_REST = "+"
_BRANCH_HOPS = 15


def _member(tenant: str, told: Mapping[str, Any]) -> Member:
    """The row of a member as WeCom told it."""
    return {
        "_id": f"{tenant}:{userids.key(str(told['userid']))}",
        "userid": str(told["userid"]),
        "name": str(told.get("name") or told["userid"]),
        "departments": sorted(int(one) for one in told.get("department") or []),
        "main_department": int(told.get("main_department") or 0),
        "position": str(told.get("position") or ""),
        "status": int(told.get("status") or 1),
        "active": True,
    }


def _department(tenant: str, told: Mapping[str, Any]) -> Department:
    """The row of a department as WeCom told it."""
    return {
        "_id": f"{tenant}:{told['id']}",
        "department_id": int(told["id"]),
        "name": str(told.get("name") or ""),
        "parent_id": int(told.get("parentid") or 0),
        "order": int(told.get("order") or 0),
        "leaders": sorted(str(one) for one in told.get("department_leader") or []),
        "active": True,
    }


async def _put(bank: Bank, collection: str, row: Doc, asked: float, at: float) -> None:
    """Writes what WeCom told when `asked`, unless a newer answer is there; `at` is the event's own
    time."""
    rows, fetched_at = bank.db[collection], utc(asked)
    row = {**row, "fetched_at": fetched_at}
    if not await rows.insert_new([{**row, "at": at}]):
        return
    older = [{"fetched_at": {"$lt": fetched_at}}, {"fetched_at": None}]
    await rows.update({"_id": row["_id"], "$or": older}, {"$set": row, "$max": {"at": at}})


async def _close(bank: Bank, collection: str, row: Doc, at: float) -> bool:
    """Ends a member or department that is gone since `at`, unless something newer is known; whether
    it is ended now."""
    rows = bank.db[collection]
    ended = {"active": False, "at": at, "fetched_at": bank.utc()}
    if not await rows.insert_new([{**row, **ended}]):
        return True
    return await rows.update({"_id": row["_id"], "at": {"$lte": at}}, {"$set": ended})


async def _gone_since(bank: Bank, collection: str, row_id: str, at: float) -> bool:
    """Whether a member or department is known to be gone since `at` or later: WeCom may still list
    what an event told the end of."""
    gone = {"_id": row_id, "active": False, "at": {"$gte": at}}
    return await bank.db[collection].find_one(gone, {"_id": 1}) is not None


async def member_changed(bank: Bank, row: InboxRow, event: MemberChanged) -> None:
    """A member is new, changed, or has a new userid, which his relationships and his place among
    the staff take over."""
    at = events.happened(event, row)
    if event.new_userid and event.new_userid != event.userid:
        await _rename(bank, event.userid, event.new_userid, at)
    userid = event.new_userid or event.userid
    if await _gone_since(bank, MEMBERS, f"{bank.id}:{userids.key(userid)}", at):
        trace.note("member.gone_since", userid=userid)
        await _end_member(bank, userid, at)  # what was just renamed to him ends with him
        return
    await read_member(bank, userid, at)


async def member_left(bank: Bank, row: InboxRow, event: MemberLeft) -> None:
    """The member was deleted: nothing of his works any more, unless he is known to have come back
    since."""
    await _end_member(bank, event.userid, events.happened(event, row))


async def read_member(bank: Bank, userid: str, at: float) -> None:
    """Asks WeCom who the member is now and brings our rows up to it; raises PlatformError."""
    asked = bank.now()
    try:
        member = await bank.wecom.members.get(userid)
    except PlatformError as error:
        if error.errcode != UNKNOWN_MEMBER:
            raise
        await _end_member(bank, userid, at)
        return
    row = _member(bank.id, member)
    await _put(bank, MEMBERS, cast("Doc", row), asked, at)
    await employ(bank, [row], at, asked)


async def _end_member(bank: Bank, userid: str, at: float) -> None:
    """Ends him, unless he is known to be there since; who is known to have left later has left."""
    row_id = f"{bank.id}:{userids.key(userid)}"
    if not await _close(bank, MEMBERS, {"_id": row_id, "userid": userid}, at):
        gone = await bank.db[MEMBERS].find_one({"_id": row_id, "active": False})
        if gone is None:
            return
        at = gone["at"]
    await departures.left(bank, userid, at)


async def _rename(bank: Bank, old: str, new: str, at: float) -> None:
    """Safe to repeat: what was moved already is not there under the old userid. Another spelling of
    the same userid ends nobody."""
    await staff.rename(bank, old, new, at)
    await relationships.rename(bank, old, new)
    if not userids.same(old, new):
        await _end_member(bank, old, at)


async def employ(bank: Bank, members: Sequence[Member], at: float, asked: float) -> None:
    """Makes members of mapped departments staff of their branch, and ends the staff that is
    disabled, gone or moved away. Who left after WeCom was `asked` (seconds UTC) stays out."""
    employed = await staff.rows_of(bank, [member["userid"] for member in members])
    parents = await _parents(bank) if bank.departments else {}
    for member in members:
        known = employed.get(member["userid"])
        branch = _branch_of(bank, parents, member["departments"])
        if known is not None and known["userid"] != member["userid"]:
            await staff.respell(bank, member["userid"])
        if member["status"] in GONE_STATUS or not (branch or _is_from_file(known)):
            if known is not None and known["active"]:
                await departures.left(bank, member["userid"], at)
        elif branch and not (known and known["active"] and _is_from_file(known)):
            one = staff.Staff(member["userid"], member["name"], branch)
            await staff.hire(bank, one, known, at=at, asked=asked)


def _is_from_file(known: staff.StaffRow | None) -> bool:
    return known is not None and known.get("source") != staff.FROM_WECOM


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


async def department_changed(bank: Bank, row: InboxRow, event: DepartmentChanged) -> None:
    """Asks WeCom what the department is now, or notes that it is gone."""
    at, asked = events.happened(event, row), bank.now()
    gone = {"_id": f"{bank.id}:{event.department_id}", "department_id": event.department_id}
    if event.change == "delete":
        await _close(bank, DEPARTMENTS, gone, at)
        return
    if await _gone_since(bank, DEPARTMENTS, f"{bank.id}:{event.department_id}", at):
        trace.note("department.gone_since")
        return
    try:
        answer = await bank.wecom.members.get_department(event.department_id)
    except PlatformError as error:
        if error.errcode not in UNKNOWN_DEPARTMENT:
            raise
        await _close(bank, DEPARTMENTS, gone, at)
        return
    told = cast("Doc", _department(bank.id, answer["department"]))
    await _put(bank, DEPARTMENTS, told, asked, at)


async def _read_departments(job: Job, _cursor: str) -> Batch:
    asked = job.bank.now()
    told = (await job.client.members.list_departments()).get("department") or []
    return Batch([_department(job.bank.id, one) for one in told], "", asked, total=len(told))


async def _write_departments(job: Job, batch: Batch) -> Outcome:
    told = {row["_id"] for row in batch.items}
    known = await job.db[DEPARTMENTS].find({}, limit=None)
    compared = _compare(batch.items, known)
    gone = [
        row for row in known if row["active"] and row["_id"] not in told and row["at"] < job.started
    ]
    await _bring(job, DEPARTMENTS, "department_id", compared, batch.asked)
    await note(job, [Difference("gone", str(row["department_id"])) for row in gone])
    for row in gone if job.mend else []:
        await _close(job.bank, DEPARTMENTS, {"_id": row["_id"]}, job.started)
    return compared.outcome(len(batch.items), len(gone))


@dataclass(frozen=True)
class _Compared:
    """Rows that WeCom told: those that we lack, and those that say something else here."""

    missing: list[Doc]
    changed: list[Doc]

    def outcome(self, done: int, gone: int) -> Outcome:
        return Outcome(done, len(self.missing), len(self.changed), gone)


def _compare(told: Sequence[Doc], known: Iterable[Doc]) -> _Compared:
    there = {row["_id"]: row for row in known}
    return _Compared(
        missing=[row for row in told if row["_id"] not in there],
        changed=[row for row in told if row["_id"] in there and _differs(row, there[row["_id"]])],
    )


def _differs(told: Doc, row: Doc) -> bool:
    return any(row.get(name) != value for name, value in told.items())


async def _bring(job: Job, collection: str, name: str, found: _Compared, asked: float) -> None:
    """Inserts what is missing and changes what differs; `name` is the field of the object's id."""
    differences = [Difference("missing", str(row[name])) for row in found.missing]
    differences += [Difference("changed", str(row[name])) for row in found.changed]
    await note(job, differences)
    if not job.mend:
        return
    new = [{**row, "fetched_at": utc(asked), "at": 0.0} for row in found.missing]
    refused = await job.db[collection].insert_new(new)
    for row in found.changed + [found.missing[position] for position in refused]:
        await _put(job.bank, collection, row, asked, 0.0)


async def _department_ids(job: Job) -> list[int]:
    async def load() -> list[int]:
        told = (await job.client.members.list_departments()).get("department") or []
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
        told = (await job.client.members.list(left[0])).get("userlist") or []
    except PlatformError as error:
        if error.errcode not in UNKNOWN_DEPARTMENT:
            raise
        told = []  # it is gone since the walk began, and its members are in others
    items = [_member(job.bank.id, one) for one in told]
    return Batch(items, str(left[0]) if len(left) > 1 else _REST, asked)


async def _read_rest(job: Job, after: str) -> Batch:
    """Members that this walk has not seen: each is asked for by name. An item without a name is
    gone."""
    left = [userid for userid in await _unseen(job) if userid > after]
    asked = job.bank.now()
    items: list[Member] = []
    problems: list[Problem] = []
    for userid in left[:AT_ONCE]:
        try:
            items.append(_member(job.bank.id, await job.client.members.get(userid)))
        except PlatformError as error:
            if error.errcode == UNKNOWN_MEMBER:
                row_id = f"{job.bank.id}:{userids.key(userid)}"
                items.append({"_id": row_id, "userid": userid})
            elif error.action == "give_up":
                problems.append(Problem(userid, code_of(error)))
            else:
                raise
    more = f"{_REST}{left[AT_ONCE - 1]}" if len(left) > AT_ONCE else ""
    return Batch(items, more, asked, problems=problems)


async def _unseen(job: Job) -> list[str]:
    """The userids that no department of this walk showed, sorted: members who are known since
    before it, and whoever may have customers."""
    fields = {"userid": 1, "active": 1, "seen": 1, "at": 1}
    known = await job.db[MEMBERS].find({}, fields=fields, limit=None)
    seen = {row["userid"] for row in known if row.get("seen") == job.number}
    ended = {row["userid"] for row in known if not row["active"]}
    older = {row["userid"] for row in known if row["active"] and row["at"] < job.started}
    return sorted((older - seen) | ({*await follow_users(job)} - seen - ended))


async def _write_members(job: Job, batch: Batch) -> Outcome:
    fresh = [row for row in batch.items if "name" in row]
    gone = [row["userid"] for row in batch.items if "name" not in row]
    told = {"_id": {"$in": [row["_id"] for row in batch.items]}}
    compared = _compare(fresh, await job.db[MEMBERS].find(told, limit=None))
    await _bring(job, MEMBERS, "userid", compared, batch.asked)
    await _end_members(job, gone)
    if job.mend:
        await employ(job.bank, cast("list[Member]", fresh), job.started, batch.asked)
    await job.db[MEMBERS].update_many(told, {"$set": {"seen": job.number}})
    outcome = compared.outcome(len(fresh), len(gone))
    outcome.problems = list(batch.problems)
    return outcome


async def _end_members(job: Job, gone: Sequence[str]) -> None:
    """Those of whom WeCom knows nothing any more."""
    await note(job, [Difference("gone", userid) for userid in gone])
    for userid in gone if job.mend else []:
        await _end_member(job.bank, userid, job.started)


async def _again(job: Job, userid: str) -> None:
    await read_member(job.bank, userid, job.bank.now())


async def present_at(bank: Bank, userid: str) -> float | None:
    """When the member was last known to be at work (seconds UTC); None when he is not."""
    found = await bank.db[MEMBERS].find_one({"_id": f"{bank.id}:{userids.key(userid)}"})
    row = cast("Member | None", found)
    if row is None or not row["active"] or row["status"] in GONE_STATUS:
        return None
    return max(row["at"], row["fetched_at"].timestamp())


async def spelling(bank: Bank, userid: str) -> str:
    """A member's userid as the directory spells it, and as it is when it is nobody's."""
    row_id = f"{bank.id}:{userids.key(userid)}"
    row = (await bank.read(MEMBERS, [row_id])).get(row_id)
    return userid if row is None else str(row["userid"])


async def spellings(bank: Bank, asked: Collection[str]) -> dict[str, str]:
    """Those of these texts that are a member's userid, in whatever spelling → WeCom's own, as far
    as it is known. Who has left is a member too: he was one when it was said."""
    wanted = {one: f"{bank.id}:{userids.key(one)}" for one in asked}
    rows = await bank.by_id(MEMBERS, sorted({*wanted.values()}), {"userid": 1})
    known = {row_id: str(row["userid"]) for row_id, row in rows.items()}
    found = {one: known[row_id] for one, row_id in wanted.items() if row_id in known}
    others = await staff.rows_of(bank, sorted(wanted.keys() - found.keys()))
    return found | {one: row["userid"] for one, row in others.items()}


async def names_of(bank: Bank, asked: Sequence[str]) -> dict[str, str]:
    """userid as asked → name of those whom we know: as the bank's file calls its staff, else as
    WeCom does."""
    wanted = {one: f"{bank.id}:{userids.key(one)}" for one in asked}
    rows = await bank.by_id(MEMBERS, sorted({*wanted.values()}), {"name": 1})
    names = {row_id: str(row["name"]) for row_id, row in rows.items() if row.get("name")}
    mirrored = {one: names[row_id] for one, row_id in wanted.items() if row_id in names}
    return mirrored | await staff.names_of(bank, asked)


async def roll_call(bank: Bank, asked: Sequence[str]) -> RollCall:
    """Asks WeCom who these are: their spelling there, and who is unknown or may have no customers.
    Raises PlatformError."""
    client = bank.wecom
    followers = (await client.customers.list_followers()).get("follow_user") or []
    spelling = {userids.key(one): one for one in followers}
    others = [one for one in asked if userids.key(one) not in spelling]
    gate = asyncio.Semaphore(AT_ONCE)

    async def look(userid: str) -> tuple[str, str]:
        async with gate:
            try:
                told = await client.members.get(userid)
            except PlatformError as error:
                if error.action != "give_up":
                    raise
                return userid, "WeCom knows no such member"
        spelling[userids.key(userid)] = str(told.get("userid") or userid)
        status = int(told.get("status") or 1)
        return userid, _FAULTS.get(status, "has no right to customer contact at WeCom")

    faults = dict([await one for one in asyncio.as_completed([look(one) for one in others])])
    return RollCall(
        {one: spelling.get(userids.key(one), one) for one in asked},
        {one: faults[one] for one in others},
    )


_FAULTS = {
    2: "is disabled at WeCom",
    4: "has not activated WeCom yet",
    5: "has left WeCom",
}


@dataclass(frozen=True)
class RollCall:
    """What WeCom says of some userids: the spelling of each there, and what is wrong with some."""

    spelling: Mapping[str, str]
    faults: Mapping[str, str]


DEPARTMENTS_PART = Part("departments", _read_departments, _write_departments)
MEMBERS_PART = Part("members", _read_members, _write_members, _again)
