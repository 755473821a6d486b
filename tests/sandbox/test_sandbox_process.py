"""`python -m sandbox` as a process: ready line, clean stop, busy port, saved state."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import httpx
import pytest

from sandbox.people import command

COMMAND = [sys.executable, "-m", "sandbox"]


@contextmanager
def running(*arguments: str):
    """The process and its address, once it says that it listens."""
    process = subprocess.Popen([*COMMAND, "--port", "0", *arguments], stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert line.startswith("sandbox listening on http://127.0.0.1:")
        yield process, line.split()[-1]
    finally:
        process.terminate()
        process.wait(timeout=20)
        process.stdout.close()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_it_cleanly_and_saves(tmp_path, signum):
    """Started again on the same file it knows its people."""
    state = tmp_path / "state.json"
    with running("--state", str(state)) as (process, url):
        with httpx.Client(base_url=url, trust_env=False) as client:
            person = client.post("/control/people", json={"name": "张晓雯"}).json()
        process.send_signal(signum)
        assert process.wait(timeout=20) == 0
    assert list(json.loads(state.read_text("utf-8"))["people"]) == [person["id"]]
    with running("--state", str(state)) as (_, url), httpx.Client(base_url=url, trust_env=False) as client:
        assert client.get("/control/people").json()["people"] == [person]


def test_busy_port_is_one_clear_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run([*COMMAND, "--port", str(port)], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"sandbox: port {port} on 127.0.0.1 is already in use\n"


def test_bad_world_is_said_and_nothing_starts(tmp_path):
    world = tmp_path / "world.yaml"
    world.write_text("corp: {}\n", "utf-8")
    done = subprocess.run([*COMMAND, "--world", str(world)], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("sandbox: ")
    assert "corp_id" in done.stderr


def test_without_a_sandbox_the_population_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--sandbox", "http://127.0.0.1:9"]) == 1
    assert capsys.readouterr().err.startswith("people: ConnectError")
