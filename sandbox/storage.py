"""The state on disk: one JSON file, replaced atomically, written a moment after the last change."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from sandbox.state import State

DELAY_SECONDS = 0.3


class Storage:
    """Loads and saves the state; without a path it only keeps memory."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._dirty: State | None = None
        self._timer: asyncio.TimerHandle | None = None

    def load(self) -> State:
        """The saved state, or an empty one. Raises pydantic.ValidationError when the file is not ours."""
        if self._path is None or not self._path.exists():
            return State()
        return State.model_validate_json(self._path.read_bytes())

    def changed(self, state: State) -> None:
        """Note a change; the file follows within DELAY_SECONDS."""
        if self._path is None:
            return
        self._dirty = state
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(DELAY_SECONDS, self.flush)

    def flush(self) -> None:
        """Write what is not yet written."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._path is None or self._dirty is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_name(self._path.name + ".new")
        with beside.open("wb") as file:
            file.write(self._dirty.model_dump_json(indent=1).encode())
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
        self._dirty = None
