"""A block: some of a bank's customers by column, as customers.rules.columns asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path as File
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from customers.columnar import arrays
from customers.columnar.arrays import Array, Arrays, Damaged
from customers.columnar.building import Builder, key_of
from customers.rules import days
from customers.rules.columns import NO_CODE, NO_DAY, Codes, Mask, Tally
from customers.rules.days import SECONDS
from customers.rules.vocabulary import Path

FORMAT = 1
"""Of blocks: one of another is not read."""


def write(file: File, tenant: str, builder: Builder) -> None:
    """Writes what was built as a block of the bank's."""
    head = {"format": FORMAT, "tenant": tenant, "size": len(builder)}
    arrays.write(file, head, builder.finish())


def _first(pair: tuple[str, Array]) -> str:
    return pair[0]


class Block:
    """A block's columns. Opening it raises FileNotFoundError, and Damaged when it is not one of this
    bank's; asking it raises Damaged."""

    def __init__(self, file: File, tenant: str, offset: int) -> None:
        self._arrays, self._offset = Arrays(file), offset
        head: Mapping[str, Any] = self._arrays.head
        if (head.get("format"), head.get("tenant")) != (FORMAT, tenant):
            raise Damaged(file.name)
        self.name, self.size = file.name, int(head["size"])

    @cached_property
    def ids(self) -> Array:
        """The customers' ids without the bank's, sorted."""
        return self._arrays["ids"]

    def hex_at(self, places: Array) -> list[str]:
        """The ids at some places, as cids have them."""
        found = self.ids[places]
        return [found[i : i + 1].tobytes().hex() for i in range(len(found))]

    def places_of(self, ids: Array) -> tuple[Array, Array]:
        """Which of these (sorted or not) are here, as a mask; and the places of those."""
        at = np.minimum(np.searchsorted(self.ids, ids), self.size - 1)
        there = self.ids[at] == ids
        return there, at[there]

    def _part(self, path: Path, name: str) -> Array | None:
        key = f"{key_of(path)}\x1e{name}"
        return self._arrays[key] if key in self._arrays else None

    def _column(self, path: Path, kind: str, dtype: Any, fill: Any) -> Array:
        values, at = self._part(path, kind), self._part(path, f"{kind}.at")
        if values is not None and at is None:
            return values.astype(dtype, copy=False)
        found = np.full(self.size, fill, dtype=dtype)
        if values is not None:
            found[at] = values
        return found

    def _texts_of(self, path: Path, name: str) -> list[str]:
        blob = self._part(path, name)
        texts: list[str] = [] if blob is None else orjson.loads(blob.tobytes())
        return texts

    def values_at(self, places: Sequence[int]) -> list[dict[str, Any]]:
        """All that is here of some customers, under names of the block's own; for comparing."""
        found: list[dict[str, Any]] = [{} for _ in places]
        for name in sorted({name.rpartition("\x1e")[0] for name in self._arrays.names} - {""}):
            path = tuple(name.split("\x1f"))
            for kind, values in self._said(path, places):
                for said, value in zip(found, values, strict=True):
                    if value is not None and value != []:
                        said[f"{'.'.join(path)} {kind}"] = value
        return found

    def _said(self, path: Path, places: Sequence[int]) -> Iterator[tuple[str, list[Any]]]:
        """What each of the places has at the path, by kind; None, or nothing, where it has none."""
        at, codes = list(places), self.codes(path)
        texts = [*codes.texts, None]
        yield "text", [texts[code] for code in codes.codes[at]]
        numbers = self.numbers(path)[at].tolist()
        yield "number", [None if one != one else one for one in numbers]
        flags = self.flags(path)[at].tolist()
        yield "flag", [None if one < 0 else bool(one) for one in flags]
        lists = list(zip(*self.lists(path), strict=True))
        yield "list", [[one for one, those in sorted(lists, key=_first) if i in those] for i in at]
        if (path[0], path[-1]) == ("events", "days"):
            yield "days", [self._days_of(self.tally(path[1]), place) for place in at]

    def _days_of(self, tally: Tally, place: int) -> list[list[int]]:
        those = slice(tally.starts[place], tally.starts[place + 1])
        found: list[list[int]] = np.stack((tally.days[those], tally.counts[those])).tolist()
        return found if found[0] else []

    # customers.rules.columns.Columns

    def numbers(self, path: Path) -> NDArray[np.float64]:
        return self._column(path, "numbers", np.float64, np.nan)

    def days(self, path: Path) -> NDArray[np.int32]:
        if path[0] == "fields":
            return self._column(path, "days", np.int32, NO_DAY)
        moments = self.numbers(path)
        with np.errstate(invalid="ignore"):
            found = np.floor((moments + self._offset) / SECONDS)
        return np.where(np.isnan(found), NO_DAY, found).astype(np.int32)

    def codes(self, path: Path) -> Codes:
        if self._part(path, "texts") is None and self._part(path, "days") is not None:
            return self._days_as_texts(path)
        codes = self._column(path, "codes", np.int32, NO_CODE)
        return Codes(codes, self._texts_of(path, "texts"))

    def _days_as_texts(self, path: Path) -> Codes:
        numbers, codes = np.unique(self.days(path), return_inverse=True)
        missing = int(len(numbers) > 0 and numbers[0] == NO_DAY)
        texts = [days.iso(int(number)) for number in numbers[missing:]]
        return Codes((codes - missing).astype(np.int32), texts)

    def flags(self, path: Path) -> NDArray[np.int8]:
        return self._column(path, "flags", np.int8, -1)

    def members(self, path: Path, value: str) -> Mask:
        found = np.zeros(self.size, dtype=np.bool_)
        values, places = self.lists(path)
        if value in values:
            found[places[values.index(value)]] = True
        return found

    def lists(self, path: Path) -> tuple[Sequence[str], list[Array]]:
        """Each value that a list at the path has, and where."""
        values = self._texts_of(path, "values")
        places, starts = self._part(path, "members"), self._part(path, "starts")
        if places is None or starts is None:
            return [], []
        return values, [places[starts[i] : starts[i + 1]] for i in range(len(values))]

    def tally(self, event: str) -> Tally:
        path = ("events", event, "days")
        who, many, day, n = (self._part(path, name) for name in ("tally.at", "many", "day", "n"))
        starts = np.zeros(self.size + 1, dtype=np.int64)
        if who is None or many is None or day is None or n is None:
            return Tally(starts, np.empty(0, np.int32), np.empty(0, np.int32))
        starts[who.astype(np.int64) + 1] = many
        return Tally(np.cumsum(starts), day.astype(np.int32), n.astype(np.int32))
