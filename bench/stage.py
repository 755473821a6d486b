"""Where it is measured: real stores and real servers as processes on free ports, over data that is
thrown away."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import bank
from bench.naive import database
from config.settings import Settings
from deploy.parts import Parts, environment
from deploy.ports import free_port, wait_for_port
from deploy.processes import end, spawn
from deploy.stack import Stores
from operations.jobs import QUEUES
from operations.schema import COLLECTIONS
from services.container import Services, open_services

REFERENCES = ("naive", "ceiling")


@dataclass(frozen=True)
class Scale:
    """How much is measured: `rounds` of at most `seconds` and `requests` for each server."""

    rounds: int
    seconds: float
    requests: int
    connections: int
    welcomes: int
    welcome_rate: float


FULL = Scale(
    rounds=3, seconds=3.0, requests=8_000, connections=64, welcomes=2_000, welcome_rate=100.0
)
TINY = Scale(rounds=1, seconds=0.3, requests=200, connections=8, welcomes=20, welcome_rate=20.0)


@dataclass(frozen=True)
class Stage:
    """The product and its two references, by port; `services` is the bench's own access to the
    product's stores, `pids` who works: server, naive, ceiling, mongodb, redis and so on."""

    scale: Scale
    settings: Settings
    services: Services
    parts: Parts
    naive_db: Any
    ports: dict[str, int]
    wecom: str
    pids: dict[str, int]
    kept: dict[str, Any] = field(default_factory=dict)


@asynccontextmanager
async def open_stage(scale: Scale, names: frozenset[str]) -> AsyncIterator[Stage]:
    """Starts what the named servers need and ends it again: product, naive, ceiling, wecom, worker,
    scheduler."""
    with TemporaryDirectory(prefix="yinqiao-bench-") as folder:
        data = Path(folder)
        stores = Stores(data)
        ports = {name: free_port() for name in ("product", *REFERENCES, "wecom")}
        wecom = f"http://127.0.0.1:{ports['wecom']}"
        settings = Settings(
            _env_file=None,
            port=ports["product"],
            data_dir=data / "data",
            mongodb_uri=stores.mongodb_uri,
            mongodb_database="bench",
            redis_url=stores.redis_url,
            wecom_api_base=wecom,
            nightly_sync="off",
        )
        running: list[subprocess.Popen[bytes]] = []
        try:
            stores.start_all()
            services = await open_services(settings, COLLECTIONS, QUEUES)
            naive_db = database(settings.mongodb, settings.mongodb_database)
            try:
                others: dict[str, int] = {}
                for name in ("naive", "ceiling", "wecom"):
                    if name in names:
                        running.append(_start(name, ports[name], settings, data))
                        others[name] = running[-1].pid
                with Parts(settings, data / "logs") as parts:
                    await bank.found(services)
                    for name in ("server", "worker", "scheduler"):
                        if name in names:
                            parts.start(name)
                    pids = {**others, **stores.pids, **parts.pids}
                    yield Stage(scale, settings, services, parts, naive_db, ports, wecom, pids)
            finally:
                naive_db.client.close()
                await services.close()
        finally:
            for process in running:
                end(process, patience=1.0)
            stores.stop_all()


def _start(name: str, port: int, settings: Settings, data: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"bench.{name}", str(port)]
    process = spawn(command, env=environment(settings), log=data / "logs" / f"{name}.log")
    wait_for_port(port, 30.0, alive=lambda: process.poll() is None)
    return process
