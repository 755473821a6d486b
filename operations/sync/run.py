"""The sync with WeCom: one row a bank says how far it is, and whichever worker holds its lease
moves it page by page.

A page's rows are written first and its cursor after, so whoever is killed anywhere leaves a sync
that goes on at the same page; what a page writes may be written twice. While a page is written the
next is being read. A platform that does not answer is waited for; a part that it refuses for good
is left out with an error, so that no sync is ever lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from campaigns import live
from campaigns.channels import links, live_codes
from campaigns.channels.provisioning import WANTED
from campaigns.channels.rows import CHANNELS
from customers.banks.bank import Bank
from customers.wecom_mirror import customers, groups, members, sync, tags
from customers.wecom_mirror.rows import SYNC_DIFFERENCES, SYNC_ERRORS
from customers.wecom_mirror.sync import WHOLE_PART, Batch, Job, Outcome, Part, Problem
from operations.sync.rows import SYNCS
from services.errors import Conflict, InvalidInput, NotFound, Unavailable
from services.limiter import lane
from services.queue.retry import LEAVE_OUT, Retry
from services.store.mongo import Collection, Doc
from services.wechat.core.errors import PlatformError

PARTS: dict[str, Part] = {
    part.name: part
    for part in (
        members.DEPARTMENTS_PART,
        members.MEMBERS_PART,
        tags.TAGS_PART,
        customers.CUSTOMERS_PART,
        customers.FRIENDSHIPS_PART,
        live_codes.LIVE_CODES_PART,
        links.LINKS_PART,
        groups.GROUPS_PART,
    )
}
"""What a sync walks through, in this order: what comes later may need what came before."""

TASK = "campaigns.sync"
FULL, NIGHTLY = "full", "nightly"
RUNNING, WAITING, DONE, CANCELLED = "running", "waiting", "done", "cancelled"
LEASE_SECONDS = 10.0
TIME_BUDGET = 5.0
"""A worker that syncs looks this often whether something more urgent waits for it."""
READ_SECONDS = 40.0
"""For one page; less than a task may take (services/queue/wakeups.py)."""
RETRY = Retry(4, most=60.0, then=LEAVE_OUT)
"""For a page; a platform that is away is waited for however long it takes."""
KEPT_SYNCS = 30
log = logging.getLogger(__name__)


async def start(
    bank: Bank,
    by: str,
    *,
    kind: str = FULL,
    parts: Sequence[str] = (),
    mend: bool = True,
) -> tuple[int, bool]:
    """The number of the sync that runs now, and whether this call began it: there is one at a time,
    and who comes second joins it. `parts` of PARTS, or all; raises InvalidInput for others."""
    if strangers := [name for name in parts if name not in PARTS]:
        raise InvalidInput(
            "sync_part", f"no part {', '.join(strangers)}; there is {', '.join(PARTS)}"
        )
    db = bank.db
    newest = await latest(bank)
    if newest is not None and newest["open"]:
        return int(newest["number"]), False
    number = 1 if newest is None else int(newest["number"]) + 1
    plan = [name for name in PARTS if not parts or name in parts]
    row: Doc = {
        "_id": _row_id(bank.id, number),
        "number": number,
        "kind": kind,
        "by": by,
        "mend": mend,
        "plan": plan,
    }
    row |= {
        "state": RUNNING,
        "reason": "",
        "part": plan[0],
        "cursor": None,
        "tries": 0,
        "counts": {},
        "finished": None,
    }
    row |= {
        "started": bank.now(),
        "open": True,
        "due": bank.now(),
        "owner": None,
        "attempts": 0,
    }
    if await db[SYNCS].insert_new([row]):  # somebody else began it in this moment
        return number, False
    await bank.audit(by, "sync.started", str(number), kind=kind, parts=plan)
    await _forget_old(bank, number)
    bank.signal(TASK)
    return number, True


def _row_id(tenant: str, number: int) -> str:
    return f"{tenant}:{number:08d}"


async def _forget_old(bank: Bank, number: int) -> None:
    """Syncs of long ago, and what they found, are of no use any more."""
    db = bank.db
    await db[SYNCS].delete({"_id": {"$lt": _row_id(bank.id, max(0, number - KEPT_SYNCS))}})
    await db[SYNC_DIFFERENCES].delete({"number": {"$lt": number - KEPT_SYNCS}})


async def latest(bank: Bank) -> Doc | None:
    """The newest sync's row."""
    rows = await bank.db[SYNCS].find({}, sort=[("number", -1)], limit=1)
    return rows[0] if rows else None


async def cancel(bank: Bank, by: str) -> int:
    """Ends the sync that runs; what it wrote stays. Raises Conflict `sync_not_running`."""
    newest = await latest(bank)
    db = bank.db
    ended = {"open": False, "owner": None, "state": CANCELLED, "finished": bank.now()}
    if newest is None or not await db[SYNCS].update(
        {"_id": newest["_id"], "open": True}, {"$set": ended}
    ):
        raise Conflict("sync_not_running", "no sync is running")
    await bank.audit(by, "sync.cancelled", str(newest["number"]))
    return int(newest["number"])


async def retry(bank: Bank, by: str, error: str) -> bool:
    """Brings in the one object of an error row (its id without the tenant) again: whether it
    worked. An error of a whole part begins a sync of that part, which ends the error when it comes
    to its end. Raises NotFound, and Conflict `sync_running` when another sync has to end first."""
    db = bank.db
    row = await db[SYNC_ERRORS].find_one({"_id": f"{bank.id}:{error}"})
    if row is None:
        raise NotFound("sync_error_unknown", "no such error; it may be mended already")
    part, what = PARTS[row["part"]], _object_of(bank, "sync_errors", row)
    if what == WHOLE_PART or part.again is None:
        _, begun = await start(bank, by, parts=[part.name])
        if not begun:
            raise Conflict("sync_running", "a sync is running; try again when it has ended")
        return True
    job = Job(bank, 0, bank.now())
    try:
        await part.again(job, what)
    except PlatformError as failure:
        await sync.keep_problems(bank, part, [Problem(what, sync.code_of(failure))])
        return False
    await sync.drop_errors(bank, part.name, [what])
    return True


def _object_of(bank: Bank, collection: str, row: Doc) -> str:
    return bank.vault.open_text(collection, "object", row["_id"], row["object"])


async def move(bank: Bank, owner: str, row: Doc) -> None:
    """Moves a sync that is leased to `owner` for TIME_BUDGET; the next wake-up goes on."""
    with lane("bulk"):
        await _Walk(bank, owner, row, until=bank.now() + TIME_BUDGET).go()


class _Lost(Exception):
    """The sync is another worker's by now, or was cancelled."""


class _Walk:
    """One worker's time with a sync."""

    def __init__(self, bank: Bank, owner: str, row: Doc, until: float) -> None:
        self._bank = bank
        self._owner = owner
        self._row = row
        self._until = until

    @property
    def _rows(self) -> Collection:
        return self._bank.db[SYNCS]

    async def go(self) -> None:
        async with self._held():
            try:
                await self._parts()
            except _Lost:
                return
            except (PlatformError, TimeoutError) as error:
                await self._stumble(
                    error, for_good=getattr(error, "action", "retry") in ("give_up", "page")
                )
            except Unavailable:
                raise
            except Exception as error:
                log.error(
                    "a page of a sync failed",
                    extra={"fields": {"sync": self._row["_id"]}},
                    exc_info=error,
                )
                await self._stumble(error, for_good=True)

    @asynccontextmanager
    async def _held(self) -> AsyncIterator[None]:
        """The lease is renewed for as long as we live, however long a page waits for its turn at
        the platform."""

        async def beat() -> None:
            while True:
                await asyncio.sleep(LEASE_SECONDS / 3)
                with suppress(Unavailable):
                    due = self._bank.now() + LEASE_SECONDS
                    await self._rows.update(
                        {"_id": self._row["_id"], "owner": self._owner}, {"$set": {"due": due}}
                    )

        beating = asyncio.create_task(beat())
        try:
            yield
        finally:
            beating.cancel()
            with suppress(asyncio.CancelledError):
                await beating

    async def _parts(self) -> None:
        bank = self._bank
        nightly = self._row["kind"] == NIGHTLY
        number, started, mend = self._row["number"], self._row["started"], self._row["mend"]
        while self._row["part"]:
            part = PARTS[self._row["part"]]
            job = Job(bank, number, started, nightly, mend, part.name, part.private)
            if not await self._pages(job, part):
                await self._save(due=self._bank.now(), owner=None)
                bank.signal(TASK)
                return
            if part.name == live_codes.LIVE_CODES_PART.name and mend:
                await _make_again(bank)
            await sync.drop_older_errors(job)
            await self._next_part()
        await self._save(open=False, owner=None, state=DONE, finished=self._bank.now())
        metric = bank.services.metrics.sync_differences
        for name, counts in self._row["counts"].items() if nightly else ():
            metric.labels(bank.id, name).inc(counts["new"] + counts["changed"] + counts["gone"])

    async def _pages(self, job: Job, part: Part) -> bool:
        """Page after page of a part; False when the time budget is over before its end."""
        page = self._ahead(job, part, self._cursor())
        try:
            while True:
                batch = await page
                going_on = bool(batch.next) and self._bank.now() < self._until
                if going_on:
                    page = self._ahead(job, part, batch.next)
                outcome = await part.write(job, batch)
                await sync.keep_problems(self._bank, part, outcome.problems)
                await self._count(part, batch, outcome)
                if not going_on:
                    return not batch.next
        finally:
            page.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await page

    def _ahead(self, job: Job, part: Part, cursor: str) -> asyncio.Task[Batch]:
        async def read() -> Batch:
            async with asyncio.timeout(READ_SECONDS):
                return await part.read(job, cursor)

        return asyncio.create_task(read())

    def _cursor(self) -> str:
        row, sealed = self._row, self._row["cursor"]
        vault = self._bank.vault
        return vault.open_text(SYNCS, "cursor", row["_id"], sealed) if sealed else ""

    async def _count(self, part: Part, batch: Batch, outcome: Outcome) -> None:
        """The page is done: its counts and the cursor after it, in one write."""
        row, now = self._row, self._bank.now()
        fresh = {
            "started": now,
            "finished": None,
            "done": 0,
            "total": None,
            "new": 0,
            "changed": 0,
            "gone": 0,
            "errors": 0,
        }
        counts = {**fresh, **row["counts"].get(part.name, {})}
        for name in ("done", "new", "changed", "gone"):
            counts[name] += getattr(outcome, name)
        counts["errors"] += len(outcome.problems)
        counts["total"] = batch.total if batch.total is not None else counts["total"]
        if not batch.next:
            counts |= {"finished": now, "total": counts["done"]}
        sealed = self._bank.vault.seal_text(SYNCS, "cursor", row["_id"], batch.next)
        all_counts = {**row["counts"], part.name: counts}
        await self._save(
            cursor=sealed,
            counts=all_counts,
            state=RUNNING,
            reason="",
            tries=0,
            due=now + LEASE_SECONDS,
        )

    async def _next_part(self) -> None:
        await self._save(**self._following())

    def _following(self) -> Doc:
        """What the row says when the present part is over."""
        left = self._row["plan"][self._row["plan"].index(self._row["part"]) + 1 :]
        return {
            "part": left[0] if left else "",
            "cursor": None,
            "tries": 0,
            "state": RUNNING,
            "reason": "",
        }

    async def _save(self, **fields: Any) -> None:
        if not await self._rows.update(
            {"_id": self._row["_id"], "owner": self._owner, "open": True}, {"$set": fields}
        ):
            raise _Lost
        self._row |= fields

    async def _stumble(self, error: Exception, *, for_good: bool) -> None:
        """The page is tried again later; a part that is refused again and again is left out, with
        an error row."""
        row, code = self._row, sync.code_of(error)
        tries = row["tries"] + 1
        with suppress(_Lost):
            if for_good and RETRY.is_over(tries):
                part = PARTS[row["part"]]
                await sync.keep_problems(self._bank, part, [Problem(WHOLE_PART, code)])
                await self._leave_out(part)
            else:
                pause = RETRY.delay(tries, at_least=getattr(error, "retry_after", 1))
                due = self._bank.now() + pause
                await self._save(state=WAITING, reason=code, tries=tries, due=due, owner=None)

    async def _leave_out(self, part: Part) -> None:
        now = self._bank.now()
        nothing = {
            "started": now,
            "done": 0,
            "total": None,
            "new": 0,
            "changed": 0,
            "gone": 0,
            "errors": 0,
        }
        counts = {
            **nothing,
            **self._row["counts"].get(part.name, {}),
            "finished": now,
            "left_out": True,
        }
        counts["errors"] += 1
        following = self._following()
        await self._save(
            counts={**self._row["counts"], part.name: counts}, due=now, owner=None, **following
        )


async def _make_again(bank: Bank) -> None:
    """Live codes that WeCom no longer has are made anew, with the same state, if a published
    campaign wants them."""
    rows = bank.db[CHANNELS]
    wanted = await rows.find(
        {"made": WANTED, "kind": live_codes.CODE, "since": 0.0}, fields={"campaign": 1}, limit=None
    )
    for name in sorted({row["campaign"] for row in wanted}):
        campaign = await live.published(bank, name)
        if campaign is not None:
            await live_codes.ensure(bank, campaign)


async def nightly(bank: Bank) -> None:
    """Begins tonight's comparison, once, when the night's hours have come; a sync that runs is
    waited for."""
    settings = bank.services.settings
    now = datetime.fromtimestamp(bank.now(), UTC) + timedelta(hours=settings.utc_offset_hours)
    if (
        settings.nightly_sync == "off"
        or not settings.nightly_from <= now.hour < settings.nightly_until
    ):
        return
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(
        hours=settings.utc_offset_hours
    )
    newest = await bank.db[SYNCS].find({}, sort=[("number", -1)], limit=KEPT_SYNCS)
    if any(row["kind"] == NIGHTLY and row["started"] >= midnight.timestamp() for row in newest):
        return
    await start(bank, NIGHTLY, kind=NIGHTLY, mend=settings.nightly_sync == "mend")
