"""What programs sign with: a secret, and for some days after a change of it the one before.

The rows that keep them are of several kinds: partners', the bank's own systems', and webhooks', with
whose secrets we sign. A secret is shown once, where it is made, and lies sealed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from customers.banks.accounts import Row, row_id
from customers.banks.bank import Bank
from services import ids
from services.cache import invalidate
from services.clock import utc
from services.errors import NotFound, Unavailable
from services.store.mongo import Doc
from services.store.rows import Rows

Good = tuple[tuple[str, float | None], ...]
"""Secrets with the time (seconds UTC) until which each is good, or None for the one of now."""


@dataclass(frozen=True, kw_only=True)
class Holders:
    """One kind of programs: `noun` is what they are called, `secret_set` what the audit trail says,
    and `cache_key` what a process keeps their rows under, if it does."""

    noun: str
    rows: Rows
    secret_set: str
    cache_key: Callable[[Bank], str] | None = None


def good(bank: Bank, holders: Holders, row: Row) -> Good:
    """The secrets of a row, those too whose time may be over."""
    return tuple((one["secret"], one["until"]) for one in _opened(bank, holders, row))


def present(secrets: Good, now: float) -> list[str]:
    """Those that are good now, the newest first."""
    return [secret for secret, until in secrets if until is None or now < until]


def _opened(bank: Bank, holders: Holders, row: Row) -> list[dict[str, Any]]:
    if not row.get("secrets"):
        return []
    opened = bank.vault.open_json(holders.rows, "secrets", row["_id"], row["secrets"])
    return cast("list[dict[str, Any]]", opened)


async def give(
    bank: Bank,
    holders: Holders,
    name: str,
    secret: str = "",
    *,
    overlap: timedelta = timedelta(),
    by: str = "cli",
) -> str:
    """Gives a program this secret, or a new one; the one that it had is good for `overlap` longer,
    and any before it for no longer. The secret, which is shown this once. Raises NotFound where
    there is no such program, and Unavailable when somebody else does the same."""
    row = await bank.db[holders.rows].find_one({"_id": row_id(bank, name)})
    if row is None:
        raise NotFound(f"{holders.noun}_unknown", f"{bank.id} has no {holders.noun} {name}")
    secret = secret or ids.token()
    until = bank.now() + overlap.total_seconds()
    present = [one for one in _opened(bank, holders, row) if one["until"] is None and overlap]
    listed = [
        {"secret": secret, "until": None},
        *({"secret": one["secret"], "until": until} for one in present),
    ]
    as_read = {"_id": row["_id"], "rotated_at": row.get("rotated_at")}
    days = overlap.total_seconds() / 86_400
    async with bank.audited(by, holders.secret_set, name, overlap_days=days):
        if not await _keep(bank, holders, row, listed, as_read):
            raise Unavailable("busy", "somebody else gives this program a secret at this moment")
    return secret


async def give_first(bank: Bank, holders: Holders, name: str, secret: str, by: str) -> None:
    """Gives a program the secret of the bank's file, unless it has one."""
    one = {"_id": row_id(bank, name), "secrets": {"$exists": False}}
    row = await bank.db[holders.rows].find_one(one)
    if row is None:
        return
    async with bank.audited(by, holders.secret_set, name, first=True) as act:
        listed = [{"secret": secret, "until": None}]
        act.done = await _keep(bank, holders, row, listed, one)


async def _keep(
    bank: Bank, holders: Holders, row: Row, listed: list[dict[str, Any]], as_read: Doc
) -> bool:
    """Whether the row was still as it was read."""
    sealed = bank.vault.seal_json(holders.rows, "secrets", row["_id"], listed)
    fields = {"secrets": sealed, "rotated_at": utc(bank.now())}
    kept = await bank.db[holders.rows].update(as_read, {"$set": fields})
    if holders.cache_key is not None:
        invalidate(bank.services, holders.cache_key(bank))
    return kept
