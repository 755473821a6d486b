"""Ten times the demand that WeCom allows, from several processes at once: what is allowed is used,
and never exceeded.

`python -m bench.storm RATE SECONDS OUT` is one of the processes: it asks at a steady rate, whether
there are answers or not.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import orjson
import yaml
from redis.asyncio import Redis

from bench.load import LoadError
from config.settings import PlatformLimits, Settings, load
from deploy.parts import environment
from deploy.ports import free_port, wait_for_port
from deploy.processes import ROOT, end, spawn
from deploy.stack import Stores
from services.clock import system_clock
from services.limiter import Lane, lane
from services.observe.metrics import Metrics
from services.security.vault import Vault
from services.wechat.core.errors import PlatformError, SlowDown
from services.wechat.core.platform import Platform
from services.wechat.core.tokens import TokenStore

API = "/cgi-bin/externalcontact/get_follow_user_list"
TIMES = 10
LANES: tuple[tuple[Lane, float], ...] = (("welcome", 0.01), ("normal", 0.29), ("bulk", 0.70))
"""Of ten times the allowance: welcomes for a tenth of it, and far too much of the rest."""

AT_LEAST_SHARE = 0.95


@dataclass(frozen=True)
class Scale:
    """The allowance (`limit` calls in `window` seconds) and for how many windows it is besieged by
    how many processes."""

    limit: int
    window: float
    windows: int
    processes: int


FULL = Scale(limit=2_000, window=20.0, windows=6, processes=3)
TINY = Scale(limit=300, window=3.0, windows=3, processes=3)


async def measure(scale: Scale) -> tuple[dict[str, Any], str]:
    """The row's line and Redis's version. Raises LoadError when WeCom refused one single call."""
    with TemporaryDirectory(prefix="yinqiao-storm-") as folder:
        stores, port = Stores(Path(folder)), free_port()
        running: list[subprocess.Popen[bytes]] = []
        try:
            stores.start("redis")
            running.append(
                spawn(
                    [sys.executable, "-m", "sandbox", "--port", str(port)],
                    log=Path(folder) / "sandbox.log",
                )
            )
            wait_for_port(port, 30.0, alive=lambda: running[0].poll() is None)
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30.0
            ) as control:
                rule = {"path": "*", "limit": scale.limit, "seconds": scale.window}
                (
                    await control.post("/control/limits", json={"rules": [rule], "ip": []})
                ).raise_for_status()
                told = await _besiege(scale, _settings(scale, stores, port), Path(folder), running)
                limits = (await control.get("/control/limits")).json()
            async with Redis.from_url(stores.redis_url) as redis:
                version = str((await redis.info("server"))["redis_version"])
        finally:
            for process in running:
                end(process, patience=1.0)
            stores.stop_all()
    return _line(scale, told, limits), version


def _settings(scale: Scale, stores: Stores, port: int) -> Settings:
    return Settings(
        _env_file=None,
        redis_url=stores.redis_url,
        wecom_api_base=f"http://127.0.0.1:{port}/wecom",
        platform_limits=PlatformLimits(
            apis={"wecom/*": [(scale.limit, scale.window)]}, address=[(1_000_000, 60.0)]
        ),
        platform_bulk_patience=min(120.0, scale.window),
    )


async def _besiege(
    scale: Scale, settings: Settings, folder: Path, running: list[subprocess.Popen[bytes]]
) -> list[dict[str, Any]]:
    """What each process has to tell afterwards."""
    rate = TIMES * scale.limit / scale.window / scale.processes
    seconds = scale.windows * scale.window
    told = [folder / f"storm-{number}.json" for number in range(scale.processes)]
    for out in told:
        command = [sys.executable, "-m", "bench.storm", str(rate), str(seconds), str(out)]
        running.append(spawn(command, env=environment(settings), log=out.with_suffix(".log")))
    deadline = time.monotonic() + seconds + 60
    while not all(out.exists() for out in told):
        if time.monotonic() > deadline or any(process.poll() for process in running):
            raise LoadError(
                "a process of the storm died:\n" + told[0].with_suffix(".log").read_text()[-2000:]
            )
        await asyncio.sleep(0.2)
    return [orjson.loads(out.read_bytes()) for out in told]


def _line(scale: Scale, told: list[dict[str, Any]], limits: dict[str, Any]) -> dict[str, Any]:
    drawn = sum(one["drawn"] for one in told)
    api = next(row for row in limits["paths"] if row["path"] == API)
    if drawn or api["refused"] or api["crowded"]:
        raise LoadError(f"WeCom refused {drawn} calls: {api}")
    times = sorted(at for one in told for at in one["answered"])
    made = sum(1 for at in times if at < times[0] + scale.windows * scale.window)
    waits = sorted(wait for one in told for wait in one["welcome_waits"])
    return {
        "bench": "storm",
        "unit": "of allowance",
        "product": round(made / (scale.windows * scale.limit), 4),
        "naive": None,
        "ceiling": None,
        "at_least": AT_LEAST_SHARE,
        "demand": sum(one["asked"] for one in told),
        "made": api["allowed"],
        "held_back": sum(one["held_back"] for one in told),
        "drawn": drawn,
        "processes": scale.processes,
        "ran": round(
            max(0.0, 1.0 - max(one["stalled"] for one in told) / (scale.windows * scale.window)), 4
        ),
        "most_at_once": api["peak"],
        "welcomes": len(waits),
        "welcomes_held_back": sum(one["welcomes_held_back"] for one in told),
        "welcome_p95_ms": round(quantiles(waits, n=20, method="inclusive")[-1] * 1000, 1),
    }


class Storm:
    """One process's calls and what became of them."""

    def __init__(self, settings: Settings, redis: Redis) -> None:
        vault = Vault(settings.master_key.get_secret_value(), settings.cipher)
        self.platform = Platform(
            settings,
            redis,
            TokenStore(redis, vault, system_clock),
            Metrics(),
            on_unknown=lambda *_: None,
        )
        bank = yaml.safe_load(
            (ROOT / "config" / "demo" / "tenant.yaml").read_text(encoding="utf-8")
        )["wecom"]
        self._client = self.platform.wecom(
            "storm", bank["corp_id"], bank["agent_id"], bank["secret"]
        )
        self.counts: Counter[str] = Counter()
        self.answered: list[float] = []
        self.waits: list[float] = []
        self.stalled = 0.0
        self._redis = redis

    async def one(self, name: Lane) -> None:
        began = time.monotonic()
        self.counts["asked"] += 1
        try:
            with lane(name):
                await self._client.customers.list_followers()
        except SlowDown as error:
            self.counts["held_back" if error.errcode is None else "drawn"] += 1
            self.counts["welcomes_held_back"] += name == "welcome" and error.errcode is None
        else:
            self.answered.append(time.time())
            if name == "welcome":
                self.waits.append(time.monotonic() - began)

    async def watch(self) -> None:
        """Adds up the seconds in which the machine let neither us nor Redis run."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            await self._redis.ping()
            late = time.monotonic() - before - 0.01
            self.stalled += late if late > 0.01 else 0.0

    async def blow(self, rate: float, seconds: float) -> None:
        """So many calls a second, at random moments, whatever becomes of those before."""
        await self._client.token()
        names, weights = [name for name, _ in LANES], [weight for _, weight in LANES]
        tasks: set[asyncio.Task[None]] = set()
        start = due = time.monotonic()
        while due < start + seconds:
            due += random.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(self.one(random.choices(names, weights)[0]))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception) and not isinstance(result, PlatformError):
                raise result


async def main(rate: float, seconds: float, out: Path) -> None:
    """One process of the storm; what it has to tell goes into `out`."""
    settings = load()
    async with Redis.from_url(settings.redis) as redis:
        storm = Storm(settings, redis)
        watching = asyncio.create_task(storm.watch())
        await storm.blow(rate, seconds)
        watching.cancel()
        await storm.platform.close()
    told = {
        name: storm.counts[name] for name in ("asked", "held_back", "drawn", "welcomes_held_back")
    }
    partial = out.with_suffix(".part")
    partial.write_bytes(
        orjson.dumps(
            {
                **told,
                "stalled": storm.stalled,
                "answered": storm.answered,
                "welcome_waits": storm.waits,
            }
        )
    )
    partial.rename(out)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(float(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])))
