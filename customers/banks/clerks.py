"""Clerks of the operations console: who they are, what a role may do, and their passwords."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from config import gate
from customers.banks import passwords
from customers.banks.bank import CACHE_SECONDS, Bank
from customers.banks.rows import CLERKS, ClerkRow
from services.cache import Slot, cached, invalidate
from services.errors import InvalidInput, NotFound, Unavailable
from services.security.tries import Limit
from services.store.mongo import Doc

log = logging.getLogger(__name__)
SESSION = "clerk"
_HASHING: Slot[asyncio.Semaphore] = Slot("hashing", lambda: asyncio.Semaphore(2))
"""Passwords that a process hashes at once: each takes 64 MB and four threads for a while."""
PASSWORD_FAILURES, PASSWORD_SECONDS = 10, 900
"""How often a clerk's session may be wrong about his present password."""

PERMISSIONS: dict[str, frozenset[str]] = {
    "operations": frozenset(
        {
            "campaigns.read",
            "campaigns.submit",
            "campaigns.approve",
            "campaigns.pause",
            "rewards.read",
            "rewards.submit",
            "rewards.approve",
            "shipments.read",
            "shipments.export",
            "shipments.approve",
            "shipments.reveal",
            "audit.read",
            "events.read",
            "events.retry",
            "events.download",
            "handover.read",
            "handover.submit",
            "handover.approve",
            "alarms.read",
            "alarms.handle",
            "platform.read",
            "platform.lift",
            "customers.read",
            "customers.unmerge",
            "sync.read",
            "sync.run",
            "archive.see",
            "intercepts.read",
            "intercepts.submit",
            "intercepts.approve",
            "clerks.read",
            "clerks.approve",
            "consents.withdraw",
            "points.read",
            "points.submit",
            "points.approve",
        }
    ),
    "viewer": frozenset({"campaigns.read"}),
    "auditor": frozenset(
        {
            "campaigns.read",
            "rewards.read",
            "shipments.read",
            "audit.read",
            "events.read",
            "events.download",
            "customers.read",
            "alarms.read",
            "platform.read",
            "handover.read",
            "sync.read",
            "archive.see",
            "archive.read",
            "intercepts.read",
            "clerks.read",
            "points.read",
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


class PasswordWrong(InvalidInput):
    """The present password is another."""

    def __init__(self) -> None:
        super().__init__("password_wrong", "the present password is not right")


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
    """Stores the argon2id hash of a clerk's new password, and ends every session of his. Raises
    NotFound for an unknown clerk, InvalidInput `password_weak`."""
    row = await find(bank, login)
    if row is None:
        raise NotFound("clerk_unknown", f"{bank.id} has no clerk {login}")
    check_password(bank, login, row["name"], password)
    async with bank.services.cache.of(_HASHING):
        hashed = await asyncio.to_thread(PasswordHasher().hash, password)
    async with bank.audited(by, "clerk.password_set", login):
        await _change(bank, {"_id": row["_id"]}, {"password": hashed, "must_change": must_change})
        await end_sessions(bank, [login])


def check_password(bank: Bank, login: str, name: str, password: str) -> None:
    """Raises InvalidInput `password_weak`; in development the demonstration bank's may be used."""
    if bank.services.settings.env == "dev" and gate.is_published(password):
        return
    own = (login, *login.replace("_", ".").replace("-", ".").split("."), name, bank.id)
    passwords.check(password, [*own, *bank.name.values(), *bank.name.get("en", "").split()])


async def change_password(bank: Bank, login: str, old: str, new: str) -> None:
    """A clerk's own change, after which he signs in anew everywhere; raises InvalidInput
    `password_wrong`, `password_same` or `password_weak`, and LockedOut for whoever guesses in a
    session that is not his."""
    what = f"password|{subject(bank, login)}"
    limit = Limit(what, PASSWORD_FAILURES, PASSWORD_SECONDS, forgiven=True)
    async with bank.services.tries.trying([limit], PasswordWrong):
        if not await proves(bank, await find(bank, login), old):
            raise PasswordWrong
    if new == old:
        raise InvalidInput("password_same", "the new password is the old one")
    await set_password(bank, login, new, by=login)


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


NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$SmvqjP8tXXgjKgAMEjh9PGzLZzIB0l3JYqWj0wMkVwM"
"""Verified for names that do not exist, so that an answer's time tells nothing."""


async def proves(bank: Bank, row: ClerkRow | None, password: str) -> bool:
    """Whether this is the clerk's password; it takes as long when he has none, or is nobody."""
    hashed = (row.get("password") if row else "") or NOBODY
    async with bank.services.cache.of(_HASHING):
        return await verify(hashed, password) and hashed != NOBODY


async def verify(hashed: str, password: str) -> bool:
    """Whether this is the password of that hash."""
    try:
        return await asyncio.to_thread(PasswordHasher().verify, hashed, password)
    except VerificationError:
        return False


async def write(bank: Bank, login: str, name: str) -> ClerkRow:
    """Writes down what a clerk is called; somebody new has no role yet. His row."""
    said = {"$set": {"login": login, "name": name}, "$setOnInsert": {"roles": []}}
    await bank.db[CLERKS].update({"_id": row_id(bank, login)}, said, upsert=True)
    row = await find(bank, login)
    if row is None:
        raise NotFound("clerk_unknown", f"{bank.id} has no clerk {login}")
    return row


async def give_roles(bank: Bank, login: str, roles: Sequence[str]) -> None:
    """These are the clerk's roles from now on, and none waits any more; his sessions end when that is
    a change. Safe to repeat."""
    one, given = {"_id": row_id(bank, login)}, {"roles": list(roles), "asked": []}
    if await _change(bank, {**one, "roles": {"$ne": list(roles)}}, given):
        await end_sessions(bank, [login])
    else:
        await ask_roles(bank, login, [])


async def give_asked(bank: Bank, login: str, asked: Sequence[str]) -> bool:
    """The roles that wait are the clerk's from now on; False when they wait no more, since he is a
    clerk no more or others were asked for him."""
    waiting = {"_id": row_id(bank, login), "asked": list(asked)}
    given = await _change(bank, waiting, {"roles": list(asked), "asked": []})
    if given:
        await end_sessions(bank, [login])
    return given


async def ask_roles(bank: Bank, login: str, roles: Sequence[str]) -> None:
    """These roles wait for another clerk's word; none when there are none."""
    await bank.db[CLERKS].update({"_id": row_id(bank, login)}, {"$set": {"asked": list(roles)}})


async def remove(bank: Bank, login: str) -> None:
    """He is a clerk no more: no role, no password, no session."""
    present = {"$or": [{"roles": {"$ne": []}}, {"password": {"$nin": [None, ""]}}]}
    gone = {"roles": [], "password": "", "asked": []}
    if await _change(bank, {"_id": row_id(bank, login), **present}, gone):
        await end_sessions(bank, [login])
