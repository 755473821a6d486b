"""For whoever operates the process: alive, ready, and counted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, Literal

from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field
from redis.exceptions import RedisError
from typing_extensions import override

from customers.archive import pull
from handlers.http.api import Api
from services.errors import Unavailable
from services.observe import worker_metrics

PING_SECONDS = 1.0


class HealthAnswer(BaseModel):
    status: Literal["ok"]


class ReadyAnswer(BaseModel):
    ready: bool
    parts: dict[str, str] = Field(description="each part and `ok`, or what is wrong with it")


async def _state(ping: Awaitable[Any]) -> str:
    try:
        await asyncio.wait_for(ping, PING_SECONDS)
    except TimeoutError:
        return "no answer in time"
    except (Unavailable, RedisError, OSError):
        return "not reachable"
    return "ok"


class Alive(Api):
    @override
    async def get(self) -> None:
        self.answer({"status": "ok"})


class Ready(Api):
    """503 while a store does not answer or the process is on its way out; says which part."""

    @override
    async def get(self) -> None:
        store, redis = await asyncio.gather(
            _state(self.services.store.ping()), _state(self.services.redis.ping())
        )
        server = "draining" if self.traffic.draining else "ok"
        parts = {"server": server, "store": store, "redis": redis}
        ready = set(parts.values()) == {"ok"}
        self.answer({"ready": ready, "parts": parts}, 200 if ready else 503)


class Prometheus(Api):
    @override
    async def get(self) -> None:
        with suppress(Unavailable):  # the others are told all the same
            await pull.measure(self.services)
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        workers = await worker_metrics.of_workers(self.services.redis)
        self.write(generate_latest(self.services.metrics.registry) + generate_latest(workers))
