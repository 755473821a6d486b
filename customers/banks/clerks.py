"""Clerks of the operations console: who they are, what a role may do, and their passwords."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from customers.banks import accounts
from customers.banks.accounts import Accounts, Row, row_id
from customers.banks.bank import CACHE_SECONDS, Bank
from customers.banks.rows import CLERKS, ClerkRow
from services.cache import cached
from services.errors import NotFound

CLERK = Accounts(
    noun="clerk",
    face="console",
    rows=CLERKS,
    prefix="",
    password_set="clerk.password_set",
    signed_in="clerk.signed_in",
    signed_out="clerk.signed_out",
    sign_in_failed="clerk.sign_in_failed",
    locked_out="clerk.locked_out",
)
SESSION = CLERK.noun

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
            "webhooks.read",
            "webhooks.replay",
            "customers.read",
            "customers.unmerge",
            "intake.read",
            "intake.join",
            "sync.read",
            "sync.run",
            "archive.see",
            "intercepts.read",
            "intercepts.submit",
            "intercepts.approve",
            "vouchers.read",
            "vouchers.recall",
            "vouchers.approve",
            "clerks.read",
            "clerks.approve",
            "counters.read",
            "counters.approve",
            "consents.withdraw",
            "fields.read",
            "fields.reveal",
            "segments.read",
            "segments.write",
            "segments.approve",
            "segments.export",
            "segments.reveal",
            "ledger.read",
            "ledger.adjust",
            "ledger.approve",
            "pools.read",
            "pools.import",
            "pools.recall",
            "points.read",
            "points.submit",
            "points.adjust",
            "points.approve",
            "tags.read",
            "tags.write",
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
            "intake.read",
            "fields.read",
            "segments.read",
            "alarms.read",
            "platform.read",
            "webhooks.read",
            "handover.read",
            "sync.read",
            "archive.see",
            "archive.read",
            "intercepts.read",
            "vouchers.read",
            "clerks.read",
            "counters.read",
            "ledger.read",
            "pools.read",
            "points.read",
            "tags.read",
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


def clerk_of(row: Row) -> Clerk:
    return Clerk(
        row["login"],
        row["name"],
        granted(row["roles"]),
        row.get("epoch", 0),
        row.get("must_change", False),
    )


async def clerk(bank: Bank, login: str) -> Clerk:
    """The clerk as of CACHE_SECONDS ago at most; raises NotFound for one who may not sign in."""

    async def load() -> dict[str, Clerk]:
        rows = await bank.db[CLERKS].find({"password": {"$nin": [None, ""]}}, limit=None)
        return {row["login"]: clerk_of(row) for row in rows}

    found = (await cached(bank.services, accounts.cache_key(bank, CLERK), CACHE_SECONDS, load)).get(
        login
    )
    if found is None:
        raise NotFound("clerk_unknown", f"{bank.id} has no clerk {login}")
    return found


async def find(bank: Bank, login: str) -> ClerkRow | None:
    """The row of somebody who is or was a clerk, read afresh."""
    return cast("ClerkRow | None", await accounts.find(bank, CLERK, login))


async def everybody(bank: Bank) -> list[ClerkRow]:
    """All who are or were clerks, by login."""
    return cast("list[ClerkRow]", await accounts.everybody(bank, CLERK))


async def still_may(bank: Bank, login: str, right: str) -> bool:
    """Whether this is a clerk of the bank's, with this permission unless it is empty, as of now. Who
    never was a clerk (the command line) may."""
    row = await find(bank, login)
    if row is None:
        return True
    return bool(row["roles"]) and (not right or right in granted(row["roles"]))


async def set_password(
    bank: Bank, login: str, password: str, *, by: str = "cli", must_change: bool = False
) -> None:
    """As `accounts.set_password`."""
    await accounts.set_password(bank, CLERK, login, password, by=by, must_change=must_change)


async def change_password(bank: Bank, login: str, old: str, new: str) -> None:
    """As `accounts.change_password`."""
    await accounts.change_password(bank, CLERK, login, old, new)


async def sign_out_everywhere(bank: Bank, login: str) -> None:
    """Ends every session of the clerk."""
    await accounts.sign_out_everywhere(bank, CLERK, login)


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
    if await accounts.change(bank, CLERK, {**one, "roles": {"$ne": list(roles)}}, given):
        await accounts.end_sessions(bank, CLERK, [login])
    else:
        await ask_roles(bank, login, [])


async def give_asked(bank: Bank, login: str, asked: Sequence[str]) -> bool:
    """The roles that wait are the clerk's from now on; False when they wait no more, since he is a
    clerk no more or others were asked for him."""
    waiting = {"_id": row_id(bank, login), "asked": list(asked)}
    fields = {"roles": list(asked), "asked": []}
    given = await accounts.change(bank, CLERK, waiting, fields)
    if given:
        await accounts.end_sessions(bank, CLERK, [login])
    return given


async def ask_roles(bank: Bank, login: str, roles: Sequence[str]) -> None:
    """These roles wait for another clerk's word; none when there are none."""
    await bank.db[CLERKS].update({"_id": row_id(bank, login)}, {"$set": {"asked": list(roles)}})


async def remove(bank: Bank, login: str) -> None:
    """He is a clerk no more: no role, no password, no session."""
    present = {"$or": [{"roles": {"$ne": []}}, {"password": {"$nin": [None, ""]}}]}
    gone = {"roles": [], "password": "", "asked": []}
    if await accounts.change(bank, CLERK, {"_id": row_id(bank, login), **present}, gone):
        await accounts.end_sessions(bank, CLERK, [login])
