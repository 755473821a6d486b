"""Processor time and memory of processes. What else a busy machine does changes the first
far less than the time on the clock."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

_TICKS, _PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGESIZE")


def seconds(pid: int) -> float:
    """What a process and its living children have used so far (Linux; elsewhere nothing)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    own = (int(fields[11]) + int(fields[12])) / _TICKS
    return own + sum(map(seconds, _children(pid)))


def resident_mb(pid: int) -> float:
    """What a process and its living children have in memory, each for itself (Linux; elsewhere
    nothing)."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except FileNotFoundError:
        return 0.0
    return pages * _PAGE / 2**20 + sum(map(resident_mb, _children(pid)))


def _children(pid: int) -> list[int]:
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [int(child) for child in found]


Spent = dict[str, float]
"""Seconds by process; of a request, milliseconds by process."""


def spent(pids: Mapping[str, int]) -> Spent:
    """What each of these processes has used so far."""
    return {name: seconds(pid) for name, pid in pids.items()}


def of_a_request(before: Spent, after: Spent, answers: int) -> Spent:
    """Milliseconds of each process for one of the answers that were given in between."""
    return {name: (after[name] - before[name]) / answers * 1e3 for name in after}


def told(product: Sequence[Spent], ceiling: Sequence[Spent]) -> dict[str, Any]:
    """What a line says: medians of the rounds in milliseconds a request, and how many times the
    ceiling's server the product's spent, round by round."""
    medians = {
        name: round(median(each[name] for each in product), 3)
        for name in ("server", "mongodb", "redis")
    }
    medians["ceiling"] = round(median(each["ceiling"] for each in ceiling), 3)
    times = [
        mine["server"] / its["ceiling"] if its["ceiling"] else 0.0
        for mine, its in zip(product, ceiling, strict=True)
    ]
    return {"ms_a_request": medians, "times_the_ceiling": round(median(times), 2)}
