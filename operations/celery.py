"""Celery's door: `celery -A campaigns.tasks worker`. A task takes a tenant's id, runs one use-case,
and may run twice."""

from __future__ import annotations

from functools import partial

from config.logging import setup_logging
from config.settings import load
from operations import jobs
from operations.schema import COLLECTIONS
from services.queue.broker import QUEUES, make_celery
from services.queue.worker import WorkerLoop

settings = load()
setup_logging(settings.log_level)
app = make_celery(settings, QUEUES)
loop = WorkerLoop(settings, COLLECTIONS)


@app.task(name="campaigns.handle_inbox")  # type: ignore[untyped-decorator]
def handle_inbox(tenant: str) -> None:
    loop.run(partial(jobs.at_bank, work=jobs.handle_inbox, tenant=tenant))


@app.task(name="campaigns.send_welcomes")  # type: ignore[untyped-decorator]
def send_welcomes(tenant: str) -> None:
    loop.run(partial(jobs.at_bank, work=jobs.send_welcomes, tenant=tenant))


@app.task(name="campaigns.send_effects")  # type: ignore[untyped-decorator]
def send_effects(tenant: str) -> None:
    loop.run(partial(jobs.at_bank, work=jobs.send_effects, tenant=tenant))


@app.task(name="campaigns.advance_runs")  # type: ignore[untyped-decorator]
def advance_runs(tenant: str) -> None:
    loop.run(partial(jobs.at_bank, work=jobs.advance_runs, tenant=tenant))


@app.task(name="customers.handover")  # type: ignore[untyped-decorator]
def hand_over(tenant: str) -> None:
    loop.run(partial(jobs.at_bank, work=jobs.hand_over, tenant=tenant))


@app.task(name="customers.archive")  # type: ignore[untyped-decorator]
def pull_archive(tenant: str) -> None:
    loop.run(partial(jobs.at_bank, work=jobs.pull_archive, tenant=tenant))


@app.task(name="campaigns.sync")  # type: ignore[untyped-decorator]
def sync(tenant: str) -> None:
    loop.run(partial(jobs.at_bank, work=jobs.sync, tenant=tenant))


@app.task(name="campaigns.channels")  # type: ignore[untyped-decorator]
def keep_channels(tenant: str) -> None:
    loop.run(partial(jobs.at_bank, work=jobs.keep_channels, tenant=tenant))


@app.task(name="rewards.settle")  # type: ignore[untyped-decorator]
def settle(tenant: str) -> None:
    loop.run(partial(jobs.at_bank, work=jobs.settle, tenant=tenant))
