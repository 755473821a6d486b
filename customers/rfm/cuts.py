"""Fifths of many values by rank. Equal values are in the same fifth, whatever their order: it says how
many values are below, and not which place one has among equals."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

FIFTHS = 5


def cuts(values: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[int]:
    """The values that end the four lower fifths; none of no values. Sorts `values`."""
    values.sort()
    n = len(values)
    return [int(values[-(-part * n // FIFTHS) - 1]) for part in range(1, FIFTHS)] if n else []


def fifth(value: int, ends: Sequence[int]) -> int:
    """In which fifth a value is, 1 to 5: so many fifths of the values at least are below it, and one
    more. So at most a fifth is in the highest, and at least a fifth in the lowest."""
    return bisect_left(ends, value) + 1
