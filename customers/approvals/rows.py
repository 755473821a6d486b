"""The rows of approvals: what a clerk submitted, and what another decided on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services import ids
from services.store.mongo import Doc
from services.store.rows import Rows

APPROVALS = Rows(
    "approvals",
    indexes=((("tenant", 1), ("kind", 1), ("state", 1), ("busy_until", 1)),),
)
"""One subject's request for a second person's decision, and the decision."""

SUBMITTED, APPROVED, APPLIED = "submitted", "approved", "applied"
REJECTED, REPLACED, LAPSED = "rejected", "replaced", "lapsed"


@dataclass(frozen=True)
class Section:
    """A part of what was submitted, which may have a checker of its own."""

    sha256: str
    agreed_by: str = ""
    agreed_at: datetime | None = None


@dataclass(frozen=True)
class Approval:
    """A row of `approvals`.

    `state` goes from `submitted` to `approved` (decided, being carried out) and `applied` (carried
    out); or to `rejected`, to `replaced` by a newer subject, to `lapsed` when it can be agreed to or
    carried out no more (`reason` says why). `sha256` is the hash over all sections; `waiting` are
    the sections to which nobody has agreed. Until `busy_until` whoever decided is at work;
    `recorded` says whether the audit trail has the decision.
    """

    id: str
    kind: str
    subject: str
    about: str
    author: str
    sha256: str
    sections: Mapping[str, Section]
    waiting: tuple[str, ...]
    state: str
    submitted_at: datetime
    expires_at: datetime | None
    decided_by: str
    decided_at: datetime | None
    busy_until: datetime | None
    recorded: bool
    reason: str
    data: Mapping[str, Any]


def approval_id(tenant: str, kind: str, subject: str) -> str:
    return ids.tenant_id(tenant, "approval", kind, subject)


def approval_of(row: Doc) -> Approval:
    names = Approval.__dataclass_fields__.keys() - {"id", "sections", "waiting"}
    return Approval(
        id=row["_id"],
        sections={name: Section(**section) for name, section in row["sections"].items()},
        waiting=tuple(row["waiting"]),
        **{name: row[name] for name in names},
    )
