"""Documents that change version by version (promise P7): a version never changes, another clerk agrees
to it, and a newer one takes the place of those that wait.

A kind of documents has two collections: the documents, each with how many `versions` it has, and
their versions. The rows of both name the document under the kind's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NotRequired, TypedDict, cast

from customers.actors import ClerkActor
from customers.approvals import approvals
from customers.approvals.approvals import Content, Kind
from customers.approvals.rows import Approval
from customers.banks.bank import Bank
from services.errors import Conflict, InvalidInput, NotFound, Unavailable
from services.store.mongo import Doc, Duplicate
from services.store.rows import Rows

SUBMITTED, APPROVED, LIVE, REJECTED, REPLACED = (
    "submitted",
    "approved",
    "live",
    "rejected",
    "replaced",
)
PENDING = (SUBMITTED, APPROVED)
DRAFT = "draft"
_TRIES = 20


class VersionRow(TypedDict):
    """`content` is the whole document, `action` what it asks for. `state` is submitted, approved, live,
    rejected or replaced."""

    _id: str
    version: int
    action: str
    content: Doc
    state: str
    author: str
    at: datetime
    why: str
    decided_by: NotRequired[str]
    decided_at: NotRequired[datetime]
    reason: NotRequired[str]


@dataclass(frozen=True, kw_only=True)
class Documents:
    """One kind of documents: what is decided on, where it lies, and the codes of NotFound for a
    document or version that there is not (`unknown`), and of Conflict for one that somebody changed
    meanwhile (`edited`)."""

    kind: Kind
    rows: Rows
    versions: Rows
    unknown: str
    edited: str

    @property
    def name(self) -> str:
        return self.kind.name


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a version is to say, and what the audit trail says of it besides."""

    action: str
    content: Doc
    why: str = ""
    said: Doc = field(default_factory=dict)


def version_id(tenant: str, key: str, number: int) -> str:
    return f"{tenant}:{key}:{number}"


async def versions(
    bank: Bank, of: Documents, query: Mapping[str, object], limit: int | None = None
) -> list[Doc]:
    """The versions that match, by document, newest first."""
    order = [(of.name, 1), ("version", -1)]
    return await bank.db[of.versions].find(dict(query), sort=order, limit=limit)


async def find(bank: Bank, of: Documents, key: str, number: int) -> Doc | None:
    return await bank.db[of.versions].find_one({"_id": version_id(bank.id, key, number)})


async def named(bank: Bank, of: Documents, key: str, number: int) -> Doc:
    """That version. Raises NotFound `of.unknown`."""
    row = await find(bank, of, key, number)
    if row is None:
        raise NotFound(of.unknown, f"{key} has no version {number}")
    return row


async def submit(
    bank: Bank, actor: ClerkActor, of: Documents, key: str, wanted: Wanted, base: int | None = None
) -> int:
    """Asks for another clerk's word; the number of the version. `base` is the newest version that the
    actor has seen (None: whatever there is). Raises Conflict `of.edited`, NotFound `of.unknown`."""
    for _ in range(_TRIES if base is None else 1):
        number = await _next(bank, of, key)
        await _expect_known(bank, of, key, base)
        made = _version(bank, actor, of, key, number, wanted)
        written = await _written(bank, actor, of, made, wanted.said)
        row = {"_id": f"{bank.id}:{key}"}
        await bank.db[of.rows].update(row, {"$max": {"versions": number}})
        if written:
            newest = await versions(bank, of, {of.name: key}, limit=1)
            await _replace(bank, of, key, newest[0]["version"])
            return number
        await _expect_known(bank, of, key, base)
    raise Unavailable("busy", f"somebody else is changing this {of.name}; try again")


async def _next(bank: Bank, of: Documents, key: str) -> int:
    row = await bank.db[of.rows].find_one({"_id": f"{bank.id}:{key}"})
    if row is None:
        raise NotFound(of.unknown, f"there is no {of.name} {key}")
    return cast("int", row["versions"]) + 1


async def _expect_known(bank: Bank, of: Documents, key: str, base: int | None) -> None:
    """Raises Conflict `of.edited` when there is a newer version than `base`."""
    if base is None:
        return
    newer = await versions(bank, of, {of.name: key, "version": {"$gt": base}}, limit=1)
    if newer:
        data = {"author": newer[0]["author"], "version": str(newer[0]["version"])}
        said = "{author} submitted version {version} meanwhile; look at it first"
        raise Conflict(of.edited, said.format_map(data), data=data)


def _version(
    bank: Bank, actor: ClerkActor, of: Documents, key: str, number: int, wanted: Wanted
) -> Doc:
    row: VersionRow = {
        "_id": version_id(bank.id, key, number),
        "version": number,
        "action": wanted.action,
        "content": wanted.content,
        "state": SUBMITTED,
        "author": actor.login,
        "at": bank.utc(),
        "why": wanted.why,
    }
    return {**row, of.name: key}


async def _written(bank: Bank, actor: ClerkActor, of: Documents, row: Doc, said: Doc) -> bool:
    """False when somebody else has this version."""
    what: Doc = {"version": row["version"], "change": row["action"], **said}
    if row["why"]:
        what["reason"] = row["why"]
    asked = await approvals.submit(
        bank, actor, of.kind, row["_id"], content(of, row), about=row[of.name], **what
    )
    return asked and await _added(bank, of, row)


async def _added(bank: Bank, of: Documents, row: Doc) -> bool:
    """False when the document has a version of that number."""
    try:
        await bank.db[of.versions].insert(row)
    except Duplicate:
        return False
    return True


def content(of: Documents, row: Mapping[str, object]) -> Content:
    """What is decided on."""
    return {of.name: [row[of.name], row["version"], row["action"], row["content"]]}


async def _replace(bank: Bank, of: Documents, key: str, number: int) -> None:
    """A version takes the place of those before it that wait."""
    earlier = {of.name: key, "version": {"$lt": number}, "state": {"$in": PENDING}}
    wanted = [row["_id"] for row in await versions(bank, of, earlier)]
    await approvals.replace(bank, of.kind, wanted)
    asked = {"_id": {"$in": wanted}, **earlier}
    await bank.db[of.versions].update_many(asked, {"$set": {"state": REPLACED}})


async def reject(
    bank: Bank, actor: ClerkActor, of: Documents, key: str, number: int, reason: str
) -> None:
    """Turns a version down. Raises InvalidInput `reason_missing`, NotFound `of.unknown`, Conflict
    `of.kind.decided`."""
    if not reason.strip():
        raise InvalidInput("reason_missing", "say why", fields={"reason": "required"})
    row = await named(bank, of, key, number)
    if row["state"] not in PENDING:
        raise Conflict(of.kind.decided, f"version {number} is {row['state']}")
    approval = await approvals.reject(bank, actor, of.kind, row["_id"], reason.strip())
    await follow(bank, of, row["_id"], approval)


async def follow(bank: Bank, of: Documents, row_id: str, approval: Approval) -> None:
    """The version's own row says what was decided."""
    decided = {
        "state": approval.state if approval.state == REJECTED else APPROVED,
        "decided_by": approval.decided_by,
        "decided_at": approval.decided_at,
        "reason": approval.reason,
    }
    waits = {"_id": row_id, "state": {"$in": PENDING}}
    await bank.db[of.versions].update_many(waits, {"$set": decided})


async def carry_out(bank: Bank, of: Documents, key: str, number: int, fields: Doc) -> None:
    """The document's row says what the version does (`fields`), unless a later one was carried out
    already."""
    older = {"$or": [{"decided": {"$exists": False}}, {"decided": {"$lte": number}}]}
    change = {"$set": {**fields, "decided": number, "updated_at": bank.utc()}}
    await bank.db[of.rows].update({"_id": f"{bank.id}:{key}", **older}, change)


async def put_live(bank: Bank, of: Documents, key: str, number: int) -> None:
    """The version's row says that it is carried out, and those before it that it took their place,
    also of one that still waits, since its successor was cut short."""
    await _replace(bank, of, key, number)
    table = bank.db[of.versions]
    others = {of.name: key, "version": {"$lt": number}, "state": LIVE}
    await table.update_many(others, {"$set": {"state": REPLACED}})
    mine = {"_id": version_id(bank.id, key, number), "state": APPROVED}
    await table.update_many(mine, {"$set": {"state": LIVE}})
