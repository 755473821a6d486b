"""The product's own processes, started one by one against given settings: for tests, benchmarks and
the tour."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import orjson
from pydantic import SecretStr

from config.settings import Settings
from deploy.errors import DeployError
from deploy.ports import wait_for_port
from deploy.processes import end, kill9, spawn, tail
from operations.jobs import FILES, WEBHOOKS, queues


def _worker(children: int, queues: str) -> list[str]:
    return [
        *(sys.executable, "-m", "celery", "-A", "campaigns.tasks", "worker"),
        *("--concurrency", str(children), "--queues", queues),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        *("--loglevel", "INFO"),
    ]


COMMANDS: dict[str, list[str]] = {
    "server": [sys.executable, "server.py"],
    "worker": _worker(2, queues()),
    "files": _worker(1, FILES),
    "webhooks": _worker(1, WEBHOOKS),
    "scheduler": [sys.executable, "manage.py", "scheduler"],
    "audience": [sys.executable, "manage.py", "audience", "run"],
}
READY = {
    "worker": " ready.",
    "files": " ready.",
    "webhooks": " ready.",
    "scheduler": "scheduler started",
    "audience": "audience started",
}
"""What a part without a port writes to its log when it is at work."""


def environment(settings: Settings) -> dict[str, str]:
    """This process's environment with every setting spelled out, so that no `.env` and no stray
    variable counts."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("YINQIAO_")}
    return kept | {f"YINQIAO_{name.upper()}": _text(value) for name, value in settings}


def _text(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, list):
        return orjson.dumps(value).decode()
    return str(value)


class Parts:
    """Server, workers, scheduler and audience as real processes; each may be killed and started again. Close
    it, or use `with`."""

    def __init__(self, settings: Settings, logs: Path) -> None:
        self._settings = settings
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Starts a part unless it runs, and returns when it is at work; DeployError with its last
        words otherwise."""
        if self.runs(name):
            return
        log = self._logs / f"{name}.log"
        read_from = log.stat().st_size if log.exists() else 0
        process = self._running[name] = spawn(
            COMMANDS[name], env=environment(self._settings), log=log
        )
        try:
            if name in READY:
                _wait_for_text(process, log, READY[name], read_from)
            else:
                wait_for_port(self._settings.port, 30.0, alive=lambda: process.poll() is None)
        except DeployError as error:
            self.stop(name)
            raise DeployError(f"{name} did not start: {error}\n{tail(log)}") from error

    def runs(self, name: str) -> bool:
        process = self._running.get(name)
        return process is not None and process.poll() is None

    def pid(self, name: str) -> int:
        return self._running[name].pid

    @property
    def pids(self) -> dict[str, int]:
        """The processes of the parts that were started."""
        return {name: process.pid for name, process in self._running.items()}

    def log(self, name: str) -> str:
        """What the part has written so far."""
        return (self._logs / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def kill9(self, name: str) -> None:
        """Kills a part and its children in one stroke, as a power cut would."""
        kill9(self._running.pop(name))

    def stop(self, name: str, patience: float = 20.0) -> int:
        """Asks a part to finish and go; its exit status."""
        return end(self._running.pop(name), patience)

    def close(self) -> None:
        for process in self._running.values():
            process.terminate()
        for name in list(self._running):
            self.stop(name)

    def __enter__(self) -> Parts:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


def _wait_for_text(process: subprocess.Popen[bytes], log: Path, text: str, read_from: int) -> None:
    deadline = time.monotonic() + 60.0
    while text.encode() not in log.read_bytes()[read_from:]:
        if process.poll() is not None:
            raise DeployError(f"it ended with status {process.returncode}")
        if time.monotonic() > deadline:
            raise DeployError("it was not at work after 60 seconds")
        time.sleep(0.05)
