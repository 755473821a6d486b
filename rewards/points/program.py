"""The bank's points programme: submitted by one clerk, agreed to by another, and kept by version
(promise P7).

A version names the one that it changes (`base`). It goes live only while that one holds, in one
conditional write: of two changes of the same version one holds, and whoever made the other sees it
and makes his again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any, cast

from customers import happenings
from customers.actors import ClerkActor
from customers.approvals import approvals
from customers.approvals.rows import Approval
from customers.banks.bank import Bank
from rewards.points import document
from rewards.points.document import Program
from rewards.points.occasions import kinds_of
from rewards.points.rows import (
    POINTS_NIGHTS,
    POINTS_PROGRAMS,
    POINTS_VERSIONS,
    NightRow,
    ProgramRow,
    VersionRow,
    version_id,
)
from services.cache import cached, invalidate
from services.errors import Conflict, InvalidInput, NotFound
from services.store.mongo import Doc

CACHE_SECONDS = 1.0
SUBMITTED, LIVE, OVER, REJECTED, LAPSED = "submitted", "live", "over", "rejected", "lapsed"
WAITING = "waiting"
"""The state of the night's row."""
PROGRAM = approvals.Kind(
    name="points",
    right="points.submit",
    submitted="points.submitted",
    approved="points.approved",
    rejected="points.rejected",
    refused="points.approval_refused",
    decided="points_decided",
)


@dataclass(frozen=True)
class Live:
    """The programme that holds, with its version's number."""

    version: int
    program: Program


async def find_live(bank: Bank) -> Live | None:
    """The programme that holds, at most CACHE_SECONDS old; None where the bank has none."""

    async def load() -> Live | None:
        return _live_of(await _row(bank))

    return await cached(bank.services, _cache_key(bank), CACHE_SECONDS, load)


async def live(bank: Bank) -> Live:
    """The same; raises Conflict `points_none` where the bank has none."""
    found = await find_live(bank)
    if found is None:
        raise Conflict("points_none", "this bank has no points programme")
    return found


def _cache_key(bank: Bank) -> str:
    return f"points:{bank.id}"


def _live_of(row: ProgramRow) -> Live | None:
    if row["document"] is None:
        return None
    return Live(row["version"], Program.model_validate(row["document"], strict=False))


async def _row(bank: Bank) -> ProgramRow:
    row = await bank.db[POINTS_PROGRAMS].find_one({"_id": bank.id})
    none: ProgramRow = {
        "_id": bank.id,
        "version": 0,
        "document": None,
        "submitted": 0,
        "since": None,
    }
    return none if row is None else cast("ProgramRow", row)


def dump(program: Program) -> Doc:
    """The document as rows and forms have it."""
    return program.model_dump(mode="json", by_alias=True, exclude_none=True)


async def submit(bank: Bank, actor: ClerkActor, base: int, value: Mapping[str, Any]) -> int:
    """Submits the programme that `value` says, in the place of version `base` (0: there is none);
    the new version's number. Raises ProgramError, Conflict `points_version_old` when another holds
    by now, and `points_same` when nothing is different."""
    program = document.check(value, bank.miniprograms, bank.events)
    return await _submit(bank, actor, base, program)


async def _submit(bank: Bank, actor: ClerkActor, base: int, program: Program) -> int:
    holds = await _row(bank)
    if holds["version"] != base:
        raise _old()
    dumped = dump(program)
    if holds["document"] == dumped:
        raise Conflict("points_same", "nothing is different from what holds")
    old = None if holds["document"] is None else holds["document"]["id"]
    if old is not None and old != program.id:
        raise InvalidInput("points_id", "the programme's id stays", fields={"id": str(old)})
    await bank.insert(POINTS_PROGRAMS, {**cast("Doc", holds), "submitted": 0})
    counted = await bank.db[POINTS_PROGRAMS].update_and_get(
        {"_id": bank.id}, {"$inc": {"submitted": 1}}
    )
    number = int(cast("Doc", counted)["submitted"])
    row: VersionRow = {
        "_id": version_id(bank.id, number),
        "version": number,
        "base": base,
        "document": dumped,
        "state": SUBMITTED,
        "author": actor.login,
        "at": bank.utc(),
        "decided_by": "",
        "decided_at": None,
        "reason": "",
    }
    said: Doc = {"version": number, "base": base, "changes": len(_changes(holds, dumped))}
    await approvals.submit(
        bank, actor, PROGRAM, str(number), _content(row), about=program.id, **said
    )
    await bank.db[POINTS_VERSIONS].insert(cast("Doc", row))
    return number


def _changes(holds: ProgramRow, dumped: Doc) -> Sequence[tuple[str, Any, Any]]:
    return document.changes(holds["document"], dumped)


def _old() -> Conflict:
    return Conflict("points_version_old", "another version holds by now; make the change in that")


def _content(row: VersionRow) -> approvals.Content:
    """What is decided on."""
    return {"points": {"base": row["base"], "document": row["document"]}}


async def approve(bank: Bank, actor: ClerkActor, version: int) -> None:
    """Agrees to another clerk's version, which holds from now on; what was cut short is completed by
    approving again. Raises NotFound `points_version_unknown`, Forbidden `approver_is_author`,
    Conflict `points_decided`, `points_version_old` or `approval_changed`."""
    row = await _version(bank, version)
    try:
        async with approvals.approve(bank, actor, PROGRAM, str(version), _content(row)) as agreed:
            await _go_live(bank, row, agreed.decided_by, agreed.decided_at)
    except Conflict:
        await _catch_up(bank, row)
        raise


async def _catch_up(bank: Bank, row: VersionRow) -> None:
    """The version's own row says what its request says, which ended without it."""
    found = await approvals.find(bank, PROGRAM, str(row["version"]))
    if found is not None and found.state in (REJECTED, LAPSED):
        await _follow(bank, row, found.state, found.decided_by, found.decided_at, found.reason)


async def _go_live(bank: Bank, row: VersionRow, by: str, at: datetime | None) -> None:
    """Safe to repeat."""
    holds = await _row(bank)
    now, then = _kinds(row["document"]), _kinds(holds["document"])
    await happenings.listen(bank, now | then)
    unchanged = {"_id": bank.id, "version": {"$in": [row["base"], row["version"]]}}
    change: Doc = {"version": row["version"], "document": row["document"], "since": at}
    if not await bank.db[POINTS_PROGRAMS].update(unchanged, {"$set": change}):
        await happenings.listen(bank, then)
        raise _old()
    await happenings.listen(bank, now)
    invalidate(bank.services, _cache_key(bank))
    await _begin_nights(bank)
    await _follow(bank, row, LIVE, by, at, "")
    versions = bank.db[POINTS_VERSIONS]
    earlier = {"state": LIVE, "version": {"$lt": row["version"]}}
    await versions.update_many(earlier, {"$set": {"state": OVER}})


def _kinds(dumped: Doc | None) -> set[str]:
    """What the programme's rules have to be told of."""
    return kinds_of(rule["event"] for rule in (dumped or {}).get("rules", {}).values())


def next_midnight(bank: Bank) -> float:
    """The bank's next midnight, in seconds UTC."""
    tomorrow = bank.today() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), bank.tz).timestamp()


async def _begin_nights(bank: Bank) -> None:
    """From now on the bank's points expire (rewards/points/nights.py). Safe to repeat."""
    row: NightRow = {
        "_id": bank.id,
        "open": True,
        "due": next_midnight(bank),
        "owner": None,
        "attempts": 0,
        "state": WAITING,
        "cursor": "",
    }
    await bank.insert(POINTS_NIGHTS, {**row})


async def _follow(
    bank: Bank, row: VersionRow, state: str, by: str, at: datetime | None, reason: str
) -> None:
    """The version's own row says what was decided."""
    decided = {"state": state, "decided_by": by, "decided_at": at, "reason": reason}
    waits = {"_id": row["_id"], "state": SUBMITTED}
    await bank.db[POINTS_VERSIONS].update(waits, {"$set": decided})


async def reject(bank: Bank, actor: ClerkActor, version: int, reason: str) -> None:
    """Turns a version down. Raises InvalidInput `reason_missing`, NotFound
    `points_version_unknown`, Conflict `points_decided`."""
    if not reason.strip():
        raise InvalidInput("reason_missing", "say why")
    row = await _version(bank, version)
    done: Approval = await approvals.reject(bank, actor, PROGRAM, str(version), reason.strip())
    await _follow(bank, row, REJECTED, done.decided_by, done.decided_at, done.reason)


async def _version(bank: Bank, version: int) -> VersionRow:
    row = await bank.db[POINTS_VERSIONS].find_one({"_id": version_id(bank.id, version)})
    if row is None:
        raise NotFound("points_version_unknown", "there is no such version")
    return cast("VersionRow", row)


async def list_versions(bank: Bank, limit: int = 20) -> list[VersionRow]:
    """The newest versions, newest first."""
    rows = await bank.db[POINTS_VERSIONS].find({}, sort=[("version", -1)], limit=limit)
    return cast("list[VersionRow]", rows)


async def holding(bank: Bank) -> tuple[int, Doc | None]:
    """The number of the version that holds and its document, read afresh: what a form begins
    with."""
    row = await _row(bank)
    return row["version"], row["document"]


async def apply(bank: Bank, text: str, source: str, author: str) -> list[str]:
    """The command line's way: puts the programme of a file live in development, submits it for
    approval in production; sentences. Safe to run again."""
    program = document.read(text, source, bank.miniprograms, bank.events)
    version, holds = await holding(bank)
    name = f"points programme {program.id}"
    if holds == dump(program):
        return [f"{name}: version {version} is this programme already"]
    actor = ClerkActor(bank.id, author, author, frozenset({"points.submit"}))
    number = await _submit(bank, actor, version, program)
    if bank.services.settings.env == "production":
        return [f"{name}: version {number} is pending approval in the console"]
    alone = ClerkActor(bank.id, f"{author} (development)", author, frozenset())
    await approve(bank, alone, number)
    return [f"{name}: version {number} is live"]
