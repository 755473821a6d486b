"""Who may write vouchers off, where and how often a day: the bank's file says it, and in production
what gives a counter or a partner a right waits for a clerk's word, as a clerk's roles do (promise P7,
decision 0048). What takes a right is done at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from customers.access.sign_in import SignInRow, last_sign_ins
from customers.actors import ClerkActor
from customers.approvals import approvals
from customers.approvals.rows import APPROVED, SUBMITTED
from customers.banks import accounts, counters
from customers.banks.bank import Bank
from customers.banks.counters import Which
from customers.banks.files import CounterEntry, PartnerEntry, TenantFile
from customers.banks.rows import CounterRow, PartnerRow, Rights
from services.errors import Conflict, Forbidden, InvalidInput, NotFound

READ, DECIDE = "counters.read", "counters.approve"
RIGHTS = approvals.Kind(
    name="counter",
    right="",
    submitted="counter.rights_asked",
    approved="counter.rights_granted",
    rejected="counter.rights_refused",
    refused="counter.approval_refused",
    decided="rights_decided",
    replaces=approvals.ANY_TIME,
    lifetime=timedelta(days=30),
)
_WHICH: tuple[Which, ...] = ("counter", "partner")


@dataclass(frozen=True)
class CounterView:
    """A counter or a partner as a clerk sees it; `asked` waits since `asked_at`, and `mine` says
    that it is not the reader's to decide. `must_change`: the password is not its owner's own yet;
    `failed` sign-ins since the last good one; until `locked_until` somebody is locked out."""

    which: Which
    login: str
    name: str
    rights: Rights | None
    asked: Rights | None
    asked_by: str
    asked_at: datetime | None
    mine: bool
    active: bool
    must_change: bool
    signed_in_at: datetime | None
    signed_in_from: str
    failed: int
    locked_until: datetime | None


async def apply(bank: Bank, file: TenantFile, by: str, *, waits: bool) -> list[str]:
    """Makes those of the file the bank's counters and partners. A password or a secret there is the
    first one of somebody who has none. Who is not named may write nothing off any more. What waits
    for a clerk, as sentences; with `waits`, what gives a right does."""
    said = []
    for which, entry, wanted in _wanted(file):
        login = entry.login if isinstance(entry, CounterEntry) else entry.id
        row = await counters.write(bank, which, login, entry.name)
        said += await _apply_rights(bank, which, row, wanted, by, waits=waits)
        await _first_proof(bank, entry, row, by)
    for which in _WHICH:
        named = {entry.login for entry in file.counters if which == "counter"}
        named |= {entry.id for entry in file.partners if which == "partner"}
        for row in await counters.everybody(bank, which):
            if row["login"] not in named:
                await approvals.replace(bank, RIGHTS, [_subject(which, row["login"])])
                await counters.remove(bank, which, row["login"])
    return said


def _wanted(file: TenantFile) -> Iterator[tuple[Which, CounterEntry | PartnerEntry, Rights]]:
    for counter in file.counters:
        yield (
            "counter",
            counter,
            {
                "branches": [counter.branch] if counter.branch else [],
                "merchants": [counter.merchant] if counter.merchant else [],
                "per_day": counter.per_day,
            },
        )
    for partner in file.partners:
        yield (
            "partner",
            partner,
            {
                "branches": sorted(set(partner.branches)),
                "merchants": sorted(set(partner.merchants)),
                "per_day": partner.per_day,
            },
        )


async def _first_proof(
    bank: Bank, entry: CounterEntry | PartnerEntry, row: CounterRow | PartnerRow, by: str
) -> None:
    if isinstance(entry, CounterEntry):
        if entry.password is not None and not row.get("password"):
            must_change = bank.services.settings.env == "production"
            await accounts.set_password(
                bank, counters.COUNTER, entry.login, entry.password, by=by, must_change=must_change
            )
    elif entry.secret is not None and not row.get("secrets"):
        await counters.set_first_secret(bank, entry.id, entry.secret, by)


async def _apply_rights(
    bank: Bank,
    which: Which,
    row: CounterRow | PartnerRow,
    wanted: Rights,
    by: str,
    *,
    waits: bool,
) -> list[str]:
    """What waits for a clerk, as a sentence."""
    login, has = row["login"], row["rights"]
    subject = _subject(which, login)
    if not waits or (has is not None and _lies_in(wanted, has)):
        await approvals.replace(bank, RIGHTS, [subject])
        await counters.give_rights(bank, which, login, wanted)
        return []
    kept = _common(has, wanted)
    if kept != has:
        await counters.give_rights(bank, which, login, kept)
    await counters.ask_rights(bank, which, login, wanted)
    if not await _ask(bank, which, login, wanted, by):
        return [
            f"{which} {login}: other rights are being decided; apply the file again in a minute"
        ]
    return [f"{which} {login} may write vouchers off when a clerk agrees: /console/counters"]


async def _ask(bank: Bank, which: Which, login: str, wanted: Rights, by: str) -> bool:
    """Asks for a clerk's word, unless that was done already; False while somebody is at what was
    asked before."""
    subject = _subject(which, login)
    known = await approvals.find(bank, RIGHTS, subject)
    stands = known is not None and known.state in (SUBMITTED, APPROVED)
    if known is not None and stands and known.data["rights"] == wanted:
        return True
    await approvals.replace(bank, RIGHTS, [subject])
    actor = ClerkActor(bank.id, by, by, frozenset())
    content = _content(which, login, wanted)
    return await approvals.submit(bank, actor, RIGHTS, subject, content, about=login, rights=wanted)


def _lies_in(wanted: Rights, has: Rights) -> bool:
    return (
        set(wanted["branches"]) <= set(has["branches"])
        and set(wanted["merchants"]) <= set(has["merchants"])
        and wanted["per_day"] <= has["per_day"]
    )


def _common(has: Rights | None, wanted: Rights) -> Rights | None:
    """What both allow; nothing when that is nowhere."""
    if has is None:
        return None
    branches = [one for one in has["branches"] if one in wanted["branches"]]
    merchants = [one for one in has["merchants"] if one in wanted["merchants"]]
    if not branches and not merchants:
        return None
    per_day = min(has["per_day"], wanted["per_day"])
    return {"branches": branches, "merchants": merchants, "per_day": per_day}


def _subject(which: Which, login: str) -> str:
    return f"{which}:{login}"


def _content(which: str, login: str, asked: Rights | None) -> approvals.Content:
    return {"rights": {"which": which, "login": login, "rights": asked}}


async def list_counters(bank: Bank, actor: ClerkActor) -> list[CounterView]:
    """All counters and partners that there are or were, those first for whom something waits.
    Raises Forbidden `not_permitted`."""
    if READ not in actor.permissions:
        raise Forbidden("not_permitted", f"this needs the permission {READ}")
    seen = await last_sign_ins(bank, counters.COUNTER)
    views = [
        await _view(bank, actor, which, row, seen.get(row["login"]))
        for which in _WHICH
        for row in await counters.everybody(bank, which)
    ]
    return sorted(views, key=lambda view: (not view.asked, not view.active, view.which, view.login))


async def _view(
    bank: Bank,
    actor: ClerkActor,
    which: Which,
    row: CounterRow | PartnerRow,
    signed_in: SignInRow | None,
) -> CounterView:
    asked = row.get("asked")
    request = await approvals.find(bank, RIGHTS, _subject(which, row["login"])) if asked else None
    by = request.author if request else ""
    seen: SignInRow | None = signed_in if which == "counter" else None
    return CounterView(
        which=which,
        login=row["login"],
        name=row["name"],
        rights=row["rights"],
        asked=asked,
        asked_by=by,
        asked_at=request.submitted_at if request else None,
        mine=actor.login == by.removeprefix("cli:"),
        active=row["rights"] is not None and bool(row.get("password") or row.get("secrets")),
        must_change=bool(row.get("must_change")),
        signed_in_at=seen.get("at") if seen else None,
        signed_in_from=seen.get("address", "") if seen else "",
        failed=seen.get("failed", 0) if seen else 0,
        locked_until=_locked_until(bank, seen),
    )


def kind_of(view: CounterView) -> Literal["teller", "merchant", "partner"]:
    """As what it writes off: a teller of a branch, one of a merchant's people, or a program."""
    if view.which == "partner":
        return "partner"
    rights = view.rights or view.asked
    return "teller" if rights is None or rights["branches"] else "merchant"


def _locked_until(bank: Bank, seen: SignInRow | None) -> datetime | None:
    until = seen.get("locked_until") if seen else None
    return until if until is not None and until > bank.utc() else None


async def approve(bank: Bank, actor: ClerkActor, which: Which, login: str) -> None:
    """Agrees to the rights that wait for a counter or a partner; it has them from then on. Raises
    NotFound, Forbidden `approver_is_author`, Conflict `rights_decided`."""
    row = await _asked(bank, actor, which, login)
    subject = _subject(which, login)
    request = await approvals.find(bank, RIGHTS, subject)
    if request is not None and request.author == f"cli:{actor.login}":
        await bank.audit(actor.login, "counter.approval_refused", login)
        raise Forbidden("approver_is_author", "another clerk must approve what you submitted")
    asked = row.get("asked")
    content = _content(which, login, asked)
    async with approvals.approve(bank, actor, RIGHTS, subject, content):
        if asked is None or not await counters.give_asked(bank, which, login, asked):
            raise Conflict("rights_decided", "no rights wait for this counter")


async def reject(bank: Bank, actor: ClerkActor, which: Which, login: str, reason: str) -> None:
    """Turns the rights down that wait; raises as `approve`, and InvalidInput `reason_missing`."""
    if not reason.strip():
        raise InvalidInput("reason_missing", "say why", fields={"reason": "required"})
    await _asked(bank, actor, which, login)
    await approvals.reject(bank, actor, RIGHTS, _subject(which, login), reason)
    await counters.ask_rights(bank, which, login, None)


async def _asked(
    bank: Bank, actor: ClerkActor, which: Which, login: str
) -> CounterRow | PartnerRow:
    if DECIDE not in actor.permissions:
        raise Forbidden("not_permitted", f"this needs the permission {DECIDE}")
    row = await counters.find(bank, which, login)
    if row is None:
        raise NotFound("counter_unknown", "no such counter")
    if not row.get("asked"):
        raise Conflict("rights_decided", "no rights wait for this counter")
    return row
