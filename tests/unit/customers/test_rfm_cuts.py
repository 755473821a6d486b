"""Fifths by rank: a value's fifth is how many fifths of all values are below it, and one more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from customers.rfm.cuts import cuts, fifth


def _fifths(values: list[int]) -> list[int]:
    ends = cuts(np.array(values, dtype=np.int64))
    return [fifth(value, ends) for value in values]


@given(st.lists(st.integers(-(2**40), 2**40) | st.integers(0, 5), min_size=1, max_size=60))
def test_a_fifth_says_how_many_values_are_below(values: list[int]) -> None:
    by_count = [1 + 5 * sum(other < value for other in values) // len(values) for value in values]
    assert _fifths(values) == by_count


@pytest.mark.parametrize(
    ("values", "fifths"),
    [
        ([7], [1]),
        ([7, 7], [1, 1]),
        ([1, 2], [1, 3]),
        ([3, 1, 2], [4, 1, 2]),
        ([40, 10, 30, 20], [4, 1, 3, 2]),
        ([5, 4, 3, 2, 1], [5, 4, 3, 2, 1]),
        ([1, 1, 1, 1, 1, 1, 2, 2, 3, 9], [1] * 6 + [4, 4, 5, 5]),
    ],
)
def test_equal_values_are_in_one_fifth_and_few_customers_do_not_reach_the_highest(
    values: list[int], fifths: list[int]
) -> None:
    assert _fifths(values) == fifths


def test_nobody_has_no_cuts_and_what_comes_later_is_placed_by_those_of_the_night() -> None:
    assert cuts(np.empty(0, dtype=np.int64)) == []
    ends = cuts(np.arange(1, 101, dtype=np.int64))
    assert ends == [20, 40, 60, 80]
    assert [fifth(value, ends) for value in (-5, 20, 21, 80, 81, 10**12)] == [1, 1, 2, 4, 5, 5]
