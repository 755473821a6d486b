"""No store, no network, no process here: a test that asks for one fails, so that this tier stays a matter of seconds."""

from __future__ import annotations

import socket
import subprocess
from typing import NoReturn

import pytest

MOVE = "tests/unit has no store, no network and no process: move this test to tests/integration"


def _refuse(*_: object, **__: object) -> NoReturn:
    raise AssertionError(MOVE)


@pytest.fixture(autouse=True)
def nothing_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("bind", "connect", "connect_ex", "listen", "sendto"):
        monkeypatch.setattr(socket.socket, name, _refuse)
    monkeypatch.setattr(subprocess.Popen, "__init__", _refuse)
    monkeypatch.setattr(subprocess.Popen, "__del__", lambda process: None)


@pytest.fixture(scope="session")
def stores() -> None:
    pytest.fail(MOVE)


@pytest.fixture(scope="session")
def _sandbox_process() -> None:
    pytest.fail(MOVE)
