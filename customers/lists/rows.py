"""The rows of static lists: what each is called, who is on it, and files on their way in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, NotRequired, TypedDict

from services import ids
from services.store.rows import Rows

Mode = Literal["add", "replace", "remove"]
LISTS = Rows("lists")
"""Static lists of customers."""
LIST_MEMBERS = Rows(
    "list_members",
    indexes=((("tenant", 1), ("cid", 1)), (("tenant", 1), ("list", 1), ("on", 1))),
)
"""Who is, or was, on a list."""
LIST_UPLOADS = Rows(
    "list_uploads", indexes=((("tenant", 1), ("list", 1), ("at", -1)),), sealed=("file",)
)
"""Files of customers for a list."""


class ListRow(TypedDict):
    """A list and what it is called; an `archived` one is named by no rule and takes no file."""

    _id: str
    list: str
    name: Mapping[str, str]
    at: datetime
    by: str
    archived: NotRequired[bool]


class ListMemberRow(TypedDict):
    """The customer is `on` the list or was, as the `upload` says, which was `sent` then; the `_id` is
    made of the list and him."""

    _id: str
    list: str
    cid: str
    on: bool
    upload: str
    sent: NotRequired[datetime]


class UploadRow(TypedDict):
    """A file on its way in: `done` of `total` lines are read. `good` of them named a customer,
    `bad` counts the others by reason, of which `problems` are the first: (line, reason). The `file`
    is sealed, and deleted when it is over. The rest is a waiting row's
    (services/store/leases.py)."""

    _id: str
    upload: str
    list: str
    mode: Mode
    name: str
    by: str
    at: datetime
    file: NotRequired[bytes]
    state: str
    reason: str
    done: int
    total: int
    good: int
    bad: dict[str, int]
    problems: list[tuple[int, str]]
    open: bool
    due: float
    owner: str | None
    attempts: int


def list_id(tenant: str, key: str) -> str:
    return f"{tenant}:{key}"


def upload_id(tenant: str, upload: str) -> str:
    return f"{tenant}:{upload}"


def member_id(tenant: str, key: str, cid: str) -> str:
    return ids.tenant_id(tenant, "list_member", key, cid)
