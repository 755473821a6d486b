"""A bank's folder of the mirror on this host: which blocks it is made of, who in them counts, and up
to when that is right.

One file, `current`, names the blocks and has a bit for each of their places; it is put in its place
at once, so that whoever reads it has one whole state, and blocks that it does not name any more are
removed. A block never changes. Whoever reads `current` just before it is replaced may find a block
gone, and reads it again. What is whole of a mirror that is being made stands in a file of the same
form, `making`, until anything else is written here.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from customers.columnar import arrays, block
from customers.columnar.arrays import Array, Arrays, Damaged
from customers.columnar.block import Block
from customers.columnar.building import Builder
from services import ids

Span = tuple[int, int]
"""Of customers' ids as numbers: from the first up to, but not including, the second."""
CURRENT, MAKING, _RIGHT, _LOCK = "current", "making", "right", "lock"
_BLOCK = "block-"


@dataclass(frozen=True, eq=False)
class Part:
    """A block with who in it counts (`live`). One with a `span` is of all customers whose ids lie in
    it; one without has those who changed since. `dead_since` is when the first place went out."""

    name: str
    live: Array
    span: Span | None = None
    dead_since: float | None = None

    @property
    def count(self) -> int:
        """How many count."""
        return int(np.count_nonzero(self.live))

    def without(self, places: Any, now: float) -> Part:
        """The same without who stands at these places."""
        if not self.live[places].any():
            return self
        live = self.live.copy()
        live[places] = False
        return replace(self, live=live, dead_since=self.dead_since or now)


@dataclass(frozen=True, eq=False)
class State:
    """What the mirror of a bank is made of. It was begun in a `line` of changes that are followed
    without a gap, and was right at `at` (seconds UTC), when it became what it is."""

    line: str
    at: float
    parts: Sequence[Part] = ()
    generation: str = field(default_factory=ids.token)

    @property
    def count(self) -> int:
        return sum(part.count for part in self.parts)


class Folder:
    """One bank's."""

    def __init__(self, path: Path, tenant: str, offset: int) -> None:
        self.path, self.tenant, self._offset = path, tenant, offset
        self._blocks: dict[str, Block] = {}
        self._known: tuple[tuple[int, int], State] | None = None

    def read(self) -> State | None:
        """What is there; None where nothing is. Raises Damaged."""
        try:
            stat = (self.path / CURRENT).stat()
            which = (stat.st_ino, stat.st_mtime_ns)
            if self._known is None or self._known[0] != which:
                self._known = which, self._read(CURRENT)
                self._forget({part.name for part in self._known[1].parts})
        except FileNotFoundError:
            return None
        return self._known[1]

    def _read(self, name: str) -> State:
        found = Arrays(self.path / name)
        head = found.head
        if (head.get("format"), head.get("tenant")) != (block.FORMAT, self.tenant):
            raise Damaged(name)
        bits, at, parts = np.unpackbits(found["live"]).astype(np.bool_), 0, list[Part]()
        for told in head["parts"]:
            parts.append(_part(told, bits[at : at + told["size"]]))
            at += told["size"]
        return State(head["line"], head["at"], parts, head["generation"])

    def write(self, state: State) -> None:
        """Puts the state in the place of what was there, and removes the blocks that are in it no
        more, and what was being made."""
        (self.path / MAKING).unlink(missing_ok=True)
        self._clear(self._put(CURRENT, state))

    def _put(self, name: str, state: State) -> set[str]:
        """Writes a state; the names of its blocks."""
        parts = [part for part in state.parts if part.count]
        head = {
            "format": block.FORMAT,
            "tenant": self.tenant,
            "line": state.line,
            "at": state.at,
            "generation": state.generation,
            "parts": list(map(_told, parts)),
        }
        live = np.concatenate([np.zeros(0, np.bool_), *(part.live for part in parts)])
        arrays.write(self.path / name, head, {"live": np.packbits(live)})
        return {part.name for part in parts}

    def note_made(self, making: State) -> None:
        """Keeps what is whole of a mirror that is being made beside the one that is there."""
        self._put(MAKING, replace(making, generation=self._generation()))

    def made_so_far(self, line: str) -> State | None:
        """What is whole of a mirror that was being made in this line, where nothing was written
        here since."""
        try:
            made = self._read(MAKING)
            for part in made.parts:
                self.block(part)
        except (Damaged, FileNotFoundError):
            return None
        is_his = (made.line, made.generation) == (line, self._generation())
        return made if is_his else None

    def _generation(self) -> str:
        state = self._safely()
        return state.generation if state else ""

    def _safely(self) -> State | None:
        try:
            return self.read()
        except Damaged:
            return None

    def sweep(self, line: str = "") -> None:
        """Removes what others who were killed here, or had no room, began and did not end; what is
        kept of a mirror that was being made in this line stays."""
        state, made = self._safely(), self.made_so_far(line)
        if made is None:
            (self.path / MAKING).unlink(missing_ok=True)
        parts = [part for one in (state, made) if one is not None for part in one.parts]
        self._clear({part.name for part in parts})

    def _clear(self, named: set[str]) -> None:
        """Removes all but the blocks of these names."""
        for file in [*self.path.glob(f"{_BLOCK}*"), *self.path.glob(f"*{arrays.ASIDE}")]:
            if file.name not in named:
                file.unlink(missing_ok=True)
        self._forget(named)

    def _forget(self, named: set[str]) -> None:
        """Holds no blocks open but these."""
        self._blocks = {name: one for name, one in self._blocks.items() if name in named}

    def add(self, builder: Builder, span: Span | None = None) -> Part:
        """Writes a block, which belongs to the mirror when a state that names it is written."""
        name = f"{_BLOCK}{ids.token()}"
        block.write(self.path / name, self.tenant, builder)
        return Part(name, np.ones(len(builder), dtype=np.bool_), span)

    def block(self, part: Part) -> Block:
        """The block of a part. Raises FileNotFoundError, and Damaged."""
        if part.name not in self._blocks:
            self._blocks[part.name] = Block(self.path / part.name, self.tenant, self._offset)
        found = self._blocks[part.name]
        if found.size != len(part.live):
            raise Damaged(part.name)
        return found

    # up to when it is right

    def say_right(self, state: State, at: float) -> None:
        """The state was right at that time as well."""
        replace_file(self.path / _RIGHT, {"generation": state.generation, "at": at})

    def right_at(self, state: State) -> float:
        """Until when what is there is known to be right."""
        told = read_file(self.path / _RIGHT)
        if told is None or told.get("generation") != state.generation:
            return state.at
        return float(told["at"])

    def drop(self) -> None:
        """What is damaged is taken away; who keeps the mirror makes it anew."""
        (self.path / CURRENT).unlink(missing_ok=True)
        self.let_go()

    def let_go(self) -> None:
        """Holds no block open any more: one that was removed is gone from the disk when nobody
        does."""
        self._blocks = {}

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Around writing; whether it is nobody else who writes here."""
        with lock(self.path) as mine:
            yield mine


def _told(part: Part) -> dict[str, Any]:
    span = part.span and [f"{end:x}" for end in part.span]
    said = {"name": part.name, "size": len(part.live), "span": span}
    return {**said, "dead_since": part.dead_since}


def _part(told: dict[str, Any], live: Array) -> Part:
    low, high = told["span"] or (None, None)
    span = (int(low, 16), int(high, 16)) if low and high else None
    return Part(told["name"], live, span, told["dead_since"])


@contextmanager
def lock(folder: Path) -> Iterator[bool]:
    """Holds the folder's lock among the processes of this host, or does not (False)."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with arrays.private(folder / _LOCK) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def replace_file(path: Path, said: Any) -> None:
    """Puts a small file in its place at once."""
    with arrays.replacing(path) as file:
        file.write(json.dumps(said).encode())


def read_file(path: Path) -> dict[str, Any] | None:
    """What such a file says; None of one that is none."""
    try:
        told = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return told if isinstance(told, dict) else None
