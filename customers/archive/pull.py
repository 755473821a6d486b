"""The message archive (wechat-contract B10): every message of those who agreed, pulled in order and
kept sealed.

A message's row has its `seq` in its `_id`, rows are inserted in the order of `seq`, and the newest
row is the cursor: there is no other. So cursor and rows cannot differ, whoever is killed wherever
(docs/decisions/0020). What cannot be read is kept as it came, with the reason, and holds up
nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta

from customers.alerts import alarms
from customers.archive import consents
from customers.archive.messages import KEPT, READ, Reader
from customers.banks.directory import Archive, Tenant, get_tenant, list_tenants
from services.clock import utc
from services.container import Services
from services.errors import Unavailable
from services.observe import trace
from services.store import leases
from services.store.mongo import Doc, Duplicate
from services.wechat import events

TASK = "customers.archive"
EVERY_SECONDS = 60.0
LEASE_SECONDS = 60.0
PAGE = 200
"""Messages that are opened and inserted together: in less time than a task may take
(services/queue/wakeups.py)."""
SLACK_SECONDS = 60.0
"""How much older than its notification a message may be: WeCom tells of messages every 15 s at
most."""
CAREFUL, LEAVE_OUT = 3, 6
"""After so many failures in a row one message is asked for at a time; after so many it is kept
unread."""
log = logging.getLogger(__name__)


def pull_id(tenant: str) -> str:
    """The `_id` of the row that says how far the bank's pull is."""
    return f"{tenant}:pull"


async def notified(
    services: Services, tenant: str, row: Doc, event: events.ArchiveNotified
) -> None:
    """WeCom says that there are messages: they are pulled now. Nothing at a bank without an
    archive."""
    if (await get_tenant(services, tenant)).archive is None:
        trace.note("archive.not_set_up")
        return
    await _open(services, tenant)
    rows, pull = services.store.tenant(tenant)["archive_pulls"], {"_id": pull_id(tenant)}
    at = events.happened(event, row)
    await rows.update(pull, {"$inc": {"news": 1}, "$max": {"notified": at}})
    behind = {**pull, "behind_since": None, "newest": {"$lt": at - SLACK_SECONDS}}
    await rows.update(behind, {"$set": {"behind_since": at}})
    await rows.update({**pull, "owner": None}, {"$set": {"due": services.clock()}})
    services.wakeups.signal(TASK, tenant)


async def _open(services: Services, tenant: str) -> None:
    """Sees to it that the bank's pull is a waiting row, due every EVERY_SECONDS."""
    rows, now = services.store.tenant(tenant)["archive_pulls"], services.clock()
    new: Doc = {
        "news": 0,
        "notified": 0.0,
        "newest": 0.0,
        "behind_since": None,
        "more": False,
        "pulled": None,
    }
    new |= {"reason": "", "failures": 0, "attempts": 0, "walk": [], "walk_due": now}
    waiting = {"open": True, "due": now, "owner": None}
    try:
        closed = {"_id": pull_id(tenant), "open": {"$ne": True}}
        await rows.update(closed, {"$set": waiting, "$setOnInsert": new}, upsert=True)
    except Duplicate:
        return


async def keep_going(services: Services, tenant: str) -> None:
    """Opens the pull of a bank that has an archive, and raises the alarm when it lags; the
    scheduler calls it again and again."""
    bank = await get_tenant(services, tenant)
    if bank.archive is None:
        return
    await _open(services, tenant)
    row = await _pull_row(services, tenant)
    late = lag(services, row)
    if row and late > services.settings.archive_lag_alarm:
        since = float(row["behind_since"] or row["newest"])
        data = {"since": utc(since).isoformat(), "reason": row["reason"]}
        await alarms.raise_alarm(services, tenant, "archive_lag", str(since), **data)


async def _pull_row(services: Services, tenant: str) -> Doc | None:
    return await services.store.tenant(tenant)["archive_pulls"].find_one({"_id": pull_id(tenant)})


def lag(services: Services, row: Doc | None) -> float:
    """Seconds since the first message that WeCom told of and we do not have, or since the newest
    that we have while a whole page waits after it; 0.0 when nothing waits."""
    if row is None:
        return 0.0
    since = [float(row["behind_since"])] if row["behind_since"] is not None else []
    since += [float(row["newest"])] if row["more"] else []
    return max(0.0, services.clock() - min(since)) if since else 0.0


async def measure(services: Services) -> None:
    """Brings the metric of the lag up to the present."""
    for tenant in await list_tenants(services):
        if tenant.archive is not None:
            seconds = lag(services, await _pull_row(services, tenant.id))
            services.metrics.archive_lag.labels(tenant.id).set(seconds)


async def work(services: Services, tenant: str, until: float) -> None:
    """Pulls what there is, page by page, if it is due; asks for some consents; lets go of what the
    bank does not keep any longer. After `until` (seconds UTC) it takes no further page."""
    rows = services.store.tenant(tenant)["archive_pulls"]
    owner, taken = await leases.claim(rows, services.clock(), limit=1, seconds=LEASE_SECONDS)
    if not taken:
        return
    bank, row = await get_tenant(services, tenant), taken[0]
    if bank.archive is None:
        await leases.close(rows, owner, [row["_id"]])
        return
    pull = _Pull(services, bank, bank.archive, owner, row)
    try:
        await pull.run(until)
        await _expire(services, bank, bank.archive)
        ended: Doc = {"reason": "", **await consents.ask_some(services, bank, bank.archive, row)}
    except Unavailable as error:
        log.warning(
            "the archive was not pulled", extra={"fields": {"tenant": tenant, "why": error.message}}
        )
        ended = {"reason": error.code, "failures": pull.failures + 1}
    due = services.clock() + EVERY_SECONDS
    mine = {"_id": row["_id"], "owner": owner, "more": False, "news": row["news"]}
    if await rows.update(mine, {"$set": {"owner": None, "due": due, **ended}}):
        return
    soon = (
        due if ended["reason"] else services.clock()
    )  # there is more, or it was told of meanwhile
    await leases.put_back(rows, owner, [row["_id"]], soon, **ended)


class _Pull:
    """One worker's shift at a bank's archive."""

    def __init__(
        self, services: Services, bank: Tenant, archive: Archive, owner: str, row: Doc
    ) -> None:
        self._services = services
        self._tenant = bank.id
        self._pull = row["_id"]
        self._owner = owner
        self.failures = int(row["failures"])
        self._reader = Reader(services, bank, archive)
        self._rows = services.store.tenant(bank.id)["archive_pulls"]

    async def run(self, until: float) -> None:
        """Page by page until there is nothing more, or `until`; ends when another worker has taken
        over."""
        while self._services.clock() < until:
            limit = PAGE if self.failures < CAREFUL else 1
            records = await self._reader.source.pull(
                await cursor(self._services, self._tenant), limit
            )
            found = await self._reader.rows(records, leave_out=self.failures >= LEAVE_OUT)
            await self._services.store.tenant(self._tenant)["archive"].append(found)
            self.failures = 0
            if not await self._went_on(found, more=len(records) == limit) or len(records) < limit:
                return

    async def _went_on(self, found: Sequence[Doc], *, more: bool) -> bool:
        """Writes how far it is, and keeps the lease; False when it is somebody else's."""
        now, mine = self._services.clock(), {"_id": self._pull, "owner": self._owner}
        newest = min(now, max((row["at"].timestamp() for row in found), default=0.0))
        far = {"due": now + LEASE_SECONDS, "pulled": utc(now), "more": more, "failures": 0}
        if not await self._rows.update(mine, {"$set": far, "$max": {"newest": newest}}):
            return False
        if not more and (row := await self._rows.find_one(mine)):
            seen = {"behind_since": {"$lte": row["newest"] + SLACK_SECONDS}}
            await self._rows.update({"_id": self._pull, **seen}, {"$set": {"behind_since": None}})
        return True


async def cursor(services: Services, tenant: str) -> int:
    """The `seq` of the newest message that we have; 0 for none."""
    rows = services.store.tenant(tenant)["archive"]
    newest = await rows.find({}, fields={"seq": 1}, sort=[("seq", -1)], limit=1)
    return int(newest[0]["seq"]) if newest else 0


async def _expire(services: Services, bank: Tenant, archive: Archive) -> None:
    """Forgets messages older than the bank keeps them; never the newest, which is the cursor."""
    if archive.retention_days is None:
        return
    db = services.store.tenant(bank.id)
    before = utc(services.clock()) - timedelta(days=archive.retention_days)
    old = {"at": {"$lt": before}, "seq": {"$lt": await cursor(services, bank.id)}}
    if gone := await db["archive"].delete(old):
        data = {"messages": gone, "days": archive.retention_days}
        await services.audit.record(db, "retention", "archive.expired", bank.id, **data)


async def retry(services: Services, tenant: str, by: str) -> tuple[int, int]:
    """Tries again to read what was kept unread, for instance with a key that came later: how many
    now are read, and how many are not. Raises Unavailable."""
    bank = await get_tenant(services, tenant)
    if bank.archive is None:
        return 0, 0
    reader, db = Reader(services, bank, bank.archive), services.store.tenant(tenant)
    after, read, left = 0, 0, 0
    while kept := await db["archive"].find(
        {"state": KEPT, "seq": {"$gt": after}}, sort=[("seq", 1)], limit=PAGE
    ):
        for row in await reader.rows([reader.record_of(row) for row in kept]):
            fields = {name: value for name, value in row.items() if name != "_id"}
            await db["archive"].update({"_id": row["_id"], "state": KEPT}, {"$set": fields})
            read, left = read + (row["state"] == READ), left + (row["state"] == KEPT)
        after = kept[-1]["seq"]
    if read:
        await services.audit.record(db, by, "archive.retried", tenant, read=read, left=left)
    return read, left
