"""Forms with a file: read piece by piece as they come in, so that no file is ever whole in memory.

The form's own fields come before the file (the browser sends them in the page's order): they say for
whom the form was made, and are checked before a byte of the file is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from services.errors import InvalidInput

HEAD_BYTES = 8 * 1024
"""The headers of one field."""
FIELDS_BYTES = 32 * 1024
"""All fields but the file."""
UPLOAD_SECONDS = 900.0
"""How long a file may take to come in."""
_BOUNDARY = re.compile(
    r'multipart/form-data;.*?boundary="?([A-Za-z0-9\'()+_,./:=?-]{1,70})"?\s*(?:;.*)?$', re.I
)
_NAME = re.compile(rb'[; ]name="([^"\r\n]{1,64})"')
_FILE = re.compile(rb'[; ]filename="([^"\r\n]{0,1000})"')


@dataclass(frozen=True, slots=True)
class Piece:
    """What came in: a field with its value, the beginning of the file (its name), or more of its
    bytes."""

    kind: Literal["field", "file", "data"]
    name: str = ""
    data: bytes = b""


class FileForm:
    """A form of the type multipart/form-data with one file, `field`; raises InvalidInput
    `invalid_body` for anything else."""

    def __init__(self, content_type: str, field: str) -> None:
        found = _BOUNDARY.match(content_type)
        if found is None:
            raise _wrong()
        self._field = field.encode()
        self._mark = b"\r\n--" + found[1].encode()
        self._rest = b"\r\n"
        self._at: Literal["mark", "head", "field", "file", "over"] = "mark"
        self._name, self._value = "", b""
        self._spent = 0
        self.has_file = False

    @property
    def is_over(self) -> bool:
        """Whether the form came to its end."""
        return self._at == "over"

    def feed(self, data: bytes) -> Iterator[Piece]:
        """What the next bytes bring."""
        self._rest += data
        while True:
            if self._at == "over":
                self._rest = b""
                return
            if self._at == "head":
                piece = self._head()
                if piece is None:
                    return
                yield from piece
            else:
                found = self._rest.find(self._mark)
                yield from self._body(found)
                if found < 0:
                    return
                self._at = "mark"
                if not self._marked():
                    return

    def _marked(self) -> bool:
        """Goes on behind the mark at the beginning of the rest; False until that has come in."""
        after = len(self._mark) + 2
        if len(self._rest) < after:
            return False
        end = self._rest[len(self._mark) : after]
        self._rest = self._rest[after:]
        if end not in (b"--", b"\r\n"):
            raise _wrong()
        self._at = "over" if end == b"--" else "head"
        return True

    def _head(self) -> list[Piece] | None:
        end = self._rest.find(b"\r\n\r\n")
        if end < 0:
            if len(self._rest) > HEAD_BYTES:
                raise _wrong()
            return None
        head, self._rest = self._rest[:end], self._rest[end + 4 :]
        name = _NAME.search(head)
        if name is None:
            raise _wrong()
        self._name = name[1].decode("utf-8", "replace")
        file = _FILE.search(head)
        if file is None:
            self._at, self._value = "field", b""
            return []
        if name[1] != self._field or self.has_file:
            raise _wrong()
        self._at, self.has_file = "file", True
        return [Piece("file", file[1].decode("utf-8", "replace"))]

    def _body(self, found: int) -> Iterator[Piece]:
        """What stands before the mark, or, while none has come, all that cannot be part of one."""
        keep = found if found >= 0 else max(0, len(self._rest) - len(self._mark))
        some, self._rest = self._rest[:keep], self._rest[keep:]
        if self._at == "mark":
            return
        if self._at == "file" and some:
            yield Piece("data", data=some)
        elif self._at == "field":
            self._spent += len(some)
            if self._spent > FIELDS_BYTES:
                raise _wrong()
            self._value += some
            if found >= 0:
                yield Piece("field", self._name, self._value)


def _wrong() -> InvalidInput:
    return InvalidInput("invalid_body", "the form cannot be read")
