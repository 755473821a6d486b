"""`make demo` and `make tour` as a user runs them: they start, they survive kill -9, and they leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.demo import is_applied, is_running
from deploy.ports import free_port, is_free
from deploy.processes import ROOT, end, spawn, tail
from deploy.runner import notable
from deploy.tour import relabelled

PARTS = ["mongodb", "redis", "sandbox", "server", "worker", "files", "webhooks", "scheduler", "audience"]


class Demo:
    """A demo on four free ports with its own data, started and stopped by the test."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.port = free_port()
        while not all(is_free(self.port + offset) for offset in range(4)):
            self.port = free_port()
        self.env = {**os.environ, "YINQIAO_PORT": str(self.port), "YINQIAO_DATA_DIR": str(data)}
        self.log = data / "demo.txt"

    def start(self) -> subprocess.Popen[bytes]:
        process = spawn([sys.executable, "manage.py", "demo"], env=self.env, log=self.log)
        until(lambda: is_applied(self.data) or process.poll() is not None, 90.0)
        assert process.poll() is None, self.log.read_text() + "".join(
            f"\n--- {part}\n{tail(self.data / 'logs' / f'{part}.log')}" for part in PARTS
        )
        return process

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(command, cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=150)

    def left(self) -> list[str]:
        """The command lines of this demo's processes that still run (Redis overwrites what tells it: ask its port)."""
        return [words for _, words in self.processes()]

    def processes(self) -> list[tuple[int, str]]:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                mine = f"YINQIAO_DATA_DIR={self.data}\0".encode() in (folder / "environ").read_bytes()
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            if mine and words:
                found.append((int(folder.name), words))
        return found

    def kept(self, ending: str) -> list[int]:
        """The process that the keeper of this command keeps; empty while there is none."""
        keeper = next(pid for pid, words in self.processes() if "deploy.keep" in words and ending in words)
        return [int(pid) for pid in Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()]


def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    demo = Demo(tmp_path / "data")
    yield demo
    for pid, _ in demo.processes():
        os.kill(pid, signal.SIGKILL)


def test_the_tour_happens_again_after_every_process_was_killed_and_without_a_demo(demo: Demo) -> None:
    """The last one brings a demo up by itself, over the data of the others, and down again."""
    process = demo.start()
    try:
        shown = demo.log.read_text()
        for address in ("/console/", "/sidebar/demo/", "/preview/"):
            assert f"http://127.0.0.1:{demo.port}{address}" in shown
        assert_toured(demo.run("tour"))
        for command in ("server.py", "stack mongodb", "stack redis", "sandbox", "celery", "scheduler", "audience"):
            (killed,) = demo.kept(command)
            os.kill(killed, signal.SIGKILL)
            until(lambda command=command, killed=killed: demo.kept(command) not in ([], [killed]))
        assert_toured(demo.run("tour"))
        checked = demo.run("ledger", "check")
        assert (checked.returncode, checked.stderr) == (0, "")
        assert "demo: the ledger holds" in checked.stdout
    finally:
        assert end(process, 40.0) == 0
    assert demo.log.read_text().count("was ended by SIGKILL: starting it again") == 7
    assert demo.left() == []
    assert not is_running(demo.data)
    assert all(is_free(demo.port + offset) for offset in range(4))
    alone = demo.run("tour")
    assert_toured(alone)
    assert "5 (+1)" in alone.stdout, "each tour adds two customers, the second one in its last stage"
    assert demo.left() == []
    assert all(is_free(demo.port + offset) for offset in range(4))


def assert_toured(tour: subprocess.CompletedProcess[str]) -> None:
    assert (tour.returncode, tour.stderr) == (0, "")
    assert "All 7 stages happened" in tour.stdout


def test_a_demo_that_is_killed_leaves_nothing_behind(demo: Demo) -> None:
    process = demo.start()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: demo.left() == [])
    assert all(is_free(demo.port + offset) for offset in range(4))


def test_a_demo_whose_runner_is_killed_ends_and_leaves_nothing_behind(demo: Demo) -> None:
    process = demo.start()
    runner = next(pid for pid, words in demo.processes() if words.strip().endswith("-m deploy.runner"))
    os.kill(runner, signal.SIGKILL)
    assert process.wait(60) == 1
    assert "a process gave up" in demo.log.read_text()
    until(lambda: demo.left() == [])


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('{"level": "info", "message": "listening"}', ""),
        ('{"level": "warning", "message": "WeCom is slow"}', "warning: WeCom is slow"),
        ("keep: python server.py was ended by SIGKILL: starting it again in 0.5 s",) * 2,
        ("[tasks]", ""),
        ("2026-11-22 WARNING disk is slow", "2026-11-22 WARNING disk is slow"),
    ],
)
def test_the_terminal_shows_what_somebody_should_see(line: str, shown: str) -> None:
    assert notable(line) == shown


def test_the_tour_relabels_a_campaign_and_touches_nothing_else() -> None:
    text = "id: a\nlabels: [x, tour-1]   # kept short\nsteps: []\n"
    assert relabelled(text, "tour-2") == "id: a\nlabels: [x, tour-2]\nsteps: []\n"
    assert relabelled("id: a\n", "tour-2") == "id: a\nlabels: [tour-2]\n"
