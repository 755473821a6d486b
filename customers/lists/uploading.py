"""Files of customers for a list: they fill it, take the place of all that is on it, or thin it.

A file is kept sealed in its row until a worker has read it, and the files for a list are read in the
order in which they were sent. What the worker writes is the same however often he does it, so that
whoever is cut short begins the file anew; and whoever lost his lease and does not know it yet changes
nothing that a later file says.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from config.bounds import LIST_BYTES
from customers.banks.bank import Bank
from customers.intake import joining
from customers.lists import keeping, reading, rows
from customers.lists.reading import Line
from customers.lists.rows import LIST_MEMBERS, LIST_UPLOADS, Mode, UploadRow
from services import ids, sheets
from services.errors import InvalidInput, NotFound, TooLarge
from services.queue.retry import FAIL, Retry
from services.store import leases
from services.store.mongo import Doc

TASK = "customers.import_lists"
WAITING, IMPORTING, DONE, REFUSED = "waiting", "importing", "done", "refused"
LEASE_SECONDS = 60.0
TURN_SECONDS = 2.0
"""So long it waits before it looks again whether the files before it are read."""
RETRY = Retry(tries=5, first=5.0, most=60.0, then=FAIL)
AT_ONCE = 500
MOST_PROBLEMS = 10_000
"""So many lines are told one by one; all are counted."""
MODES: tuple[Mode, ...] = ("add", "replace", "remove")


async def uploads(bank: Bank, key: str, limit: int = 20) -> list[UploadRow]:
    """The newest files for a list."""
    found = await bank.db[LIST_UPLOADS].find(
        {"list": key}, sort=[("at", -1)], limit=limit, fields={"file": 0}
    )
    return cast("list[UploadRow]", found)


async def upload(bank: Bank, key: str, name: str) -> UploadRow:
    """One of them; raises NotFound `list_unknown`."""
    row_id = rows.upload_id(bank.id, name)
    row = await bank.db[LIST_UPLOADS].find_one({"_id": row_id, "list": key}, {"file": 0})
    if row is None:
        raise NotFound("list_unknown", "there is no such upload")
    return cast("UploadRow", row)


def percent(row: UploadRow) -> int:
    """How much of it is read."""
    return 100 * row["done"] // row["total"] if row["total"] else 0


@dataclass
class Receiver:
    """A file that is coming in, in pieces."""

    name: str
    data: bytearray = field(default_factory=bytearray, repr=False)

    async def write(self, data: bytes) -> None:
        """Takes the next bytes; raises TooLarge."""
        if len(self.data) + len(data) > LIST_BYTES:
            raise TooLarge("body_too_large", f"at most {LIST_BYTES} bytes")
        self.data += data

    async def drop(self) -> None:
        """Forgets what came in."""
        self.data.clear()


async def start(bank: Bank, by: str, key: str, mode: str, received: Receiver) -> str:
    """Has a file read for a list; the upload's id. Raises NotFound `list_unknown`, InvalidInput
    `list_mode` or `list_empty`, Conflict `list_archived`."""
    await keeping.in_use(bank, key)
    if mode not in MODES:
        raise InvalidInput("list_mode", f"expected one of {', '.join(MODES)}")
    if not received.data:
        raise InvalidInput("list_empty", "the file is empty")
    name = ids.token()[:22]
    row_id = rows.upload_id(bank.id, name)
    row: UploadRow = {
        "_id": row_id,
        "upload": name,
        "list": key,
        "mode": mode,
        "name": received.name[-120:],
        "by": by,
        "at": bank.utc(),
        "file": bank.vault.seal(LIST_UPLOADS, "file", row_id, bytes(received.data)),
        "state": WAITING,
        "reason": "",
        "done": 0,
        "total": 0,
        "good": 0,
        "bad": {},
        "problems": [],
        "open": True,
        "due": bank.now(),
        "owner": None,
        "attempts": 0,
    }
    sha = ids.fingerprint(bytes(received.data))
    async with bank.audited(by, "list.uploaded", key, change=mode, file=sha):
        await bank.insert(LIST_UPLOADS, cast("Doc", row))
    bank.signal(TASK)
    return name


@dataclass
class _Read:
    """What a file says so far."""

    seen: set[str] = field(default_factory=set)
    bad: Counter[str] = field(default_factory=Counter)
    problems: list[tuple[int, str]] = field(default_factory=list)
    _told: int = 0

    def refuse(self, line: int, reason: str) -> None:
        self.bad[reason] += 1
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append((line, reason))

    def told(self, done: int, total: int) -> Doc:
        """The row's fields; the problems only where there are new ones."""
        told = {"done": done, "total": total, "good": len(self.seen), "bad": dict(self.bad)}
        if len(self.problems) > self._told or done >= total:
            self._told = len(self.problems)
            told["problems"] = sorted(self.problems)
        return told


async def work_here(bank: Bank, name: str) -> None:
    """Reads a file in this process, if it is its turn and no worker is at it."""
    mine = {"_id": rows.upload_id(bank.id, name)}
    owner, taken = await leases.claim(
        bank.db[LIST_UPLOADS], bank.now(), limit=1, seconds=LEASE_SECONDS, query=mine
    )
    for row in taken:
        await work(bank, owner, cast("UploadRow", row))


async def work(bank: Bank, owner: str, row: UploadRow) -> None:
    """Reads a file into its list, after those that were sent before it."""
    earlier = {"list": row["list"], "open": True, "at": {"$lt": row["at"]}}
    if await bank.db[LIST_UPLOADS].find_one(earlier, {"_id": 1}):
        due = bank.now() + TURN_SECONDS
        await leases.put_back(bank.db[LIST_UPLOADS], owner, [row["_id"]], due, attempts=0)
        return
    try:
        lines = await _lines(bank, row)
    except InvalidInput as error:
        await _end(bank, owner, row, {"state": REFUSED, "reason": error.code})
        return
    if await _put_all(bank, owner, row, lines):
        await _finish(bank, owner, row)


async def _lines(bank: Bank, row: UploadRow) -> Sequence[Line]:
    data = bank.vault.open(LIST_UPLOADS, "file", row["_id"], row["file"])
    return await asyncio.to_thread(reading.read, data, bank.region)


async def _finish(bank: Bank, owner: str, row: UploadRow) -> None:
    if row["mode"] == "replace":
        others = {"list": row["list"], "on": True, "upload": {"$ne": row["upload"]}, **_older(row)}
        off = {"on": False, "upload": row["upload"], "sent": row["at"]}
        await bank.db[LIST_MEMBERS].update_many(others, {"$set": off})
    await _end(bank, owner, row, {"state": DONE})


async def _put_all(bank: Bank, owner: str, row: UploadRow, lines: Sequence[Line]) -> bool:
    """Puts down all whom the lines name, some at a time; False when the lease was lost."""
    found = _Read()
    for begin in range(0, len(lines), AT_ONCE):
        some = lines[begin : begin + AT_ONCE]
        await _put(bank, row, await _take(bank, some, found))
        told = found.told(begin + len(some), len(lines))
        held = {"due": bank.now() + LEASE_SECONDS, "state": IMPORTING, **told}
        mine = {"_id": row["_id"], "owner": owner}
        if not await bank.db[LIST_UPLOADS].update(mine, {"$set": held}):
            return False
    return True


async def _end(bank: Bank, owner: str, row: UploadRow, fields: Doc) -> None:
    await leases.close(bank.db[LIST_UPLOADS], owner, [row["_id"]], **fields)
    over = {"_id": row["_id"], "open": False}
    await bank.db[LIST_UPLOADS].update(over, {"$unset": {"file": ""}})


async def _take(bank: Bank, lines: Sequence[Line], found: _Read) -> list[str]:
    """The customers whom these lines name, each once in the whole file."""
    asked = {line.line: joining.wait_id(bank, line.customer) for line in lines if line.customer}
    whose = await joining.find(bank, set(asked.values()))
    taken: list[str] = []
    for line in lines:
        if line.line not in asked:
            found.refuse(line.line, reading.UNREADABLE)
            continue
        one = whose.get(asked[line.line])
        if one is None or not one.cid:
            found.refuse(line.line, reading.UNKNOWN if one is None else reading.SHARED)
        elif one.cid in found.seen:
            found.refuse(line.line, reading.TWICE)
        else:
            found.seen.add(one.cid)
            taken.append(one.cid)
    return taken


async def _put(bank: Bank, row: UploadRow, cids: Sequence[str]) -> None:
    on = row["mode"] != "remove"
    said = {"list": row["list"], "on": on, "upload": row["upload"], "sent": row["at"]}
    changes = [
        (
            {"_id": rows.member_id(bank.id, row["list"], cid), **_older(row)},
            {"$set": {**said, "cid": cid}},
        )
        for cid in cids
    ]
    await bank.db[LIST_MEMBERS].bulk_update(changes, upsert=on)


def _older(row: UploadRow) -> Doc:
    """Members of whom no file says anything that was sent after this one."""
    return {"sent": {"$not": {"$gt": row["at"]}}}


def problems_file(row: UploadRow, said: Mapping[str, str]) -> bytes:
    """The lines that named nobody, as a table; `said` words each reason."""
    lines = [(str(line), said.get(reason, reason)) for line, reason in row["problems"]]
    return sheets.csv_file([("line", "why"), *lines])
