"""The rows of banks: tenants, their staff and their clerks."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NotRequired, TypedDict

from services.store.rows import Rows


class TenantRow(TypedDict):
    """A bank as its file says it; `secrets` are its apps' keys, sealed. `heads` are userids by
    branch, `departments` branches by WeCom's department; `region` is the country of its phone
    numbers, `merchants` are names. `fields`, `events`, `systems` and `rfm` are what it declares
    (declarations.py), without secrets."""

    _id: str
    name: dict[str, str]
    corp_id: str
    appids: list[str]
    branches: dict[str, str]
    heads: dict[str, str]
    departments: dict[str, str]
    merchants: NotRequired[dict[str, str]]
    region: NotRequired[str]
    fields: NotRequired[list[dict[str, Any]]]
    events: NotRequired[list[dict[str, Any]]]
    systems: NotRequired[list[dict[str, Any]]]
    rfm: NotRequired[dict[str, Any] | None]
    secrets: bytes
    applied_at: datetime


class ClerkRow(TypedDict):
    """A clerk; `password` is a hash, missing or empty for one who may not sign in. A session is good
    in the `epoch` in which it was opened: what ends a clerk's sessions counts it up in the same
    write, missing is 0. Who `must_change` his password may do nothing else before. `asked` are the
    roles that wait for another clerk's word."""

    _id: str
    login: str
    name: str
    roles: list[str]
    password: NotRequired[str]
    epoch: NotRequired[int]
    must_change: NotRequired[bool]
    asked: NotRequired[list[str]]


class Rights(TypedDict):
    """Where somebody may write vouchers off, and how often on each of the bank's days."""

    branches: list[str]
    merchants: list[str]
    per_day: int


class CounterRow(TypedDict):
    """Somebody who writes vouchers off at a counter: at the one place of his `rights`, nowhere
    without. What waits for a clerk's word is `asked`; the rest is as in ClerkRow."""

    _id: str
    login: str
    name: str
    rights: Rights | None
    asked: NotRequired[Rights | None]
    password: NotRequired[str]
    epoch: NotRequired[int]
    must_change: NotRequired[bool]


class PartnerRow(TypedDict):
    """A program that writes vouchers off; `secrets` are sealed: what it signs with now and until
    when each earlier one is good."""

    _id: str
    login: str
    name: str
    rights: Rights | None
    asked: NotRequired[Rights | None]
    secrets: NotRequired[bytes]
    rotated_at: NotRequired[datetime]


class SystemRow(TypedDict):
    """A system of the bank's own; `secrets` are sealed, as a partner's."""

    _id: str
    login: str
    secrets: NotRequired[bytes]
    rotated_at: NotRequired[datetime]


TENANTS = Rows("tenants", sealed=("secrets",), of_bank=False)
"""The banks of this installation."""
STAFF = Rows("staff")
"""RMs, and the branch of each."""
CLERKS = Rows("clerks")
"""Clerks of the console, their roles and the hash of each password."""
COUNTERS = Rows("counters")
"""Tellers and merchants' people, where each may write vouchers off, and the hash of his password."""
PARTNERS = Rows("partners", sealed=("secrets",))
"""Programs that write vouchers off, and what they sign with."""
SYSTEMS = Rows("systems", sealed=("secrets",))
"""The bank's own systems, and what they sign with."""
