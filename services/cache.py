"""In-process TTL cache with single-flight loading, and typed slots for what else a process keeps.

Nothing here is the only copy of anything: a process that starts anew has an empty cache.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, cast

from services.clock import Clock

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

MOST_VALUES = 50_000


@dataclass
class TtlCache(Generic[Key, Value]):
    """At most `most` values, each until a time of its own (seconds UTC). A full cache drops what
    was put first."""

    most: int
    _entries: OrderedDict[Key, tuple[float, Value]] = field(default_factory=OrderedDict)

    def get(self, key: Key, now: float) -> Value | None:
        """The value, or None when there is none or its time is over."""
        entry = self._entries.get(key)
        return entry[1] if entry is not None and entry[0] > now else None

    def put(self, key: Key, value: Value, until: float) -> None:
        self._entries[key] = (until, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self.most:
            self._entries.popitem(last=False)

    def discard(self, key: Key) -> None:
        self._entries.pop(key, None)

    def clear(self) -> None:
        self._entries.clear()

    def __len__(self) -> int:
        """How many are held, those included whose time is over."""
        return len(self._entries)


@dataclass(frozen=True, eq=False)
class Slot(Generic[Value]):
    """A place in every process's cache, declared by the module that owns what lies there: `make`
    fills it at first use."""

    name: str
    make: Callable[[], Value]


@dataclass
class ProcessCache:
    """Everything that one process keeps in memory between requests and jobs."""

    _clock: Clock
    _values: TtlCache[str, tuple[Any]] = field(default_factory=lambda: TtlCache(MOST_VALUES))
    _loading: dict[str, asyncio.Task[Any]] = field(default_factory=dict)
    _slots: dict[Slot[Any], Any] = field(default_factory=dict)

    def of(self, slot: Slot[Value]) -> Value:
        """What lies in the slot."""
        if slot not in self._slots:
            self._slots[slot] = slot.make()
        return cast("Value", self._slots[slot])

    def put(self, key: str, value: object, seconds: float) -> None:
        """Keeps a value for `cached` to find, for so many seconds."""
        self._values.put(key, (value,), self._clock() + seconds)

    async def load(self, key: str, seconds: float, load: Callable[[], Awaitable[Value]]) -> Value:
        """See `cached`."""
        known = self._values.get(key, self._clock())
        if known is not None:
            return cast("Value", known[0])
        task = self._loading.get(key)
        if task is None:
            task = self._loading[key] = asyncio.create_task(self._load(key, seconds, load))
        return cast("Value", await asyncio.shield(task))

    async def _load(self, key: str, seconds: float, load: Callable[[], Awaitable[Any]]) -> Any:
        mine = asyncio.current_task()
        try:
            value = await load()
            if self._loading.get(key) is mine:
                self.put(key, value, seconds)
            return value
        finally:
            if self._loading.get(key) is mine:
                del self._loading[key]

    def invalidate(self, key: str) -> None:
        """See `invalidate`."""
        self._values.discard(key)
        self._loading.pop(key, None)

    def clear(self) -> None:
        """Everything is loaded and made anew; for tests."""
        self._values.clear()
        self._loading.clear()
        self._slots.clear()


class HasCache(Protocol):
    """Services, or whatever else leads to a process's cache."""

    @property
    def cache(self) -> ProcessCache: ...


async def cached(
    services: HasCache, key: str, seconds: float, load: Callable[[], Awaitable[Value]]
) -> Value:
    """`load()`'s answer, at most `seconds` old. Callers who come while it is being loaded wait for
    that load; its error reaches all of them and is not kept."""
    return await services.cache.load(key, seconds, load)


def invalidate(services: HasCache, key: str) -> None:
    """The next caller loads again; what is being loaded at this moment is not kept."""
    services.cache.invalidate(key)
