"""`python -m bench`: the product measured against the naive way and the ceiling, in one run on the
same servers."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import (
    age,
    estimate,
    flood,
    imported,
    intake,
    membership,
    points,
    report,
    rows,
    rules,
    splitting,
    storm,
    sync,
    welcome,
)
from bench.load import LoadError
from bench.stage import FULL, TINY, Scale, Stage, open_stage
from config.settings import load
from deploy.errors import DeployError

ALONE: dict[str, Callable[[bool], Awaitable[tuple[dict[str, Any], str]]]] = {
    "storm": lambda tiny: storm.measure(storm.TINY if tiny else storm.FULL),
    "sync": lambda tiny: sync.measure(sync.FEW if tiny else sync.MANY),
    "points": points.measure,
    "import": imported.measure,
    "splitting": splitting.measure,
    "rules": rules.measure,
    "estimate": estimate.measure,
    "flood": lambda tiny: flood.measure(flood.FEW if tiny else flood.CALLBACKS),
    "age": lambda tiny: age.measure(age.MOMENT if tiny else age.SHORT),
}
"""Rows with a stage of their own and nothing beside them."""
LONG: dict[str, Callable[[], Awaitable[tuple[dict[str, Any], str]]]] = {
    "age": lambda: age.measure(age.HOUR),
}
"""Rows of ALONE that have a longer form."""
STAGED: dict[str, Callable[[Stage], Awaitable[dict[str, Any]]]] = {
    "intake": intake.measure,
    "welcome": welcome.measure,
    "membership": membership.measure,
}
"""Rows of their own on the servers that all compare on."""
NAMES = (*rows.ROWS, *STAGED, *ALONE)
COMPARING = frozenset({"server", "naive", "ceiling"})
NEEDS = {
    "welcome": frozenset({"server", "worker", "scheduler", "wecom"}),
    "membership": frozenset({"server", "worker", "scheduler"}),
}


async def measure(name: str, scale: Scale, long: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """One row's line and the machine, on servers of its own with empty stores."""
    if name in ALONE:
        line, redis_version = await (
            LONG[name]() if long and name in LONG else ALONE[name](scale is TINY)
        )
        return line, report.machine(redis_version)
    async with open_stage(scale, NEEDS.get(name, COMPARING)) as stage:
        redis_version = str((await stage.services.redis.info("server"))["redis_version"])
        where = report.machine(redis_version)
        line = await (
            STAGED[name](stage) if name in STAGED else rows.measure(stage, rows.ROWS[name])
        )
        return line, where


def main(
    only: Annotated[str, typer.Option(help=f"one of {', '.join(NAMES)}")] = "",
    tiny: Annotated[
        bool, typer.Option(help="a moment of each, to see that it works; the figures mean nothing")
    ] = False,
    long: Annotated[
        bool, typer.Option(help=f"the long form of {', '.join(LONG)}: more than an hour")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="where the lines go; default bench.jsonl in the data folder")
    ] = None,
) -> None:
    """Measure, print the table, append the lines. Exit status 1 when it failed, was stopped, or
    when a line says that it `missed` something."""
    if only and only not in NAMES:
        sys.exit(f"there is no bench {only}; there is {', '.join(NAMES)}")
    lines: list[dict[str, Any]] = []
    where: dict[str, Any] = {}
    try:
        for name in [only] if only else NAMES:
            line, here = asyncio.run(measure(name, TINY if tiny else FULL, long))
            report.append(out or load().data_dir / "bench.jsonl", line, here)
            lines.append(line)
            where = where or here
    except (LoadError, DeployError) as error:
        sys.exit(f"the measurement of {name} failed: {error}")
    finally:
        if lines:
            report.show(lines, where)
    if any(line.get("missed") or line.get("stopped") for line in lines):
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
