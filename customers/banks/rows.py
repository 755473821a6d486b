"""The rows of banks: tenants, their staff and their clerks."""

from __future__ import annotations

from datetime import datetime
from typing import NotRequired, TypedDict

from services.store.rows import Rows


class TenantRow(TypedDict):
    """A bank as its file says it; `secrets` are its apps' keys, sealed. `heads` are userids by
    branch, `departments` branches by WeCom's department; `region` is the country of its phone
    numbers."""

    _id: str
    name: dict[str, str]
    corp_id: str
    appids: list[str]
    branches: dict[str, str]
    heads: dict[str, str]
    departments: dict[str, str]
    region: NotRequired[str]
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


TENANTS = Rows("tenants", sealed=("secrets",), of_bank=False)
"""The banks of this installation."""
STAFF = Rows("staff")
"""RMs, and the branch of each."""
CLERKS = Rows("clerks")
"""Clerks of the console, their roles and the hash of each password."""
