"""Who is a clerk, and with which roles: the bank's file says it, and in production what gives somebody
a right waits for another clerk's word (promise P7).

The first clerks of a bank are those of its file; there is nobody yet who could agree. What takes a
right is done at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from customers.access.sign_in import SignInRow, last_sign_ins
from customers.actors import ClerkActor
from customers.approvals import approvals
from customers.approvals.rows import APPROVED, SUBMITTED
from customers.banks import clerks
from customers.banks.bank import Bank
from customers.banks.files import ClerkEntry
from customers.banks.rows import ClerkRow
from services.errors import Conflict, Forbidden, InvalidInput, NotFound

READ, DECIDE = "clerks.read", "clerks.approve"
ROLES = approvals.Kind(
    name="clerk",
    right="",
    submitted="clerk.roles_asked",
    approved="clerk.roles_granted",
    rejected="clerk.roles_refused",
    refused="clerk.approval_refused",
    decided="roles_decided",
    replaces=approvals.ANY_TIME,
    lifetime=timedelta(days=30),
)


@dataclass(frozen=True)
class ClerkView:
    """A clerk as another sees him; `asked` wait since `asked_at`, and `mine` says that they are not
    the reader's to decide."""

    login: str
    name: str
    roles: Sequence[str]
    asked: Sequence[str]
    asked_by: str
    asked_at: datetime | None
    mine: bool
    active: bool
    signed_in_at: datetime | None
    signed_in_from: str


async def apply(bank: Bank, entries: Sequence[ClerkEntry], by: str) -> list[str]:
    """Makes these the bank's clerks. The password of an entry is the first one of somebody who has
    none; whoever has one keeps it, and whoever gets one in production changes it when he first signs
    in. Who is not named may not sign in any more. What waits for another clerk, as sentences.

    In production a role that gives somebody a right waits, except in a bank that never had a clerk.
    """
    production = _production(bank)
    before = await clerks.everybody(bank)
    waits = production and bool(before)
    said: list[str] = []
    for entry in entries:
        row = await clerks.write(bank, entry.login, entry.name)
        said += await _apply_roles(bank, row, entry, by, waits=waits)
        if entry.password is not None and not row.get("password"):
            await clerks.set_password(
                bank, entry.login, entry.password, by=by, must_change=production
            )
    named = [entry.login for entry in entries]
    for row in before:
        if row["login"] not in named:
            await approvals.replace(bank, ROLES, [row["login"]])
            await clerks.remove(bank, row["login"])
    return said


def _production(bank: Bank) -> bool:
    return bank.services.settings.env == "production"


async def check(bank: Bank, entries: Sequence[ClerkEntry]) -> None:
    """Before anything is applied: raises InvalidInput when nobody would be left who may agree to
    roles that wait."""
    before = await clerks.everybody(bank)
    if not before or not _production(bank):
        return
    kept = {entry.login: set(entry.roles) for entry in entries}
    left = [
        row["login"]
        for row in before
        if DECIDE in clerks.granted(kept.get(row["login"], set()) & set(row["roles"]))
    ]
    if not left:
        raise InvalidInput(
            "nobody_left",
            "clerks: nobody would be left who may agree to roles; nothing was applied",
        )


async def _apply_roles(
    bank: Bank, row: ClerkRow, entry: ClerkEntry, by: str, *, waits: bool
) -> list[str]:
    """What waits for another clerk, as a sentence."""
    wanted = list(entry.roles)
    if not waits or clerks.granted(wanted) <= clerks.granted(row["roles"]):
        await approvals.replace(bank, ROLES, [entry.login])
        await clerks.give_roles(bank, entry.login, wanted)
        return []
    may = clerks.granted(wanted)
    kept = [role for role in row["roles"] if clerks.granted([role]) <= may]
    if kept != row["roles"]:
        await clerks.give_roles(bank, entry.login, kept)
    await clerks.ask_roles(bank, entry.login, wanted)
    if not await _ask(bank, entry.login, wanted, by):
        return [
            f"{entry.login}: other roles of his are being decided; apply the file again in a minute"
        ]
    return [f"{entry.login} gets {', '.join(wanted)} when another clerk agrees: /console/clerks"]


async def _ask(bank: Bank, login: str, wanted: Sequence[str], by: str) -> bool:
    """Asks for another clerk's word, unless that was done already; False while somebody is at what
    was asked before."""
    known = await approvals.find(bank, ROLES, login)
    stands = known is not None and known.state in (SUBMITTED, APPROVED)
    if known is not None and stands and list(known.data["roles"]) == list(wanted):
        return True
    await approvals.replace(bank, ROLES, [login])
    actor = ClerkActor(bank.id, by, by, frozenset())
    content = _content(login, wanted)
    return await approvals.submit(bank, actor, ROLES, login, content, roles=list(wanted))


def _content(login: str, asked: Sequence[str]) -> approvals.Content:
    return {"roles": {"login": login, "roles": list(asked)}}


async def list_clerks(bank: Bank, actor: ClerkActor) -> list[ClerkView]:
    """Everybody who is or was a clerk, those first for whom something waits."""
    if READ not in actor.permissions:
        raise Forbidden("not_permitted", f"this needs the permission {READ}")
    seen = await last_sign_ins(bank, clerks.CLERK)
    views = [
        await _view(bank, actor, row, seen.get(row["login"]))
        for row in await clerks.everybody(bank)
    ]
    return sorted(views, key=lambda view: (not view.asked, not view.active, view.login))


async def _view(
    bank: Bank, actor: ClerkActor, row: ClerkRow, signed_in: SignInRow | None
) -> ClerkView:
    login, asked = row["login"], row.get("asked", [])
    request = await approvals.find(bank, ROLES, login) if asked else None
    by = request.author if request else ""
    return ClerkView(
        login=login,
        name=row["name"],
        roles=row["roles"],
        asked=asked,
        asked_by=by,
        asked_at=request.submitted_at if request else None,
        mine=actor.login in (login, by.removeprefix("cli:")),
        active=bool(row.get("password")) and bool(row["roles"]),
        signed_in_at=signed_in.get("at") if signed_in else None,
        signed_in_from=signed_in.get("address", "") if signed_in else "",
    )


async def approve(bank: Bank, actor: ClerkActor, login: str) -> None:
    """Agrees to the roles that wait for a clerk; he has them from then on. Raises NotFound, Forbidden
    `roles_own` for his own and `approver_is_author`, Conflict `roles_decided`."""
    row = await _asked(bank, actor, login)
    request = await approvals.find(bank, ROLES, login)
    if request is not None and request.author == f"cli:{actor.login}":
        raise Forbidden("approver_is_author", "another clerk must approve what you submitted")
    asked = row.get("asked", [])
    async with approvals.approve(bank, actor, ROLES, login, _content(login, asked)):
        if not await clerks.give_asked(bank, login, asked):
            raise Conflict("roles_decided", "no roles wait for this clerk")


async def reject(bank: Bank, actor: ClerkActor, login: str, reason: str) -> None:
    """Turns the roles down that wait for a clerk; raises as `approve`, and InvalidInput
    `reason_missing`."""
    if not reason.strip():
        raise InvalidInput("reason_missing", "say why", fields={"reason": "required"})
    await _asked(bank, actor, login)
    await approvals.reject(bank, actor, ROLES, login, reason)
    await clerks.ask_roles(bank, login, [])


async def _asked(bank: Bank, actor: ClerkActor, login: str) -> ClerkRow:
    if DECIDE not in actor.permissions:
        raise Forbidden("not_permitted", f"this needs the permission {DECIDE}")
    row = await clerks.find(bank, login)
    if row is None:
        raise NotFound("clerk_unknown", "no such clerk")
    if login == actor.login:
        await bank.audit(actor.login, "clerk.approval_refused", login)
        raise Forbidden("roles_own", "nobody decides on his own roles")
    if not row.get("asked"):
        raise Conflict("roles_decided", "no roles wait for this clerk")
    return row
