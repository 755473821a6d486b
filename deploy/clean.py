"""Removes what the other commands made. Runs on a bare Python, since `.venv` may be gone or
broken."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MADE = [
    ".venv",
    ".data",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
    ".import_linter_cache",
    ".coverage",
]


def running_demo(data: Path) -> int | None:
    """The process id of the demo that uses `data`, if one does: it holds a lock on
    `data`/demo.lock."""
    try:
        file = (data / "demo.lock").open("r")
    except FileNotFoundError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(file.readline().strip() or 0)
    return None


def main(root: Path = ROOT) -> int:
    """Exit status 1, and nothing removed, while a demo runs."""
    data = root / os.environ.get("YINQIAO_DATA_DIR", ".data")
    pid = running_demo(data)
    if pid is not None:
        print(
            f"the demo is running (process {pid}): press Ctrl-C in its terminal, or `kill {pid}`, then run make clean again",
            file=sys.stderr,
        )
        return 1
    for path in [*(root / name for name in MADE), *_bytecode(root)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return 0


def _bytecode(root: Path) -> list[Path]:
    rooms = [entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    return [root / "__pycache__", *(cache for room in rooms for cache in room.rglob("__pycache__"))]


if __name__ == "__main__":
    sys.exit(main())
