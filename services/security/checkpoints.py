"""Checkpoints of an audit chain: a file outside the database, of which each line has a row's number
and hash and a seal over both and the seal before.

Only the vault's key makes a seal, and the key is the bank's: whoever can write to the database and
to the file can neither rewrite a chain so that it fits, nor lay another bank's file in its place.
Whoever can write to both can still cut both off at the same row, which a copy that was shipped away
shows.
"""

from __future__ import annotations

import fcntl
import hmac
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from services.errors import Conflict
from services.security.vault import Vault

BEGUN, ACCEPTED = "begun", "accepted"
"""What the first line's seal stands on: a file that began by itself, or one by which an operator let
a chain stand that had begun before."""
_LINE_MOST = 4096


@dataclass(frozen=True)
class Seen:
    """What a file saw: number → hash, and what is wrong with it; `first` is where it begins, 0 when it
    is not there, and `accepted` whether what was before was let stand."""

    first: int = 0
    accepted: bool = False
    rows: Mapping[int, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def last(self) -> int:
        return max(self.rows, default=0)


class Checkpoints:
    """The files of one folder, one for each bank."""

    def __init__(self, vault: Vault, folder: Path) -> None:
        self._vault = vault
        self._folder = folder

    def path(self, tenant: str) -> Path:
        return self._folder / f"{tenant}.checkpoints"

    def append(self, tenant: str, rows: Sequence[tuple[int, str]]) -> None:
        """Adds rows (number and hash), in their order, but none that the file has or of which it has
        a later one, whose hash stands on it."""
        with self._opened(tenant) as file:
            last, seal = _end_of(file)
            for seq, digest in rows:
                if seq > last:
                    line = self._line(tenant, seal or BEGUN, seq, digest)
                    file.write(line)
                    seal = line.split()[-1].decode("ascii")

    def begin(self, tenant: str, seq: int, digest: str) -> None:
        """Begins a new file at row `seq`, by which an operator lets the chain stand as it is; the
        file that was there is kept beside it."""
        path = self.path(tenant)
        if path.exists():
            path.rename(path.with_name(f"{path.name}.until-{seq}"))
        with self._opened(tenant) as file:
            file.write(self._line(tenant, ACCEPTED, seq, digest))

    def seen(self, tenant: str, copy: Path | None = None) -> Seen:
        """What the bank's file, or a copy of it, saw. A line that is not sealed as it should be ends
        the reading."""
        path = copy or self.path(tenant)
        if not path.is_file():
            return Seen(problems=(f"the checkpoint file {path} is missing",))
        rows: dict[int, str] = {}
        seal, accepted = "", False
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            read = self._read(tenant, line, [seal] if seal else [BEGUN, ACCEPTED])
            if read is None:
                wrong = f"line {number} of the checkpoint file {path} is not one of this bank's"
                return Seen(min(rows, default=0), accepted, rows, (wrong,))
            seq, digest, seal, stands_on = read
            accepted = accepted or stands_on == ACCEPTED
            rows[seq] = digest
        if not rows:
            return Seen(problems=(f"the checkpoint file {path} is empty",))
        return Seen(min(rows), accepted, rows)

    def export(self, tenant: str, to: Path) -> int:
        """Copies the bank's file, for its owner's eyes; the last row that it saw. Raises Conflict
        `checkpoints_wrong` for a file that is missing or not one of ours, or that would be written
        over itself."""
        seen = self.seen(tenant)
        if seen.problems:
            raise Conflict("checkpoints_wrong", "; ".join(seen.problems))
        if to.exists() and to.samefile(self.path(tenant)):
            raise Conflict("checkpoints_wrong", f"{to} is the file itself")
        number = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.fchmod(number, 0o600)
        with os.fdopen(number, "wb") as file:
            file.write(self.path(tenant).read_bytes())
        return seen.last

    def _opened(self, tenant: str) -> IO[bytes]:
        """The file, for this process alone until it is closed, and for its owner's eyes."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        number = os.open(self.path(tenant), os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        os.fchmod(number, 0o600)
        file = os.fdopen(number, "a+b")
        fcntl.flock(file, fcntl.LOCK_EX)
        return file

    def _seal(self, tenant: str, stands_on: str, seq: int, digest: str) -> str:
        data = f"{stands_on}|{seq}|{digest}".encode()
        return self._vault.mac(tenant, "audit-checkpoint", data)

    def _line(self, tenant: str, stands_on: str, seq: int, digest: str) -> bytes:
        return f"{seq} {digest} {self._seal(tenant, stands_on, seq, digest)}\n".encode("ascii")

    def _read(
        self, tenant: str, line: bytes, may_stand_on: list[str]
    ) -> tuple[int, str, str, str] | None:
        """(number, hash, seal, what the seal stands on) of a line that is sealed as it should be."""
        parts = line.decode("ascii", "replace").split(" ")
        if len(parts) != 3 or not (parts[0].isascii() and parts[0].isdecimal()):
            return None
        seq, digest, seal = int(parts[0]), parts[1], parts[2]
        for stands_on in may_stand_on:
            expected = self._seal(tenant, stands_on, seq, digest)
            if hmac.compare_digest(seal.encode(), expected.encode()):
                return seq, digest, seal, stands_on
        return None


def _end_of(file: IO[bytes]) -> tuple[int, str]:
    """Number and seal of the last line; (0, "") for an empty file. What a killed writer left of a
    line is taken off."""
    size = file.seek(0, os.SEEK_END)
    start = file.seek(max(0, size - _LINE_MOST))
    tail = file.read()
    whole, newline, rest = tail.rpartition(b"\n")
    if rest:
        file.truncate(start + len(whole) + len(newline))
    parts = whole.rsplit(b"\n", 1)[-1].split(b" ")
    if len(parts) != 3 or not parts[0].isdigit():
        return 0, ""
    return int(parts[0]), parts[2].decode("ascii", "replace")
