"""The full sync: a bank's customers from the sandbox, with the worker killed twice on the way, and
nothing missing or doubled."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from bench.bank import TENANT, TENANT_FILE
from bench.load import LoadError
from config.settings import Settings
from customers.banks import apply
from customers.banks.bank import open_bank
from customers.identity.rows import CUSTOMERS
from customers.relationships import RELATIONSHIPS
from customers.wecom_mirror.rows import SYNC_ERRORS
from deploy.parts import Parts
from deploy.ports import free_port, wait_for_port
from deploy.processes import end, spawn
from deploy.stack import Stores
from operations.jobs import QUEUES
from operations.schema import COLLECTIONS
from operations.sync import run, view
from services.container import Services, open_services

MANY, FEW = 100_000, 500
KILL_AT = (1 / 3, 2 / 3)
AT_MOST_SECONDS = 600.0
LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class SyncStage:
    """Stores, sandbox, worker and scheduler as processes; `pids` are the stores'. The sandbox tells
    the server what happens, where one is started."""

    services: Services
    parts: Parts
    sandbox: httpx.AsyncClient
    pids: dict[str, int] = field(default_factory=dict)


@asynccontextmanager
async def open_stage() -> AsyncIterator[SyncStage]:
    """Starts what a sync needs, over data that is thrown away, and ends it again."""
    with TemporaryDirectory(prefix="yinqiao-bench-") as folder:
        data = Path(folder)
        stores, port, sandbox_port = Stores(data), free_port(), free_port()
        sandbox = f"http://127.0.0.1:{sandbox_port}"
        stores.start_all()
        settings = Settings(
            _env_file=None,
            port=port,
            data_dir=data / "data",
            mongodb_uri=stores.mongodb_uri,
            mongodb_database="bench",
            redis_url=stores.redis_url,
            wecom_api_base=f"{sandbox}/wecom",
            wechat_api_base=f"{sandbox}/wechat",
            nightly_sync="off",
        )
        process = spawn(_sandbox(sandbox_port, port), log=data / "logs" / "sandbox.log")
        try:
            wait_for_port(sandbox_port, 30.0, alive=lambda: process.poll() is None)
            services = await open_services(settings, COLLECTIONS, QUEUES)
            try:
                await apply.apply_tenant(
                    services, TENANT_FILE.read_text(encoding="utf-8"), TENANT_FILE.name
                )
                with Parts(settings, data / "logs") as parts:
                    parts.start("worker")
                    parts.start("scheduler")
                    async with httpx.AsyncClient(
                        base_url=sandbox, trust_env=False, timeout=120.0
                    ) as client:
                        yield SyncStage(services, parts, client, stores.pids)
            finally:
                await services.close()
        finally:
            end(process, patience=1.0)
            stores.stop_all()


def _sandbox(port: int, server: int) -> list[str]:
    product = f"http://127.0.0.1:{server}"
    callback, push = f"/wecom/{TENANT}/callback", "/wechat/{appid}/callback"
    to = ["--wecom-callback", product + callback, "--wechat-callback", product + push]
    return [sys.executable, "-m", "sandbox", "--port", str(port), *to]


async def measure(count: int) -> tuple[dict[str, Any], str]:
    """The row's line, and Redis's version. Raises LoadError unless everything that the sandbox has
    came in exactly once."""
    async with open_stage() as stage:
        made = await stage.sandbox.post(
            "/control/people/bulk", json={"count": count, "seed": 1, "tagged": True}
        )
        made.raise_for_status()
        began = time.monotonic()
        await run.start(await open_bank(stage.services, TENANT), "bench")
        kills, peak = await _watched(stage, count)
        seconds = time.monotonic() - began
        await _check(stage, count)
        redis_version = str((await stage.services.redis.info("server"))["redis_version"])
        line = {
            "bench": "sync",
            "unit": "customers/s",
            "product": count / seconds,
            "customers": count,
            "seconds": seconds,
            "kills": kills,
            "worker_peak_mb": peak,
            "at_most_seconds": AT_MOST_SECONDS,
        }
        return line, redis_version


async def _watched(stage: SyncStage, count: int) -> tuple[int, float]:
    """Waits for the sync's end and kills the worker on the way; how often, and the most memory that
    one of its processes had."""
    deadline = time.monotonic() + AT_MOST_SECONDS
    marks, peak = [mark * count for mark in KILL_AT], 0.0
    while time.monotonic() < deadline:
        sync = await view.progress(await open_bank(stage.services, TENANT))
        if sync is None or not sync["open"]:
            return len(KILL_AT) - len(marks), peak
        peak = max(peak, _memory(stage.parts.pids["worker"]))
        done = next(part["done"] for part in sync["parts"] if part["name"] == "customers")
        if marks and done >= marks[0]:
            marks.pop(0)
            stage.parts.kill9("worker")
            stage.parts.start("worker")
        await asyncio.sleep(LOOK_SECONDS)
    raise LoadError(f"the sync was not over after {AT_MOST_SECONDS:g} seconds")


def _memory(parent: int) -> float:
    """The most memory in MB that the process or one of its children ever had resident."""
    most = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(
                line.split(":", 1) for line in status.read_text().splitlines() if ":" in line
            )
        except OSError:  # it ended in this moment
            continue
        if parent in (int(fields["Pid"]), int(fields["PPid"])) and "VmHWM" in fields:
            most = max(most, int(fields["VmHWM"].split()[0]))
    return most / 1024


async def _check(stage: SyncStage, count: int) -> None:
    """Our counts are the sandbox's truth."""
    truth = (await stage.sandbox.get("/control/truth")).raise_for_status().json()
    friends = {userid: member["customers"] for userid, member in truth["members"].items()}
    db = stage.services.store.tenant(TENANT)
    ours = {
        userid: await db[RELATIONSHIPS].count({"userid": userid, "active": True})
        for userid in friends
    }
    customers, errors = await db[CUSTOMERS].count(), await db[SYNC_ERRORS].count()
    if ours != friends or customers != count or errors:
        raise LoadError(
            f"{customers} customers of {count}, friendships {ours} of {friends}, {errors} errors"
        )
