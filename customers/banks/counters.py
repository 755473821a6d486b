"""Who may write vouchers off: people at counters, who sign in, and partners' programs, which sign what
they ask. Each has rights: at which places, and how often a day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, cast

from customers.banks import accounts
from customers.banks.accounts import Accounts, Row, row_id
from customers.banks.bank import CACHE_SECONDS, Bank
from customers.banks.rows import COUNTERS, PARTNERS, CounterRow, PartnerRow, Rights
from services import ids
from services.cache import cached, invalidate
from services.clock import utc
from services.errors import NotFound, Unavailable
from services.store.mongo import Doc
from services.store.rows import Rows

COUNTER = Accounts(
    noun="counter",
    face="counter",
    rows=COUNTERS,
    prefix="counter:",
    password_set="counter.password_set",
    signed_in="counter.signed_in",
    signed_out="counter.signed_out",
    sign_in_failed="counter.sign_in_failed",
    locked_out="counter.locked_out",
)
Which = Literal["counter", "partner"]
_ROWS: dict[Which, Rows] = {"counter": COUNTERS, "partner": PARTNERS}


@dataclass(frozen=True)
class Counter:
    """Somebody who may sign in to a counter; at most one of `branch` and `merchant` is there, and
    none while his rights wait. `epoch` as in CounterRow."""

    login: str
    name: str
    branch: str
    merchant: str
    per_day: int
    epoch: int = 0
    must_change: bool = False


@dataclass(frozen=True)
class Partner:
    """A program that may sign; `secrets` with the time (seconds UTC) until which each is good, or
    None for the one of now."""

    id: str
    name: str
    branches: tuple[str, ...]
    merchants: tuple[str, ...]
    per_day: int
    secrets: tuple[tuple[str, float | None], ...]


def counter_of(row: Row) -> Counter:
    rights = row.get("rights") or {}
    return Counter(
        row["login"],
        row["name"],
        next(iter(rights.get("branches", [])), ""),
        next(iter(rights.get("merchants", [])), ""),
        rights.get("per_day", 0),
        row.get("epoch", 0),
        row.get("must_change", False),
    )


async def counter(bank: Bank, login: str) -> Counter:
    """Who this is as of CACHE_SECONDS ago at most; raises NotFound for one who may not sign in."""

    async def load() -> dict[str, Counter]:
        rows = await bank.db[COUNTERS].find({"password": {"$nin": [None, ""]}}, limit=None)
        return {row["login"]: counter_of(row) for row in rows}

    key = accounts.cache_key(bank, COUNTER)
    found = (await cached(bank.services, key, CACHE_SECONDS, load)).get(login)
    if found is None:
        raise NotFound("counter_unknown", f"{bank.id} has no counter {login}")
    return found


async def partner(bank: Bank, name: str) -> Partner:
    """The partner as of CACHE_SECONDS ago at most; raises NotFound for one who may ask for
    nothing."""

    async def load() -> dict[str, Partner]:
        rows = await bank.db[PARTNERS].find({"rights": {"$ne": None}}, limit=None)
        return {row["login"]: _partner_of(bank, row) for row in rows}

    found = (await cached(bank.services, _partners_key(bank), CACHE_SECONDS, load)).get(name)
    if found is None:
        raise NotFound("partner_unknown", f"{bank.id} has no partner {name}")
    return found


def _partners_key(bank: Bank) -> str:
    return f"partners:{bank.id}"


def _partner_of(bank: Bank, row: Row) -> Partner:
    rights = cast("Rights", row["rights"])
    return Partner(
        row["login"],
        row["name"],
        tuple(rights["branches"]),
        tuple(rights["merchants"]),
        rights["per_day"],
        tuple((one["secret"], one["until"]) for one in _secrets(bank, row)),
    )


def _secrets(bank: Bank, row: Row) -> list[dict[str, Any]]:
    if not row.get("secrets"):
        return []
    opened = bank.vault.open_json(PARTNERS, "secrets", row["_id"], row["secrets"])
    return cast("list[dict[str, Any]]", opened)


async def set_secret(
    bank: Bank, name: str, secret: str = "", *, overlap: timedelta = timedelta(), by: str = "cli"
) -> str:
    """Gives a partner this secret, or a new one; the one that he had is good for `overlap` longer,
    and any before it for no longer. The secret, which is shown this once. Raises NotFound
    `partner_unknown`, and Unavailable when somebody else does the same."""
    row = await bank.db[PARTNERS].find_one({"_id": row_id(bank, name)})
    if row is None:
        raise NotFound("partner_unknown", f"{bank.id} has no partner {name}")
    secret = secret or ids.token()
    until = bank.now() + overlap.total_seconds()
    present = [one for one in _secrets(bank, row) if one["until"] is None and overlap]
    listed = [
        {"secret": secret, "until": None},
        *({"secret": one["secret"], "until": until} for one in present),
    ]
    as_read = {"_id": row["_id"], "rotated_at": row.get("rotated_at")}
    days = overlap.total_seconds() / 86_400
    async with bank.audited(by, "partner.secret_set", name, overlap_days=days):
        if not await _keep_secrets(bank, row, listed, as_read):
            raise Unavailable("busy", "somebody else gives this partner a secret at this moment")
    return secret


async def set_first_secret(bank: Bank, name: str, secret: str, by: str) -> None:
    """Gives a partner the secret of the bank's file, unless he has one."""
    one = {"_id": row_id(bank, name), "secrets": {"$exists": False}}
    row = await bank.db[PARTNERS].find_one(one)
    if row is None:
        return
    async with bank.audited(by, "partner.secret_set", name, first=True) as act:
        act.done = await _keep_secrets(bank, row, [{"secret": secret, "until": None}], one)


async def _keep_secrets(bank: Bank, row: Row, listed: list[dict[str, Any]], as_read: Doc) -> bool:
    """Whether the row was still as it was read."""
    sealed = bank.vault.seal_json(PARTNERS, "secrets", row["_id"], listed)
    fields = {"secrets": sealed, "rotated_at": utc(bank.now())}
    kept = await bank.db[PARTNERS].update(as_read, {"$set": fields})
    invalidate(bank.services, _partners_key(bank))
    return kept


async def everybody(bank: Bank, which: Which) -> list[CounterRow | PartnerRow]:
    """All that there are or were of one kind, by name."""
    found = await bank.db[_ROWS[which]].find({}, sort=[("login", 1)], limit=None)
    return cast("list[CounterRow | PartnerRow]", found)


async def find(bank: Bank, which: Which, login: str) -> CounterRow | PartnerRow | None:
    """One of them, read afresh."""
    found = await bank.db[_ROWS[which]].find_one({"_id": row_id(bank, login)})
    return cast("CounterRow | PartnerRow | None", found)


async def write(bank: Bank, which: Which, login: str, name: str) -> CounterRow | PartnerRow:
    """Writes down what one is called; somebody new has no right yet. His row."""
    said = {"$set": {"login": login, "name": name}, "$setOnInsert": {"rights": None}}
    await bank.db[_ROWS[which]].update({"_id": row_id(bank, login)}, said, upsert=True)
    _forget(bank)
    row = await find(bank, which, login)
    if row is None:
        raise NotFound("counter_unknown", f"{bank.id} has no counter {login}")
    return row


async def give_rights(bank: Bank, which: Which, login: str, rights: Rights | None) -> None:
    """These are his rights from now on, and none waits any more; sessions end when that is a
    change. Safe to repeat."""
    one: Doc = {"_id": row_id(bank, login)}
    given = {"rights": rights, "asked": None}
    if which == "partner":
        await bank.db[_ROWS[which]].update(one, {"$set": given})
        _forget(bank)
    elif await accounts.change(bank, COUNTER, {**one, "rights": {"$ne": rights}}, given):
        await accounts.end_sessions(bank, COUNTER, [login])
    else:
        await ask_rights(bank, which, login, None)


async def give_asked(bank: Bank, which: Which, login: str, asked: Rights) -> bool:
    """The rights that wait are his from now on; False when they wait no more, since he is out or
    others were asked for him."""
    waiting: Doc = {"_id": row_id(bank, login), "asked": asked}
    fields = {"rights": asked, "asked": None}
    if which == "partner":
        given = await bank.db[PARTNERS].update(waiting, {"$set": fields})
        _forget(bank)
        return given
    given = await accounts.change(bank, COUNTER, waiting, fields)
    if given:
        await accounts.end_sessions(bank, COUNTER, [login])
    return given


async def ask_rights(bank: Bank, which: Which, login: str, rights: Rights | None) -> None:
    """These rights wait for a clerk's word; none when there are none."""
    await bank.db[_ROWS[which]].update({"_id": row_id(bank, login)}, {"$set": {"asked": rights}})


async def remove(bank: Bank, which: Which, login: str) -> None:
    """It is one no more: no right, nothing to prove itself by, no session."""
    one, gone = {"_id": row_id(bank, login)}, {"rights": None, "asked": None}
    if which == "partner":
        await bank.db[_ROWS[which]].update(one, {"$set": gone, "$unset": {"secrets": ""}})
        _forget(bank)
        return
    present = {"$or": [{"rights": {"$ne": None}}, {"password": {"$nin": [None, ""]}}]}
    if await accounts.change(bank, COUNTER, {**one, **present}, {**gone, "password": ""}):
        await accounts.end_sessions(bank, COUNTER, [login])


def _forget(bank: Bank) -> None:
    invalidate(bank.services, _partners_key(bank))
    invalidate(bank.services, accounts.cache_key(bank, COUNTER))
