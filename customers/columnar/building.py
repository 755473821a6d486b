"""Profiles become a block: per path a list of who has a value and which, and at the end arrays.

What a value is says its type alone, so that a block knows nothing of the bank's vocabulary: numbers,
texts, and true or false lie apart under one path, and a rule asks for the kind that it means.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import orjson

from customers.columnar.arrays import Array
from customers.rules import days
from customers.rules.columns import NO_CODE, NO_DAY
from customers.rules.vocabulary import Path

HEX = 32
DENSE = 4
"""A column is as long as its block where one of so many has a value, and a list of places else."""
_OWN = frozenset({"_id", "tenant", "seq"})
_NUMBERS = (int, float)


def key_of(path: Path) -> str:
    """How a path is written in a block."""
    return "\x1f".join(path)


def id_of(cid: str) -> bytes:
    """A customer's id without his bank's."""
    return bytes.fromhex(cid[-HEX:])


class _Codes(dict[str, int]):
    """Each text's number, by the time at which it came first."""

    def __missing__(self, text: str) -> int:
        code = self[text] = len(self)
        return code


class _Column:
    """What was found at one path so far, by kind: places, and the values there."""

    def __init__(self) -> None:
        self.parts: defaultdict[str, list[tuple[Array, Array]]] = defaultdict(list)
        self.codes, self.members = _Codes(), _Codes()

    def add(self, kind: str, places: Array, values: Sequence[Any], dtype: Any) -> None:
        self.parts[kind].append((places, np.array(values, dtype=dtype)))

    def add_texts(self, places: Array, texts: Sequence[str]) -> None:
        self.add("codes", places, list(map(self.codes.__getitem__, texts)), np.int32)

    def add_members(self, places: Array, texts: Sequence[str]) -> None:
        self.add("members", places, list(map(self.members.__getitem__, texts)), np.int32)


class Builder:
    """Makes one block of documents, which come in parts and in any order."""

    def __init__(self) -> None:
        self._ids: list[bytes] = []
        self._columns: defaultdict[Path, _Column] = defaultdict(_Column)
        self._events: defaultdict[str, list[Array]] = defaultdict(list)

    def __len__(self) -> int:
        return len(self._ids)

    def take(self, documents: Sequence[Mapping[str, Any]]) -> None:
        """Takes profiles of customers who are not in it yet."""
        first = len(self._ids)
        self._ids += [id_of(document["_id"]) for document in documents]
        self._take_maps((), np.arange(first, len(self._ids), dtype=np.int32), documents)

    def _take_maps(self, path: Path, places: Array, maps: Sequence[Mapping[str, Any]]) -> None:
        """Takes what maps have at each of their keys. Keys that all have are taken out together, one
        that many have is asked of all: both are faster than to look what each has."""
        often = Counter(chain.from_iterable(maps))
        if not path:
            often -= Counter({key: len(maps) for key in _OWN})
        rare = {key for key, many in often.items() if many * DENSE < len(maps)}
        full = [key for key, many in often.items() if many == len(maps)]
        for key, values in zip(full, _columns(maps, full), strict=True):
            self._take((*path, key), places, values)
        for key in often.keys() - rare - set(full):
            self._take((*path, key), places, [one.get(key) for one in maps])
        for key, pairs in _by_key(maps, rare).items():
            at, values = zip(*pairs, strict=True)
            self._take((*path, key), places[list(at)], list(values))

    def _take(self, path: Path, places: Array, values: Sequence[Any]) -> None:
        """Takes values at a path, each as what its type says."""
        types = set(map(type, values))
        if len(types) == 1:
            self._take_all(types.pop(), path, places, values)
            return
        for kind in types - {type(None)}:
            some = [place for place, value in enumerate(values) if type(value) is kind]
            self._take_all(kind, path, places[some], [values[place] for place in some])

    def _take_all(self, kind: type, path: Path, places: Array, values: Sequence[Any]) -> None:
        column = self._columns[path]
        if kind is str:
            column.add_texts(places, values)
        elif kind is bool:
            column.add("flags", places, values, np.int8)
        elif issubclass(kind, _NUMBERS):
            column.add("numbers", places, values, np.float64)
        elif kind is list:
            self._take_lists(path, places, values)
        elif kind is dict and (path[0], path[-1]) == ("events", "days"):
            self._take_days(path[1], places, values)
        elif kind is dict:
            self._take_maps(path, places, values)

    def _take_lists(self, path: Path, places: Array, lists: Sequence[list[Any]]) -> None:
        """Of a list each text; and of rows in it each text under its key, and the earliest
        moment."""
        at = np.repeat(places, list(map(len, lists))).tolist()
        pairs = list(zip(at, chain.from_iterable(lists), strict=True))
        self._take_texts(path, pairs)
        rows = [(place, row) for place, row in pairs if isinstance(row, dict)]
        for key in {key for _, row in rows for key in row}:
            values = [(place, row.get(key)) for place, row in rows]
            self._take_texts((*path, key), values)
            self._take_earliest((*path, key), values)

    def _take_texts(self, path: Path, pairs: Sequence[tuple[int, Any]]) -> None:
        texts = [pair for pair in pairs if isinstance(pair[1], str)]
        if texts:
            places = np.array([place for place, _ in texts], dtype=np.int32)
            self._columns[path].add_members(places, [text for _, text in texts])

    def _take_earliest(self, path: Path, pairs: Sequence[tuple[int, Any]]) -> None:
        first: dict[int, float] = {}
        for place, value in pairs:
            if isinstance(value, _NUMBERS):
                first[place] = min(value, first.get(place, value))
        if first:
            at = np.array(list(first), dtype=np.int32)
            self._columns[path].add("numbers", at, list(first.values()), np.float64)

    def _take_days(self, event: str, places: Array, tallies: Sequence[dict[str, int]]) -> None:
        at = np.repeat(places, list(map(len, tallies)))
        day = np.array(list(map(int, chain.from_iterable(tallies))), dtype=np.int32)
        n = np.array([n for tally in tallies for n in tally.values()], dtype=np.int32)
        self._events[event].append(np.stack((at, day, n)))

    def finish(self) -> dict[str, Array]:
        """The arrays of the block, its customers sorted by id."""
        ids = np.array(self._ids, dtype=f"S{HEX // 2}")
        order = np.argsort(ids)
        place = np.argsort(order).astype(np.int32)
        arrays: dict[str, Array] = {"ids": ids[order]}
        for path, column in self._columns.items():
            for name, array in _arrays(column, place).items():
                arrays[f"{key_of(path)}\x1e{name}"] = array
        for event, parts in self._events.items():
            arrays |= _tally(event, np.concatenate(parts, axis=1), place)
        return arrays


def _columns(maps: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> Iterable[Sequence[Any]]:
    """What the maps have at each of these keys, which all of them have."""
    if len(keys) < 2:
        return [[one[key] for one in maps] for key in keys]
    return zip(*map(itemgetter(*keys), maps), strict=True)


def _by_key(
    maps: Sequence[Mapping[str, Any]], keys: set[str]
) -> Mapping[str, list[tuple[int, Any]]]:
    """Of keys that few maps have, which has them and what."""
    found: defaultdict[str, list[tuple[int, Any]]] = defaultdict(list)
    for place, one in enumerate(maps if keys else ()):
        for key in keys & one.keys():
            found[key].append((place, one[key]))
    return found


# what a column is as arrays


def _arrays(column: _Column, place: Array) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for kind, fill in (("numbers", np.nan), ("flags", -1)):
        if kind in column.parts:
            found |= _spread(kind, *_joined(column, kind, place), len(place), fill)
    if "codes" in column.parts:
        found |= _texts(column, place)
    if "members" in column.parts:
        found |= _members(column, place)
    return found


def _joined(column: _Column, kind: str, place: Array) -> tuple[Array, Array]:
    """The places, in the block's order, and the values."""
    at, values = zip(*column.parts[kind], strict=True)
    return place[np.concatenate(at)], np.concatenate(values)


def _spread(kind: str, at: Array, values: Array, size: int, fill: Any) -> dict[str, Array]:
    """A column as long as the block, or the places that have a value beside the values."""
    if len(at) * DENSE < size:
        order = np.argsort(at)
        return {f"{kind}.at": at[order], kind: _narrow(values[order])}
    dense = np.full(size, fill, dtype=values.dtype)
    dense[at] = values
    return {kind: _narrow(dense)}


def _narrow(values: Array) -> Array:
    """The same in fewer bytes, where all of them can be told so."""
    if values.dtype == np.float64:
        with np.errstate(over="ignore"):
            small = values.astype(np.float32)
        return small if np.array_equal(small, values, equal_nan=True) else values
    if not len(values):
        return values
    low, high = int(values.min()), int(values.max())
    for dtype in (np.int8, np.int16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return values.astype(dtype)
    return values


def _texts(column: _Column, place: Array) -> dict[str, Array]:
    """Texts by their codes. Where some are days, these lie there as days as well; where all are,
    as nothing else."""
    at, codes = _joined(column, "codes", place)
    texts = list(column.codes)
    read = list(map(_day, texts))
    found: dict[str, Array] = {}
    if any(day != NO_DAY for day in read):
        numbers = np.array(read, dtype=np.int32)[codes]
        found |= _spread("days", at, numbers, len(place), NO_DAY)
        if all(map(_is_day, read, texts)):
            return found
    return found | _spread("codes", at, codes, len(place), NO_CODE) | {"texts": _blob(texts)}


def _day(text: str) -> int:
    day = days.read_iso(text)
    return NO_DAY if day is None else day


def _is_day(day: int, text: str) -> bool:
    """Whether the day is all that the text says."""
    return day != NO_DAY and days.iso(day) == text


def _blob(texts: Sequence[str]) -> Array:
    return np.frombuffer(orjson.dumps(texts), dtype=np.uint8)


def _members(column: _Column, place: Array) -> dict[str, Array]:
    """By value the places that have it, in order: those of value i stand from `starts[i]` on."""
    at, codes = _joined(column, "members", place)
    pairs = np.unique(codes.astype(np.int64) << 32 | at)
    starts = np.searchsorted(pairs >> 32, np.arange(len(column.members) + 1))
    return {
        "members": _narrow((pairs & 0xFFFFFFFF).astype(np.int32)),
        "starts": starts.astype(np.int64),
        "values": _blob(list(column.members)),
    }


def _tally(event: str, rows: Array, place: Array) -> dict[str, Array]:
    """The days of an event: who has any, how many, and these, customer by customer."""
    at, day, n = place[rows[0]], rows[1], rows[2]
    order = np.lexsort((day, at))
    who, many = np.unique(at, return_counts=True)
    key = key_of(("events", event, "days"))
    found = {"tally.at": who, "many": many, "day": day[order], "n": n[order]}
    return {f"{key}\x1e{name}": _narrow(array) for name, array in found.items()}
