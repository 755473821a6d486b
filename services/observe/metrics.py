"""Prometheus metrics. One registry a process, made by the container and passed on; `/metrics`
prints it."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """Every metric the product exports, by name. Labels never carry a person's data."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str, int], tuple[Any, Any]] = {}
        self.registry = reg = CollectorRegistry()
        self.requests = Counter(
            "yinqiao_http_requests_total",
            "HTTP answers",
            ["route", "method", "status"],
            registry=reg,
        )
        self.latency = Histogram(
            "yinqiao_http_seconds",
            "Time to answer",
            ["route"],
            registry=reg,
            buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
        )
        self.callbacks = Counter(
            "yinqiao_callbacks_total",
            "Callbacks by what became of them",
            ["tenant", "outcome"],
            registry=reg,
        )
        self.events_unknown = Counter(
            "yinqiao_events_unknown_total",
            "Events that nobody knows",
            ["event", "change"],
            registry=reg,
        )
        self.claims = Counter(
            "yinqiao_claims_total", "Claims by outcome or reason code", ["outcome"], registry=reg
        )
        self.group_size = Histogram(
            "yinqiao_group_commit_size",
            "Writes that shared one commit",
            ["writer"],
            registry=reg,
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
        )
        self.platform_calls = Counter(
            "yinqiao_platform_calls_total",
            "Calls to WeChat and WeCom",
            ["path", "errcode"],
            registry=reg,
        )
        self.platform_refused = Counter(
            "yinqiao_platform_refused_total",
            "Calls that found no place in the platform's allowance in time",
            ["path", "lane"],
            registry=reg,
        )
        self.platform_overruns = Counter(
            "yinqiao_platform_overruns_total",
            "Answers of the platform that we call too often",
            ["path", "errcode"],
            registry=reg,
        )
        self.platform_closed = Gauge(
            "yinqiao_platform_closed",
            "APIs that the platform closed to us with 45009",
            ["tenant", "path"],
            registry=reg,
        )
        self.wakeups_lost = Counter(
            "yinqiao_wakeups_lost_total",
            "Worker wake-ups the broker did not take (the sweep covers them)",
            registry=reg,
        )
        self.redis_missed = Counter(
            "yinqiao_redis_missed_total",
            "Times Redis was asked in vain and the work went on",
            ["what"],
            registry=reg,
        )
        self.sync_differences = Counter(
            "yinqiao_sync_differences_total",
            "What a nightly comparison found different",
            ["tenant", "part"],
            registry=reg,
        )
        self.archive_lag = Gauge(
            "yinqiao_archive_lag_seconds", "How late the archive is", ["tenant"], registry=reg
        )
        self.audience_lag = Gauge(
            "yinqiao_audience_lag_seconds",
            "So far are customers' profiles behind what they are made of",
            registry=reg,
        )
        self.mirror_age = Gauge(
            "yinqiao_mirror_age_seconds",
            "So long ago this host's columnar mirror was right",
            ["tenant"],
            registry=reg,
        )
        self.loop_lag = Gauge(
            "yinqiao_event_loop_lag_seconds", "How late the last loop tick was", registry=reg
        )
        self.loop_lag_max = Gauge(
            "yinqiao_event_loop_lag_max_seconds", "The latest tick so far", registry=reg
        )

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Counts one HTTP answer. What its labels stand for is looked up once: they are few."""
        key = route, method, status
        found = self._answers.get(key)
        if found is None:
            found = self.requests.labels(route, method, status), self.latency.labels(route)
            self._answers[key] = found
        count, latency = found
        count.inc()
        latency.observe(seconds)
