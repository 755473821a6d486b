"""A message as fields, the same for XML and JSON: a repeated element and a list of one are
alike."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from services.clock import utc
from services.wechat.core.errors import EventUnreadable

_LATEST = 253_402_300_799  # the last second a datetime can hold
_LONGEST_NUMBER = 18


class Fields:
    """Values by name. A name may have several values; each is a text or fields of its own."""

    def __init__(self, values: Iterable[tuple[str, str | Fields]]) -> None:
        self._values: dict[str, list[str | Fields]] = {}
        for name, value in values:
            self._values.setdefault(name, []).append(value)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __bool__(self) -> bool:
        return bool(self._values)

    def text(self, name: str) -> str:
        """The first value's text; empty when it is missing or holds fields."""
        value = self._values.get(name, [""])[0]
        return value if isinstance(value, str) else ""

    def need(self, name: str) -> str:
        """The same, where an event is none without it: raises EventUnreadable event_incomplete."""
        value = self.text(name)
        if not value:
            raise EventUnreadable("event_incomplete", f"{name} is missing")
        return value

    def number(self, name: str, default: int = 0) -> int:
        """The whole number, in whatever type it was sent; `default` when it is none."""
        return whole(self.text(name), default)

    def time(self, name: str) -> datetime | None:
        """The moment that is sent as seconds UTC; None when unreadable."""
        seconds = whole(self.text(name), -1)
        return utc(seconds) if 0 <= seconds <= _LATEST else None

    def names(self, name: str) -> tuple[str, ...]:
        """The parts of a text of names with commas between."""
        return tuple(part.strip() for part in self.text(name).split(",") if part.strip())

    def numbers(self, name: str) -> list[int]:
        return [whole(part, 0) for part in self.names(name)]

    def child(self, name: str) -> Fields:
        """The first value's fields; none when it is missing or a text."""
        return next(iter(self.children(name)), Fields(()))

    def children(self, name: str) -> list[Fields]:
        return [value for value in self._values.get(name, []) if isinstance(value, Fields)]

    def texts(self, name: str) -> tuple[str, ...]:
        """Every value that is a text with something in it."""
        return tuple(
            value for value in self._values.get(name, []) if isinstance(value, str) and value
        )


def whole(text: str, default: int) -> int:
    """The whole number that `text` says, else `default`."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > _LONGEST_NUMBER:
        return default
    return int(text)
