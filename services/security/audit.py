"""The append-only audit trail: one hash chain a tenant (contract/trust 3.6).

Row n carries the hash of row n-1 and its own; its `_id` is the tenant and n, so two writers cannot
both be n. A copy of the newest hash goes to a checkpoint file outside the database, so that a chain
cut off at its end is noticed too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from services.clock import Clock, utc
from services.errors import Unavailable
from services.store.mongo import Doc, Duplicate, TenantStore
from services.store.rows import Rows

AUDIT = Rows(
    "audit",
)
"""The audit chain."""

GENESIS = "0" * 64
_TRIES = 50
MOST_MISSING = 100_000
"""A row whose number is further beyond the rows that are there does not belong to the chain."""


@dataclass(frozen=True)
class Entry:
    """Who did what to what. `data` must not carry a person's data in clear."""

    actor: str
    action: str
    object: str
    data: dict[str, Any]


def _hash(previous: str, seq: int, at: datetime, entry: Entry) -> str:
    canonical = orjson.dumps(
        [previous, seq, at.isoformat(), entry.actor, entry.action, entry.object, entry.data],
        option=orjson.OPT_SORT_KEYS,
    )
    return hashlib.sha256(canonical).hexdigest()


def _is_whole(row: Doc, seq: int) -> bool:
    """Whether a row's hash is that of its own content under its own number."""
    try:
        entry = Entry(row["actor"], row["action"], row["object"], row["data"])
        return bool(row["seq"] == seq and _hash(row["prev"], seq, row["at"], entry) == row["hash"])
    except (KeyError, TypeError, AttributeError):
        return False


def _number(row_id: str) -> int:
    digits = row_id.rpartition(":")[2]
    return int(digits) if digits.isascii() and digits.isdecimal() else 0


class Audit:
    """Writes and verifies the chains. `checkpoints` is a folder outside the database."""

    def __init__(self, clock: Clock, checkpoints: Path) -> None:
        self._clock = clock
        self._checkpoints = checkpoints
        self._heads: dict[str, tuple[int, str]] = {}

    async def record(
        self, db: TenantStore, actor: str, action: str, object_: str, **data: Any
    ) -> int:
        """Appends one row and returns its number; concurrent writers queue up behind the unique
        number.

        `data` holds what JSON can hold.
        """
        entry = Entry(actor, action, object_, orjson.loads(orjson.dumps(data)))
        for _ in range(_TRIES):
            seq, previous = await self._newest(db)
            seq += 1
            at = utc(self._clock())
            digest = _hash(previous, seq, at, entry)
            row = {
                "_id": f"{db.tenant}:{seq}",
                "seq": seq,
                "at": at,
                "prev": previous,
                "hash": digest,
            }
            try:
                await db[AUDIT].insert(
                    {**row, "actor": actor, "action": action, "object": object_, "data": entry.data}
                )
            except Duplicate:
                continue
            self._heads[db.tenant] = (seq, digest)
            self._checkpoint(db.tenant, seq, digest)
            return seq
        raise Unavailable("audit_busy", "the audit trail is being written by too many at once")

    async def newest(self, db: TenantStore, limit: int) -> list[Doc]:
        """The newest `limit` rows, newest first."""
        return await db[AUDIT].find({}, sort=[("seq", -1)], limit=limit)

    async def _newest(self, db: TenantStore) -> tuple[int, str]:
        """Number and hash of the newest row: from where this process last saw it, forward to the
        end."""
        seq, digest = self._heads.get(db.tenant, (0, GENESIS))
        if not seq:
            seq, digest = await self._last_of(db)
        while (
            row := await db[AUDIT].find_one({"_id": f"{db.tenant}:{seq + 1}"}, {"hash": 1})
        ) is not None:
            seq, digest = seq + 1, str(row.get("hash"))
        self._heads[db.tenant] = (seq, digest)
        return seq, digest

    @staticmethod
    async def _last_of(db: TenantStore) -> tuple[int, str]:
        rows = await db[AUDIT].find({}, sort=[("seq", -1)], limit=1, fields={"seq": 1, "hash": 1})
        return (rows[0]["seq"], rows[0]["hash"]) if rows else (0, GENESIS)

    def _checkpoint(self, tenant: str, seq: int, digest: str) -> None:
        self._checkpoints.mkdir(parents=True, exist_ok=True)
        with (self._checkpoints / f"{tenant}.audit").open("a", encoding="ascii") as file:
            file.write(f"{seq} {digest}\n")

    async def verify(self, db: TenantStore) -> list[str]:
        """What is wrong with the tenant's chain, each with its row number; an empty list when it
        holds."""
        found = {str(row["_id"]): row async for row in db[AUDIT].scan()}
        hashes, problems = _follow(found, db.tenant)
        ours = {f"{db.tenant}:{seq}" for seq in hashes}
        strangers = sorted(found.keys() - ours)
        problems += [f"row {row_id} does not belong to the chain" for row_id in strangers]
        for seq, digest in self._checkpointed(db.tenant).items():
            if hashes.get(seq) != digest:
                problems.append(f"row {seq} is not the one that the checkpoint file saw")
        return problems

    def _checkpointed(self, tenant: str) -> dict[int, str]:
        """Number → hash of every row that the checkpoint file saw; the later word of a number
        counts."""
        path = self._checkpoints / f"{tenant}.audit"
        lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
        return {int(seq): digest for seq, digest in (line.split() for line in lines)}


def _follow(rows: Mapping[str, Doc], tenant: str) -> tuple[dict[int, str], list[str]]:
    """The hash of every row of the chain by number, from the first on, and what is wrong."""
    hashes: dict[int, str] = {0: GENESIS}
    problems = []
    for seq in range(1, _last(rows) + 1):
        row = rows.get(f"{tenant}:{seq}")
        if row is None:
            problems.append(f"row {seq} is missing")
            continue
        if not _is_whole(row, seq):
            problems.append(f"row {seq} was changed")
        if row.get("prev") != hashes.get(seq - 1, row.get("prev")):
            problems.append(f"row {seq} does not follow row {seq - 1}")
        hashes[seq] = str(row.get("hash"))
    del hashes[0]
    return hashes, problems


def _last(rows: Mapping[str, Doc]) -> int:
    """The number of the last row that a chain with at most MOST_MISSING gaps can have."""
    numbers = (_number(row_id) for row_id in rows)
    return max((n for n in numbers if n <= len(rows) + MOST_MISSING), default=0)
