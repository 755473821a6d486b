"""The state on disk: one JSON file, replaced atomically, written a while after the last change."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from sandbox.core.state import Person, State

DELAY_SECONDS = 0.3
PEOPLE_A_SECOND = 10_000
"""The more people there are, the longer the file waits for further changes."""
SLICE = 100
"""How many people are written before others get a turn."""


class Storage:
    """Loads and saves the state; without a path it only keeps memory."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._dirty: State | None = None
        self._saving: asyncio.Task[None] | None = None

    def load(self) -> State:
        """The saved state, or an empty one. Raises pydantic.ValidationError when the file is not
        ours."""
        if self._path is None or not self._path.exists():
            return State()
        return State.model_validate_json(self._path.read_bytes())

    def changed(self, state: State) -> None:
        """Note a change; the file follows, sooner with few people than with many, and never in one
        long breath."""
        if self._path is None:
            return
        self._dirty = state
        if self._saving is None:
            self._saving = asyncio.create_task(self._save(self._path))

    async def close(self) -> None:
        """Write what is not yet written."""
        if self._saving:
            self._saving.cancel()
            await asyncio.gather(self._saving, return_exceptions=True)
        if self._path is not None and self._dirty is not None:
            self._replace(self._path, self._dirty)
            self._dirty = None

    async def _save(self, path: Path) -> None:
        try:
            while self._dirty is not None:
                await asyncio.sleep(DELAY_SECONDS + len(self._dirty.people) / PEOPLE_A_SECOND)
                await self._write(path, self._dirty)
        finally:
            self._saving = None

    async def _write(self, path: Path, state: State) -> None:
        """Write `state` slice by slice; whatever changes meanwhile is written again."""
        self._dirty = None
        try:
            beside = _beside(path)
            with beside.open("wb") as file:
                for piece in pieces(state):
                    file.write(piece)
                    await asyncio.sleep(0)
                await asyncio.to_thread(_to_disk, file)
            beside.replace(path)
        except BaseException:
            self._dirty = self._dirty or state
            raise

    def _replace(self, path: Path, state: State) -> None:
        beside = _beside(path)
        with beside.open("wb") as file:
            for piece in pieces(state):
                file.write(piece)
            _to_disk(file)
        beside.replace(path)


def _beside(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(path.name + ".new")


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def pieces(state: State) -> Iterator[bytes]:
    """The state as JSON, a few people at a time; they come last, so that everybody whom the rest
    names is there."""
    rest = state.model_dump_json(exclude={"people"})
    yield rest[:-1].encode() + b',"people":{'
    everybody = list(state.people.values())
    for start in range(0, len(everybody), SLICE):
        lines = ",\n".join(map(_line, everybody[start : start + SLICE]))
        yield (",\n" if start else "\n").encode() + lines.encode()
    yield b"\n}}\n"


def _line(person: Person) -> str:
    return f'"{person.id}":{person.model_dump_json()}'
