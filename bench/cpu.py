"""Processor time and memory of processes. What else a busy machine does changes the first
far less than the time on the clock."""

from __future__ import annotations

import os
from pathlib import Path

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
