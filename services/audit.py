"""The append-only audit trail: one hash chain a tenant (trust.md 3.6).

Row n carries the hash of row n-1 and its own; its `_id` is the tenant and n, so two writers cannot both be n. A copy of
the newest hash goes to a checkpoint file outside the database, so that a chain cut off at its end is noticed too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from services.clock import Clock, utc
from services.mongo import Duplicate, TenantStore

GENESIS = "0" * 64
_TRIES = 50


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


class Audit:
    """Writes and verifies the chains. `checkpoints` is a folder outside the database."""

    def __init__(self, clock: Clock, checkpoints: Path) -> None:
        self._clock = clock
        self._checkpoints = checkpoints

    async def record(self, db: TenantStore, actor: str, action: str, object_: str, **data: Any) -> int:
        """Appends one row and returns its number; concurrent writers queue up behind the unique number."""
        entry = Entry(actor, action, object_, data)
        rows = db["audit"]
        for _ in range(_TRIES):
            last = await rows.find({}, sort=[("seq", -1)], limit=1, fields={"seq": 1, "hash": 1})
            seq, previous = (last[0]["seq"] + 1, last[0]["hash"]) if last else (1, GENESIS)
            at = utc(self._clock())
            digest = _hash(previous, seq, at, entry)
            row = {"_id": f"{db.tenant}:{seq}", "seq": seq, "at": at, "prev": previous, "hash": digest}
            try:
                await rows.insert({**row, "actor": actor, "action": action, "object": object_, "data": data})
            except Duplicate:
                continue
            self._checkpoint(db.tenant, seq, digest)
            return seq
        raise Duplicate("audit_busy", "the audit trail is being written by too many at once")

    def _checkpoint(self, tenant: str, seq: int, digest: str) -> None:
        self._checkpoints.mkdir(parents=True, exist_ok=True)
        with (self._checkpoints / f"{tenant}.audit").open("a", encoding="ascii") as file:
            file.write(f"{seq} {digest}\n")

    async def verify(self, db: TenantStore) -> list[str]:
        """What is wrong with the tenant's chain, each with its row number; an empty list when it holds."""
        problems: list[str] = []
        previous, expected = GENESIS, 1
        hashes: dict[int, str] = {}
        rows = sorted([row async for row in db["audit"].scan()], key=lambda row: int(row["seq"]))
        for row in rows:
            seq = row["seq"]
            if seq != expected:
                problems.append(f"row {expected} is missing")
            entry = Entry(row["actor"], row["action"], row["object"], row["data"])
            if row["prev"] != previous and seq == expected:
                problems.append(f"row {seq} does not follow row {seq - 1}")
            if _hash(row["prev"], seq, row["at"], entry) != row["hash"]:
                problems.append(f"row {seq} was changed")
            hashes[seq] = previous = row["hash"]
            expected = seq + 1
        return problems + self._against_checkpoints(db.tenant, hashes)

    def _against_checkpoints(self, tenant: str, hashes: dict[int, str]) -> list[str]:
        path = self._checkpoints / f"{tenant}.audit"
        if not path.exists():
            return []
        problems = []
        for line in path.read_text(encoding="ascii").splitlines():
            seq, digest = line.split()
            if hashes.get(int(seq)) != digest:
                problems.append(f"row {seq} is not the one that the checkpoint file saw")
        return problems
