"""Clerks of the operations console: what a role may do, and signing in with a password."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from customers.banks.bank import Bank
from customers.banks.files import ClerkEntry
from customers.banks.rows import CLERKS, ClerkRow
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
            "events.retry",
            "events.download",
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
            "events.download",
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
    row = {"_id": _row_id(bank, login)}
    if not await bank.db[CLERKS].update(row, {"$set": {"password": hashed}}):
        raise NotFound("clerk_unknown", f"{bank.id} has no clerk {login}")
    await bank.audit("cli", "clerk.password_set", login)


async def _verify(hashed: str, password: str) -> bool:
    try:
        return await asyncio.to_thread(PasswordHasher().verify, hashed, password)
    except VerificationError:
        return False


def _row_id(bank: Bank, login: str) -> str:
    return f"{bank.id}:{login}"


async def apply(bank: Bank, entries: Sequence[ClerkEntry]) -> None:
    """Makes these the bank's clerks, each with the password that his entry gives him, or the one
    that he has. Who is not named may not sign in any more."""
    clerks = bank.db[CLERKS]
    for entry in entries:
        said = {"login": entry.login, "name": entry.name, "roles": list(entry.roles)}
        await clerks.update({"_id": _row_id(bank, entry.login)}, {"$set": said}, upsert=True)
        if entry.password is not None and not await _has_password(
            bank, entry.login, entry.password
        ):
            await set_password(bank, entry.login, entry.password)
    unnamed = {"login": {"$nin": [entry.login for entry in entries]}}
    await clerks.update_many(unnamed, {"$set": {"roles": [], "password": ""}})


async def _has_password(bank: Bank, login: str, password: str) -> bool:
    row = await bank.db[CLERKS].find_one({"_id": _row_id(bank, login)})
    hashed = row.get("password") if row else ""
    return bool(hashed) and await _verify(str(hashed), password)


async def check_clerk(services: Services, tenant: str, login: str, password: str) -> Clerk:
    """The clerk, or NotSignedIn without saying which part was wrong; TooMany after 10 tries in 15
    minutes."""
    await services.sessions.count_attempt(f"clerk|{tenant}|{login}", limit=10, seconds=900)
    clerks = services.store.tenant(tenant or "-")[CLERKS]
    row = cast("ClerkRow | None", await clerks.find_one({"_id": f"{tenant}:{login}"}))
    hashed = (row.get("password") if row else "") or _NOBODY
    if not await _verify(hashed, password) or row is None:
        raise NotSignedIn("login_refused", "bank, name or password is wrong")
    granted: frozenset[str] = frozenset().union(*(PERMISSIONS[role] for role in row["roles"]))
    return Clerk(row["login"], row["name"], granted)


_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$SmvqjP8tXXgjKgAMEjh9PGzLZzIB0l3JYqWj0wMkVwM"
"""Verified for names that do not exist, so that an answer's time tells nothing."""
