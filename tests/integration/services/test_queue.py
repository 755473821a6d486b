"""Wake-ups: quick, counted, and never in the way."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from config.settings import Settings
from deploy.ports import free_port
from operations.jobs import QUEUES
from services.container import Services
from services.observe.metrics import Metrics
from services.queue.broker import make_celery
from services.queue.wakeups import Wakeups
from tests.support.waiting import until


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
def wakeups(broker: Broker, metrics: Metrics) -> Iterator[Wakeups]:
    wakeups = Wakeups(broker, metrics, known=QUEUES)  # type: ignore[arg-type]
    yield wakeups
    broker.gate.set()
    wakeups.close()


def _lost(metrics: Metrics) -> float:
    return metrics.registry.get_sample_value("yinqiao_wakeups_lost_total") or 0.0


def test_a_hundred_signals_for_the_same_work_are_sent_once(wakeups: Wakeups, broker: Broker) -> None:
    broker.gate.clear()
    wakeups.signal("rewards.settle", "first")
    assert broker.asked.wait(20)
    for _ in range(100):
        wakeups.signal("campaigns.handle_inbox", "demo")
        wakeups.signal("campaigns.handle_inbox", "other")
        wakeups.signal("campaigns.send_effects", "demo")
    broker.gate.set()
    wakeups.close()
    assert broker.sent == [
        ("rewards.settle", "first"),
        ("campaigns.handle_inbox", "demo"),
        ("campaigns.handle_inbox", "other"),
        ("campaigns.send_effects", "demo"),
    ]


def test_a_signal_after_the_work_began_is_sent_again(wakeups: Wakeups, broker: Broker) -> None:
    broker.gate.clear()
    wakeups.signal("rewards.settle", "demo")
    assert broker.asked.wait(20)
    wakeups.signal("rewards.settle", "demo")
    broker.gate.set()
    wakeups.close()
    assert broker.sent == [("rewards.settle", "demo")] * 2


def test_what_was_signalled_before_the_end_is_still_sent(wakeups: Wakeups, broker: Broker) -> None:
    for n in range(20):
        wakeups.signal("rewards.settle", f"bank{n}")
    wakeups.close()
    assert sorted(broker.sent) == sorted(("rewards.settle", f"bank{n}") for n in range(20))


async def test_a_lost_wakeup_is_counted_and_the_next_one_arrives(
    wakeups: Wakeups, broker: Broker, metrics: Metrics
) -> None:
    broker.broken = True
    wakeups.signal("rewards.settle", "a")
    wakeups.signal("rewards.settle", "b")

    async def both_lost() -> bool:
        return _lost(metrics) == 2

    await until(both_lost)
    broker.broken = False
    wakeups.signal("rewards.settle", "c")
    wakeups.close()
    assert broker.sent == [("rewards.settle", "c")]


def test_an_unknown_task_is_a_mistake_that_shows(wakeups: Wakeups, broker: Broker) -> None:
    with pytest.raises(KeyError):
        wakeups.signal("rewards.setle", "demo")
    wakeups.close()
    assert broker.sent == []


def test_wakeups_that_never_signalled_can_be_closed(wakeups: Wakeups) -> None:
    wakeups.close()


async def test_without_a_broker_signalling_and_closing_go_on_and_the_losses_are_counted(metrics: Metrics) -> None:
    celery = make_celery(Settings(redis_url=f"redis://127.0.0.1:{free_port()}/0"), QUEUES)
    wakeups = Wakeups(celery, metrics, known=QUEUES)
    for n in range(3):
        wakeups.signal("rewards.settle", f"bank{n}")

    async def all_lost() -> bool:
        return _lost(metrics) == 3

    await until(all_lost)
    wakeups.close()


async def test_a_wakeup_lies_in_the_queue_of_its_task(services: Services) -> None:
    for task in QUEUES:
        services.wakeups.signal(task, "demo")

    async def lengths() -> dict[str, int]:
        return {queue: int(await services.redis.llen(f"yq:celery:{queue}")) for queue in set(QUEUES.values())}  # type: ignore[misc]

    async def all_there() -> bool:
        return sum((await lengths()).values()) == len(QUEUES)

    await until(all_there)
    assert await lengths() == dict(Counter(QUEUES.values()))
    assert services.metrics.registry.get_sample_value("yinqiao_wakeups_lost_total") == 0


def test_tasks_are_acknowledged_late_and_a_killed_childs_task_comes_again() -> None:
    conf = make_celery(Settings(), QUEUES).conf
    assert (conf.task_acks_late, conf.task_reject_on_worker_lost, conf.worker_prefetch_multiplier) == (True, True, 1)
    assert conf.broker_transport_options["visibility_timeout"] > conf.task_time_limit
