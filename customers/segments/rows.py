"""The rows of segments: what each is, and the versions in which two clerks agreed to it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NotRequired, TypedDict, cast

from customers.approvals import versioned
from customers.approvals.versioned import VersionRow
from customers.banks.bank import Bank
from services import ids
from services.store.mongo import Doc
from services.store.rows import Rows

SEGMENTS = Rows("segments")
"""A segment, and which of its versions is live."""
SEGMENT_VERSIONS = Rows(
    "segment_versions",
    indexes=((("tenant", 1), ("segment", 1), ("version", -1)),),
)
"""A version of a segment; what it says never changes."""

SEGMENT_MEMBERS = Rows(
    "segment_members",
    indexes=(
        (("tenant", 1), ("cid", 1)),
        (("tenant", 1), ("segment", 1), ("at", -1)),
    ),
)
"""Who is or was in a segment."""
SEGMENT_TAKEN = Rows(
    "segment_taken",
    indexes=((("tenant", 1), ("cid", 1)),),
)
"""Whom a frozen segment was taken of."""
SEGMENT_FILLS = Rows("segment_fills")
"""How far a segment's customers are looked through, after a change of its rule or of the day."""

ARCHIVED = "archived"
PUT, ARCHIVE = "put", "archive"


class SegmentRow(TypedDict):
    """`state` is draft (no version was agreed to yet), live or archived; `name`, `kind` and `rule`
    are those of the live version, or of the first, and `uses` the segments that its rule names.
    `decided` is the newest version that was carried out."""

    _id: str
    segment: str
    name: Mapping[str, str]
    kind: str
    rule: str
    uses: list[str]
    state: str
    live_version: int | None
    versions: int
    updated_at: datetime
    decided: NotRequired[int]


class SegmentVersionRow(VersionRow):
    """`content` is the whole segment; `action` says whether it is to be live (PUT) or to be no
    segment any more (ARCHIVE)."""

    segment: str


class MemberRow(TypedDict):
    """A customer's membership of a segment: `since` when he is in it, or was at last, until he `left`
    (seconds UTC; None while he is in it). `at` is the later of both, `turn` counts entering and
    leaving, and of those up to `announced` everybody knows who asked. The `_id` is made of segment and
    customer."""

    _id: str
    segment: str
    cid: str
    since: float
    left: float | None
    at: float
    turn: int
    announced: int


class TakenRow(TypedDict):
    """The frozen segment was taken of this customer, in that version of it."""

    _id: str
    segment: str
    cid: str
    version: int


class FillRow(TypedDict):
    """One a segment. `done` of so many parts of all customers are looked through, parts that so many
    `customers` make (None before it begins), and `changed` of them came in or went. While it is
    `quiet`, a change of rule is the cause, which happened to nobody. The rest is a waiting row's
    (services/store/leases.py); `due` is in seconds UTC."""

    _id: str
    segment: str
    quiet: bool
    customers: int | None
    done: int
    changed: int
    open: bool
    due: float
    owner: str | None
    attempts: int
    state: str


def member_id(tenant: str, segment: str, cid: str) -> str:
    return ids.tenant_id(tenant, "segment_member", segment, cid)


def segment_id(tenant: str, segment: str) -> str:
    return f"{tenant}:{segment}"


async def find(bank: Bank, segment: str) -> SegmentRow | None:
    row = await bank.db[SEGMENTS].find_one({"_id": segment_id(bank.id, segment)})
    return cast("SegmentRow | None", row)


async def everything(bank: Bank) -> list[SegmentRow]:
    """Every segment of the bank, by id."""
    found = await bank.db[SEGMENTS].find({}, sort=[("segment", 1)], limit=None)
    return cast("list[SegmentRow]", found)


async def version(bank: Bank, segment: str, number: int) -> SegmentVersionRow | None:
    row = await bank.db[SEGMENT_VERSIONS].find_one(
        {"_id": versioned.version_id(bank.id, segment, number)}
    )
    return cast("SegmentVersionRow | None", row)


async def versions(
    bank: Bank, query: Mapping[str, object], limit: int | None = None
) -> list[SegmentVersionRow]:
    """The versions that match, by segment, newest first."""
    order = [("segment", 1), ("version", -1)]
    found = await bank.db[SEGMENT_VERSIONS].find(dict(query), sort=order, limit=limit)
    return cast("list[SegmentVersionRow]", found)


async def add(bank: Bank, row: SegmentRow) -> None:
    """A draft, unless the segment is there."""
    await bank.db[SEGMENTS].insert_new([cast("Doc", row)])
