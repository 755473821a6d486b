"""A clerk signs in to the console with his password, and is asked who he is at each request.

Only failures count against him: ten for his name from one address, and more for his name from all
addresses together, except from one from which he has signed in before; so nobody is locked out by
what others try elsewhere. An address that fails with many names is shut for a while too. What is
answered, and how long it takes, does not say which part was wrong.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import NotRequired, TypedDict, cast

from config import gate
from customers.access.origin import NOWHERE, Origin
from customers.actors import ClerkActor
from customers.banks import clerks
from customers.banks.bank import Bank, open_bank
from customers.banks.clerks import SESSION, Clerk
from services.container import Services
from services.errors import NotFound, NotSignedIn
from services.security.tries import Limit, LockedOut
from services.store.rows import Rows

log = logging.getLogger("yinqiao.access")

NAME_FAILURES, ALL_FAILURES, LOCK_SECONDS = 10, 100, 900
"""For one name: from one address, from all of them, and for how long the way is shut then."""
ADDRESS_FAILURES, ADDRESS_SECONDS = 30, 300
"""From one address, for all names together."""
KNOWN_ADDRESSES = 20
SIGN_INS = Rows("sign_ins")
"""When and where from each clerk last signed in, and the failures since."""


class SignInRow(TypedDict):
    """How somebody last signed in to the console, and who has tried since. Where from is kept masked,
    and as the blind index by which the address is known again."""

    _id: str
    at: NotRequired[datetime]
    address: NotRequired[str]
    device: NotRequired[str]
    known: NotRequired[list[str]]
    failed: NotRequired[int]
    failed_at: NotRequired[datetime]
    failed_address: NotRequired[str]


@dataclass(frozen=True)
class LastSignIn:
    """When and where from somebody signed in the time before, and how many failed since."""

    at: datetime | None
    address: str
    device: str
    failed: int
    failed_at: datetime | None
    failed_address: str


async def sign_in(
    services: Services, tenant: str, login: str, password: str, origin: Origin = NOWHERE
) -> str:
    """A session's token; raises as `check_clerk`."""
    found = await check_clerk(services, tenant, login, password, origin)
    bank = await open_bank(services, tenant)
    last = await _signed_in(bank, found, origin)
    session = {"tenant": tenant, "login": login, "epoch": found.epoch, "last": last}
    return await services.sessions.open(SESSION, session, subject=clerks.subject(bank, login))


async def check_clerk(
    services: Services, tenant: str, login: str, password: str, origin: Origin = NOWHERE
) -> Clerk:
    """The clerk, or NotSignedIn without saying which part was wrong; LockedOut after too many
    failures. What fails is in the audit trail and in the log."""
    bank = await _bank(services, tenant)
    known = await _is_known(bank, login, origin)
    try:
        async with services.tries.trying(_limits(bank, login, origin, known=known), NotSignedIn):
            return await _check(bank, login, password)
    except NotSignedIn:
        await _failed(bank, login, origin)
        raise
    except LockedOut as error:
        if error.first:
            await _locked_out(bank, login, origin)
        raise


async def _bank(services: Services, tenant: str) -> Bank:
    """The bank, or for one that there is not a bank without anybody."""
    try:
        return await open_bank(services, tenant)
    except NotFound:
        return Bank(services, tenant or "-")


def _limits(bank: Bank, login: str, origin: Origin, *, known: bool) -> list[Limit]:
    """What a failure counts against. Each begins with a word of its own: a name is whatever was typed,
    and must not make one of them another's."""
    name = f"{bank.id}|{login}"
    one_way = f"clerk at|{origin.address}|{name}"
    here = Limit(one_way, NAME_FAILURES, LOCK_SECONDS, forgiven=True)
    if known:
        return [here]
    everywhere = Limit(f"clerk|{name}", ALL_FAILURES, LOCK_SECONDS)
    return [here, everywhere, Limit(f"at|{origin.address}", ADDRESS_FAILURES, ADDRESS_SECONDS)]


async def _check(bank: Bank, login: str, password: str) -> Clerk:
    row = await clerks.find(bank, login)
    good = await clerks.proves(bank, row, password)
    known = bank.services.settings.env == "production" and gate.is_published(password)
    if not good or row is None or known:
        raise NotSignedIn("login_refused", "bank, name or password is wrong")
    return clerks.clerk_of(row)


async def last_sign_ins(bank: Bank) -> dict[str, SignInRow]:
    """How each clerk signed in last, by login."""
    rows = await bank.db[SIGN_INS].find({}, limit=None)
    return {str(row["_id"]).partition(":")[2]: cast("SignInRow", row) for row in rows}


def _sign_in_id(bank: Bank, login: str) -> str:
    return f"{bank.id}:{login}"


def _address_index(bank: Bank, origin: Origin) -> str:
    return bank.vault.blind("address", origin.address)


async def _is_known(bank: Bank, login: str, origin: Origin) -> bool:
    """Whether this clerk has signed in from there before."""
    row = await bank.db[SIGN_INS].find_one({"_id": _sign_in_id(bank, login)}, {"known": 1})
    return row is not None and _address_index(bank, origin) in row.get("known", [])


async def _signed_in(bank: Bank, found: Clerk, origin: Origin) -> dict[str, object]:
    """Says in the audit trail, and then in his row, that he is there; how it was the time before,
    as a session can hold it."""
    await bank.audit(found.login, "clerk.signed_in", found.login, **origin.told(bank))
    log.info("a clerk signed in", extra={"fields": _logged(bank, found.login, origin)})
    index = _address_index(bank, origin)
    one = {"_id": _sign_in_id(bank, found.login)}
    await bank.db[SIGN_INS].update(one, {"$pull": {"known": index}})
    now = {"at": bank.utc(), "address": origin.masked, "device": origin.device, "failed": 0}
    known = {"known": {"$each": [index], "$slice": -KNOWN_ADDRESSES}}
    before = await bank.db[SIGN_INS].update_and_get(
        one,
        {"$set": now, "$push": known, "$unset": {"failed_at": "", "failed_address": ""}},
        upsert=True,
        before=True,
    )
    row = cast("SignInRow", before or {})
    at, failed_at = row.get("at"), row.get("failed_at")
    return {
        "at": at and at.timestamp(),
        "address": row.get("address", ""),
        "device": row.get("device", ""),
        "failed": row.get("failed", 0),
        "failed_at": failed_at and failed_at.timestamp(),
        "failed_address": row.get("failed_address", ""),
    }


async def _failed(bank: Bank, login: str, origin: Origin) -> None:
    """The same writes for a clerk and for a name that is nobody's; what was typed as a name may be
    a password, and is kept as its index."""
    fields = _logged(bank, "", origin)
    log.warning("a sign-in to the console failed", extra={"fields": fields})
    if bank.app is None:
        return
    row = await clerks.find(bank, login)
    named = login if row is not None else "?"
    told = origin.told(bank) | {"name_index": bank.vault.blind("login", login)}
    await bank.audit("?", "clerk.sign_in_failed", named, **told)
    failed = {"failed_at": bank.utc(), "failed_address": origin.masked}
    change = {"$set": failed, "$inc": {"failed": 1}}
    await bank.db[SIGN_INS].update({"_id": _sign_in_id(bank, named)}, change, upsert=True)


async def _locked_out(bank: Bank, login: str, origin: Origin) -> None:
    log.warning("sign-ins are shut for a while", extra={"fields": _logged(bank, "", origin)})
    if bank.app is not None:
        row = await clerks.find(bank, login)
        named = login if row is not None else "?"
        await bank.audit("?", "clerk.locked_out", named, **origin.told(bank))


def _logged(bank: Bank, login: str, origin: Origin) -> dict[str, str]:
    return {"tenant": bank.id, "clerk": login, "address": origin.masked, "device": origin.device}


async def actor_of(services: Services, token: str) -> tuple[ClerkActor, Clerk]:
    """Whose session this is, with what his roles allow now; raises NotSignedIn, also for one whose
    sessions have ended since, and for a bank that is no more."""
    session = await services.sessions.read(SESSION, token) if token else None
    if session is not None:
        try:
            bank = await open_bank(services, session["tenant"])
            found = await clerks.clerk(bank, session["login"])
        except NotFound:
            found = None
        if found is not None and found.epoch == session["epoch"]:
            return ClerkActor(bank.id, found.login, found.name, found.permissions), found
    raise NotSignedIn("not_signed_in", "sign in to the console")


async def last_sign_in(services: Services, token: str) -> LastSignIn | None:
    """How the clerk of this session signed in the time before; None for his first time."""
    session = await services.sessions.read(SESSION, token) if token else None
    last = session and session.get("last")
    if not last or (last["at"] is None and not last["failed"]):
        return None
    at, failed_at = (
        None if last[name] is None else datetime.fromtimestamp(last[name], services.settings.tz)
        for name in ("at", "failed_at")
    )
    said = (last["address"], last["device"], last["failed"])
    return LastSignIn(at, *said, failed_at, last["failed_address"])


async def sign_out(services: Services, token: str, origin: Origin = NOWHERE) -> None:
    """Ends the session, and says so in the audit trail."""
    try:
        actor, _ = await actor_of(services, token)
    except NotSignedIn:
        return
    bank = await open_bank(services, actor.tenant)
    await bank.audit(actor.login, "clerk.signed_out", actor.login, **origin.told(bank))
    log.info("a clerk signed out", extra={"fields": _logged(bank, actor.login, origin)})
    await services.sessions.end(SESSION, token)
