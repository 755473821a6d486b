"""The one place where things are opened. Web, workers, the command line and the tests all start
here."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis

from config.settings import Settings
from services.cache import ProcessCache
from services.clock import Clock, system_clock
from services.observe.metrics import Metrics
from services.queue.broker import make_celery
from services.queue.nonces import Nonces
from services.queue.wakeups import Wakeups
from services.security.audit import Audit
from services.security.sessions import Sessions
from services.security.throttle import Throttle
from services.security.tries import Tries
from services.security.vault import Vault
from services.store import installation
from services.store.groupcommit import GroupCommit
from services.store.mongo import Store
from services.store.rows import Rows
from services.wechat.core.platform import Platform
from services.wechat.core.tokens import TokenStore
from services.wechat.core.unknown_codes import UnknownCodes

log = logging.getLogger(__name__)


class Groups:
    """The group commits of this process, by name, made at first use and drained at the end."""

    def __init__(self, window: float, metrics: Metrics) -> None:
        self._window = window
        self._sizes = metrics.group_size
        self._groups: dict[str, GroupCommit[Any, Any]] = {}
        self._background: set[asyncio.Task[None]] = set()

    def get(
        self, name: str, flush: Callable[[list[Any]], Awaitable[Sequence[Any]]], **options: Any
    ) -> GroupCommit[Any, Any]:
        """The group of that name; `flush` and `options` count at its first use only."""
        group = self._groups.get(name)
        if group is None:
            kind = name.split(":", 1)[0]
            options = {"window": self._window, "sizes": self._sizes, **options}
            group = self._groups[name] = GroupCommit(kind, flush, **options)
        return group

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs `work` behind the answer that was just given; the end of the process waits for
        it."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("work behind an answer failed", exc_info=task.exception())

    async def close(self) -> None:
        """Returns when every item has its answer and all work behind answers is done."""
        for group in list(self._groups.values()):
            await group.close()
        while self._background:
            await asyncio.gather(*self._background, return_exceptions=True)


@dataclass(frozen=True)
class Services:
    """What a use-case may need; given as its first argument."""

    settings: Settings
    clock: Clock
    store: Store
    vault: Vault
    audit: Audit
    sessions: Sessions
    tries: Tries
    throttle: Throttle
    nonces: Nonces
    redis: Redis
    wakeups: Wakeups
    platform: Platform
    groups: Groups
    metrics: Metrics
    cache: ProcessCache

    async def close(self) -> None:
        """Answers everything that was taken, then lets go of every connection."""
        await self.groups.close()
        self.wakeups.close()
        await self.platform.close()
        await self.redis.aclose()
        self.store.close()


def tune_collector() -> None:
    """For a process whose services are open: what is here lives as long as it, and is not looked at
    again for circles of garbage; what comes is looked at seldom, since to look at many rows that are
    in hand takes longer than to decode them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


async def open_services(
    settings: Settings,
    collections: Iterable[Rows],
    queues: Mapping[str, str],
    *,
    clock: Clock = system_clock,
    group_window: float | None = None,
) -> Services:
    """Everything opened for this process's loop; connections are made when first used.
    Raises WrongInstallation for a production's database in another environment.
    The indexes of `collections` (operations/schema.py) are created if they are missing; `queues`
    are the tasks that may be woken, each with its queue (operations/jobs.py). `group_window`
    in seconds (the setting)."""
    metrics = Metrics()
    store = Store(settings.mongodb, settings.mongodb_database)
    await _check_installation(store, settings, clock)
    await store.ensure_indexes(collections)
    redis = _redis(settings.redis)
    vault = Vault(settings.master_key.get_secret_value(), settings.cipher, clock=clock)
    window = settings.group_window_ms / 1000 if group_window is None else group_window
    groups = Groups(window, metrics)
    platform = Platform(
        settings,
        redis,
        TokenStore(redis, vault, clock),
        metrics,
        on_unknown=UnknownCodes(store, clock, groups.spawn).heard,
    )
    return Services(
        settings=settings,
        clock=clock,
        store=store,
        vault=vault,
        audit=Audit(clock, vault, settings.checkpoints),
        sessions=Sessions(redis, clock, vault, hours=settings.session_hours),
        tries=Tries(redis),
        throttle=Throttle(redis, clock, metrics),
        nonces=Nonces(redis, clock, metrics, window=settings.callback_window),
        redis=redis,
        wakeups=Wakeups(make_celery(settings, queues), metrics, known=queues),
        platform=platform,
        groups=groups,
        metrics=metrics,
        cache=ProcessCache(clock),
    )


async def _check_installation(store: Store, settings: Settings, clock: Clock) -> None:
    try:
        await installation.check(store, settings.env, clock)
    except BaseException:
        store.close()
        raise


def _redis(url: str) -> Redis:
    pool = BlockingConnectionPool.from_url(
        url, socket_timeout=2, socket_connect_timeout=2, max_connections=16, timeout=2
    )
    return Redis.from_pool(pool)
