"""For whoever operates the process: alive, ready, and counted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, Literal

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field
from redis.exceptions import RedisError
from typing_extensions import override

from customers.archive import pull
from handlers.http.api import Api
from handlers.http.operation import Operation
from operations import audience, columnar, limits
from services.cache import cached
from services.errors import Unavailable
from services.observe import worker_metrics

PING_SECONDS = 1.0
PRINT_SECONDS = 0.0
"""Who asks while it is being printed gets the same print."""


class HealthAnswer(BaseModel):
    status: Literal["ok"]


class ReadyAnswer(BaseModel):
    ready: bool
    parts: dict[str, str] | None = Field(
        None, description="for operators: each part and `ok`, or what is wrong with it"
    )


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


class Ready(Operation):
    """503 while a store does not answer or the process is on its way out; tells operators which
    part."""

    @override
    async def get(self) -> None:
        store, redis = await asyncio.gather(
            _state(self.services.store.ping()), _state(self.services.redis.ping())
        )
        server = "draining" if self.traffic.draining else "ok"
        parts = {"server": server, "store": store, "redis": redis}
        ready = set(parts.values()) == {"ok"}
        told: dict[str, Any] = {}
        if self.is_operator():
            beside = {"audience": await self.audience(), "mirror": await self.mirror()}
            told = {"parts": parts | beside}
        self.answer({"ready": ready, **told}, 200 if ready else 503)

    async def audience(self) -> str:
        """How the profiles are, which nobody needs to be served."""
        try:
            behind = await audience.lag(self.services)
        except Unavailable:
            return "not reachable"
        if behind is None:
            return "never ran"
        late = behind > audience.LATE_SECONDS
        return f"{behind:.0f} seconds behind" if late else "ok"

    async def mirror(self) -> str:
        """How this host's columnar mirrors are, without which the database counts."""
        try:
            return await columnar.health(self.services)
        except Unavailable:
            return "not reachable"


class Prometheus(Operation):
    """Printed beside the loop, once for all who ask meanwhile."""

    @override
    async def get(self) -> None:
        self.check_operator()
        printed = await cached(self.services, "metrics", PRINT_SECONDS, self.printed)
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        self.write(printed)

    async def printed(self) -> bytes:
        with suppress(Unavailable):  # the others are told all the same
            await pull.measure(self.services)
        with suppress(Unavailable):
            await limits.measure(self.services)
        with suppress(Unavailable):
            await audience.measure(self.services)
        with suppress(Unavailable):
            await columnar.measure(self.services)
        workers = await worker_metrics.of_workers(self.services.redis)
        return await asyncio.to_thread(_print, self.services.metrics.registry, workers)


def _print(*registries: CollectorRegistry) -> bytes:
    return b"".join(map(generate_latest, registries))
