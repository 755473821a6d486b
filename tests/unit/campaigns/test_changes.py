"""A diff is bounded in work and in length."""

from __future__ import annotations

import random
import time

import pytest

from campaigns.publishing.changes import MOST_LINES, diff

LINES = [f"line {n}" for n in range(8_000)]


@pytest.mark.parametrize("after", [LINES[::-1], ["a"] * 8_000, random.Random(1).sample(LINES, len(LINES)), []])
def test_a_diff_of_any_two_texts_is_quick_and_short(after: list[str]) -> None:
    begun = time.process_time()
    found = diff("\n".join(LINES), "\n".join(after), "old", "new").splitlines()
    assert time.process_time() - begun < 2.0
    assert found[:2] == ["--- old", "+++ new"]
    assert len(found) <= MOST_LINES + 1


def test_a_small_change_in_a_large_text_is_shown_exactly() -> None:
    after = [*LINES[:4_000], "other", *LINES[4_001:]]
    found = diff("\n".join(LINES), "\n".join(after), "old", "new").splitlines()
    assert [line for line in found if line.startswith(("+o", "-l"))] == ["-line 4000", "+other"]
