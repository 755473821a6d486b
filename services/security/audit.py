"""The append-only audit trail: one hash chain a tenant (contract/trust 3.6).

Row n carries the hash of row n-1 and its own, and a seal of the vault over it; its `_id` is the
tenant and n, so two writers cannot both be n. The newest hash goes to a checkpoint file outside the
database, so that a chain cut off at its end is noticed too (services/security/checkpoints.py).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from services.clock import Clock, utc
from services.errors import Unavailable, YinqiaoError
from services.security.checkpoints import Checkpoints, Seen
from services.security.vault import Vault
from services.store.groupcommit import GroupCommit
from services.store.mongo import Doc, TenantStore
from services.store.rows import Rows

AUDIT = Rows("audit", indexes=((("tenant", 1), ("seq", 1)),))
"""The audit chain."""

GENESIS = "0" * 64
_TRIES = 50
TOGETHER = 64
"""So many rows of a process are appended in one write at most."""
AHEAD = 20
"""So many rows that others have appended are read at a time."""
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
    """Writes and verifies the chains. `checkpoints` is a folder outside the database, which all hosts
    of an installation share."""

    def __init__(self, clock: Clock, vault: Vault, checkpoints: Path) -> None:
        self._clock = clock
        self._vault = vault
        self.checkpoints = Checkpoints(vault, checkpoints)
        self._heads: dict[str, tuple[int, str]] = {}
        self._groups: dict[str, GroupCommit[Entry, int]] = {}

    async def record(
        self, db: TenantStore, actor: str, action: str, object_: str, **data: Any
    ) -> int:
        """Appends one row and returns its number, in one write with those that others of this process
        have by then; processes queue up behind the unique number.

        `data` holds what JSON can hold.
        """
        entry = Entry(actor, action, object_, orjson.loads(orjson.dumps(data)))
        return await self._group(db).submit(entry)

    def _group(self, db: TenantStore) -> GroupCommit[Entry, int]:
        """Whoever appends rows to the tenant's chain: one group after the other."""
        group = self._groups.get(db.tenant)
        if group is None:

            async def flush(entries: list[Entry]) -> Sequence[int | Exception]:
                return await self._append(db, entries)

            group = GroupCommit("audit", flush, window=0, limit=TOGETHER)
            self._groups[db.tenant] = group
        return group

    async def _append(self, db: TenantStore, entries: Sequence[Entry]) -> list[int | Exception]:
        """The rows' numbers; what stopped the others from being written."""
        done: list[int | Exception] = []
        why: Exception = Unavailable(
            "audit_busy", "the audit trail is being written by too many at once"
        )
        try:
            for _ in range(_TRIES):
                done += await self._append_some(db, entries[len(done) :])
                if len(done) == len(entries):
                    break
                await self._newest(db)
        except YinqiaoError as error:
            why = error
        return done + [why] * (len(entries) - len(done))

    async def _append_some(self, db: TenantStore, entries: Sequence[Entry]) -> list[int]:
        """The numbers of those that went in; the first that did not has lost its number to another
        process."""
        newest = self._heads.get(db.tenant) or await self._newest(db)
        rows = self._chained(db.tenant, newest, entries)
        written = rows[: await db[AUDIT].append(rows)]
        if written:
            self._heads[db.tenant] = (written[-1]["seq"], written[-1]["hash"])
            self.checkpoints.append(db.tenant, [(row["seq"], row["hash"]) for row in written])
        return [row["seq"] for row in written]

    def _chained(self, tenant: str, newest: tuple[int, str], entries: Sequence[Entry]) -> list[Doc]:
        """The rows that follow the newest one, each with the hash of the one before."""
        (seq, previous), at = newest, utc(self._clock())
        rows: list[Doc] = []
        for entry in entries:
            seq += 1
            digest = _hash(previous, seq, at, entry)
            row: Doc = {"_id": f"{tenant}:{seq}", "seq": seq, "at": at}
            row |= {"prev": previous, "hash": digest, "seal": self._seal(tenant, digest)}
            row |= {"actor": entry.actor, "action": entry.action}
            row |= {"object": entry.object, "data": entry.data}
            rows.append(row)
            previous = digest
        return rows

    def _seal(self, tenant: str, digest: str) -> str:
        return self._vault.mac(tenant, "audit", digest.encode())

    async def newest(self, db: TenantStore, limit: int) -> list[Doc]:
        """The newest `limit` rows, newest first."""
        return await db[AUDIT].find({}, sort=[("seq", -1)], limit=limit)

    async def _newest(self, db: TenantStore) -> tuple[int, str]:
        """Number and hash of the newest row: from where this process last saw it, forward to the
        end."""
        seq, digest = self._heads.get(db.tenant, (0, GENESIS))
        if not seq:
            seq, digest = await self._last_of(db)
        while rows := await self._after(db, seq):
            seq, digest = seq + len(rows), str(rows[-1].get("hash"))
        self._heads[db.tenant] = (seq, digest)
        return seq, digest

    @staticmethod
    async def _after(db: TenantStore, seq: int) -> list[Doc]:
        """The next rows after number `seq`, with no gap."""
        wanted = [f"{db.tenant}:{seq + n}" for n in range(1, AHEAD + 1)]
        found = await db[AUDIT].find({"_id": {"$in": wanted}}, fields={"hash": 1})
        rows = {row["_id"]: row for row in found}
        return [rows[one] for one in itertools.takewhile(rows.__contains__, wanted)]

    @staticmethod
    async def _last_of(db: TenantStore) -> tuple[int, str]:
        rows = await db[AUDIT].find({}, sort=[("seq", -1)], limit=1, fields={"seq": 1, "hash": 1})
        return (rows[0]["seq"], rows[0]["hash"]) if rows else (0, GENESIS)

    async def begin_checkpoints(self, db: TenantStore) -> int:
        """Begins the bank's checkpoint file anew at the newest row, where it was lost or the chain is
        older than it: the chain stands as it is. Whoever wants it has said so in the chain before.
        The row from which the file counts on."""
        seq, digest = await self._newest(db)
        self.checkpoints.begin(db.tenant, seq, digest)
        return seq

    async def verify(self, db: TenantStore, copy: Path | None = None) -> list[str]:
        """What is wrong with the tenant's chain, each with its row number; an empty list when it
        holds. With `copy`, a checkpoint file that was shipped away, the chain is compared with that
        too, and the file with it."""
        rows = {str(row["_id"]): row async for row in db[AUDIT].scan()}
        hashes, problems = _follow(rows, db.tenant)
        ours = {f"{db.tenant}:{seq}" for seq in hashes}
        strangers = sorted(rows.keys() - ours)
        problems += [f"row {row_id} does not belong to the chain" for row_id in strangers]
        seen = await self._seen(db.tenant, max(hashes, default=0))
        if hashes or seen.rows:
            problems += _compare(hashes, seen)
        stood = seen.first if seen.accepted else 0
        if copy is not None:
            shipped = self.checkpoints.seen(db.tenant, copy)
            problems += [each for each in _compare(hashes, shipped) if each not in problems]
            if seen.last < shipped.last:
                problems.append(f"the checkpoint file ends before the copy, at row {seen.last}")
        named = {row for problem in problems for row in _rows_named(problem)}
        for seq in sorted(hashes.keys() - named):
            if seq >= stood and not self._is_sealed(db.tenant, rows[f"{db.tenant}:{seq}"]):
                problems.append(f"row {seq} was not written by this bank's key")
        return problems

    async def _seen(self, tenant: str, newest: int) -> Seen:
        """What the checkpoint file saw. Whoever writes a row at this moment has a second to add
        it."""
        for _ in range(5):
            seen = self.checkpoints.seen(tenant)
            if seen.last >= newest or not seen.rows:
                break
            await asyncio.sleep(0.2)
        if seen.rows and seen.last < newest:
            end = f"rows {seen.last + 1} to {newest} are in no checkpoint of {self.checkpoints.path(tenant)}"
            return Seen(seen.first, seen.accepted, seen.rows, (*seen.problems, end))
        return seen

    def _is_sealed(self, tenant: str, row: Doc) -> bool:
        expected = self._seal(tenant, str(row.get("hash")))
        return hmac.compare_digest(str(row.get("seal", "")).encode(), expected.encode())


def _compare(hashes: Mapping[int, str], seen: Seen) -> Iterator[str]:
    yield from seen.problems
    if seen.first > 1 and not seen.accepted:
        yield f"the checkpoints begin at row {seen.first}: what was there before was seen by none"
    for seq, digest in seen.rows.items():
        if hashes.get(seq) != digest:
            yield f"row {seq} is not the one that the checkpoint file saw"


def _rows_named(problem: str) -> list[int]:
    """The row that a problem is about, by its number."""
    first, _, rest = problem.partition(" ")
    number = rest.partition(" ")[0]
    return [int(number)] if first == "row" and number.isdecimal() else []


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
