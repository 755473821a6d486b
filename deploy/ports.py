"""Ports of this machine: which are free, and waiting until somebody listens."""

from __future__ import annotations

import errno
import random
import socket
import time
from collections.abc import Callable

from deploy.errors import DeployError

HOST = "127.0.0.1"
BELOW_EPHEMERAL = range(20_000, 32_000)
_random = random.SystemRandom()
_given: set[int] = set()


class PortBusy(DeployError):
    """Another program listens where one of ours must; `setting` is what the operator can change."""

    def __init__(self, port: int, wanted_by: str, setting: str) -> None:
        super().__init__(
            f"port {port} is in use by another program, and {wanted_by} needs it: "
            f"stop that program, or choose other ports with {setting}"
        )
        self.port = port


class NotListening(DeployError):
    """Nobody answered on a port in time."""


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of this machine now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            return False
    return True


def require_free(port: int, wanted_by: str, setting: str) -> None:
    """Raises PortBusy when something else listens on `port`."""
    if not is_free(port):
        raise PortBusy(port, wanted_by, setting)


def free_port() -> int:
    """A port to listen on later, never the same twice in a process: below the range from which the
    system takes ports for outgoing connections."""
    for port in _random.sample(BELOW_EPHEMERAL, len(BELOW_EPHEMERAL)):
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    raise DeployError("no free port between 20000 and 32000")


def listens(port: int, host: str = HOST) -> bool:
    """Whether somebody accepts connections there now."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, port)) == 0


def wait_for_port(
    port: int, timeout: float = 20.0, *, host: str = HOST, alive: Callable[[], bool] = lambda: True
) -> None:
    """Returns when somebody accepts connections; NotListening after `timeout` seconds, or as soon
    as `alive()` is false."""
    deadline = time.monotonic() + timeout
    while not listens(port, host):
        if not alive():
            raise NotListening(f"the process that was to listen on {host}:{port} has ended")
        if time.monotonic() > deadline:
            raise NotListening(f"nothing listens on {host}:{port} after {timeout:g} seconds")
        time.sleep(0.05)
