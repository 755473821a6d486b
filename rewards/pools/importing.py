"""Bringing a file of codes into a pool.

The file comes in pieces, which are kept sealed; what it is known by is its hash, so that the same
file sent twice is one upload. A worker (or the command line) reads it, and refuses it as a whole when
a line cannot be taken, unless the clerk has said that such lines are to be left out. Then the codes
are sealed in blocks, and one row of `code_lots` makes them count: it has the next number in the order
of all uploads of the bank, and whoever takes a number has compared his codes with those of every
number before. Of two uploads that have the same code at the same moment, one gets the number and the
other looks again.

Killed anywhere, the lease of the upload ends and another worker begins the file anew, under a lot of
another name. What was sealed before is made void first, by a row in `code_lots` that has its lot: so
a worker who was only slow cannot make it count any more.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from array import array
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, cast

from config.bounds import CODES_BYTES
from customers.banks.bank import Bank
from rewards.pools import codes, reading, spans, taking
from rewards.pools.reading import Lines
from rewards.pools.rows import (
    BLOCK,
    CODE_BLOCKS,
    CODE_FILES,
    CODE_LOTS,
    CODE_PRINTS,
    CODE_PROBLEMS,
    CODE_UPLOADS,
    SHARDS,
    Span,
    Upload,
    block_id,
)
from services import ids
from services.errors import Conflict, InvalidInput, NotFound, TooLarge
from services.queue.retry import FAIL, Retry
from services.store import leases
from services.store.mongo import Doc, Duplicate

WAITING, IMPORTING, STORING = "waiting", "importing", "storing"
DONE, REFUSED, CANCELLED, FAILED = "done", "refused", "cancelled", "failed"
OVER = (REFUSED, CANCELLED, FAILED)
"""States after which the same file may be sent again."""
TASK = "rewards.import_codes"
CHUNK = 512 * 1024
"""Bytes of a piece of a file."""
LEASE_SECONDS = 20.0
BEAT_SECONDS = 1.0
RETRY = Retry(tries=5, first=5.0, most=60.0, then=FAIL)
KEPT_DAYS = 7
"""So long a refused file is kept for the clerk to say what is to become of it."""
BLOCKS_AT_ONCE = 40
PROBLEMS_AT_ONCE = 1_000


class _Lost(Exception):
    """The upload is not ours any more: another has it, or somebody cancelled it."""


# ---- receiving ----


@dataclass
class Receiver:
    """A file that is coming in, in pieces."""

    bank: Bank
    file: str
    name: str
    size: int = 0
    chunks: int = 0
    _rest: bytearray = field(default_factory=bytearray, repr=False)
    _sha: Any = field(default_factory=hashlib.sha256, repr=False)

    async def write(self, data: bytes) -> None:
        """Takes the next bytes; raises TooLarge."""
        self.size += len(data)
        if self.size > CODES_BYTES:
            await self.drop()
            raise TooLarge("body_too_large", f"at most {CODES_BYTES} bytes")
        self._sha.update(data)
        self._rest += data
        while len(self._rest) >= CHUNK:
            await self._keep(bytes(self._rest[:CHUNK]))
            del self._rest[:CHUNK]

    async def _keep(self, data: bytes) -> None:
        row_id = _chunk_id(self.bank, self.file, self.chunks)
        sealed = self.bank.vault.seal(CODE_FILES, "data", row_id, data)
        await self.bank.insert(CODE_FILES, {"_id": row_id, "data": sealed, "at": self.bank.utc()})
        self.chunks += 1

    async def finish(self) -> str:
        """The file is whole; the hash that it is known by. Raises InvalidInput `codes_empty`."""
        if not self.size:
            raise InvalidInput("codes_empty", "the file is empty")
        if self._rest:
            await self._keep(bytes(self._rest))
            self._rest.clear()
        return str(self._sha.hexdigest())

    async def drop(self) -> None:
        """Forgets what came in."""
        await _drop_file(self.bank, self.file, self.chunks)


def receive(bank: Bank, name: str) -> Receiver:
    """Takes in a file of that name; nothing of it counts before `start`."""
    return Receiver(bank, ids.token()[:22], name[-120:])


def _chunk_id(bank: Bank, file: str, n: int) -> str:
    return f"{bank.id}:{file}:{n}"


async def _drop_file(bank: Bank, file: str, chunks: int) -> None:
    for n in range(chunks):
        await bank.db[CODE_FILES].delete({"_id": _chunk_id(bank, file, n)})


async def start(
    bank: Bank, by: str, pool: str, received: Receiver, *, skip: bool = False
) -> tuple[Upload, bool]:
    """Has the file imported into the pool; the upload, and whether that is new. The same file is the
    same upload, whoever sends it and for which pool, unless it came to nothing.

    Raises NotFound `pool_unknown`, and InvalidInput `codes_empty`, which the audit trail keeps.
    """
    try:
        await taking.find(bank, pool)
        sha = await received.finish()
    except (NotFound, InvalidInput) as error:
        await received.drop()
        await bank.audit(by, "pool.upload_refused", pool, reason=error.code)
        raise
    row = _new(bank, by, pool, received, sha, skip)
    async with bank.audited(by, "pool.uploaded", pool, upload=row["upload"][:12]) as act:
        act.done = await bank.insert(CODE_UPLOADS, {**row})
        if not act.done:
            again = {"_id": row["_id"], "state": {"$in": list(OVER)}}
            kept = ("_id", "round", "lot", "good")
            fields = {name: value for name, value in row.items() if name not in kept}
            before = await bank.db[CODE_UPLOADS].update_and_get(
                again, {"$set": fields}, before=True
            )
            act.done = before is not None
            if before is not None:
                await _drop_file(bank, str(before["file"]), int(before["chunks"]))
    if not act.done:
        await received.drop()
        return await find(bank, row["upload"]), False
    bank.signal(TASK)
    return await find(bank, row["upload"]), True


def _new(bank: Bank, by: str, pool: str, received: Receiver, sha: str, skip: bool) -> Upload:
    return {
        "_id": upload_id(bank, sha[:32]),
        "upload": sha[:32],
        "file": received.file,
        "pool": pool,
        "name": received.name,
        "by": by,
        "at": bank.utc(),
        "size": received.size,
        "chunks": received.chunks,
        "sha256": sha,
        "skip": skip,
        "state": WAITING,
        "reason": "",
        "data": {},
        "phase": "",
        "done": 0,
        "total": 0,
        "good": 0,
        "bad": {},
        "listed": 0,
        "first": None,
        "last": None,
        "round": 0,
        "lot": "",
        "finished_at": None,
        "open": True,
        "due": bank.now(),
        "owner": None,
        "attempts": 0,
    }


def upload_id(bank: Bank, upload: str) -> str:
    return f"{bank.id}:{upload}"


async def find(bank: Bank, upload: str) -> Upload:
    """The upload; raises NotFound `upload_unknown`."""
    row = await bank.db[CODE_UPLOADS].find_one({"_id": upload_id(bank, upload)})
    if row is None:
        raise NotFound("upload_unknown", "no such upload")
    return cast("Upload", row)


async def skip_bad(bank: Bank, by: str, upload: str) -> None:
    """Has the lines of a refused file imported that can be taken, without the others. Raises
    NotFound, and Conflict `upload_not_refused`: it is under way, or its file is kept no more."""
    row = await find(bank, upload)
    refused = {"_id": row["_id"], "state": REFUSED, "chunks": {"$gt": 0}, "good": {"$gt": 0}}
    change: Doc = {"skip": True, "state": WAITING, "reason": "", "open": True, "attempts": 0}
    change |= {"due": bank.now(), "owner": None, "by": by, "done": 0, "total": 0}
    about = {"upload": upload[:12], "left_out": sum(row["bad"].values())}
    async with bank.audited(by, "pool.lines_left_out", row["pool"], **about):
        if not await bank.db[CODE_UPLOADS].update(refused, {"$set": change}):
            raise Conflict("upload_not_refused", "this file waits for no such word")
    bank.signal(TASK)


async def cancel(bank: Bank, by: str, upload: str) -> None:
    """Ends an upload before its codes count; nothing of it stays. Raises NotFound, and Conflict
    `upload_over` when it is too late."""
    row = await find(bank, upload)
    early = {"_id": row["_id"], "state": {"$in": [WAITING, IMPORTING, REFUSED]}}
    change: Doc = {"state": CANCELLED, "open": False, "owner": None, "finished_at": bank.utc()}
    async with bank.audited(by, "pool.upload_cancelled", row["pool"], upload=upload[:12]):
        if not await bank.db[CODE_UPLOADS].update(early, {"$set": {**change, "reason": ""}}):
            raise Conflict("upload_over", "this upload has ended already")
    if await _void(bank, row["lot"]):
        await _forget(bank, await find(bank, upload))
        return
    going_on: Doc = {"state": WAITING, "open": True, "due": bank.now()}  # its codes count already
    await bank.db[CODE_UPLOADS].update({"_id": row["_id"]}, {"$set": going_on})
    raise Conflict("upload_over", "this upload has ended already")


async def _forget(bank: Bank, row: Upload) -> None:
    """Takes away what an upload that came to nothing has left: its file and its blocks."""
    await _drop_file(bank, row["file"], row["chunks"])
    await bank.db[CODE_UPLOADS].update({"_id": row["_id"]}, {"$set": {"chunks": 0}})
    if row["lot"] and await _void(bank, row["lot"]):
        await _drop_lot(bank, row["lot"], row["good"])


async def _void(bank: Bank, lot: str) -> bool:
    """Sees to it that the lot never counts; False when it does already."""
    if not lot:
        return True
    try:
        await bank.db[CODE_LOTS].insert({"_id": f"{bank.id}:void:{lot}", "lot": lot})
    except Duplicate:
        found = await bank.db[CODE_LOTS].find_one({"lot": lot})
        return found is None or "number" not in found
    return True


async def _drop_lot(bank: Bank, lot: str, n: int) -> None:
    blocks = [block_id(bank.id, lot, number) for number in range(n // BLOCK + 1)]
    for at in range(0, len(blocks), BLOCKS_AT_ONCE):
        await bank.db[CODE_BLOCKS].delete({"_id": {"$in": blocks[at : at + BLOCKS_AT_ONCE]}})
    prints = [f"{bank.id}:{lot}:{shard}" for shard in range(SHARDS)]
    for at in range(0, SHARDS, BLOCKS_AT_ONCE):
        await bank.db[CODE_PRINTS].delete({"_id": {"$in": prints[at : at + BLOCKS_AT_ONCE]}})


async def watch(bank: Bank) -> None:
    """What is done from time to time: codes whose time is over are put aside, and files that are
    kept for too long are taken away."""
    await taking.watch(bank)
    await tidy(bank)


async def tidy(bank: Bank) -> None:
    """Takes away files that are kept for too long: refused ones about which nobody said anything, and
    pieces of such as never came in whole."""
    until = bank.utc() - timedelta(days=KEPT_DAYS)
    old = {"state": REFUSED, "chunks": {"$gt": 0}, "at": {"$lt": until}}
    for row in await bank.db[CODE_UPLOADS].find(old):
        await _forget(bank, cast("Upload", row))
    kept = [row["file"] async for row in bank.db[CODE_UPLOADS].scan({"chunks": {"$gt": 0}})]
    torn = await bank.db[CODE_FILES].find({"at": {"$lt": until}}, fields={"_id": 1}, limit=500)
    for piece in torn:
        if piece["_id"].split(":")[1] not in kept:
            await bank.db[CODE_FILES].delete({"_id": piece["_id"]})


# ---- importing ----


@dataclass
class _Progress:
    """How far an import is, told by whoever computes; `stop` tells him that it is not ours any
    more."""

    phase: str = "reading"
    done: int = 0
    total: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def said(self, done: int, total: int) -> None:
        self.done, self.total = done, total
        if self.stop.is_set():
            raise _Lost

    def begin(self, phase: str, total: int = 0) -> None:
        self.phase, self.done, self.total = phase, 0, total


async def work(bank: Bank, owner: str, row: Upload) -> None:
    """Imports a file whose row is leased by `owner`."""
    progress = _Progress()
    with suppress(_Lost):
        async with _beating(bank, owner, row, progress):
            await _import(bank, owner, row, progress)


async def work_here(bank: Bank, upload: str) -> bool:
    """Imports the file in this process, if no worker does already; whether it was ours to do."""
    rows = bank.db[CODE_UPLOADS]
    mine = {"_id": upload_id(bank, upload)}
    owner, taken = await leases.claim(rows, bank.now(), limit=1, seconds=LEASE_SECONDS, query=mine)
    for row in taken:
        await work(bank, owner, cast("Upload", row))
    return bool(taken)


PHASES = {"reading": (0, 45), "comparing": (45, 15), "sealing": (60, 40)}
"""Where in a hundred each phase of an import begins, and how much it takes."""


def percent(upload: Upload) -> int:
    """How far an upload is, in a hundred."""
    if upload["state"] in (DONE, STORING):
        return 100
    if upload["state"] != IMPORTING:
        return 0
    begin, share = PHASES.get(upload["phase"], (0, 0))
    part = upload["done"] / upload["total"] if upload["total"] else 0.0
    return round(begin + share * min(1.0, part))


@asynccontextmanager
async def _beating(bank: Bank, owner: str, row: Upload, progress: _Progress) -> AsyncIterator[None]:
    """Keeps the lease, and says how far it is, while the block runs."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            try:
                await _say(bank, owner, row, progress)
            except _Lost:
                progress.stop.set()
                return

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        progress.stop.set()
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating


async def _say(bank: Bank, owner: str, row: Upload, progress: _Progress, **fields: Any) -> None:
    """Writes how far it is, and renews the lease; raises _Lost when it is not ours any more."""
    mine = {"_id": row["_id"], "owner": owner}
    now: Doc = {"phase": progress.phase, "done": progress.done, "total": progress.total, **fields}
    now["due"] = bank.now() + LEASE_SECONDS
    if not await bank.db[CODE_UPLOADS].update(mine, {"$set": now}):
        raise _Lost


async def _import(bank: Bank, owner: str, row: Upload, progress: _Progress) -> None:
    if not await _begins_anew(bank, owner, row):
        return
    await _say(bank, owner, row, progress, state=IMPORTING)
    found = await _read(bank, owner, row, progress)
    if found is None:
        return
    progress.begin("comparing")
    batch = await asyncio.to_thread(_Batch, found, codes.printer(bank))
    seen = await _compare(bank, batch, 0, progress)
    while batch.good() and (row["skip"] or not found.bad):
        lot = await _seal(bank, owner, row, batch, progress)
        await _say(bank, owner, row, progress, state=STORING)
        new = await _count_it(bank, row, lot, batch, seen + 1)
        if new is not None:
            await _keep_problems(bank, row, found)
            await _finish(bank, owner, row, new)
            return
        await _say(bank, owner, row, progress, state=IMPORTING)
        await _drop_lot(bank, lot, batch.good())
        seen = await _compare(bank, batch, seen, progress)
    await _keep_problems(bank, row, found)
    reason = "lines_refused" if batch.good() else "no_line_taken"
    await _refuse(bank, owner, row, reason, found=found, good=batch.good())


async def _begins_anew(bank: Bank, owner: str, row: Upload) -> bool:
    """Whether there is anything to import: what was killed after its codes counted is finished, and
    what was killed before is dropped."""
    if not await _void(bank, row["lot"]):
        counted = await bank.db[CODE_LOTS].find_one({"lot": row["lot"]})
        await _finish(bank, owner, row, cast("Doc", counted))
        return False
    if row["lot"]:
        await _drop_lot(bank, row["lot"], row["good"])
    return True


async def _read(bank: Bank, owner: str, row: Upload, progress: _Progress) -> Lines | None:
    """The file's lines; None when it cannot be read and was refused."""
    try:
        data = await _file(bank, row)
        return await asyncio.to_thread(reading.read, data, bank.today(), progress.said)
    except InvalidInput as error:
        await _refuse(bank, owner, row, error.code, data=error.data)
        return None


async def _file(bank: Bank, row: Upload) -> bytes:
    data = bytearray()
    for n in range(row["chunks"]):
        row_id = _chunk_id(bank, row["file"], n)
        piece = await bank.db[CODE_FILES].find_one({"_id": row_id})
        if piece is None:
            raise InvalidInput("file_gone", "the file is kept no more; send it again")
        data += bank.vault.open(CODE_FILES, "data", row_id, piece["data"])
    return bytes(data)


class _Batch:
    """The codes of a file with their fingerprints; `out` marks those that are not taken. A code that
    stands in the file for the second time is not, and says where it stands first."""

    def __init__(self, found: Lines, fingerprint: Callable[[str], int]) -> None:
        self.found = found
        self.prints = array("Q", map(fingerprint, found.codes))
        self.out = bytearray(len(self.prints))
        shards = [array("I") for _ in range(SHARDS)]
        for position, one in enumerate(self.prints):
            shards[codes.shard_of(one)].append(position)
        self._shards = [array("I", sorted(one, key=self.prints.__getitem__)) for one in shards]
        for shard in self._shards:
            self._refuse_twice(shard)

    def _refuse_twice(self, shard: Sequence[int]) -> None:
        first = -1
        for position in shard:
            if first >= 0 and self.prints[first] == self.prints[position]:
                self.out[position] = 1
                lines = self.found.lines
                self.found.refuse(lines[position], "code_twice", str(lines[first]))
            else:
                first = position

    def good(self) -> int:
        """How many codes are taken."""
        return len(self.out) - sum(self.out)

    def of_shard(self, shard: int) -> list[int]:
        """The positions of the codes that are taken, in the order of their fingerprints."""
        return [one for one in self._shards[shard] if not self.out[one]]

    def refuse_known(self, shard: int, known: set[int], where: str) -> None:
        """Leaves out what is in another upload already."""
        for position in self.of_shard(shard):
            if self.prints[position] in known:
                self.out[position] = 1
                self.found.refuse(self.found.lines[position], "code_known", where)

    def numbered(self) -> list[int]:
        """The positions of the codes that are taken, in the order in which they will be given:
        soonest to expire first, and as in the file."""
        days = self.found.days
        good = [position for position, out in enumerate(self.out) if not out]
        return sorted(good, key=lambda position: days[position] or date.max.toordinal())


async def _compare(bank: Bank, batch: _Batch, seen: int, progress: _Progress) -> int:
    """Leaves out the codes that are in an upload with a number above `seen`; the last number."""
    rows = await _lots(bank, seen)
    progress.begin("comparing", len(rows) * SHARDS)
    for row in rows:
        where = f"{row['pool']}:{row['upload']}"
        for shard in range(SHARDS):
            wanted = batch.of_shard(shard)
            if wanted:
                print_id = f"{bank.id}:{row['lot']}:{shard}"
                kept = await bank.db[CODE_PRINTS].find_one({"_id": print_id}, {"prints": 1})
                if kept is not None:
                    known = {*codes.unpacked(kept["prints"], "Q")}
                    batch.refuse_known(shard, known, where)
            progress.said(progress.done + 1, progress.total)
    return int(rows[-1]["number"]) if rows else seen


async def _lots(bank: Bank, seen: int) -> list[Doc]:
    """The uploads that are in, from the number after `seen` on."""
    later = {"number": {"$gt": seen}}
    return await bank.db[CODE_LOTS].find(later, sort=[("number", 1)], limit=None)


async def _seal(bank: Bank, owner: str, row: Upload, batch: _Batch, progress: _Progress) -> str:
    """Writes the blocks and the fingerprints of the codes under a lot of their own; its name."""
    numbered = await asyncio.to_thread(batch.numbered)
    progress.begin("sealing", len(numbered) + 1)
    tries = (await find(bank, row["upload"]))["round"] + 1
    lot = f"{row['upload']}.{tries}"
    counts = {"good": len(numbered), "bad": dict(batch.found.bad)}
    await _say(bank, owner, row, progress, lot=lot, round=tries, **counts)
    for begin in range(0, len(numbered), BLOCK * BLOCKS_AT_ONCE):
        some = numbered[begin : begin + BLOCK * BLOCKS_AT_ONCE]
        blocks = await asyncio.to_thread(_blocks, bank, lot, begin, some, batch)
        await bank.db[CODE_BLOCKS].insert_new(blocks)
        progress.said(begin + len(some), progress.total)
    number_of = await asyncio.to_thread(_inverse, numbered, len(batch.out))
    for begin in range(0, SHARDS, BLOCKS_AT_ONCE):
        shards = range(begin, min(SHARDS, begin + BLOCKS_AT_ONCE))
        rows = await asyncio.to_thread(_prints, bank, lot, shards, batch, number_of)
        await bank.db[CODE_PRINTS].insert_new(rows)
        progress.said(len(numbered), progress.total)
    return lot


def _blocks(bank: Bank, lot: str, begin: int, some: Sequence[int], batch: _Batch) -> list[Doc]:
    all_codes = batch.found.codes
    return [
        codes.sealed_block(
            bank, lot, (begin + at) // BLOCK, [all_codes[one] for one in some[at : at + BLOCK]]
        )
        for at in range(0, len(some), BLOCK)
    ]


def _inverse(numbered: Sequence[int], size: int) -> list[int]:
    """The number of the code at each position."""
    number_of = [0] * size
    for number, position in enumerate(numbered):
        number_of[position] = number
    return number_of


def _prints(
    bank: Bank, lot: str, shards: range, batch: _Batch, number_of: Sequence[int]
) -> list[Doc]:
    rows: list[Doc] = []
    for shard in shards:
        wanted = batch.of_shard(shard)
        if wanted:
            rows.append(
                {
                    "_id": f"{bank.id}:{lot}:{shard}",
                    "lot": lot,
                    "shard": shard,
                    "prints": codes.packed((batch.prints[one] for one in wanted), "Q"),
                    "numbers": codes.packed((number_of[one] for one in wanted), "I"),
                }
            )
    return rows


def _spans(bank: Bank, lot: str, batch: _Batch) -> list[Span]:
    found: list[Span] = []
    number = 0
    days = batch.found.days
    for day, n in _runs(days[position] for position in batch.numbered()):
        expires = _end_of(bank, date.fromordinal(day)) if day else None
        found.append({"lot": lot, "first": number, "end": number + n, "expires": expires})
        number += n
    return spans.ordered(found)


def _runs(values: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Each value with how often it comes one after the other."""
    last, n = -1, 0
    for value in values:
        if value != last and n:
            yield last, n
            n = 0
        last, n = value, n + 1
    if n:
        yield last, n


def _end_of(bank: Bank, day: date) -> datetime:
    """When a day is over in the bank's time, in UTC as rows keep it."""
    return datetime.combine(day + timedelta(days=1), time(), bank.tz).astimezone(UTC)


async def _count_it(bank: Bank, row: Upload, lot: str, batch: _Batch, number: int) -> Doc | None:
    """Makes the codes count under the next number; None when another upload has it, or when the lot
    is void."""
    found = await asyncio.to_thread(_spans, bank, lot, batch)
    new: Doc = {
        "_id": f"{bank.id}:{number}",
        "number": number,
        "lot": lot,
        "upload": row["upload"],
        "pool": row["pool"],
        "n": batch.good(),
        "spans": found,
        "by": row["by"],
        "at": bank.utc(),
    }
    try:
        await bank.db[CODE_LOTS].insert(new)
    except Duplicate:
        return None
    return new


async def _finish(bank: Bank, owner: str, row: Upload, counted: Doc) -> None:
    """Puts the codes that count into their pool, and ends the upload. Safe to repeat."""
    found = cast("list[Span]", counted["spans"])

    def put_in(pool: Any) -> bool:
        return taking.add(pool, str(counted["lot"]), found)

    async with bank.audited(
        row["by"], "pool.imported", row["pool"], upload=row["upload"][:12], codes=counted["n"]
    ) as act:
        pool = await taking.change(bank, row["pool"], put_in)
        ends = [one["expires"] for one in found if one["expires"] is not None]
        act.done = bool(
            await leases.close(
                bank.db[CODE_UPLOADS],
                owner,
                [row["_id"]],
                state=DONE,
                lot=counted["lot"],
                good=counted["n"],
                first=min(ends, default=None),
                last=max(ends, default=None),
                finished_at=bank.utc(),
                reason="",
            )
        )
    await taking.tell(bank, pool)
    await _drop_file(bank, row["file"], row["chunks"])
    await bank.db[CODE_UPLOADS].update({"_id": row["_id"]}, {"$set": {"chunks": 0}})


async def _refuse(
    bank: Bank,
    owner: str,
    row: Upload,
    reason: str,
    *,
    found: Lines | None = None,
    good: int = 0,
    data: dict[str, str] | None = None,
) -> None:
    """Ends the upload without a code of it; what is wrong is in its row and in its problems."""
    bad = dict(found.bad) if found else {}
    listed = len(found.problems) if found else 0
    fields: Doc = {"good": good, "bad": bad, "listed": listed, "finished_at": bank.utc()}
    await leases.close(
        bank.db[CODE_UPLOADS],
        owner,
        [row["_id"]],
        state=REFUSED,
        reason=reason,
        data=data or {},
        **fields,
    )
    about = {"upload": row["upload"][:12], "reason": reason, "lines": sum(bad.values())}
    await bank.audit(row["by"], "pool.upload_refused", row["pool"], **about)
    if found is None:
        await _forget(bank, await find(bank, row["upload"]))


async def _keep_problems(bank: Bank, row: Upload, found: Lines) -> None:
    """Keeps which lines cannot be taken, and why, in the order of the file."""
    await bank.db[CODE_PROBLEMS].delete({"upload": row["upload"]})
    problems = sorted(found.problems)
    for begin in range(0, len(problems), PROBLEMS_AT_ONCE):
        part = begin // PROBLEMS_AT_ONCE
        some = [list(one) for one in problems[begin : begin + PROBLEMS_AT_ONCE]]
        row_id = ids.tenant_id(bank.id, "code_problems", row["upload"], part)
        await bank.db[CODE_PROBLEMS].insert_new(
            [{"_id": row_id, "upload": row["upload"], "part": part, "lines": some}]
        )
    counts = {"bad": dict(found.bad), "listed": len(problems)}
    await bank.db[CODE_UPLOADS].update({"_id": row["_id"]}, {"$set": counts})


async def problems_of(bank: Bank, upload: str, part: int = 0) -> list[reading.Problem]:
    """The lines of the upload that cannot be taken, a part of PROBLEMS_AT_ONCE at a time."""
    wanted = {"upload": upload, "part": part}
    row = await bank.db[CODE_PROBLEMS].find_one(wanted)
    return [(int(line), str(why), str(what)) for line, why, what in row["lines"]] if row else []
