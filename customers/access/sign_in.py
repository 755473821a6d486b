"""People of a bank sign in with a password, each kind at its own face (`accounts.Accounts`).

Only failures count against somebody: ten for his name from one address, and more for his name from
all addresses together, except from one from which he has signed in before; so nobody is locked out
by what others try elsewhere. An address that fails with many names is shut for a while too. What is
answered, and how long it takes, does not say which part was wrong.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NotRequired, TypedDict, cast

from config import gate
from customers.access.origin import NOWHERE, Origin
from customers.banks import accounts
from customers.banks.accounts import Accounts, Row
from customers.banks.bank import Bank, open_bank
from services.container import Services
from services.errors import NotFound, NotSignedIn
from services.security.sessions import Session
from services.security.tries import Limit, LockedOut
from services.store.rows import Rows

log = logging.getLogger("yinqiao.access")

NAME_FAILURES, ALL_FAILURES, LOCK_SECONDS = 10, 100, 900
"""For one name: from one address, from all of them, and for how long the way is shut then."""
ADDRESS_FAILURES, ADDRESS_SECONDS = 30, 300
"""From one address, for all names together."""
KNOWN_ADDRESSES = 20
SIGN_INS = Rows("sign_ins")
"""When and where from everybody with a password last signed in, and the failures since."""


class SignInRow(TypedDict):
    """How somebody last signed in, and who has tried since; until `locked_until` the way that they
    tried is shut. Where from is kept masked, and as the blind index by which the address is known
    again."""

    _id: str
    at: NotRequired[datetime]
    address: NotRequired[str]
    device: NotRequired[str]
    known: NotRequired[list[str]]
    failed: NotRequired[int]
    failed_at: NotRequired[datetime]
    failed_address: NotRequired[str]
    locked_until: NotRequired[datetime]


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
    services: Services,
    kind: Accounts,
    tenant: str,
    login: str,
    password: str,
    origin: Origin = NOWHERE,
) -> str:
    """A session's token; raises as `check`."""
    row = await check(services, kind, tenant, login, password, origin)
    bank = await open_bank(services, tenant)
    last = await _signed_in(bank, kind, login, origin)
    session = {"tenant": tenant, "login": login, "epoch": row.get("epoch", 0), "last": last}
    return await services.sessions.open(kind.noun, session, subject=accounts.subject(bank, login))


async def check(
    services: Services,
    kind: Accounts,
    tenant: str,
    login: str,
    password: str,
    origin: Origin = NOWHERE,
) -> Row:
    """The row of who this is, or NotSignedIn without saying which part was wrong; LockedOut after
    too many failures. What fails is in the audit trail and in the log."""
    bank = await _bank(services, tenant)
    known = await _is_known(bank, kind, login, origin)
    try:
        limits = _limits(bank, kind, login, origin, known=known)
        async with services.tries.trying(limits, NotSignedIn):
            return await _check(bank, kind, login, password)
    except NotSignedIn:
        await _failed(bank, kind, login, origin)
        raise
    except LockedOut as error:
        if error.first:
            await _locked_out(bank, kind, login, origin, error.retry_after)
        raise


async def _bank(services: Services, tenant: str) -> Bank:
    """The bank, or for one that there is not a bank without anybody."""
    try:
        return await open_bank(services, tenant)
    except NotFound:
        return Bank(services, tenant or "-")


def _limits(bank: Bank, kind: Accounts, login: str, origin: Origin, *, known: bool) -> list[Limit]:
    """What a failure counts against. Each begins with a word of its own: a name is whatever was typed,
    and must not make one of them another's."""
    name = f"{bank.id}|{login}"
    one_way = f"{kind.noun} at|{origin.address}|{name}"
    here = Limit(one_way, NAME_FAILURES, LOCK_SECONDS, forgiven=True)
    if known:
        return [here]
    everywhere = Limit(f"{kind.noun}|{name}", ALL_FAILURES, LOCK_SECONDS)
    return [here, everywhere, Limit(f"at|{origin.address}", ADDRESS_FAILURES, ADDRESS_SECONDS)]


async def _check(bank: Bank, kind: Accounts, login: str, password: str) -> Row:
    row = await accounts.find(bank, kind, login)
    good = await accounts.proves(bank, row, password)
    known = bank.services.settings.env == "production" and gate.is_published(password)
    if not good or row is None or known:
        raise NotSignedIn("login_refused", "bank, name or password is wrong")
    return row


async def last_sign_ins(bank: Bank, kind: Accounts) -> dict[str, SignInRow]:
    """How each of them signed in last, by login."""
    begins = f"{bank.id}:{kind.prefix}"
    rows = await bank.db[SIGN_INS].find({}, limit=None)
    named = ((str(row["_id"]).removeprefix(begins), row) for row in rows)
    return {login: cast("SignInRow", row) for login, row in named if ":" not in login}


def _sign_in_id(bank: Bank, kind: Accounts, login: str) -> str:
    return f"{bank.id}:{kind.prefix}{login}"


def _address_index(bank: Bank, origin: Origin) -> str:
    return bank.vault.blind("address", origin.address)


async def _is_known(bank: Bank, kind: Accounts, login: str, origin: Origin) -> bool:
    """Whether he has signed in from there before."""
    row = await bank.db[SIGN_INS].find_one({"_id": _sign_in_id(bank, kind, login)}, {"known": 1})
    return row is not None and _address_index(bank, origin) in row.get("known", [])


async def _signed_in(bank: Bank, kind: Accounts, login: str, origin: Origin) -> dict[str, object]:
    """Says in the audit trail, and then in his row, that he is there; how it was the time before,
    as a session can hold it."""
    await bank.audit(login, kind.signed_in, login, **origin.told(bank))
    log.info("a %s signed in", kind.noun, extra={"fields": _logged(bank, kind, login, origin)})
    index = _address_index(bank, origin)
    one = {"_id": _sign_in_id(bank, kind, login)}
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


async def _failed(bank: Bank, kind: Accounts, login: str, origin: Origin) -> None:
    """The same writes for one of them and for a name that is nobody's; what was typed as a name may
    be a password, and is kept as its index."""
    fields = _logged(bank, kind, "", origin)
    log.warning("a sign-in to the %s failed", kind.face, extra={"fields": fields})
    if bank.app is None:
        return
    row = await accounts.find(bank, kind, login)
    named = login if row is not None else "?"
    told = origin.told(bank) | {"name_index": bank.vault.blind("login", login)}
    await bank.audit("?", kind.sign_in_failed, named, **told)
    failed = {"failed_at": bank.utc(), "failed_address": origin.masked}
    change = {"$set": failed, "$inc": {"failed": 1}}
    await bank.db[SIGN_INS].update({"_id": _sign_in_id(bank, kind, named)}, change, upsert=True)


async def _locked_out(bank: Bank, kind: Accounts, login: str, origin: Origin, seconds: int) -> None:
    fields = _logged(bank, kind, "", origin)
    log.warning("sign-ins are shut for a while", extra={"fields": fields})
    if bank.app is not None:
        row = await accounts.find(bank, kind, login)
        named = login if row is not None else "?"
        await bank.audit("?", kind.locked_out, named, **origin.told(bank))
        until = {"locked_until": bank.utc() + timedelta(seconds=seconds)}
        one = {"_id": _sign_in_id(bank, kind, named)}
        await bank.db[SIGN_INS].update(one, {"$set": until}, upsert=True)


def _logged(bank: Bank, kind: Accounts, login: str, origin: Origin) -> dict[str, str]:
    return {"tenant": bank.id, kind.noun: login, "address": origin.masked, "device": origin.device}


async def session_of(services: Services, kind: Accounts, token: str) -> Session | None:
    """What a token's session says; None for one that is over."""
    return await services.sessions.read(kind.noun, token) if token else None


async def last_sign_in(services: Services, kind: Accounts, token: str) -> LastSignIn | None:
    """How the owner of this session signed in the time before; None for his first time."""
    session = await session_of(services, kind, token)
    last = session and session.get("last")
    if not last or (last["at"] is None and not last["failed"]):
        return None
    at, failed_at = (
        None if last[name] is None else datetime.fromtimestamp(last[name], services.settings.tz)
        for name in ("at", "failed_at")
    )
    said = (last["address"], last["device"], last["failed"])
    return LastSignIn(at, *said, failed_at, last["failed_address"])


async def sign_out(
    services: Services, kind: Accounts, tenant: str, login: str, token: str, origin: Origin
) -> None:
    """Ends his session, and says so in the audit trail."""
    bank = await open_bank(services, tenant)
    await bank.audit(login, kind.signed_out, login, **origin.told(bank))
    log.info("a %s signed out", kind.noun, extra={"fields": _logged(bank, kind, login, origin)})
    await services.sessions.end(kind.noun, token)
