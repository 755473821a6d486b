"""Clerks of the operations console: who they are, what a role may do, and their passwords."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from customers.banks.bank import CACHE_SECONDS, Bank
from customers.banks.files import ClerkEntry
from customers.banks.rows import CLERKS, ClerkRow
from services.cache import cached, invalidate
from services.errors import NotFound, Unavailable
from services.store.mongo import Doc

log = logging.getLogger(__name__)
SESSION = "clerk"

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
    """Somebody who may sign in; `epoch` as in ClerkRow."""

    login: str
    name: str
    permissions: frozenset[str]
    epoch: int = 0
    must_change: bool = False


def granted(roles: Iterable[str]) -> frozenset[str]:
    """What these roles allow together; a role that there is no more allows nothing."""
    return frozenset().union(*(PERMISSIONS.get(role, frozenset()) for role in roles))


def clerk_of(row: ClerkRow) -> Clerk:
    return Clerk(
        row["login"],
        row["name"],
        granted(row["roles"]),
        row.get("epoch", 0),
        row.get("must_change", False),
    )


def row_id(bank: Bank, login: str) -> str:
    return f"{bank.id}:{login}"


def subject(bank: Bank, login: str) -> str:
    """What a clerk's sessions are ended by."""
    return f"{bank.id}:{login}"


async def clerk(bank: Bank, login: str) -> Clerk:
    """The clerk as of CACHE_SECONDS ago at most; raises NotFound for one who may not sign in."""

    async def load() -> dict[str, Clerk]:
        rows = await bank.db[CLERKS].find({"password": {"$nin": [None, ""]}}, limit=None)
        return {row["login"]: clerk_of(cast("ClerkRow", row)) for row in rows}

    found = (await cached(bank.services, _cache_key(bank), CACHE_SECONDS, load)).get(login)
    if found is None:
        raise NotFound("clerk_unknown", f"{bank.id} has no clerk {login}")
    return found


def _cache_key(bank: Bank) -> str:
    return f"clerks:{bank.id}"


async def find(bank: Bank, login: str) -> ClerkRow | None:
    """The row of somebody who is or was a clerk, read afresh."""
    return cast("ClerkRow | None", await bank.db[CLERKS].find_one({"_id": row_id(bank, login)}))


async def everybody(bank: Bank) -> list[ClerkRow]:
    """All who are or were clerks, by login."""
    found = await bank.db[CLERKS].find({}, sort=[("login", 1)], limit=None)
    return cast("list[ClerkRow]", found)


async def has_left(bank: Bank, login: str) -> bool:
    """Whether this was a clerk of the bank's and is none any more. Who never was one (the command
    line) has not left."""
    row = await find(bank, login)
    return row is not None and not row["roles"]


async def set_password(
    bank: Bank, login: str, password: str, *, by: str = "cli", must_change: bool = False
) -> None:
    """Stores the argon2id hash of a clerk's new password, and ends every session of his; raises
    NotFound for an unknown clerk."""
    hashed = await asyncio.to_thread(PasswordHasher().hash, password)
    change = {"password": hashed, "must_change": must_change}
    if not await _change(bank, {"_id": row_id(bank, login)}, change):
        raise NotFound("clerk_unknown", f"{bank.id} has no clerk {login}")
    await bank.audit(by, "clerk.password_set", login)
    await end_sessions(bank, [login])


async def _change(bank: Bank, wanted: Doc, fields: Doc) -> bool:
    """Changes what a clerk may do or prove himself by; his sessions are over in the same write."""
    changed = await bank.db[CLERKS].update(wanted, {"$set": fields, "$inc": {"epoch": 1}})
    invalidate(bank.services, _cache_key(bank))
    return changed


async def end_sessions(bank: Bank, logins: Iterable[str]) -> None:
    """Takes the sessions of an earlier epoch out of Redis, where they are good for nothing any
    more."""
    for login in logins:
        try:
            await bank.services.sessions.end_all(SESSION, subject(bank, login))
        except Unavailable:
            log.warning("sessions of a clerk end by his row alone: Redis does not answer")


async def sign_out_everywhere(bank: Bank, login: str) -> None:
    """Ends every session of the clerk."""
    await _change(bank, {"_id": row_id(bank, login)}, {})
    await end_sessions(bank, [login])


async def verify(hashed: str, password: str) -> bool:
    """Whether this is the password of that hash."""
    try:
        return await asyncio.to_thread(PasswordHasher().verify, hashed, password)
    except VerificationError:
        return False


async def apply(bank: Bank, entries: Sequence[ClerkEntry]) -> None:
    """Makes these the bank's clerks. The password of an entry is the first one of somebody who has
    none; whoever has one keeps it. Who is not named may not sign in any more; his sessions end, and
    so do those of whoever's roles change."""
    for entry in entries:
        await _apply_one(bank, entry)
    named = [entry.login for entry in entries]
    for row in await everybody(bank):
        if row["login"] not in named:
            await remove(bank, row["login"])


async def _apply_one(bank: Bank, entry: ClerkEntry) -> None:
    one, roles = {"_id": row_id(bank, entry.login)}, list(entry.roles)
    said = {"login": entry.login, "name": entry.name}
    new = {"$set": said, "$setOnInsert": {"roles": roles}}
    await bank.db[CLERKS].update(one, new, upsert=True)
    if await _change(bank, {**one, "roles": {"$ne": roles}}, {"roles": roles}):
        await end_sessions(bank, [entry.login])
    row = await find(bank, entry.login)
    if entry.password is not None and not (row and row.get("password")):
        await set_password(bank, entry.login, entry.password)


async def remove(bank: Bank, login: str) -> None:
    """He is a clerk no more: no role, no password, no session."""
    present = {"$or": [{"roles": {"$ne": []}}, {"password": {"$nin": [None, ""]}}]}
    gone = {"roles": [], "password": ""}
    if await _change(bank, {"_id": row_id(bank, login), **present}, gone):
        await end_sessions(bank, [login])
