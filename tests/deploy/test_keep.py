"""The keeper: restarts what dies, passes stop signals on, and never leaves anything behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from deploy.ports import free_port, wait_for_port
from deploy.processes import ROOT, end, spawn

KEEP = [sys.executable, "-m", "deploy.keep"]

# Appends its process id to the file named first, then waits for ever; SIGTERM makes it add "stopped" and end well.
NOTING = """
import os, signal, sys
def note(word):
    with open(sys.argv[1], "a") as file:
        file.write(f"{word}\\n")
def stop(*_):
    note("stopped")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
note(os.getpid())
while True:
    signal.pause()
"""


def noting(notes: Path) -> list[str]:
    return [sys.executable, "-c", NOTING, str(notes)]


def words(notes: Path) -> list[str]:
    return notes.read_text().split() if notes.exists() else []


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie, whose parent has not looked at it yet, runs no more.
    return "Z" not in subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout


def test_a_killed_command_is_started_again_and_said_so_in_one_line(tmp_path: Path) -> None:
    notes, log = tmp_path / "notes", tmp_path / "log"
    keeper = spawn([*KEEP, "--", *noting(notes)], log=log)
    try:
        until(lambda: len(words(notes)) == 1)
        os.kill(int(words(notes)[0]), signal.SIGKILL)
        until(lambda: len(words(notes)) == 2)
    finally:
        assert end(keeper) == 0
    first, second, last = words(notes)
    assert first != second
    assert last == "stopped"
    assert log.read_text().splitlines() == [
        f"keep: {Path(sys.executable).name} -c was ended by SIGKILL: starting it again in 0.5 s"
    ]


def test_sigterm_is_passed_on_and_waited_for(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    keeper = spawn([*KEEP, "--", *noting(notes)])
    until(lambda: len(words(notes)) == 1)
    child = int(words(notes)[0])
    keeper.terminate()
    assert keeper.wait(20) == 0
    assert words(notes)[1:] == ["stopped"]
    assert not alive(child)


def test_a_command_that_ends_well_is_not_started_again() -> None:
    assert subprocess.run([*KEEP, "--", sys.executable, "-c", ""], cwd=ROOT, timeout=30).returncode == 0


def test_a_command_that_does_not_exist_is_named() -> None:
    done = subprocess.run([*KEEP, "--", "no-such-command"], cwd=ROOT, timeout=30, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (127, "keep: no such command: no-such-command\n")


def test_a_killed_keeper_leaves_nothing_behind(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    keeper = spawn([*KEEP, "--", *noting(notes)])
    until(lambda: len(words(notes)) == 1)
    os.kill(keeper.pid, signal.SIGKILL)
    keeper.wait()
    until(lambda: not alive(int(words(notes)[0])))


def test_when_the_grandparent_is_killed_the_command_is_stopped(tmp_path: Path) -> None:
    """As honcho does it: a helper process stands between the runner and the keeper."""
    notes = tmp_path / "notes"
    helper = f"import subprocess; subprocess.run({[*KEEP, '--', *noting(notes)]!r})"
    runner = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {helper!r}])"], cwd=ROOT
    )
    until(lambda: len(words(notes)) == 1)
    runner.kill()
    runner.wait()
    until(lambda: words(notes)[1:] == ["stopped"])
    until(lambda: not alive(int(words(notes)[0])))


def test_stores_stop_after_those_who_use_them(tmp_path: Path) -> None:
    """`--last` waits for every `--stores` keeper of the same data folder."""
    port, notes = free_port(), tmp_path / "notes"
    env = {**os.environ, "YINQIAO_DATA_DIR": str(tmp_path), "YINQIAO_PORT": str(port)}
    env |= {"YINQIAO_MONGODB_URI": "mongodb://elsewhere", "YINQIAO_REDIS_URL": "redis://elsewhere"}
    slow = NOTING.replace('note("stopped")', 'import time; time.sleep(0.5); note("user")')
    user = spawn([*KEEP, "--stores", "--", sys.executable, "-c", slow, str(notes)], env=env)
    until(lambda: len(words(notes)) == 1)
    store = spawn([*KEEP, "--last", "--", *noting(notes)], env=env)
    until(lambda: len(words(notes)) == 2)
    store.terminate()
    user.terminate()
    assert (user.wait(20), store.wait(20)) == (0, 0)
    assert words(notes)[2:] == ["user", "stopped"]


def test_a_command_that_needs_the_stores_waits_for_them(tmp_path: Path) -> None:
    port, notes = free_port(), tmp_path / "notes"
    env = {**os.environ, "YINQIAO_DATA_DIR": str(tmp_path), "YINQIAO_PORT": str(port)}
    keeper = spawn([*KEEP, "--stores", "--", *noting(notes)], env=env)
    listening = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(600)"
    stores = [spawn([sys.executable, "-c", listening, str(port + 2)])]
    try:
        wait_for_port(port + 2)
        assert words(notes) == []
        stores.append(spawn([sys.executable, "-c", listening, str(port + 3)]))
        until(lambda: len(words(notes)) == 1)
    finally:
        for process in [keeper, *stores]:
            end(process)
