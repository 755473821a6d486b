"""Keeps one process running: `python -m deploy.keep [--stores | --last] -- COMMAND…`.

A command that crashes or is killed is started again, after a short wait that grows. SIGTERM and
SIGINT are passed on and waited for. When the one who started us dies, however it dies, the command
is ended too: nothing is left behind. A bank has systemd or Kubernetes for this; the demo has this,
so that anybody may `kill -9` a part and watch nothing get lost.

    --stores   wait until the embedded stores answer before each start, and count as one who uses them
    --last     when told to stop, first let those who use the stores finish (at most LAST_SECONDS)
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import IO

from config.settings import load
from deploy.ports import listens
from deploy.processes import die_with_parent, kill_group
from deploy.stack import embedded, port_of

FIRST_WAIT, MOST_WAIT = 0.5, 8.0
HEALTHY_SECONDS = 10.0
MOST_FAILURES = 6
PATIENCE = 10.0
LAST_SECONDS = 8.0
WATCH_SECONDS = 0.3


def family() -> tuple[int, int]:
    """Our parent and its parent. A process runner puts a helper between itself and us, so both are
    watched."""
    parent = os.getppid()
    return parent, parent_of(parent)


def parent_of(pid: int) -> int:
    """The parent of a process; 0 when there is none (any more)."""
    if sys.platform == "linux":
        try:
            return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            return 0
    command = ["ps", "-o", "ppid=", "-p", str(pid)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(answer.stdout.strip() or 0)


def cause(status: int) -> str:
    """How a process ended, in words."""
    return (
        f"was ended by {signal.Signals(-status).name}"
        if status < 0
        else f"ended with status {status}"
    )


class Keeper:
    """One command, kept running until we are told to stop or the command ends well."""

    def __init__(self, command: list[str], *, stores: bool, last: bool) -> None:
        self._command = command
        self._name = " ".join(Path(word).name for word in command[:3] if "\n" not in word)
        self._stores = stores
        self._last = last
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """The exit status: 0 after an orderly stop, the command's own when it keeps failing."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop.set)
        self._watch(family())
        if not (self._stores or self._last):
            return await self._keep(None)
        with self._users_lock() as users:
            return await self._keep(users)

    def _users_lock(self) -> IO[bytes]:
        """The file that those who use the stores hold a shared lock on."""
        data = load().data_dir
        data.mkdir(parents=True, exist_ok=True)
        file = (data / "stores.lock").open("ab")
        if self._stores:
            fcntl.flock(file, fcntl.LOCK_SH)
        return file

    async def _keep(self, users: IO[bytes] | None) -> int:
        failures = 0
        while True:
            if self._stores:
                await self._wait_for_stores()
            if self._stop.is_set():
                return 0
            started = time.monotonic()
            status = await self._run_once(users)
            if status == 0 or self._stop.is_set():
                return 0
            failures = 1 if time.monotonic() - started > HEALTHY_SECONDS else failures + 1
            if failures >= MOST_FAILURES:
                self._say(f"{cause(status)} {failures} times in a row: giving up")
                return abs(status)
            wait = min(MOST_WAIT, FIRST_WAIT * 2.0 ** (failures - 1))
            self._say(f"{cause(status)}: starting it again in {wait:g} s")
            await self._unless_stopped(asyncio.sleep(wait))

    async def _run_once(self, users: IO[bytes] | None) -> int:
        child = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent(os.getpid()),
        )
        try:
            await self._unless_stopped(child.wait())
            if child.returncode is None:
                await self._end(child, users)
            return await child.wait()
        finally:
            kill_group(child.pid)

    async def _end(self, child: asyncio.subprocess.Process, users: IO[bytes] | None) -> None:
        if self._last and users is not None:
            await self._until_unused(users)
        if child.returncode is None:
            child.terminate()
        try:
            await asyncio.wait_for(child.wait(), PATIENCE)
        except TimeoutError:
            self._say(f"did not stop in {PATIENCE:g} s: killed")
            child.kill()

    async def _until_unused(self, users: IO[bytes]) -> None:
        deadline = time.monotonic() + LAST_SECONDS
        while time.monotonic() < deadline:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await asyncio.sleep(0.05)
            else:
                return

    async def _wait_for_stores(self) -> None:
        settings = load()
        ports = [port_of(name, settings) for name in embedded(settings)]
        while not self._stop.is_set() and not all(listens(port) for port in ports):
            await self._unless_stopped(asyncio.sleep(0.2))

    def _watch(self, born: tuple[int, int]) -> None:
        if family() != born:
            self._stop.set()
        else:
            asyncio.get_running_loop().call_later(WATCH_SECONDS, self._watch, born)

    async def _unless_stopped(self, work: Awaitable[object]) -> None:
        """Returns when `work` is done or we are told to stop, whichever comes first."""
        tasks = [asyncio.ensure_future(work), asyncio.ensure_future(self._stop.wait())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _say(self, text: str) -> None:
        print(f"keep: {self._name} {text}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.keep", description="Keeps one process running."
    )
    order = parser.add_mutually_exclusive_group()
    order.add_argument("--stores", action="store_true")
    order.add_argument("--last", action="store_true")
    parser.add_argument("command", nargs="+")
    chosen = parser.parse_args()
    try:
        return asyncio.run(Keeper(chosen.command, stores=chosen.stores, last=chosen.last).run())
    except FileNotFoundError as error:
        print(f"keep: no such command: {error.filename}", file=sys.stderr)
        return 127


if __name__ == "__main__":
    sys.exit(main())
