"""Clerks of the operations console: what a role may do, and signing in with a password."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from customers.banks.bank import Bank
from customers.banks.rows import CLERKS
from services.container import Services
from services.errors import NotFound, NotSignedIn

PERMISSIONS: dict[str, frozenset[str]] = {
    "operations": frozenset(
        {
            "campaigns.read",
            "campaigns.submit",
            "campaigns.approve",
            "campaigns.pause",
            "audit.read",
            "events.read",
            "handover.read",
            "handover.submit",
            "handover.approve",
            "alarms.read",
            "alarms.handle",
            "customers.read",
            "customers.unmerge",
            "sync.read",
            "sync.run",
            "archive.see",
            "intercepts.read",
            "intercepts.submit",
            "intercepts.approve",
        }
    ),
    "viewer": frozenset({"campaigns.read"}),
    "auditor": frozenset(
        {
            "campaigns.read",
            "audit.read",
            "events.read",
            "customers.read",
            "alarms.read",
            "handover.read",
            "sync.read",
            "archive.see",
            "archive.read",
            "intercepts.read",
        }
    ),
}
"""What a role may do. Maker and checker may both be `operations`: they must be two people, which
the server checks."""


@dataclass(frozen=True)
class Clerk:
    login: str
    name: str
    permissions: frozenset[str]


async def set_password(bank: Bank, login: str, password: str) -> None:
    """Stores the argon2id hash of a clerk's new password; raises NotFound for an unknown clerk."""
    hashed = await asyncio.to_thread(PasswordHasher().hash, password)
    db = bank.db
    if not await db[CLERKS].update({"_id": f"{bank.id}:{login}"}, {"$set": {"password": hashed}}):
        raise NotFound("clerk_unknown", f"{bank.id} has no clerk {login}")
    await bank.audit("cli", "clerk.password_set", login)


async def _verify(hashed: str, password: str) -> bool:
    try:
        return await asyncio.to_thread(PasswordHasher().verify, hashed, password)
    except VerificationError:
        return False


async def check_clerk(services: Services, tenant_id: str, login: str, password: str) -> Clerk:
    """The clerk, or NotSignedIn without saying which part was wrong; TooMany after 10 tries in 15
    minutes."""
    await services.sessions.count_attempt(f"clerk|{tenant_id}|{login}", limit=10, seconds=900)
    row = await services.store.tenant(tenant_id or "-")[CLERKS].find_one(
        {"_id": f"{tenant_id}:{login}"}
    )
    hashed = row["password"] if row and row.get("password") else _NOBODY
    if not await _verify(hashed, password) or row is None:
        raise NotSignedIn("login_refused", "bank, name or password is wrong")
    granted: frozenset[str] = frozenset().union(*(PERMISSIONS[role] for role in row["roles"]))
    return Clerk(row["login"], row["name"], granted)


_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$SmvqjP8tXXgjKgAMEjh9PGzLZzIB0l3JYqWj0wMkVwM"
"""Verified for names that do not exist, so that an answer's time tells nothing."""
