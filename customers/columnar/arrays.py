"""A file of named arrays with a head, mapped into memory: what lies in it is checked before it is
used.

The file is a magic number, the length and the checksum of the head, the head (JSON), and the
arrays, each at a multiple of eight bytes and with a checksum in the head.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

_MAGIC = b"YQCOL\x00\x00\x01"
_LENGTHS = struct.Struct("<II")
_FIRST = len(_MAGIC) + _LENGTHS.size
_STEP = 8
ASIDE = ".part"
Array = NDArray[Any]


class Damaged(Exception):
    """A file is not as it was written: cut short, or with other bytes."""


def write(path: Path, head: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Writes the file aside and puts it in its place at once, on the disk, readable by its owner
    alone."""
    said = _head(head, arrays)
    with replacing(path, lasting=True) as file:
        file.write(_MAGIC + _LENGTHS.pack(len(said), zlib.crc32(said)) + said)
        for array in arrays.values():
            file.write(array.tobytes())
            file.write(bytes(-array.nbytes % _STEP))


def _head(head: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    places: dict[str, tuple[str, int, int, int]] = {}
    at = 0
    for name, array in arrays.items():
        places[name] = (array.dtype.str, len(array), at, zlib.crc32(array.tobytes()))
        at += array.nbytes + -array.nbytes % _STEP
    said = json.dumps({"head": head, "arrays": places, "bytes": at}).encode()
    return said + b" " * (-(_FIRST + len(said)) % _STEP)


@contextmanager
def replacing(path: Path, *, lasting: bool = False) -> Iterator[IO[bytes]]:
    """A file to be written, which is put in its place at once when that is done. A `lasting` one is
    there then also after a power cut."""
    aside = path.with_name(f"{path.name}.{os.getpid()}{ASIDE}")
    with private(aside) as file:
        yield file
        if lasting:
            file.flush()
            os.fsync(file.fileno())
    aside.replace(path)
    if lasting:
        _sync(path.parent)


def _sync(folder: Path) -> None:
    """The names in it are on the disk."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def private(path: Path) -> IO[bytes]:
    """A new file for its owner alone, opened to be written."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


class Arrays:
    """Such a file, opened. Raises FileNotFoundError, and Damaged."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            try:
                self._mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except ValueError:  # an empty file
                raise Damaged(path.name) from None
        self._name, self._good = path.name, set[str]()
        told = self._read_head()
        self.head: Mapping[str, Any] = told["head"]
        self._places: Mapping[str, tuple[str, int, int, int]] = told["arrays"]
        if len(self._mapped) != self._begin + told["bytes"]:
            raise Damaged(self._name)

    def _read_head(self) -> dict[str, Any]:
        begin = self._mapped[:_FIRST]
        if len(begin) < _FIRST or not begin.startswith(_MAGIC):
            raise Damaged(self._name)
        length, checksum = _LENGTHS.unpack(begin[len(_MAGIC) :])
        self._begin = _FIRST + length
        said = self._mapped[_FIRST : self._begin]
        if len(said) != length or zlib.crc32(said) != checksum:
            raise Damaged(self._name)
        told: dict[str, Any] = json.loads(said)
        return told

    @property
    def names(self) -> list[str]:
        return list(self._places)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __getitem__(self, name: str) -> Array:
        """The array, which nobody may write to. Raises Damaged at its first use."""
        kind, length, at, checksum = self._places[name]
        dtype = np.dtype(kind)
        found = np.frombuffer(self._mapped, dtype, length, self._begin + at)
        if name not in self._good:
            if zlib.crc32(found.data) != checksum:
                raise Damaged(self._name)
            self._good.add(name)
        return found
