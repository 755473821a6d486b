"""Pages with opaque cursors, short and empty ones where that fault is in force (contract/wechat 0,
F7)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sandbox.core.api import Call
from sandbox.core.errors import ApiError


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a list goes on: the numbers of the place, and which page of the walk this is."""

    kind: str
    place: tuple[int, ...]
    turn: int = 0

    def text(self) -> str:
        """The cursor as the caller gets it."""
        numbers = ".".join(map(str, (*self.place, self.turn)))
        return base64.urlsafe_b64encode(f"{self.kind}:{numbers}".encode()).decode()


def cursor(call: Call, kind: str, start: tuple[int, ...], *, given: str | None = None) -> Cursor:
    """The cursor of the body (or `given`); `start` without one. Raises ApiError 40058 for one of
    another list."""
    text = call.text("cursor") if given is None else given
    if not text:
        return Cursor(kind, start)
    try:
        found, _, numbers = base64.urlsafe_b64decode(text).decode().partition(":")
        *place, turn = (int(n) for n in numbers.split("."))
    except (binascii.Error, ValueError) as error:
        raise ApiError(40058, "invalid cursor") from error
    if found != kind or len(place) != len(start) or min(place) < 0:
        raise ApiError(40058, "invalid cursor")
    return Cursor(kind, tuple(place), turn)


def limit(
    call: Call,
    default: int,
    most: int,
    *,
    name: str = "limit",
    over: Literal["default", "most", "refused"] = "default",
) -> int:
    """The page size that the body asks for. Outside 1 to `most` it is the default, or the most, or
    `refused` with ApiError 40058: which of them, each list has for itself (D3)."""
    wanted = call.integer(name, default)
    if 1 <= wanted <= most:
        return wanted
    if over == "refused":
        raise ApiError(40058, f"invalid Request Parameter: {name}")
    return most if over == "most" and wanted > most else default


def room(call: Call, at: Cursor, size: int) -> int:
    """How many things this page holds: `size`, or in turn half, none and all of it while pages are
    short."""
    return (size // 2, 0, size)[at.turn % 3] if call.short_pages else size


def page(
    call: Call, kind: str, things: Sequence[Any], size: int, *, given: str | None = None
) -> tuple[list[Any], str]:
    """The next `size` things of a list that only grows at its end, and the cursor after them ("" at
    the end)."""
    at = cursor(call, kind, (0,), given=given)
    end = at.place[0] + room(call, at, size)
    more = Cursor(kind, (end,), at.turn + 1).text() if end < len(things) else ""
    return list(things[at.place[0] : end]), more
