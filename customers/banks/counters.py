"""Who may write vouchers off: people at counters, who sign in, and partners' programs, which sign what
they ask. Each has rights: at which places, and how often a day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, cast

from customers.banks import accounts, secrets
from customers.banks.accounts import Accounts, Row, row_id
from customers.banks.bank import CACHE_SECONDS, Bank
from customers.banks.rows import COUNTERS, PARTNERS, CounterRow, PartnerRow, Rights
from customers.banks.secrets import Good, Holders
from services.cache import cached, invalidate
from services.errors import NotFound
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


def _partners_key(bank: Bank) -> str:
    return f"partners:{bank.id}"


PARTNER = Holders(
    noun="partner", rows=PARTNERS, secret_set="partner.secret_set", cache_key=_partners_key
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
    secrets: Good


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


def _partner_of(bank: Bank, row: Row) -> Partner:
    rights = cast("Rights", row["rights"])
    return Partner(
        row["login"],
        row["name"],
        tuple(rights["branches"]),
        tuple(rights["merchants"]),
        rights["per_day"],
        secrets.good(bank, PARTNER, row),
    )


async def set_secret(
    bank: Bank, name: str, secret: str = "", *, overlap: timedelta = timedelta(), by: str = "cli"
) -> str:
    """Gives a partner a secret, as secrets.give does; raises NotFound `partner_unknown`."""
    return await secrets.give(bank, PARTNER, name, secret, overlap=overlap, by=by)


async def set_first_secret(bank: Bank, name: str, secret: str, by: str) -> None:
    """Gives a partner the secret of the bank's file, unless he has one."""
    await secrets.give_first(bank, PARTNER, name, secret, by)


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
