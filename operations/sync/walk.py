"""The walk of a sync: whichever worker holds its lease moves it page by page.

A page's rows are written first and its cursor after, so whoever is killed anywhere leaves a sync
that goes on at the same page; what a page writes may be written twice. While a page is written the
next is being read. A platform that does not answer is waited for; a part that it refuses for good
is left out with an error, so that no sync is ever lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

from campaigns.channels import live_codes
from customers.banks.bank import Bank
from customers.wecom_mirror import sync
from customers.wecom_mirror.sync import WHOLE_PART, Batch, Job, Outcome, Part, Problem
from operations.sync import rows
from operations.sync.rows import DONE, RUNNING, WAITING, SyncRow, fresh_counts
from operations.sync.run import NIGHTLY, PARTS, TASK
from services.errors import Unavailable
from services.limiter import lane
from services.queue.retry import LEAVE_OUT, Retry
from services.wechat.core.errors import PlatformError, behind

LEASE_SECONDS = 10.0
TIME_BUDGET = 5.0
"""A worker that syncs looks this often whether something more urgent waits for it."""
READ_SECONDS = 40.0
"""For one page; less than a task may take (services/queue/broker.py)."""
RETRY = Retry(4, most=60.0, then=LEAVE_OUT)
"""For a page that is refused; a platform that is away is waited for however long it takes."""
log = logging.getLogger(__name__)


async def move(bank: Bank, owner: str, row: SyncRow) -> None:
    """Moves a sync that is leased to `owner` for TIME_BUDGET; the next wake-up goes on."""
    with lane("bulk"):
        await _Walk(bank, owner, row, until=bank.now() + TIME_BUDGET).go()


class _Lost(Exception):
    """The sync is another worker's by now, or was cancelled."""


class _Walk:
    """One worker's time with a sync."""

    def __init__(self, bank: Bank, owner: str, row: SyncRow, until: float) -> None:
        self._bank = bank
        self._owner = owner
        self._row = row
        self._until = until

    async def go(self) -> None:
        async with self._held():
            try:
                await self._parts()
            except _Lost:
                return
            except (PlatformError, TimeoutError) as error:
                action = getattr(error, "action", "retry")
                await self._stumble(error, refused=action in ("give_up", "page"))
            except Unavailable:
                raise
            except Exception as error:
                fields = {"sync": self._row["_id"]}
                log.error("a page of a sync failed", extra={"fields": fields}, exc_info=error)
                await self._stumble(error, refused=True)

    @asynccontextmanager
    async def _held(self) -> AsyncIterator[None]:
        """The lease is renewed for as long as we live, however long a page waits for its turn at
        the platform."""
        renewing = asyncio.create_task(self._renew())
        try:
            yield
        finally:
            renewing.cancel()
            with suppress(asyncio.CancelledError):
                await renewing

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            with suppress(Unavailable):
                await rows.renew(self._bank, self._row, self._owner, LEASE_SECONDS)

    async def _parts(self) -> None:
        """Part after part, to the end of the sync or of the time budget."""
        while self._row["part"]:
            part = PARTS[self._row["part"]]
            job = self._job(part)
            if not await self._pages(job, part):
                await self._save(due=self._bank.now(), owner=None)
                self._bank.signal(TASK)
                return
            if part.name == live_codes.LIVE_CODES_PART.name and self._row["mend"]:
                await live_codes.make_again(self._bank)
            await sync.drop_older_errors(job)
            await self._save(**self._following())
        await self._save(open=False, owner=None, state=DONE, finished_at=self._bank.utc())
        self._count_differences()

    def _job(self, part: Part) -> Job:
        row = self._row
        return Job(
            self._bank,
            row["number"],
            row["started_at"].timestamp(),
            compare=row["kind"] == NIGHTLY,
            mend=row["mend"],
            part=part.name,
            private=part.private,
        )

    def _count_differences(self) -> None:
        if self._row["kind"] != NIGHTLY:
            return
        metric = self._bank.services.metrics.sync_differences
        for name, counts in self._row["counts"].items():
            different = counts["new"] + counts["changed"] + counts["gone"]
            metric.labels(self._bank.id, name).inc(different)

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
                await self._page_done(part, batch, outcome)
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
        sealed = self._row["cursor"]
        if not sealed:
            return ""
        return self._bank.vault.open_text(rows.SYNCS, "cursor", self._row["_id"], sealed)

    async def _page_done(self, part: Part, batch: Batch, outcome: Outcome) -> None:
        """The page's counts and the cursor after it, in one write."""
        counts = self._counts_of(part)
        counts["done"] += outcome.done
        counts["new"] += outcome.new
        counts["changed"] += outcome.changed
        counts["gone"] += outcome.gone
        counts["errors"] += len(outcome.problems)
        if batch.total is not None:
            counts["total"] = batch.total
        if not batch.next:
            counts["finished_at"] = self._bank.utc()
            counts["total"] = counts["done"]
        cursor = self._bank.vault.seal_text(rows.SYNCS, "cursor", self._row["_id"], batch.next)
        await self._save(
            cursor=cursor,
            counts={**self._row["counts"], part.name: counts},
            state=RUNNING,
            reason="",
            tries=0,
            due=self._bank.now() + LEASE_SECONDS,
        )

    def _counts_of(self, part: Part) -> rows.PartCounts:
        """A copy of the part's counts, fresh ones at its beginning."""
        counts = self._row["counts"].get(part.name)
        return counts.copy() if counts is not None else fresh_counts(self._bank.utc())

    def _following(self) -> dict[str, Any]:
        """What the row says when the present part is over."""
        plan = self._row["plan"]
        left = plan[plan.index(self._row["part"]) + 1 :]
        return {
            "part": left[0] if left else "",
            "cursor": None,
            "tries": 0,
            "state": RUNNING,
            "reason": "",
        }

    async def _save(self, **fields: Any) -> None:
        if not await rows.save(self._bank, self._row, self._owner, fields):
            raise _Lost
        self._row = cast("SyncRow", {**self._row, **fields})

    async def _stumble(self, error: Exception, *, refused: bool) -> None:
        """The page is tried again later; a part that is refused again and again is left out."""
        tries = self._row["tries"] + 1
        with suppress(_Lost):
            if refused and RETRY.is_over(tries):
                await self._leave_out(sync.code_of(error))
                return
            pause = RETRY.delay(tries, at_least=getattr(error, "retry_after", 1))
            await self._save(
                state=WAITING,
                reason=sync.code_of(error),
                tries=tries,
                due=self._bank.now() + pause,
                owner=None,
                **behind(error),
            )

    async def _leave_out(self, code: str) -> None:
        """The sync goes on without its present part, which has an error row."""
        part = PARTS[self._row["part"]]
        await sync.keep_problems(self._bank, part, [Problem(WHOLE_PART, code)])
        counts = self._counts_of(part)
        counts["finished_at"] = self._bank.utc()
        counts["left_out"] = True
        counts["errors"] += 1
        all_counts = {**self._row["counts"], part.name: counts}
        following = self._following()
        await self._save(counts=all_counts, due=self._bank.now(), owner=None, **following)
