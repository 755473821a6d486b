"""Celery as a bell: quick, counted, and never in the way."""

from __future__ import annotations

import ast
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from deploy.ports import free_port
from services.container import Services
from services.observe.metrics import Metrics
from services.queue.wakeups import QUEUES, Bells, make_celery
from tests.waiting import until

TASKS = Path(__file__).parents[2] / "campaigns" / "tasks.py"


class Broker:
    """A Celery whose messages are kept here; it takes none while its gate is closed, and then breaks if it is told to."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.asked, self.gate = threading.Event(), threading.Event()
        self.gate.set()
        self.broken = False

    def send_task(self, name: str, args: list[str], **options: Any) -> None:
        self.asked.set()
        assert self.gate.wait(20)
        if self.broken:
            raise OSError("no broker")
        self.sent.append((name, args[0]))

    def close(self) -> None: ...


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def bells(broker: Broker, metrics: Metrics) -> Iterator[Bells]:
    bells = Bells(broker, metrics)  # type: ignore[arg-type]
    yield bells
    broker.gate.set()
    bells.close()


def _lost(metrics: Metrics) -> float:
    return metrics.registry.get_sample_value("yinqiao_wakeups_lost_total") or 0.0


def test_a_hundred_bells_for_the_same_work_are_rung_once(bells: Bells, broker: Broker) -> None:
    broker.gate.clear()
    bells.ring("rewards.settle", "first")
    assert broker.asked.wait(20)
    for _ in range(100):
        bells.ring("campaigns.handle_inbox", "demo")
        bells.ring("campaigns.handle_inbox", "other")
        bells.ring("campaigns.send_effects", "demo")
    broker.gate.set()
    bells.close()
    assert broker.sent == [
        ("rewards.settle", "first"),
        ("campaigns.handle_inbox", "demo"),
        ("campaigns.handle_inbox", "other"),
        ("campaigns.send_effects", "demo"),
    ]


def test_a_bell_after_the_work_began_is_rung_again(bells: Bells, broker: Broker) -> None:
    broker.gate.clear()
    bells.ring("rewards.settle", "demo")
    assert broker.asked.wait(20)
    bells.ring("rewards.settle", "demo")
    broker.gate.set()
    bells.close()
    assert broker.sent == [("rewards.settle", "demo")] * 2


def test_what_was_rung_before_the_end_is_still_sent(bells: Bells, broker: Broker) -> None:
    for n in range(20):
        bells.ring("rewards.settle", f"bank{n}")
    bells.close()
    assert sorted(broker.sent) == sorted(("rewards.settle", f"bank{n}") for n in range(20))


async def test_a_lost_bell_is_counted_and_the_next_one_rings(bells: Bells, broker: Broker, metrics: Metrics) -> None:
    broker.broken = True
    bells.ring("rewards.settle", "a")
    bells.ring("rewards.settle", "b")

    async def both_lost() -> bool:
        return _lost(metrics) == 2

    await until(both_lost)
    broker.broken = False
    bells.ring("rewards.settle", "c")
    bells.close()
    assert broker.sent == [("rewards.settle", "c")]


def test_an_unknown_task_is_a_mistake_that_shows(bells: Bells, broker: Broker) -> None:
    with pytest.raises(KeyError):
        bells.ring("rewards.setle", "demo")
    bells.close()
    assert broker.sent == []


def test_bells_that_never_rang_can_be_closed(bells: Bells) -> None:
    bells.close()


async def test_without_a_broker_ringing_and_closing_go_on_and_the_losses_are_counted(metrics: Metrics) -> None:
    celery = make_celery(Settings(redis_url=f"redis://127.0.0.1:{free_port()}/0"))
    bells = Bells(celery, metrics)
    for n in range(3):
        bells.ring("rewards.settle", f"bank{n}")

    async def all_lost() -> bool:
        return _lost(metrics) == 3

    await until(all_lost)
    bells.close()


async def test_a_bell_lies_in_the_queue_of_its_task(services: Services) -> None:
    for task in QUEUES:
        services.bells.ring(task, "demo")

    async def lengths() -> dict[str, int]:
        return {queue: int(await services.redis.llen(f"yq:celery:{queue}")) for queue in set(QUEUES.values())}  # type: ignore[misc]

    async def all_there() -> bool:
        return sum((await lengths()).values()) == len(QUEUES)

    await until(all_there)
    assert await lengths() == dict(Counter(QUEUES.values()))
    assert services.metrics.registry.get_sample_value("yinqiao_wakeups_lost_total") == 0


def test_every_bell_has_a_task_and_every_task_a_bell() -> None:
    """A name that nobody listens to is accepted by the broker without a word."""
    tree = ast.parse(TASKS.read_text(encoding="utf-8"))
    names = {
        keyword.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call)
        for keyword in decorator.keywords
        if keyword.arg == "name" and isinstance(keyword.value, ast.Constant)
    }
    assert names == set(QUEUES)


def test_tasks_are_acknowledged_late_and_a_killed_childs_task_comes_again() -> None:
    conf = make_celery(Settings()).conf
    assert (conf.task_acks_late, conf.task_reject_on_worker_lost, conf.worker_prefetch_multiplier) == (True, True, 1)
    assert conf.broker_transport_options["visibility_timeout"] > conf.task_time_limit
