"""The bank's own systems that sign what they send: declared in the bank's file, with a secret of ours
or with an SM2 key of theirs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from customers.banks import secrets
from customers.banks.accounts import Row, row_id
from customers.banks.bank import CACHE_SECONDS, Bank
from customers.banks.declarations import SystemEntry
from customers.banks.rows import SYSTEMS
from customers.banks.secrets import Good, Holders
from services.cache import cached, invalidate
from services.errors import NotFound
from services.security import sm2
from services.security.sm2 import PublicKey


def _cache_key(bank: Bank) -> str:
    return f"systems:{bank.id}"


SYSTEM = Holders(noun="system", rows=SYSTEMS, secret_set="system.secret_set", cache_key=_cache_key)


@dataclass(frozen=True)
class System:
    """A program of the bank's; `may` is what it may send: `events`, `customers`."""

    id: str
    name: str
    may: frozenset[str]
    secrets: Good
    keys: tuple[PublicKey, ...]


async def system(bank: Bank, name: str) -> System:
    """The system as of CACHE_SECONDS ago at most; raises NotFound for one that is not declared."""

    async def load() -> dict[str, System]:
        rows = {row["login"]: row for row in await bank.db[SYSTEMS].find({}, limit=None)}
        return {
            one.id: _system_of(bank, one, rows.get(one.id, {})) for one in bank.systems.values()
        }

    known = await cached(bank.services, _cache_key(bank), CACHE_SECONDS, load)
    found = known.get(name) if name in bank.systems else None
    if found is None:
        raise NotFound("system_unknown", f"{bank.id} has no system {name}")
    return found


def _system_of(bank: Bank, declared: SystemEntry, row: Row) -> System:
    by_key = declared.algorithm == "sm2-sm3"
    return System(
        declared.id,
        declared.name,
        frozenset(declared.may),
        () if by_key else secrets.good(bank, SYSTEM, row),
        tuple(map(sm2.read_key, sm2.split_keys(declared.public_key or ""))) if by_key else (),
    )


async def apply(bank: Bank, systems: list[SystemEntry], by: str) -> None:
    """Makes those of the file the bank's systems; a secret there is the first one of a system that
    has none, and whatever was declared no more has none left."""
    rows = bank.db[SYSTEMS]
    for entry in systems:
        said = {"$set": {"login": entry.id}}
        await rows.update({"_id": row_id(bank, entry.id)}, said, upsert=True)
        if entry.secret is not None:
            await secrets.give_first(bank, SYSTEM, entry.id, entry.secret, by)
    await rows.delete({"login": {"$nin": [entry.id for entry in systems]}})
    invalidate(bank.services, _cache_key(bank))


async def set_secret(
    bank: Bank, name: str, secret: str = "", *, overlap: timedelta = timedelta(), by: str = "cli"
) -> str:
    """Gives a system a secret, as secrets.give does; raises NotFound `system_unknown`."""
    return await secrets.give(bank, SYSTEM, name, secret, overlap=overlap, by=by)
