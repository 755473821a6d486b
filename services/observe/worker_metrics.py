"""What the workers counted, for everybody's `/metrics`: workers have no address that Prometheus
could ask.

Each worker process adds its news to one hash in Redis, field by field; Redis emptied, the counts
begin again at 0, which Prometheus takes for a restart. Every server tells the same sums.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Iterable
from typing import Any, cast

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector
from redis.asyncio import Redis
from redis.exceptions import RedisError
from typing_extensions import override

KEY = "yq:tally:workers"
PREFIX, OF_WORKERS = "yinqiao_", "yinqiao_workers_"
log = logging.getLogger(__name__)


class Tally:
    """One process's counters on their way to Redis. Only what was told is taken for told."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._told: dict[bytes, float] = {}

    def news(self) -> dict[bytes, float]:
        """By how much each counter has grown since it was last told."""
        grown = {}
        for metric in self._registry.collect():
            if metric.type != "counter":
                continue
            for sample in metric.samples:
                if sample.name.endswith("_total"):
                    field = orjson.dumps([metric.name, sorted(sample.labels.items())])
                    more = sample.value - self._told.get(field, 0.0)
                    if more > 0:
                        grown[field] = more
        return grown

    async def tell(self, redis: Redis) -> None:
        """Adds the news to what the workers have counted; while Redis is away they wait for the
        next time."""
        news = self.news()
        if not news:
            return
        pipe: Any = redis.pipeline(transaction=True)
        for field, more in news.items():
            pipe.hincrbyfloat(KEY, field, more)
        try:
            await pipe.execute()
        except RedisError:
            log.warning("the workers' counts could not be told; they are told later")
            return
        for field, more in news.items():
            self._told[field] = self._told.get(field, 0.0) + more


class _Sums(Collector):
    def __init__(self, sums: dict[bytes, bytes]) -> None:
        self._sums = sums

    @override
    def collect(self) -> Iterable[Metric]:
        families: dict[str, CounterMetricFamily] = {}
        for field, value in sorted(self._sums.items()):
            name, labels = orjson.loads(field)
            shown = name.replace(PREFIX, OF_WORKERS, 1)
            if shown not in families:
                told = f"{name}_total of all workers together; every server tells the same"
                families[shown] = CounterMetricFamily(
                    shown, told, labels=[label for label, _ in labels]
                )
            families[shown].add_metric([text for _, text in labels], float(value))
        return families.values()


async def of_workers(redis: Redis) -> CollectorRegistry:
    """What all workers have counted, as `yinqiao_workers_…_total`; nothing while Redis is away."""
    registry = CollectorRegistry()
    try:
        sums = await cast("Awaitable[dict[bytes, bytes]]", redis.hgetall(KEY))
    except RedisError:
        sums = {}
    registry.register(_Sums(sums))
    return registry
