"""Group commit: many callers, one round trip (contract/rewards 4).

Callers hand in one item each and wait; the group gathers what arrives within a short window (or
while the group before is still on its way), hands all of it to one `flush`, and gives every caller
his own answer. A flush that is durable when it returns makes every answer durable. Inbox, timeline
and claims write through it, and hot reads share it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from prometheus_client import Histogram

from services.errors import Unavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Flush = Callable[[list[Item]], Awaitable[Sequence["Answer | Exception"]]]


class GroupCommit(Generic[Item, Answer]):
    """Gathers items for `flush(items) -> answers`, in the order of arrival.

    `window` is in seconds: how long the first item of a group waits for company. `limit` bounds a
    group, `backlog` what may wait before `submit` refuses with Unavailable (admission control).
    `lanes` flushes may be under way at once. An answer that is an exception is raised to that
    caller alone; an exception raised by `flush` reaches all of its group.
    """

    def __init__(
        self,
        name: str,
        flush: Flush[Item, Answer],
        *,
        window: float = 0.002,
        limit: int = 128,
        lanes: int = 1,
        backlog: int = 10_000,
        sizes: Histogram | None = None,
    ) -> None:
        self._flush = flush
        self._window = window
        self._limit = limit
        self._lanes = asyncio.Semaphore(lanes)
        self._backlog = backlog
        self._sizes = sizes.labels(name) if sizes is not None else None
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._gatherer: asyncio.Task[None] | None = None
        self._flushes: set[asyncio.Task[None]] = set()
        self._full = asyncio.Event()
        self._closing = False
        self.name = name

    async def submit(self, item: Item) -> Answer:
        """The answer to `item`. A cancelled caller does not take his item back: it may already be
        on its way."""
        if self._closing or len(self._waiting) >= self._backlog:
            raise Unavailable("busy", f"{self.name} is taking no more work")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if len(self._waiting) >= self._limit:
            self._full.set()
        if self._gatherer is None:
            self._gatherer = asyncio.create_task(self._gather(), name=f"group:{self.name}")
        return await future

    async def close(self) -> None:
        """Takes no more items and returns when everything handed in has its answer."""
        self._closing = True
        self._full.set()
        while self._gatherer is not None or self._flushes:
            tasks = [*self._flushes, *([self._gatherer] if self._gatherer else [])]
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _gather(self) -> None:
        try:
            while self._waiting:
                await self._wait_for_company()
                await self._lanes.acquire()
                group, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
                if len(self._waiting) < self._limit and not self._closing:
                    self._full.clear()
                task = asyncio.create_task(self._run(group), name=f"flush:{self.name}")
                self._flushes.add(task)
                task.add_done_callback(self._flushes.discard)
        except Exception as error:  # whatever it is, nobody may wait for ever
            waiting, self._waiting = self._waiting, []
            for _, future in waiting:
                if not future.done():
                    future.set_exception(error)
        finally:
            self._gatherer = None

    async def _wait_for_company(self) -> None:
        if self._window <= 0:
            await asyncio.sleep(0)
            return
        enough = asyncio.get_running_loop().call_later(self._window, self._full.set)
        await self._full.wait()
        enough.cancel()

    async def _run(self, group: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            if self._sizes is not None:
                self._sizes.observe(len(group))
            answers: Sequence[Answer | Exception] = await self._flush([item for item, _ in group])
            if len(answers) != len(group):
                raise RuntimeError(
                    f"{self.name} was given {len(group)} items and answered {len(answers)}"
                )
        except Exception as error:  # every caller of the group must hear of it
            answers = [error] * len(group)
        finally:
            self._lanes.release()
        for (_, future), answer in zip(group, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
