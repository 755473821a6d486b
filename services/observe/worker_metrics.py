"""The workers' counters and histograms on every server's `/metrics`: workers have no address that
Prometheus could ask.

Each worker process adds the growth of its metrics to one hash in Redis, field by field. When Redis
is emptied the sums begin again at 0, which Prometheus takes for a restart. Every server tells the
same sums (docs/decisions/0024).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple, cast

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from redis.asyncio import Redis
from redis.exceptions import RedisError
from typing_extensions import override

KEY = "yq:metrics:workers"
PREFIX, OF_WORKERS = "yinqiao_", "yinqiao_workers_"
REPORT_SECONDS = 2.0
"""How often a worker reports while it is at work: a killed one loses at most this much."""

_SUMMED = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
log = logging.getLogger(__name__)


class Reporter:
    """One process's counters and histograms on their way to Redis. Only what Redis has taken counts
    as reported."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._reported: dict[bytes, float] = {}

    async def report(self, redis: Redis) -> None:
        """Adds what has grown since the last report; while Redis is away it waits for the next."""
        growth = self._growth()
        if not growth:
            return
        pipe: Any = redis.pipeline(transaction=True)
        for field, more in growth.items():
            pipe.hincrbyfloat(KEY, field, more)
        try:
            await pipe.execute()
        except RedisError:
            log.warning("the worker's metrics could not be reported; they are reported later")
            return
        for field, more in growth.items():
            self._reported[field] = self._reported.get(field, 0.0) + more

    async def report_until(self, redis: Redis, ended: asyncio.Event) -> None:
        """Reports every REPORT_SECONDS until `ended`, and then once more."""
        while True:
            over = ended.is_set()
            if not over:
                with suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), REPORT_SECONDS)
            await self.report(redis)
            if over:
                return

    def _growth(self) -> dict[bytes, float]:
        """By how much each sample has grown since it was last reported; one that is new is reported
        as 0 too, so that no bucket of a histogram is missing."""
        growth = {}
        for field, value in _samples(self._registry):
            more = value - self._reported.get(field, 0.0)
            if more > 0 or field not in self._reported:
                growth[field] = more
        return growth


class _Field(NamedTuple):
    """A field's name in the hash, as JSON."""

    metric: str
    kind: str
    suffix: str
    labels: list[tuple[str, str]]

    def place(self) -> tuple[str, list[tuple[str, str]], str, float]:
        """Where the sample stands in the text format: a histogram's buckets by their bounds."""
        others = [label for label in self.labels if label[0] != "le"]
        bound = next((float(text) for name, text in self.labels if name == "le"), 0.0)
        return self.metric, others, self.suffix, bound


def _samples(registry: CollectorRegistry) -> Iterator[tuple[bytes, float]]:
    """Every sample that can be added up, by the name of its field."""
    for metric in registry.collect():
        for sample in metric.samples:
            suffix = sample.name.removeprefix(metric.name)
            if suffix in _SUMMED.get(metric.type, ()):
                field = [metric.name, metric.type, suffix, sorted(sample.labels.items())]
                yield orjson.dumps(field), sample.value


class _Sums(Collector):
    def __init__(self, sums: dict[bytes, bytes]) -> None:
        fields = [(_Field(*orjson.loads(name)), float(value)) for name, value in sums.items()]
        self._sums = sorted(fields, key=lambda each: each[0].place())

    @override
    def collect(self) -> Iterable[Metric]:
        metrics: dict[str, Metric] = {}
        for field, value in self._sums:
            shown = field.metric.replace(PREFIX, OF_WORKERS, 1)
            if shown not in metrics:
                about = f"{field.metric} of all workers together; every server tells the same"
                metrics[shown] = Metric(shown, about, field.kind)
            metrics[shown].add_sample(shown + field.suffix, dict(field.labels), value)
        return metrics.values()


async def of_workers(redis: Redis) -> CollectorRegistry:
    """What all workers have reported, as `yinqiao_workers_…`; nothing while Redis is away."""
    registry = CollectorRegistry()
    try:
        sums = await cast("Awaitable[dict[bytes, bytes]]", redis.hgetall(KEY))
    except RedisError:
        sums = {}
    registry.register(_Sums(sums))
    return registry
