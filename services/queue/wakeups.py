"""Celery as a bell: a message says "there is work for this tenant" and nothing more.

Every piece of work is a row in MongoDB (contract/trust 1.2 lists how Celery loses messages). A
lost bell costs at most a second: the scheduler rings again for whatever is due. Bells for the same
work within `QUIET_SECONDS` are rung once.
"""

from __future__ import annotations

import threading
from typing import Any

from celery import Celery

from config.settings import Settings
from services.observe.metrics import Metrics

QUIET_SECONDS = 0.1

QUEUES = {
    "campaigns.handle_inbox": "callback",
    "campaigns.send_welcomes": "callback",
    "campaigns.send_effects": "effects",
    "campaigns.advance_runs": "effects",
    "customers.handover": "effects",
    "customers.archive": "effects",
    "campaigns.sync": "effects",
    "campaigns.channels": "effects",
    "rewards.settle": "effects",
}


def make_celery(settings: Settings) -> Celery:
    """The Celery app; opens nothing. Late acks and rejection of a killed child's task, short
    visibility, no results."""
    app = Celery("yinqiao", broker=settings.broker)
    app.conf.update(
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_routes={name: {"queue": queue} for name, queue in QUEUES.items()},
        task_default_queue="effects",
        task_time_limit=120,
        task_soft_time_limit=90,
        worker_prefetch_multiplier=1,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_soft_shutdown_timeout=10.0,
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=2,
        broker_transport_options=_transport_options(settings.broker),
        accept_content=["json"],
        enable_utc=True,
    )
    return app


def _transport_options(broker: str) -> dict[str, Any]:
    if not broker.startswith("redis"):
        return {}
    return {
        "visibility_timeout": 180,
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "global_keyprefix": "yq:celery:",
    }


class Bells:
    """Rings workers from an event loop without ever blocking it: one thread speaks to the
    broker."""

    def __init__(self, celery: Celery, metrics: Metrics) -> None:
        self._celery = celery
        self._metrics = metrics
        self._pending: dict[tuple[str, str], None] = {}
        self._wake = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def ring(self, task: str, tenant: str) -> None:
        """Asks for `task` (a name of QUEUES) to run soon for `tenant`; returns at once. A lost bell
        is counted, not raised."""
        if task not in QUEUES:
            raise KeyError(f"unknown task {task}")
        with self._wake:
            self._pending[task, tenant] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="bells", daemon=True)
                self._thread.start()
            self._wake.notify()

    def close(self) -> None:
        """Rings what is pending and ends the thread."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(timeout=5)
        self._celery.close()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._pending and not self._stopping:
                    self._wake.wait()
                batch, self._pending = list(self._pending), {}
                if not batch and self._stopping:
                    return
            for task, tenant in batch:
                self._send(task, tenant)
            with self._wake:
                if not self._stopping:
                    self._wake.wait_for(lambda: self._stopping, timeout=QUIET_SECONDS)

    def _send(self, task: str, tenant: str) -> None:
        try:
            self._celery.send_task(task, args=[tenant], retry=False, expires=60)
        except Exception:  # any broker's any error: the scheduler rings again
            self._metrics.wakeups_lost.inc()
