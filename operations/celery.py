"""Celery's door: `celery -A campaigns.tasks worker`. A task takes a bank's id, does one job of the
table for it, and may run twice."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from celery import Celery

from config.logging import keep_files_private, setup_logging
from config.settings import load
from customers.banks.bank import open_bank
from operations.jobs import JOBS, QUEUES, Entry
from operations.schema import COLLECTIONS
from services.container import Services
from services.queue.broker import make_celery
from services.queue.worker import WorkerLoop


def register(app: Celery, loop: WorkerLoop, jobs: Iterable[Entry]) -> None:
    """Gives the app a task for each job, which runs on the loop."""
    for job in jobs:
        _register_one(app, loop, job)


def _register_one(app: Celery, loop: WorkerLoop, job: Entry) -> None:
    @app.task(name=job.name, shared=False)  # type: ignore[untyped-decorator]
    def run(tenant: str) -> None:
        loop.run(partial(_at_bank, job=job, tenant=tenant))


async def _at_bank(services: Services, *, job: Entry, tenant: str) -> None:
    await job.turn(await open_bank(services, tenant))


keep_files_private()
settings = load()
setup_logging(settings.log_level)
app = make_celery(settings, QUEUES)
register(app, WorkerLoop(settings, COLLECTIONS, QUEUES), JOBS)
