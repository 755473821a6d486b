"""The message archive (contract/wechat B10): every message of those who agreed, pulled in order and
kept sealed.

A message's row has its `seq` in its `_id`, rows are inserted in the order of `seq`, and the newest
row is the cursor: there is no other. So cursor and rows cannot differ, whoever is killed wherever
(docs/decisions/0020). What cannot be read is kept as it came, with the reason, and holds up
nothing.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import cast

from customers.alerts import alarms
from customers.archive import consents
from customers.archive.messages import KEPT, READ, Reader
from customers.archive.rows import ARCHIVE, ARCHIVE_PULLS, ArchivedRow, PullRow
from customers.banks.bank import Bank, list_banks
from customers.banks.files import Archive
from services.clock import utc
from services.container import Services
from services.errors import Unavailable
from services.observe import trace
from services.queue.inbox import InboxRow
from services.queue.retry import LEAVE_OUT, Retry
from services.store import leases
from services.store.mongo import Doc, Duplicate
from services.wechat import events
from services.wechat.core.archive import AnswerTooLarge, Record

TASK = "customers.archive"
EVERY_SECONDS = 60.0
LEASE_SECONDS = 60.0
PAGE = 200
"""Messages that are opened and inserted together: in less time than a task may take
(services/queue/wakeups.py)."""
SLACK_SECONDS = 60.0
"""How much older than its notification a message may be: WeCom tells of messages every 15 s at
most."""
CAREFUL = 3
"""After so many failures in a row one message is asked for at a time."""
RETRY = Retry(6, first=EVERY_SECONDS, most=EVERY_SECONDS, then=LEAVE_OUT)
"""After the last try a message is kept unread."""
TIME_BUDGET = 3.0
"""A worker that pulls looks this often whether something more urgent waits for it."""
log = logging.getLogger(__name__)


def pull_id(tenant: str) -> str:
    """The `_id` of the row that says how far the bank's pull is."""
    return f"{tenant}:pull"


async def notified(bank: Bank, row: InboxRow, event: events.ArchiveNotified) -> None:
    """WeCom says that there are messages: they are pulled now. Nothing at a bank without an
    archive."""
    if bank.archive is None:
        trace.note("archive.not_set_up")
        return
    await _open(bank)
    rows = bank.db[ARCHIVE_PULLS]
    pull = {"_id": pull_id(bank.id)}
    at = events.happened(event, row)
    await rows.update(pull, {"$inc": {"news": 1}, "$max": {"notified": at}})
    behind = {**pull, "behind_since": None, "newest": {"$lt": at - SLACK_SECONDS}}
    await rows.update(behind, {"$set": {"behind_since": at}})
    await rows.update({**pull, "owner": None}, {"$set": {"due": bank.now()}})
    bank.signal(TASK)


async def _open(bank: Bank) -> None:
    """Sees to it that the bank's pull is a waiting row, due every EVERY_SECONDS."""
    now = bank.now()
    new: Doc = {
        "news": 0,
        "notified": 0.0,
        "newest": 0.0,
        "behind_since": None,
        "more": False,
        "pulled": None,
        "reason": "",
        "failures": 0,
        "attempts": 0,
        "walk": [],
        "walk_due": now,
    }
    waiting = {"$set": {"open": True, "due": now, "owner": None}, "$setOnInsert": new}
    closed = {"_id": pull_id(bank.id), "open": {"$ne": True}}
    with suppress(Duplicate):  # it is open
        await bank.db[ARCHIVE_PULLS].update(closed, waiting, upsert=True)


async def keep_going(bank: Bank) -> None:
    """Opens the pull of a bank that has an archive, and raises the alarm when it lags; the
    scheduler calls it again and again."""
    if bank.archive is None:
        return
    await _open(bank)
    row = await find(bank)
    late = lag(bank, row)
    if row and late > bank.services.settings.archive_lag_alarm:
        since = float(row["behind_since"] or row["newest"])
        data: Doc = {"since": utc(since).isoformat(), "reason": row["reason"]}
        await alarms.raise_alarm(bank, "archive_lag", str(since), **data)


async def find(bank: Bank) -> PullRow | None:
    """How far the bank's pull is."""
    row = await bank.db[ARCHIVE_PULLS].find_one({"_id": pull_id(bank.id)})
    return cast("PullRow | None", row)


def lag(bank: Bank, row: PullRow | None) -> float:
    """Seconds since the first message that WeCom told of and we do not have, or since the newest
    that we have while a whole page waits after it; 0.0 when nothing waits."""
    if row is None:
        return 0.0
    since = [row["newest"]] if row["more"] else []
    if row["behind_since"] is not None:
        since.append(row["behind_since"])
    return max(0.0, bank.now() - min(since)) if since else 0.0


async def measure(services: Services) -> None:
    """Brings the metric of the lag up to the present."""
    for bank in await list_banks(services):
        if bank.archive is not None:
            seconds = lag(bank, await find(bank))
            services.metrics.archive_lag.labels(bank.id).set(seconds)


async def pull(bank: Bank, owner: str, row: Doc) -> None:
    """Pulls what there is, page by page; asks for some consents; lets go of what the bank does not
    keep any longer. `row` is leased to `owner`; after TIME_BUDGET no further page is taken."""
    mine = cast("PullRow", row)
    if bank.archive is None:
        await leases.close(bank.db[ARCHIVE_PULLS], owner, [mine["_id"]])
        return
    ended = await _shift(bank, bank.archive, owner, mine)
    await _put_back(bank, owner, mine, ended)


async def _shift(bank: Bank, archive: Archive, owner: str, row: PullRow) -> Doc:
    """One worker's time with the archive; what the pull's row says after it."""
    pulling = _Pull(bank, archive, owner, row)
    try:
        await pulling.run(until=bank.now() + TIME_BUDGET)
        await _expire(bank, archive)
        return {"reason": "", **await consents.ask_some(bank, archive, row)}
    except Unavailable as error:
        why = {"tenant": bank.id, "why": error.message}
        log.warning("the archive was not pulled", extra={"fields": why})
        return {"reason": error.code, "failures": pulling.failures + 1}


async def _put_back(bank: Bank, owner: str, row: PullRow, ended: Doc) -> None:
    """Due again in EVERY_SECONDS; at once when there is more, or it was told of meanwhile."""
    rows = bank.db[ARCHIVE_PULLS]
    due = bank.now() + EVERY_SECONDS
    nothing_new = {"_id": row["_id"], "owner": owner, "more": False, "news": row["news"]}
    if await rows.update(nothing_new, {"$set": {"owner": None, "due": due, **ended}}):
        return
    soon = due if ended["reason"] else bank.now()
    await leases.put_back(rows, owner, [row["_id"]], soon, **ended)


class _Pull:
    """One worker's time with a bank's archive."""

    def __init__(self, bank: Bank, archive: Archive, owner: str, row: PullRow) -> None:
        self._bank = bank
        self._pull = row["_id"]
        self._owner = owner
        self.failures = row["failures"]
        self._reader = Reader(bank, archive)
        self._rows = bank.db[ARCHIVE_PULLS]

    async def run(self, until: float) -> None:
        """Page by page until there is nothing more, or `until`; ends when another worker has taken
        over."""
        while self._bank.now() < until:
            records, limit = await self._page(PAGE if self.failures < CAREFUL else 1)
            found = await self._reader.rows(records, leave_out=RETRY.is_over(self.failures))
            await self._bank.db[ARCHIVE].append([{**row} for row in found])
            self.failures = 0
            if not await self._went_on(found, more=len(records) == limit) or len(records) < limit:
                return

    async def _page(self, limit: int) -> tuple[list[Record], int]:
        """The next records, and of how many they are a page: fewer than `limit` when those are too
        much for one answer."""
        after = await cursor(self._bank)
        while True:
            try:
                return await self._reader.source.pull(after, limit), limit
            except AnswerTooLarge:
                if limit == 1:
                    raise
                limit //= 2

    async def _went_on(self, found: Sequence[ArchivedRow], *, more: bool) -> bool:
        """Writes how far it is, and keeps the lease; False when it is somebody else's."""
        now = self._bank.now()
        mine = {"_id": self._pull, "owner": self._owner}
        newest = min(now, max((row["at"].timestamp() for row in found), default=0.0))
        far = {"due": now + LEASE_SECONDS, "pulled": utc(now), "more": more, "failures": 0}
        if not await self._rows.update(mine, {"$set": far, "$max": {"newest": newest}}):
            return False
        if not more and (row := await self._rows.find_one(mine)):
            seen = {"behind_since": {"$lte": row["newest"] + SLACK_SECONDS}}
            await self._rows.update({"_id": self._pull, **seen}, {"$set": {"behind_since": None}})
        return True


async def cursor(bank: Bank) -> int:
    """The `seq` of the newest message that we have; 0 for none."""
    rows = bank.db[ARCHIVE]
    newest = await rows.find({}, fields={"seq": 1}, sort=[("seq", -1)], limit=1)
    return int(newest[0]["seq"]) if newest else 0


async def _expire(bank: Bank, archive: Archive) -> None:
    """Forgets messages older than the bank keeps them; never the newest, which is the cursor."""
    if archive.retention_days is None:
        return
    before = bank.utc() - timedelta(days=archive.retention_days)
    old = {"at": {"$lt": before}, "seq": {"$lt": await cursor(bank)}}
    if gone := await bank.db[ARCHIVE].delete(old):
        data = {"messages": gone, "days": archive.retention_days}
        await bank.audit("retention", "archive.expired", bank.id, **data)


async def retry(bank: Bank, by: str) -> tuple[int, int]:
    """Tries again to read what was kept unread, for instance with a key that came later: how many
    now are read, and how many are not. Raises Unavailable."""
    if bank.archive is None:
        return 0, 0
    reader = Reader(bank, bank.archive)
    states: Counter[str] = Counter()
    after = 0
    async with bank.audited(by, "archive.retried", bank.id) as act:
        while kept := await _kept(bank, after):
            for row in await reader.rows([reader.record_of(row) for row in kept]):
                await _replace(bank, row)
                states[row["state"]] += 1
            after = kept[-1]["seq"]
        act.done = bool(states[READ])
        act.data |= {"read": states[READ], "left": states[KEPT]}
    return states[READ], states[KEPT]


async def _kept(bank: Bank, after: int) -> list[ArchivedRow]:
    """The next page of what could not be read."""
    wanted = {"state": KEPT, "seq": {"$gt": after}}
    found = await bank.db[ARCHIVE].find(wanted, sort=[("seq", 1)], limit=PAGE)
    return cast("list[ArchivedRow]", found)


async def _replace(bank: Bank, row: ArchivedRow) -> None:
    fields = {name: value for name, value in row.items() if name != "_id"}
    await bank.db[ARCHIVE].update({"_id": row["_id"], "state": KEPT}, {"$set": fields})
