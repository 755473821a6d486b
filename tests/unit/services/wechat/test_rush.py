"""App messages that can wait keep off the minutes in which everybody sends (contract/wechat B10)."""

from __future__ import annotations

import pytest

from services.wechat.wecom.messages import SPREAD_SECONDS, off_the_rush

HOUR = 1_780_002_000 // 3600 * 3600


@pytest.mark.parametrize("second", [60, 61, 1799, 1860, 3599, 29 * 60 + 59.9])
def test_any_other_minute_is_kept(second: float) -> None:
    assert off_the_rush(HOUR + second, "a") == HOUR + second


@pytest.mark.parametrize("second", [0, 0.001, 30, 59.999, 1800, 1859.9, 3600])
def test_what_falls_on_minute_0_or_30_goes_in_the_minutes_after_it(second: float) -> None:
    minute = (HOUR + second) // 60 * 60
    found = [off_the_rush(HOUR + second, f"demo:{number}") for number in range(300)]
    assert all(minute + 60 <= due < minute + 60 + SPREAD_SECONDS for due in found)
    assert all((due // 60) % 30 for due in found)
    assert len({int(due) for due in found}) > SPREAD_SECONDS // 2
    assert off_the_rush(HOUR + second, "demo:7") == found[7]
