"""The load generator: raw sockets with keep-alive and requests that were built before the clock
started.

It shares the machine with what it measures, so it does nothing but send, find the end of the
answer, and count statuses.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

HOST = "127.0.0.1"
PATIENCE = 30.0
_LENGTH = b"\r\ncontent-length:"


class LoadError(Exception):
    """An answer that must not happen, or none at all: such a measurement counts for nothing."""


@dataclass(frozen=True)
class Measured:
    """What one run of requests gave: how many answers of each status, in how many seconds."""

    statuses: Counter[int]
    seconds: float

    def rate(self, status: int) -> float:
        """Answers of `status` a second."""
        return self.statuses[status] / self.seconds


def request(
    method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
) -> bytes:
    """The bytes of one HTTP/1.1 request."""
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: {HOST}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    if method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class _Wire:
    """One connection, with at most one request under way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=5.0)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._got = b""

    def send(self, data: bytes) -> None:
        self._got = b""
        self.socket.sendall(data)

    def receive(self) -> bytes | None:
        """The whole answer, or None while a part is missing."""
        data = self.socket.recv(65536)
        if not data:
            raise LoadError(f"the server closed the connection after {self._got[:200]!r}")
        self._got += data
        end = self._got.find(b"\r\n\r\n")
        if end < 0:
            return None
        return self._got if len(self._got) >= end + 4 + _body_length(self._got[:end]) else None


def _body_length(head: bytes) -> int:
    at = head.lower().find(_LENGTH)
    return int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0


def status_of(answer: bytes) -> int:
    return int(answer[9:12])


def drive(
    port: int,
    requests: Sequence[bytes],
    *,
    connections: int,
    seconds: float,
    allowed: Collection[int],
) -> Measured:
    """Sends `requests` over `connections`, each answered before the next, until they or the
    `seconds` are used up.

    What is under way then is waited for and counted. Raises LoadError for a status that is not
    `allowed`.
    """
    waiting = iter(requests)
    statuses: Counter[int] = Counter()
    wires = [_Wire(port) for _ in range(min(connections, len(requests)))]
    try:
        with selectors.DefaultSelector() as selector:
            for wire in wires:
                selector.register(wire.socket, selectors.EVENT_READ, wire)
            start = time.monotonic()
            for wire in wires:
                wire.send(next(waiting))
            _pump(
                selector, waiting, statuses, busy=len(wires), until=start + seconds, allowed=allowed
            )
            return Measured(statuses, time.monotonic() - start)
    finally:
        for wire in wires:
            wire.socket.close()


def _pump(
    selector: selectors.BaseSelector,
    waiting: Iterator[bytes],
    statuses: Counter[int],
    *,
    busy: int,
    until: float,
    allowed: Collection[int],
) -> None:
    while busy:
        ready = selector.select(PATIENCE)
        if not ready:
            raise LoadError(f"{busy} requests had no answer for {PATIENCE:g} seconds")
        sending = time.monotonic() < until
        for key, _ in ready:
            answer = key.data.receive()
            if answer is None:
                continue
            status = status_of(answer)
            if status not in allowed:
                raise LoadError(f"unexpected answer: {answer[:600]!r}")
            statuses[status] += 1
            following = next(waiting, None) if sending else None
            if following is None:
                busy -= 1
            else:
                key.data.send(following)


async def pace(
    port: int, requests: Sequence[bytes], *, rate: float, connections: int
) -> list[float]:
    """Sends `requests` at `rate` a second, whatever the answers take; when each was due
    (time.monotonic).

    Raises LoadError for an answer that is not 200.
    """
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    opened = [await asyncio.open_connection(HOST, port) for _ in range(connections)]
    for connection in opened:
        free.put_nowait(connection)
    start = time.monotonic() + 0.1
    due = [start + index / rate for index in range(len(requests))]
    try:
        async with asyncio.timeout(len(requests) / rate + PATIENCE), asyncio.TaskGroup() as group:
            for when, data in zip(due, requests, strict=True):
                await asyncio.sleep(max(0.0, when - time.monotonic()))
                group.create_task(_exchange(free, data))
    finally:
        for _, writer in opened:
            writer.close()
    return due


async def _exchange(
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]], data: bytes
) -> None:
    wire = await free.get()
    status, answer = await exchange(wire, data)
    if status != 200:
        raise LoadError(f"unexpected answer: {status} {answer!r}")
    free.put_nowait(wire)


async def exchange(
    wire: tuple[asyncio.StreamReader, asyncio.StreamWriter], data: bytes
) -> tuple[int, bytes]:
    """Sends one request; the answer's status and body. Raises OSError or IncompleteReadError when
    the connection breaks."""
    reader, writer = wire
    writer.write(data)
    head = await reader.readuntil(b"\r\n\r\n")
    return status_of(head), await reader.readexactly(_body_length(head))
