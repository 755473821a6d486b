"""Runs the Procfile under honcho, calmly: `python -m deploy.runner`.

Each process's output goes to DATA/logs/NAME.log (the run before: NAME.log.1); the terminal sees
warnings and errors only.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import IO, Any

import honcho.manager
from honcho.environ import parse_procfile

from config.settings import load
from deploy.processes import ROOT, open_log
from deploy.stack import COMMANDS, embedded

STOP_SECONDS = 20
"""How long all may take to stop after the first has: longer than a keeper's patience, so that
stores stop in order."""

_LOUD = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b|^keep: |Traceback \(most recent call last\)")
_QUIET = re.compile(r"overcommit_memory")
"""Redis advises on the machine's settings at every start; a laptop need not change them."""


class CalmPrinter:
    """Honcho's printer: files for everything, the terminal for what somebody should see."""

    def __init__(self, logs: Path) -> None:
        self.width = 0
        self._logs = logs
        self._files: dict[str, IO[str]] = {}
        self._stopping = False

    def write(self, message: Any) -> None:
        data = message.data
        text = data.decode("utf-8", "replace") if isinstance(data, bytes) else str(data)
        self._stopping = self._stopping or text.startswith(("SIGTERM received", "SIGINT received"))
        file = self._file(message.name)
        for line in text.splitlines():
            print(line, file=file, flush=True)
            shown = notable(line)
            if shown and not self._stopping:
                print(f"{message.name}: {shown}", flush=True)

    def _file(self, name: str) -> IO[str]:
        if name not in self._files:
            path = self._logs / f"{name}.log"
            if path.exists():
                path.replace(path.with_suffix(".log.1"))
            self._files[name] = open_log(path, "w")
        return self._files[name]

    def close(self) -> None:
        for file in self._files.values():
            file.close()


def notable(line: str) -> str:
    """What of a log line belongs on the terminal; empty for most."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line.strip() if _LOUD.search(line) and not _QUIET.search(line) else ""
    if isinstance(entry, dict) and entry.get("level") in ("warning", "error", "critical"):
        return f"{entry['level']}: {entry.get('message', '')}"
    return ""


def main() -> int:
    """Runs until SIGTERM, or until one of the processes gives up; the exit status."""
    settings = load()
    logs = settings.data_dir / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    printer = CalmPrinter(logs)
    honcho.manager.KILL_WAIT = STOP_SECONDS
    manager = honcho.manager.Manager(printer)
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    env["PYTHONUNBUFFERED"] = "1"
    for name, command in parse_procfile(
        (ROOT / "Procfile").read_text(encoding="utf-8")
    ).processes.items():
        if name not in COMMANDS or name in embedded(settings):
            manager.add_process(name, command, env=env, cwd=str(ROOT))
    try:
        manager.loop()
    finally:
        printer.close()
    return int(manager.returncode or 0)


if __name__ == "__main__":
    sys.exit(main())
