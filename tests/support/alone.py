"""Tests that ask what the product does within seconds run while no other worker runs a test.

Every test holds the room together with others; one marked `alone` waits until all have left it and then holds it by
itself. Whoever waits for that stands at the door, so that nobody enters before him.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ALONE = "alone"


class Room:
    """Shared by all workers of a run, through two files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._door = folder / "door.lock"
        self._room = folder / "room.lock"

    @contextmanager
    def held(self, *, alone: bool) -> Iterator[None]:
        """Waits for the room, and leaves it at the end; a process that dies has left it."""
        how = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
        with self._door.open("a") as door, self._room.open("a") as room:
            fcntl.flock(door, how)
            fcntl.flock(room, how)
            fcntl.flock(door, fcntl.LOCK_UN)
            yield
