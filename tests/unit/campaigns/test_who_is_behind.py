"""Who stands behind a live code: slots, caps, backup."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from campaigns.channels import rosters
from campaigns.document.model import Codes

STAFF = ["rm.chen", "rm.li"]
ALL = {"rm.chen", "rm.li", "rm.wang", "rm.zhao", "rm.liu", "rm.sun"}
TUESDAY = datetime(2027, 3, 2, 10, 30, tzinfo=ZoneInfo("Asia/Shanghai"))


def codes(**fields: Any) -> Codes:
    return Codes.model_validate(fields)


def at(day: int, hour: int, minute: int = 0) -> datetime:
    """A moment of the first week of March 2027, which begins on a Monday."""
    return datetime(2027, 3, day, hour, minute, tzinfo=ZoneInfo("Asia/Shanghai"))


def test_without_slots_and_caps_the_whole_branch_is_behind() -> None:
    assert rosters.behind(codes(), STAFF, TUESDAY, {"rm.chen": 900}, ALL) == STAFF


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (at(1, 8, 59), []),
        (at(1, 9), ["rm.chen"]),
        (at(1, 12), ["rm.chen", "rm.li"]),
        (at(1, 17, 59), ["rm.li"]),
        (at(1, 18), []),
        (at(6, 10), ["rm.li"]),
        (at(7, 23), ["rm.chen"]),
        (at(1, 1, 59), ["rm.chen"]),
        (at(1, 2), []),
    ],
)
def test_slots_say_who_is_on_duty(now: datetime, expected: list[str]) -> None:
    """Overlapping slots add up; one that ends on the next day belongs to the day on which it began."""
    week = ["mon", "tue", "wed", "thu", "fri"]
    slots = [
        {"days": week, "from": "09:00", "to": "13:00", "staff": ["rm.chen"]},
        {"days": week, "from": "12:00", "to": "18:00", "staff": ["rm.li", "rm.wang"]},
        {"days": ["sat"], "from": "10:00", "to": "16:00", "staff": ["rm.li"]},
        {"days": ["sun"], "from": "22:00", "to": "02:00", "staff": ["rm.chen"]},
    ]
    assert rosters.behind(codes(slots=slots), STAFF, now, {}, ALL) == expected


def test_who_has_reached_the_cap_is_out_and_the_backup_comes_last() -> None:
    code = codes(daily_cap=2, backup=["rm.wang", "rm.wang", "rm.gone"])
    assert rosters.behind(code, STAFF, TUESDAY, {"rm.chen": 2, "rm.li": 1}, ALL) == ["rm.li"]
    assert rosters.behind(code, STAFF, TUESDAY, {"rm.chen": 2, "rm.li": 3, "rm.wang": 9}, ALL) == ["rm.wang"]
    assert rosters.behind(codes(daily_cap=2), STAFF, TUESDAY, {"rm.chen": 2, "rm.li": 2}, ALL) == []


def test_a_leaver_is_in_no_roster() -> None:
    slots = [{"from": "00:00", "to": "00:00", "staff": ["rm.chen", "rm.li"]}]
    code = codes(slots=slots, backup=["rm.chen"])
    assert rosters.behind(code, ["rm.li"], TUESDAY, {}, ALL - {"rm.chen"}) == ["rm.li"]
    assert rosters.behind(code, [], TUESDAY, {}, ALL - {"rm.chen"}) == []


def test_a_number_is_no_hour() -> None:
    """1080 is no way to write 18:00; that is how a number to base 60 once read."""
    with pytest.raises(ValidationError, match="day_time"):
        codes(slots=[{"from": "09:00", "to": 1080, "staff": ["rm.li"]}])
