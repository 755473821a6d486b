"""The job table: everything that workers do, one entry each.

From an entry come the Celery task (operations/celery.py), the route to its queue and the queues
that a worker takes, what the scheduler looks for, and its row in docs/reference.md. A new job is
its work function and an entry here.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from typing_extensions import override

from campaigns.channels import provisioning, reconcile
from campaigns.channels.rows import CHANNELS
from campaigns.corp_tags import acts as tag_acts
from campaigns.corp_tags import walking
from campaigns.corp_tags.rows import RUNNING as TAG_RUNNING
from campaigns.corp_tags.rows import TAG_ACTS
from campaigns.delivery import perform
from campaigns.document.rows import CAMPAIGNS, RESUMED
from campaigns.engine import pausing, runs
from campaigns.engine.rows import RUNS
from customers.access import history
from customers.alerts import alarms, refusals
from customers.alerts.rows import ALARMS
from customers.approvals import approvals
from customers.approvals.rows import APPROVALS, APPROVED
from customers.archive import pull
from customers.archive.rows import ARCHIVE_PULLS
from customers.banks.bank import Bank
from customers.banks.tasks import (
    GREET,
    HANDLE_INBOX,
    HANDLE_STAFF,
    JOIN_WAITING,
    SEND_EFFECTS,
    SEND_WEBHOOKS,
    SEND_WELCOMES,
    SPLIT_INTAKE,
)
from customers.handover import batches
from customers.handover import work as handover
from customers.handover.rows import HANDOVER_BATCHES
from customers.identity.awaited import AWAITED
from customers.intake import receiving, splitting, waiting
from customers.intake.rows import INTAKE
from customers.lists import uploading as lists
from customers.lists.rows import LIST_UPLOADS
from customers.rfm import asking as ranking
from customers.rfm import nights as rfm_nights
from customers.rfm.rows import RFM_NIGHTS
from customers.segments import filling
from customers.segments.rows import SEGMENT_FILLS
from customers.webhooks import delivering
from customers.webhooks.rows import WEBHOOK_DELIVERIES
from operations import profiling
from operations.events import dead_letters, handle
from operations.failed import Failures
from operations.sync import run as syncing
from operations.sync import walk
from operations.sync.rows import RUNNING, SYNCS
from rewards import claims, shelf
from rewards.ledger import rebuild, sweep
from rewards.ledger.rows import HOLDS, LEDGER_BATCHES
from rewards.points import nights
from rewards.points.rows import POINTS_NIGHTS
from rewards.pools import importing, taking
from rewards.pools.rows import CODE_POOLS, CODE_UPLOADS
from rewards.rows import REWARDS, UNSETTLED
from rewards.shipping import batches as shipping
from rewards.shipping import shipments
from rewards.shipping.rows import SHIPMENT_BATCHES, SHIPMENTS
from rewards.vouchers import acts, due
from rewards.vouchers.rows import VOUCHER_ACTS, VOUCHERS
from services.cache import Slot
from services.errors import Unavailable, YinqiaoError
from services.queue import effects, inbox, outbox, turns
from services.queue.inbox import INBOX
from services.queue.outbox import OUTBOX
from services.queue.retry import Retry
from services.security.intents import AUDIT_INTENTS
from services.store import leases
from services.store.mongo import Doc
from services.store.rows import Rows
from services.wechat.core.unknown_codes import PLATFORM_CODES, UNSEEN

TIME_BUDGET = 30.0
"""Seconds after which a task takes nothing new and ends; the next wake-up goes on. A job may have
less."""

TURN_SECONDS = 1.0
"""So long a worker takes rows of one job of one bank; then it is somebody else's turn."""

MOST_WAITING_SECONDS = 30.0
"""So long at the most a job waits in one process for those who have not been greeted yet; then it
takes some rows between them."""

ALONE_SECONDS = 15
"""So long a job that one process at a time does waits for a process that died at it."""

CALLBACK, STAFF, EFFECTS, BANK = "callback", "staff", "effects", "bank"
FILES, WEBHOOKS = "files", "webhooks"
"""The queues: what somebody waits for, changes of who works here, everything else, and what the bank's
own systems send; and those with workers of their own: files whose reading cannot be cut into turns,
and what the bank's own systems are told, which may be slow to listen."""

FAULTS = 3
"""So many failures of a sweep in a row, and somebody is told."""
_FAULTS: Slot[Counter[tuple[str, str]]] = Slot("sweeps.faults", Counter)
_WAITING: Slot[dict[tuple[str, str], float]] = Slot("jobs.waiting", dict)
"""Since when a job of this process waits for a bank's greetings."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What every job has: `name` on the wire, its queue, the rows that it is about, those of them
    that it takes (`query`), and what it does (`doc`, as docs/reference.md has it)."""

    name: str
    queue: str
    rows: Rows
    query: Mapping[str, Any] = field(default_factory=dict)
    doc: str
    every: float = 1.0
    """Seconds between two looks of the scheduler for work that is due."""

    def due(self, bank: Bank) -> Doc:
        """The filter of the rows that are due now."""
        return dict(self.query)

    async def is_due(self, bank: Bank) -> bool:
        """Whether there is anything to do at the bank."""
        return bool(await bank.db[self.rows].find(self.due(bank), limit=1, fields={"_id": 1}))

    async def run(self, bank: Bank) -> None:
        """Does what is due at the bank. May run twice, and at several workers at once."""
        raise NotImplementedError

    async def turn(self, bank: Bank) -> None:
        """One turn of a worker: what is due, as far as a turn goes."""
        await self.run(bank)


@dataclass(frozen=True, kw_only=True)
class Job(Entry):
    """Waiting rows (services/store/leases.py), each handled under a lease of `lease` seconds by
    `work(bank, owner, row)`, `at_once` of them side by side.

    `work` finishes its row itself: it closes it or puts it back. When it raises, the row is tried
    again as `retry` says.
    """

    work: Callable[[Bank, str, Any], Coroutine[Any, Any, None]]
    lease: float
    retry: Retry
    at_once: int = 64
    budget: float = TIME_BUDGET
    """Seconds after which a task takes no further row."""
    urgent: bool = False
    """Whether it takes rows while somebody waits to be greeted; all others wait for that."""
    alone: bool = False
    """Whether one process at a time does it for a bank, so that the others are there for all else."""
    state: str = "state"
    """The field that says how a row ended."""
    given_up: Callable[[Bank, Any, str], Awaitable[None]] | None = None
    """Done before a row ends so, with the reason."""
    failed: Mapping[str, Any] | None = None
    """What finds the rows that failed for good, if it is more than their state."""
    again: Mapping[str, Any] = field(default_factory=dict)
    """What makes such a row wait again, besides what all waiting rows have."""

    @property
    def failures(self) -> Failures:
        """The job's rows that are not tried any more."""
        ended = self.failed if self.failed is not None else {self.state: self.retry.then}
        return Failures(self.name, self.rows, {"open": False, **self.query, **ended}, self.again)

    @override
    def due(self, bank: Bank) -> Doc:
        return {"open": True, "due": {"$lte": bank.now()}, **self.query}

    @override
    async def turn(self, bank: Bank) -> None:
        """Takes rows for TURN_SECONDS at the most, and queues up again behind all others when more
        is due: so a bank's backlog delays no other's work, and nothing more urgent."""
        until = bank.now() + min(self.budget, TURN_SECONDS)
        if not self.alone:
            await self._pump(bank, until, self._gives_way)
        else:
            async with turns.turn(
                bank.services.redis, f"{self.name}:{bank.id}", ALONE_SECONDS
            ) as mine:
                if not mine:
                    return
                await self._pump(bank, until, self._gives_way)
        if bank.now() >= until and await self.is_due(bank):
            bank.signal(self.name)

    @override
    async def run(self, bank: Bank) -> None:
        await self._pump(bank, bank.now() + self.budget)

    async def _gives_way(self, bank: Bank) -> bool:
        """Whether the job takes no rows for now, because somebody waits to be greeted; the
        scheduler wakes it again."""
        if self.urgent:
            return False
        waiting, me, now = bank.services.cache.of(_WAITING), (self.name, bank.id), bank.now()
        if await inbox.is_greeting_due(bank.db, now):
            if now - waiting.setdefault(me, now) < MOST_WAITING_SECONDS:
                return True
        waiting.pop(me, None)
        return False

    async def _pump(
        self,
        bank: Bank,
        until: float,
        gives_way: Callable[[Bank], Awaitable[bool]] | None = None,
    ) -> None:
        async def handle(owner: str, row: Doc) -> None:
            await self._handle(await bank.current(), owner, row)

        await leases.pump(
            bank.services.clock,
            bank.db[self.rows],
            handle,
            limit=self.at_once,
            seconds=self.lease,
            query=self.query,
            until=until,
            gives_way=partial(gives_way, bank) if gives_way else None,
            horizon=bank.services.cache.of(leases.HORIZONS)[self.rows, self.name, bank.id],
        )

    async def _handle(self, bank: Bank, owner: str, row: Doc) -> None:
        try:
            await self.work(bank, owner, row)
        except Unavailable:
            raise
        except Exception as error:
            fields = {"job": self.name, "row": row["_id"], "attempts": row["attempts"]}
            log.exception("a job failed", extra={"fields": fields})
            await self._try_later(bank, owner, row, error)

    async def _try_later(self, bank: Bank, owner: str, row: Doc, error: Exception) -> None:
        rows, attempts = bank.db[self.rows], int(row["attempts"])
        if self.retry.is_over(attempts):
            reason = error.code if isinstance(error, YinqiaoError) else "internal"
            if self.given_up is not None:
                await self.given_up(bank, row, reason)
            ended = {self.state: self.retry.then, "reason": reason}
            await leases.close(rows, owner, [row["_id"]], **ended)
            await alarms.work_failed(bank, self.name, reason)
        else:
            due = bank.now() + self.retry.delay(attempts)
            await leases.put_back(rows, owner, [row["_id"]], due)


@dataclass(frozen=True, kw_only=True)
class Sweep(Entry):
    """Rows that nobody leases: `work(bank)` sees to all that fit `query`. Should it fail, the next
    look of the scheduler wakes it again."""

    work: Callable[[Bank], Awaitable[object]]
    timed: bool = False
    """Whether a row waits for its `due` (seconds UTC)."""
    look: Callable[[Bank], Awaitable[bool]] | None = None
    """Says what `query` cannot: whether there is anything to do about the rows that fit it."""

    @override
    async def is_due(self, bank: Bank) -> bool:
        return await super().is_due(bank) and (self.look is None or await self.look(bank))

    @override
    def due(self, bank: Bank) -> Doc:
        waits = {"due": {"$lte": bank.now()}} if self.timed else {}
        return {**waits, **self.query}

    @override
    async def run(self, bank: Bank) -> None:
        """When it fails again and again a person is told; its rows are left as they are."""
        faults = bank.services.cache.of(_FAULTS)
        try:
            await self.work(bank)
        except Unavailable:
            raise
        except Exception as error:
            log.exception("a sweep failed", extra={"fields": {"job": self.name}})
            faults[bank.id, self.name] += 1
            if faults[bank.id, self.name] >= FAULTS:
                reason = error.code if isinstance(error, YinqiaoError) else "internal"
                await alarms.work_failed(bank, self.name, reason)
        else:
            faults.pop((bank.id, self.name), None)


JOBS: tuple[Job | Sweep, ...] = (
    Job(
        name=GREET,
        queue=CALLBACK,
        rows=INBOX,
        query={"lane": inbox.GREETING},
        work=handle.handle_message,
        lease=handle.LEASE_SECONDS,
        retry=handle.RETRY,
        urgent=True,
        given_up=dead_letters.add_dead,
        failed={"state": handle.RETRY.then},
        again={"state": None},
        doc="greets new friends, before all else",
    ),
    Job(
        name=HANDLE_INBOX,
        queue=CALLBACK,
        rows=INBOX,
        work=handle.handle_message,
        lease=handle.LEASE_SECONDS,
        retry=handle.RETRY,
        given_up=dead_letters.add_dead,
        failed={"state": handle.RETRY.then},
        again={"state": None},
        doc="handles what is due in the inbox when nobody waits to be greeted",
    ),
    Job(
        name=HANDLE_STAFF,
        queue=STAFF,
        rows=INBOX,
        query={"lane": inbox.STAFF},
        work=handle.handle_message,
        lease=handle.LEASE_SECONDS,
        retry=handle.RETRY,
        urgent=True,
        given_up=dead_letters.add_dead,
        failed={"state": handle.RETRY.then},
        again={"state": None},
        doc="handles who joined and who left, whatever else waits in the inbox",
    ),
    Job(
        name=SEND_WELCOMES,
        queue=CALLBACK,
        rows=OUTBOX,
        query={"lane": outbox.WELCOME},
        work=perform.perform,
        lease=perform.LEASE_SECONDS[outbox.WELCOME],
        retry=effects.RETRY,
        urgent=True,
        failed=outbox.GAVE_UP,
        again={"state": outbox.READY},
        doc="tries welcomes that are due",
    ),
    Job(
        name=SPLIT_INTAKE,
        queue=BANK,
        rows=INTAKE,
        work=splitting.split,
        lease=splitting.LEASE_SECONDS,
        retry=splitting.RETRY,
        again={"state": receiving.WAITING},
        at_once=2 * splitting.GROUP,
        alone=True,
        doc="splits what the bank's systems sent into events and what they told of customers",
    ),
    Job(
        name=JOIN_WAITING,
        queue=BANK,
        rows=AWAITED,
        work=waiting.look,
        lease=waiting.LEASE_SECONDS,
        retry=waiting.RETRY,
        at_once=32,
        alone=True,
        doc="joins what came of customers before they were known",
    ),
    Job(
        name=SEND_EFFECTS,
        queue=EFFECTS,
        rows=OUTBOX,
        query={"lane": outbox.EFFECTS},
        work=perform.perform,
        lease=perform.LEASE_SECONDS[outbox.EFFECTS],
        retry=effects.RETRY,
        failed=outbox.GAVE_UP,
        again={"state": outbox.READY},
        doc="tries all other effects that are due",
    ),
    Job(
        name="campaigns.advance_runs",
        queue=EFFECTS,
        rows=RUNS,
        work=runs.resume_safely,
        lease=runs.LEASE_SECONDS,
        retry=runs.RETRY,
        state="status",
        again={"status": "active"},
        doc="moves runs whose timer is due or whose move was cut short",
    ),
    Job(
        name=syncing.TASK,
        queue=EFFECTS,
        rows=SYNCS,
        work=walk.move,
        lease=walk.LEASE_SECONDS,
        retry=walk.RETRY,
        again={"state": RUNNING},
        at_once=2,
        budget=walk.TIME_BUDGET,
        doc="moves the sync with WeCom by some pages",
    ),
    Job(
        name=provisioning.TASK,
        queue=EFFECTS,
        rows=CHANNELS,
        query={"at_wecom": provisioning.PRESENT},
        work=reconcile.reconcile_channel,
        lease=reconcile.LEASE_SECONDS,
        retry=reconcile.RETRY,
        state="ended",  # a channel's `state` is what its code carries
        again={"ended": ""},
        at_once=8,
        doc="brings live codes, links and group codes up to who and what belongs behind them",
    ),
    Job(
        name=tag_acts.TASK,
        queue=EFFECTS,
        rows=TAG_ACTS,
        work=walking.work,
        lease=tag_acts.LEASE_SECONDS,
        retry=tag_acts.RETRY,
        failed={"state": tag_acts.RETRY.then, "reason": {"$exists": True}},
        again={"state": TAG_RUNNING},
        at_once=2,
        doc="renames, merges and deletes corp tags, some customers at a time",
    ),
    Sweep(
        name=tag_acts.COMPLETE,
        queue=EFFECTS,
        rows=APPROVALS,
        query={"kind": tag_acts.KIND.name, "state": APPROVED},
        work=tag_acts.complete,
        every=30.0,
        doc="begins what was agreed to about tags by a clerk who was cut short",
    ),
    Sweep(
        name="campaigns.resume",
        queue=EFFECTS,
        rows=CAMPAIGNS,
        query=RESUMED,
        work=pausing.finish,
        every=perform.PAUSED_SECONDS,
        doc="makes due what slept while a campaign was paused",
    ),
    Sweep(
        name="rewards.settle",
        queue=EFFECTS,
        rows=REWARDS,
        query=UNSETTLED,
        work=claims.settle_stale,
        every=2.0,
        doc="settles the leases of processes that died",
    ),
    Sweep(
        name="rewards.vouchers",
        queue=EFFECTS,
        rows=VOUCHERS,
        timed=True,
        work=due.see_to,
        doc="tells what happened to vouchers, reminds their customers, ends those that are over",
    ),
    Job(
        name=acts.TASK,
        queue=EFFECTS,
        rows=VOUCHER_ACTS,
        work=acts.recall_all,
        lease=acts.LEASE_SECONDS,
        retry=acts.RETRY,
        again={"state": acts.APPROVED},
        at_once=2,
        doc="recalls the unused vouchers of campaigns, some at a time",
    ),
    Sweep(
        name=acts.COMPLETE,
        queue=EFFECTS,
        rows=APPROVALS,
        query={"kind": acts.KIND.name, "state": APPROVED},
        work=acts.complete,
        every=30.0,
        doc="does with vouchers what was agreed to by a clerk who was cut short",
    ),
    Sweep(
        name="rewards.make_vouchers",
        queue=EFFECTS,
        rows=REWARDS,
        query=due.WITHOUT,
        work=due.make_missing,
        every=30.0,
        doc="makes the vouchers of what was granted before there were any",
    ),
    Sweep(
        name="ledger.make_lines",
        queue=EFFECTS,
        rows=REWARDS,
        query=rebuild.WITHOUT,
        work=rebuild.make_missing,
        every=30.0,
        doc="writes the accounts' lines of transfers from before there were any",
    ),
    Sweep(
        name="ledger.settle",
        queue=EFFECTS,
        rows=LEDGER_BATCHES,
        work=sweep.settle_stale,
        every=2.0,
        doc="does the same for what was about to be posted on accounts",
    ),
    Job(
        name="ledger.end_holds",
        queue=EFFECTS,
        rows=HOLDS,
        work=sweep.end_hold,
        lease=sweep.LEASE_SECONDS,
        retry=sweep.RETRY,
        doc="ends holds that nobody confirmed in time",
    ),
    Job(
        name=nights.TASK,
        queue=EFFECTS,
        rows=POINTS_NIGHTS,
        work=nights.move,
        lease=nights.LEASE_SECONDS,
        retry=nights.RETRY,
        again={"state": nights.WAITING},
        at_once=2,
        every=5.0,
        doc="at the bank's midnight: takes points that have expired, tells whose are about to",
    ),
    Sweep(
        name="rewards.watch_stock",
        queue=EFFECTS,
        rows=REWARDS,
        query=shelf.WATCHED,
        look=shelf.is_to_be_told,
        work=shelf.watch,
        every=15.0,
        doc="tells of rewards that run short, and ends that when there are enough again",
    ),
    Sweep(
        name="rewards.tell_shipments",
        queue=EFFECTS,
        rows=SHIPMENTS,
        query=shipments.UNTOLD,
        work=shipments.tell_untold,
        every=5.0,
        doc="tells what became of parcels where a process was cut short",
    ),
    Sweep(
        name="rewards.drop_batches",
        queue=EFFECTS,
        rows=SHIPMENT_BATCHES,
        query=shipping.UNFINISHED,
        work=shipping.drop_unfinished,
        every=30.0,
        doc="gives up batches for a shipper whose clerk was cut short before he submitted them",
    ),
    Sweep(
        name="rewards.forget_addresses",
        queue=EFFECTS,
        rows=SHIPMENTS,
        query=shipments.ADDRESSED,
        work=shipments.forget_old,
        every=600.0,
        doc="deletes delivery addresses some days after their parcels arrived",
    ),
    Sweep(
        name="rewards.settle_pools",
        queue=EFFECTS,
        rows=CODE_POOLS,
        query=taking.UNSETTLED,
        work=taking.settle_stale,
        every=2.0,
        doc="does the same for code pools, and tells of those that run short",
    ),
    Sweep(
        name="rewards.watch_pools",
        queue=EFFECTS,
        rows=CODE_POOLS,
        work=importing.watch,
        every=300.0,
        doc="puts codes aside whose time is over, and takes away files that are kept for too long",
    ),
    Job(
        name=importing.TASK,
        queue=FILES,
        rows=CODE_UPLOADS,
        work=importing.work,
        lease=importing.LEASE_SECONDS,
        retry=importing.RETRY,
        again={"state": importing.WAITING},
        at_once=1,
        budget=1.0,
        doc="brings files of codes into their pools",
    ),
    Job(
        name=batches.TASK,
        queue=EFFECTS,
        rows=HANDOVER_BATCHES,
        work=handover.move,
        lease=handover.LEASE_SECONDS,
        retry=handover.RETRY,
        again={"state": batches.APPROVED},
        at_once=4,
        doc="asks WeCom for approved hand-overs, and looks what became of them",
    ),
    Job(
        name=lists.TASK,
        queue=FILES,
        rows=LIST_UPLOADS,
        work=lists.work,
        lease=lists.LEASE_SECONDS,
        retry=lists.RETRY,
        again={"state": lists.WAITING},
        at_once=1,
        budget=1.0,
        doc="reads files of customers into their lists",
    ),
    Job(
        name=filling.TASK,
        queue=EFFECTS,
        rows=SEGMENT_FILLS,
        work=profiling.fill,
        lease=filling.LEASE_SECONDS,
        retry=filling.RETRY,
        again={"state": filling.FILLING},
        at_once=1,
        budget=1.0,
        doc="looks who is in a segment after its rule has changed, or the day",
    ),
    Job(
        name=ranking.TASK,
        queue=EFFECTS,
        rows=RFM_NIGHTS,
        work=profiling.rank,
        lease=rfm_nights.LEASE_SECONDS,
        retry=rfm_nights.RETRY,
        again={"state": ranking.RANKING},
        at_once=1,
        budget=1.0,
        every=2.0,
        doc="after midnight: ranks customers by RFM, and moves profiles to their new fifths",
    ),
    Sweep(
        name=batches.COMPLETE,
        queue=EFFECTS,
        rows=APPROVALS,
        query={"kind": batches.HANDOVER.name, "state": APPROVED},
        work=batches.complete,
        every=30.0,
        doc="makes those hand-overs due whose checker was cut short",
    ),
    Job(
        name=pull.TASK,
        queue=EFFECTS,
        rows=ARCHIVE_PULLS,
        work=pull.pull,
        lease=pull.LEASE_SECONDS,
        retry=pull.RETRY,
        at_once=2,
        doc="pulls archived messages, asks for consents, deletes what the bank keeps no longer",
    ),
    Sweep(
        name=refusals.TASK,
        queue=EFFECTS,
        rows=PLATFORM_CODES,
        query=UNSEEN,
        work=refusals.tell,
        every=2.0,
        doc="raises the alarms of what WeChat and WeCom refuse because of how the bank is set up",
    ),
    Sweep(
        name=SEND_WEBHOOKS,
        queue=WEBHOOKS,
        rows=WEBHOOK_DELIVERIES,
        query={"open": True},
        timed=True,
        look=delivering.is_ready,
        work=delivering.send_due,
        doc="tells the bank's own systems what happened, by its webhooks",
    ),
    Sweep(
        name="customers.forget_deliveries",
        queue=EFFECTS,
        rows=WEBHOOK_DELIVERIES,
        query=delivering.ENDED,
        timed=True,
        work=delivering.delete_old,
        every=600.0,
        doc="deletes what webhooks took 30 days ago, and what failed 90 days ago",
    ),
    Sweep(
        name="customers.record_decisions",
        queue=EFFECTS,
        rows=APPROVALS,
        query=approvals.UNRECORDED,
        work=approvals.record_decisions,
        every=30.0,
        doc="writes the audit rows of decisions whose clerk was cut short",
    ),
    Sweep(
        name="customers.record_handled",
        queue=EFFECTS,
        rows=ALARMS,
        query=alarms.UNRECORDED,
        work=alarms.record_handled,
        every=30.0,
        doc="does the same for alarms that somebody handled",
    ),
    Sweep(
        name="customers.finish_acts",
        queue=EFFECTS,
        rows=AUDIT_INTENTS,
        work=history.finish_acts,
        every=30.0,
        doc="writes the audit rows of acts whose process died",
    ),
)
"""Every job, in the order in which the documents list them."""

FAILURES = tuple(
    job.failures for job in JOBS if isinstance(job, Job) and job.work is not handle.handle_message
)
"""What failed for good; of the inbox its dead letters say it (operations/events/dead_letters.py)."""

QUEUES = {job.name: job.queue for job in JOBS}
"""The queue of every task, by its name."""


def queues() -> str:
    """The queues that have to be worked on in turns, as `celery worker --queues` takes them."""
    return ",".join(
        dict.fromkeys(queue for queue in QUEUES.values() if queue not in (FILES, WEBHOOKS))
    )


@dataclass(frozen=True)
class Backlog:
    """How much of a job waits at one bank: rows in all, and those that are due."""

    job: Job | Sweep
    waiting: int
    due: int


async def backlogs(bank: Bank) -> list[Backlog]:
    """Every job with what waits for it at the bank, in the table's order."""
    return [await _backlog(bank, job) for job in JOBS]


async def _backlog(bank: Bank, job: Job | Sweep) -> Backlog:
    rows = bank.db[job.rows]
    due = await rows.count(job.due(bank))
    if isinstance(job, Sweep):
        return Backlog(job, due, due)
    return Backlog(job, await rows.count({"open": True, **job.query}), due)
