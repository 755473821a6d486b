"""The rows of what WeCom has, as it told us, and of what a sync found.

`fetched_at` is when WeCom was asked; an older answer never changes a newer one. `at` is when the
newest event of the row happened, in seconds UTC; `seen` is the number of the last sync that saw it.
"""

from __future__ import annotations

from datetime import datetime
from typing import NotRequired, TypedDict

from services.store.rows import Rows


class CorpTag(TypedDict):
    """A corp tag and its group; `name` is what campaigns and rules call it."""

    _id: str
    tag_id: str
    tag: str
    name: str
    order: int
    group_id: str
    group: str
    group_order: int
    fetched_at: NotRequired[datetime]


class Member(TypedDict):
    """A member of the corp, present or gone (then without details, if he was never seen)."""

    _id: str
    userid: str
    name: NotRequired[str]
    departments: NotRequired[list[int]]
    main_department: NotRequired[int]
    position: NotRequired[str]
    status: NotRequired[int]
    active: NotRequired[bool]
    at: NotRequired[float]
    fetched_at: NotRequired[datetime]
    seen: NotRequired[int]


class Department(TypedDict):
    """A department of the corp, present or gone (then without details, if it was never seen)."""

    _id: str
    department_id: NotRequired[int]
    name: NotRequired[str]
    parent_id: NotRequired[int]
    order: NotRequired[int]
    leaders: NotRequired[list[str]]
    active: NotRequired[bool]
    at: NotRequired[float]
    fetched_at: NotRequired[datetime]


class Group(TypedDict):
    """A customer group; `name` is sealed. `people` counts everybody in it, `customers` those from
    outside; `status` is WeCom's. `ended_by` says whether an event or a sync told of its end."""

    _id: str
    chat_id: str
    name: bytes | None
    owner: str
    admins: list[str]
    created: int
    version: str
    people: int
    customers: int
    active: bool
    ended_by: str | None
    status: NotRequired[int]
    ended_at: NotRequired[datetime]
    fetched_at: NotRequired[datetime]
    seen: NotRequired[int]


class GroupMember(TypedDict):
    """Somebody who is or was in a group: a member by `userid`, or a customer, whose external_userid
    is sealed in `who` and whose `cid` is empty while we do not know him. `joined` in seconds
    UTC."""

    _id: str
    chat_id: str
    type: int
    userid: str
    who: bytes | None
    cid: str
    name: bytes | None
    joined: int
    join_scene: int
    invitor: str
    state: str
    active: bool
    left_at: datetime | None
    fetched_at: datetime


class SyncError(TypedDict):
    """An object that could not be brought in: its id is sealed, `code` says why, `last` when it was
    tried last."""

    _id: str
    part: str
    object: bytes
    private: bool
    code: str
    last: datetime
    attempts: int


class SyncDifference(TypedDict):
    """What the sync of that `number` found different: the object's id is sealed."""

    _id: str
    number: int
    part: str
    private: bool
    at: datetime
    object: bytes
    kind: str
    about: str
    cid: str
    mended: bool


CORP_TAGS = Rows("corp_tags")
"""Corp tags as WeCom has them."""
MEMBERS = Rows("members")
"""Members as WeCom has them."""
DEPARTMENTS = Rows("departments")
"""Departments as WeCom has them."""
GROUPS = Rows("groups", sealed=("name",))
"""Customer groups as WeCom has them."""
GROUP_MEMBERS = Rows(
    "group_members",
    indexes=((("tenant", 1), ("chat_id", 1), ("active", 1)),),
    sealed=("who", "name"),
)
"""Who is in a customer group."""
SYNC_ERRORS = Rows(
    "sync_errors",
    indexes=((("tenant", 1), ("last", -1)),),
    sealed=("object",),
)
"""An object that a sync could not bring in."""
SYNC_DIFFERENCES = Rows(
    "sync_differences",
    indexes=((("tenant", 1), ("number", 1)),),
    sealed=("object",),
)
"""What a comparison found different, before it was mended."""
