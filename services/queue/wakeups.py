"""Wake-ups for workers: a Celery message says "there is work for this tenant" and nothing more.

Every piece of work is a row in MongoDB (contract/trust 1.2 lists how Celery loses messages). A lost
wake-up costs at most a second: the scheduler signals again for whatever is due. Signals for the
same work within `QUIET_SECONDS` are sent once.
"""

from __future__ import annotations

import threading
from collections.abc import Collection

from celery import Celery

from services.observe.metrics import Metrics

QUIET_SECONDS = 0.1


class Wakeups:
    """Wakes workers from an event loop without ever blocking it: one thread speaks to the broker.
    `known` names the tasks that somebody listens to."""

    def __init__(self, celery: Celery, metrics: Metrics, *, known: Collection[str]) -> None:
        self._celery = celery
        self._metrics = metrics
        self._known = frozenset(known)
        self._pending: dict[tuple[str, str], None] = {}
        self._wake = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def signal(self, task: str, tenant: str) -> None:
        """Asks for `task` to run soon for `tenant`; returns at once. A lost wake-up is counted, not
        raised; raises KeyError when the task is not known."""
        if task not in self._known:
            raise KeyError(f"unknown task {task}")
        with self._wake:
            if (task, tenant) in self._pending:  # whoever asked first has woken the thread
                return
            self._pending[task, tenant] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="wakeups", daemon=True)
                self._thread.start()
            self._wake.notify()

    def close(self) -> None:
        """Sends what is pending and ends the thread."""
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
        except Exception:  # any broker's any error: the scheduler signals again
            self._metrics.wakeups_lost.inc()
