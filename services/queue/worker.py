"""One event loop and one set of services a worker process; tasks hand it their use-case."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from celery.signals import worker_process_init, worker_process_shutdown

from config.settings import Settings
from services.container import Services, open_services, tune_collector
from services.observe.worker_metrics import Reporter
from services.store.rows import Rows

GROUP_WINDOW = 0.01
"""seconds: nobody waits for an HTTP answer here, so a group may wait longer for company"""


class WorkerLoop:
    """Opens services after the fork (a client opened before it would be shared) and runs use-cases
    on its own loop."""

    def __init__(
        self, settings: Settings, collections: Iterable[Rows], queues: Mapping[str, str]
    ) -> None:
        self._settings = settings
        self._collections = tuple(collections)
        self._queues = queues
        self._runner: asyncio.Runner | None = None
        self._services: Services | None = None
        self._reporter: Reporter | None = None
        worker_process_init.connect(self._open, weak=False)
        worker_process_shutdown.connect(self._close, weak=False)

    def _open(self, **_: Any) -> None:
        self._runner = asyncio.Runner()
        self._services = self._runner.run(
            open_services(
                self._settings, self._collections, self._queues, group_window=GROUP_WINDOW
            )
        )
        self._reporter = Reporter(self._services.metrics.registry)
        tune_collector()

    def _close(self, **_: Any) -> None:
        if self._runner is not None and self._services is not None:
            if self._reporter is not None:
                self._runner.run(self._reporter.report(self._services.redis))
            self._runner.run(self._services.close())
            self._runner.close()
        self._runner = self._services = self._reporter = None

    def run(self, use_case: Callable[[Services], Awaitable[Any]]) -> None:
        """Runs `use_case(services)` to its end, and reports what is counted meanwhile."""
        if self._runner is None or self._services is None:
            self._open()
        if self._runner is None or self._services is None or self._reporter is None:
            raise RuntimeError("the worker process has no event loop")
        self._runner.run(_reported(use_case, self._services, self._reporter))


async def _reported(
    use_case: Callable[[Services], Awaitable[Any]], services: Services, reporter: Reporter
) -> None:
    ended = asyncio.Event()
    reporting = asyncio.create_task(reporter.report_until(services.redis, ended))
    try:
        await use_case(services)
    finally:
        ended.set()
        await reporting
