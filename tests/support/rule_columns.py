"""Columns made of documents in memory, as plainly as can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from customers.rules.columns import NO_CODE, NO_DAY, Codes, Mask, Tally
from customers.rules.days import day_at, read_iso
from customers.rules.vocabulary import CHINA, Path


class DocumentColumns:
    """customers.rules.columns.Columns over a list of documents."""

    def __init__(self, documents: Sequence[Mapping[str, Any]], offset: int = CHINA) -> None:
        self._documents, self._offset = documents, offset

    @property
    def size(self) -> int:
        return len(self._documents)

    def _column(self, path: Path, dtype: Any, of: Callable[[Any], Any]) -> NDArray[Any]:
        return np.array([of(_at(document, path)) for document in self._documents], dtype=dtype)

    def numbers(self, path: Path) -> NDArray[np.float64]:
        return self._column(path, np.float64, lambda value: value if _is_number(value) else np.nan)

    def days(self, path: Path) -> NDArray[np.int32]:
        return self._column(path, np.int32, self._date if path[0] == "fields" else self._moment)

    def _date(self, value: Any) -> int:
        number = read_iso(value)
        return NO_DAY if number is None else number

    def _moment(self, value: Any) -> int:
        return day_at(value, self._offset) if _is_number(value) else NO_DAY

    def codes(self, path: Path) -> Codes:
        found = {one for one in (_at(document, path) for document in self._documents) if isinstance(one, str)}
        code = {text: index for index, text in enumerate(sorted(found))}
        codes = self._column(
            path, np.int16, lambda value: code.get(value, NO_CODE) if isinstance(value, str) else NO_CODE
        )
        return Codes(codes, list(code))

    def flags(self, path: Path) -> NDArray[np.int8]:
        return self._column(path, np.int8, lambda value: int(value) if isinstance(value, bool) else -1)

    def members(self, path: Path, value: str) -> Mask:
        def has(document: Mapping[str, Any]) -> bool:
            if path[0] == "rms":
                return any(row[path[1]] == value for row in document.get("rms", ()))
            return value in (_at(document, path) or ())

        return np.array([has(document) for document in self._documents], dtype=np.bool_)

    def tally(self, event: str) -> Tally:
        by_place = [(_at(document, ("events", event, "days")) or {}) for document in self._documents]
        starts = np.cumsum([0, *map(len, by_place)], dtype=np.int64)
        pairs = sorted((place, int(day), n) for place, days in enumerate(by_place) for day, n in days.items())
        days, counts = ([pair[index] for pair in pairs] for index in (1, 2))
        return Tally(starts, np.array(days, dtype=np.int32), np.array(counts, dtype=np.int32))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _at(document: Mapping[str, Any], path: Path) -> Any:
    found: Any = document
    for key in path:
        if isinstance(found, list):
            return min((row[key] for row in found), default=None)
        found = found.get(key) if found is not None else None
    return found
