"""A file of events, taken in by the command's own code in a process of its own: against raw bulk
inserts of the same events, and with the memory that it takes."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from bench import intake
from bench.bank import SYSTEM, TENANT
from bench.stage import FULL, TINY, Stage, open_stage
from customers.banks.bank import open_bank
from customers.intake import files, lines
from customers.intake.rows import EVENTS, INTAKE
from deploy.parts import environment
from operations.jobs import QUEUES
from operations.schema import COLLECTIONS
from services.container import open_services

MANY, FEW = 400_000, 2_000
OF_RAW = 0.5
FLAT_MB = 48.0
"""So much more memory may ten times as many lines take."""
AT_ONCE = 500


async def measure(tiny: bool) -> tuple[dict[str, Any], str]:
    """The row's line: events a second, and the most memory for a tenth of the lines and for all."""
    async with open_stage(TINY if tiny else FULL, frozenset()) as stage:
        version = str((await stage.services.redis.info("server"))["redis_version"])
        return await _measure(stage, FEW if tiny else MANY), version


async def _measure(stage: Stage, lines: int) -> dict[str, Any]:
    with TemporaryDirectory(prefix="yinqiao-import-") as folder:
        small, large = Path(folder) / "small.jsonl", Path(folder) / "large.jsonl"
        _write(small, lines // 10)
        _write(large, lines)
        raw = await _raw(stage, large)
        before, after = _import(stage, small), _import(stage, large)
    stored = 0
    async for row in stage.services.store.tenant(TENANT)[INTAKE].scan({}, {"accepted": 1}):
        stored += row["accepted"]
    if stored != lines + lines // 10:
        raise RuntimeError(f"{lines + lines // 10} events were in the files, {stored} are stored")
    rate = after["rate"]
    return {
        "bench": "import",
        "unit": "events/s",
        "product": round(rate, 1),
        "raw": round(raw, 1),
        "of_raw": round(rate / raw, 3),
        "at_least": OF_RAW,
        "lines": lines,
        "grown_mb": round(after["mb"] - before["mb"], 1),
        "at_most_mb": FLAT_MB,
        "peak_mb": round(after["mb"], 1),
    }


def _write(path: Path, lines: int) -> None:
    with path.open("wb") as file:
        for number in range(lines):
            file.write(orjson.dumps(intake.event(number)) + b"\n")


async def _raw(stage: Stage, path: Path) -> float:
    """Events a second, read from the file and inserted as they are, AT_ONCE in one statement."""
    rows = stage.naive_db.raw_events
    begin, total, some = time.monotonic(), 0, list[dict[str, Any]]()
    with path.open("rb") as file:
        for line in file:
            some.append(orjson.loads(line))
            if len(some) == AT_ONCE:
                await rows.insert_many(some, ordered=False)
                total += len(some)
                some = []
            if time.monotonic() - begin > 20.0:
                break
    return total / (time.monotonic() - begin)


def _import(stage: Stage, path: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.imported", str(path)]
    done = subprocess.run(  # noqa: S603  # our own module
        command, env=environment(stage.settings), check=True, capture_output=True, timeout=600
    )
    told: dict[str, float] = orjson.loads(done.stdout.splitlines()[-1])
    return told


async def take(path: Path) -> dict[str, float]:
    """Takes the file in as the command does; how fast, and the most memory that it took."""
    from config.settings import load

    services = await open_services(load(), COLLECTIONS, QUEUES)
    try:
        begin = time.monotonic()
        at = await open_bank(services, TENANT)
        source = lines.look(path)
        order = files.Order(EVENTS, SYSTEM, path.with_suffix(".errors.csv"))
        done = await files.take(at, source, order)
        rate = done.accepted / (time.monotonic() - begin)
    finally:
        await services.close()
    return {"rate": rate, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(asyncio.run(take(Path(sys.argv[1])))) + b"\n")
