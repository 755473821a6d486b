"""The Celery app over the broker: late acknowledgement, no results, no ETAs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery import Celery

from config.settings import Settings


def make_celery(settings: Settings, queues: Mapping[str, str]) -> Celery:
    """The Celery app that routes each task of `queues` to its queue; opens nothing. A worker takes
    all of the queues unless it is told otherwise. Late acks and rejection of a killed child's task,
    short visibility, no results."""
    app = Celery("yinqiao", broker=settings.broker)
    app.conf.update(
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_routes={name: {"queue": queue} for name, queue in queues.items()},
        task_queues={name: _own_exchange(name) for name in queues.values()},
        task_time_limit=120,
        task_soft_time_limit=90,
        worker_prefetch_multiplier=1,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_soft_shutdown_timeout=10.0,
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=2,
        broker_transport_options=_transport_options(settings.broker),
        accept_content=["json"],
        enable_utc=True,
    )
    return app


def _own_exchange(queue: str) -> dict[str, str]:
    """The queue has an exchange of its own: at the default one it would get what others are sent."""
    return {"exchange": queue, "routing_key": queue}


def _transport_options(broker: str) -> dict[str, Any]:
    if not broker.startswith("redis"):
        return {}
    return {
        "visibility_timeout": 180,
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "global_keyprefix": "yq:celery:",
    }
