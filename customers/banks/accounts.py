"""People of a bank who sign in with a password of their own, at whichever face: what they prove
themselves by, and what ends their sessions.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from config import gate
from customers.banks import passwords
from customers.banks.bank import Bank
from services.cache import Slot, invalidate
from services.errors import InvalidInput, NotFound, Unavailable
from services.security.tries import Limit
from services.store.mongo import Doc
from services.store.rows import Rows

log = logging.getLogger(__name__)
_HASHING: Slot[asyncio.Semaphore] = Slot("hashing", lambda: asyncio.Semaphore(2))
"""Passwords that a process hashes at once: each takes 64 MB and four threads for a while."""
PASSWORD_FAILURES, PASSWORD_SECONDS = 10, 900
"""How often a session may be wrong about its owner's present password."""

Row = Mapping[str, Any]
"""A row of one kind of people, with `login`, `name`, `password`, `epoch` and `must_change`."""


@dataclass(frozen=True, kw_only=True)
class Accounts:
    """One kind of people: `noun` names their sessions, their limits and their codes, `face` is what
    they sign in to, and `prefix` tells their rows of `sign_ins` from others'. The rest are what the
    audit trail says of their acts."""

    noun: str
    face: str
    rows: Rows
    prefix: str
    password_set: str
    signed_in: str
    signed_out: str
    sign_in_failed: str
    locked_out: str


class PasswordWrong(InvalidInput):
    """The present password is another."""

    def __init__(self) -> None:
        super().__init__("password_wrong", "the present password is not right")


def row_id(bank: Bank, login: str) -> str:
    return f"{bank.id}:{login}"


def subject(bank: Bank, login: str) -> str:
    """What somebody's sessions are ended by."""
    return f"{bank.id}:{login}"


def cache_key(bank: Bank, kind: Accounts) -> str:
    """What a process keeps of these people's rows under."""
    return f"{kind.noun}s:{bank.id}"


async def find(bank: Bank, kind: Accounts, login: str) -> Row | None:
    """The row of somebody who is or was one of them, read afresh."""
    return await bank.db[kind.rows].find_one({"_id": row_id(bank, login)})


async def everybody(bank: Bank, kind: Accounts) -> list[Doc]:
    """All who are or were of this kind, by login."""
    return await bank.db[kind.rows].find({}, sort=[("login", 1)], limit=None)


async def set_password(
    bank: Bank,
    kind: Accounts,
    login: str,
    password: str,
    *,
    by: str = "cli",
    must_change: bool = False,
) -> None:
    """Stores the argon2id hash of somebody's new password, and ends every session of his. Raises
    NotFound for an unknown one, InvalidInput `password_weak`."""
    row = await find(bank, kind, login)
    if row is None:
        raise NotFound(f"{kind.noun}_unknown", f"{bank.id} has no {kind.noun} {login}")
    check_password(bank, login, row["name"], password)
    async with bank.services.cache.of(_HASHING):
        hashed = await asyncio.to_thread(PasswordHasher().hash, password)
    async with bank.audited(by, kind.password_set, login):
        fields = {"password": hashed, "must_change": must_change}
        await change(bank, kind, {"_id": row["_id"]}, fields)
        await end_sessions(bank, kind, [login])


def check_password(bank: Bank, login: str, name: str, password: str) -> None:
    """Raises InvalidInput `password_weak`; in development the demonstration bank's may be used."""
    if bank.services.settings.env == "dev" and gate.is_published(password):
        return
    own = (login, *login.replace("_", ".").replace("-", ".").split("."), name, bank.id)
    passwords.check(password, [*own, *bank.name.values(), *bank.name.get("en", "").split()])


async def change_password(bank: Bank, kind: Accounts, login: str, old: str, new: str) -> None:
    """Somebody's own change, after which he signs in anew everywhere; raises InvalidInput
    `password_wrong`, `password_same` or `password_weak`, and LockedOut for whoever guesses in a
    session that is not his."""
    what = f"password|{kind.noun}|{subject(bank, login)}"
    limit = Limit(what, PASSWORD_FAILURES, PASSWORD_SECONDS, forgiven=True)
    async with bank.services.tries.trying([limit], PasswordWrong):
        if not await proves(bank, await find(bank, kind, login), old):
            raise PasswordWrong
    if new == old:
        raise InvalidInput("password_same", "the new password is the old one")
    await set_password(bank, kind, login, new, by=login)


async def change(bank: Bank, kind: Accounts, wanted: Doc, fields: Doc) -> bool:
    """Changes what somebody may do or prove himself by; his sessions are over in the same write."""
    changed = await bank.db[kind.rows].update(wanted, {"$set": fields, "$inc": {"epoch": 1}})
    invalidate(bank.services, cache_key(bank, kind))
    return changed


async def end_sessions(bank: Bank, kind: Accounts, logins: Iterable[str]) -> None:
    """Takes the sessions of an earlier epoch out of Redis, where they are good for nothing any
    more."""
    for login in logins:
        try:
            await bank.services.sessions.end_all(kind.noun, subject(bank, login))
        except Unavailable:
            log.warning("sessions of a %s end by his row alone: Redis does not answer", kind.noun)


async def sign_out_everywhere(bank: Bank, kind: Accounts, login: str) -> None:
    """Ends every session of his."""
    await change(bank, kind, {"_id": row_id(bank, login)}, {})
    await end_sessions(bank, kind, [login])


NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$SmvqjP8tXXgjKgAMEjh9PGzLZzIB0l3JYqWj0wMkVwM"
"""Verified for names that do not exist, so that an answer's time tells nothing."""


async def proves(bank: Bank, row: Row | None, password: str) -> bool:
    """Whether this is his password; it takes as long when he has none, or is nobody."""
    hashed = (row.get("password") if row else "") or NOBODY
    async with bank.services.cache.of(_HASHING):
        return await verify(hashed, password) and hashed != NOBODY


async def verify(hashed: str, password: str) -> bool:
    """Whether this is the password of that hash."""
    try:
        return await asyncio.to_thread(PasswordHasher().verify, hashed, password)
    except VerificationError:
        return False
