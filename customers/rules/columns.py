"""What a mask is computed over: the documents of customers by column, one place a customer.

Whoever keeps columns (in memory, in files that are mapped) has these six questions answered; which
customer stands at which place is his own matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from customers.rules.vocabulary import Path

Mask: TypeAlias = NDArray[np.bool_]

NO_DAY = -(2**31)
"""What a column of days has where there is none."""
NO_CODE = -1


@dataclass(frozen=True, slots=True)
class Codes:
    """A column of texts: each place has the index of its text in `texts`, NO_CODE where there is
    none. The codes are int16 or int32, as many texts as there are."""

    codes: NDArray[np.signedinteger[Any]]
    texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Tally:
    """On which days an event happened, and how often on each: those of place i stand from
    `starts[i]` to `starts[i + 1]` (int64, one more than places) in `days` and `counts` (int32)."""

    starts: NDArray[np.int64]
    days: NDArray[np.int32]
    counts: NDArray[np.int32]


class Columns(Protocol):
    """Columns by the path that documents have their values at. A path that nobody has a value at is
    answered like any other, with a column where all is missing."""

    @property
    def size(self) -> int:
        """How many places there are."""
        ...

    def numbers(self, path: Path) -> NDArray[np.float64]:
        """Numbers, NaN where there is none: `number`, `money`; how often an event happened ever
        (`events`, name, `n`), vouchers held (`rewards`, id, `n`)."""
        ...

    def days(self, path: Path) -> NDArray[np.int32]:
        """Days of the bank's zone, NO_DAY where there is none: dates, and the days in which moments
        fall, also of campaigns entered (`campaigns`, id). Where a path leads into rows of a list
        (`rms`, `since`) it is the earliest."""
        ...

    def codes(self, path: Path) -> Codes:
        """Texts, choices and blind indexes."""
        ...

    def flags(self, path: Path) -> NDArray[np.int8]:
        """1 for true, 0 for false, -1 where there is neither."""
        ...

    def members(self, path: Path, value: str) -> Mask:
        """Where the list at the path (of texts, or of rows with this key) has the value."""
        ...

    def tally(self, event: str) -> Tally:
        """The days of an event, by its key in documents."""
        ...
