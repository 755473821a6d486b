"""Who may claim: the facts of a claim, and the part of the rule that is named when it is not met."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from rewards import eligibility
from rewards.eligibility import Scene

MONDAY = datetime(2026, 11, 30, 14, 5, tzinfo=ZoneInfo("Asia/Shanghai"))
KNOWN = Scene(
    cid="demo:c1",
    now=MONDAY,
    channel="q1.sz-nanshan",
    branch="sz-nanshan",
    staff="rm.chen",
    friend=True,
    bound=True,
    tags=["等级:金卡"],
)
STRANGER = Scene(cid="demo:c2", now=MONDAY)


@pytest.mark.parametrize(
    ("rule", "known", "stranger"),
    [
        ("customer.bound", "", "customer.bound"),
        ("customer.friend and customer.bound", "", "customer.friend"),
        ("'等级:金卡' in customer.tags", "", "'等级:金卡' in customer.tags"),
        ("claim.branch in ['sz-nanshan', 'sz-futian']", "", "claim.branch in ['sz-nanshan', 'sz-futian']"),
        ("channel.code in codes('q1')", "", "channel.code in codes('q1')"),
        ("follow.userid == 'rm.chen'", "", "follow.userid == 'rm.chen'"),
        ("claim.weekday <= 5 and claim.hour >= 14", "", ""),
        ("claim.weekday == 7", "claim.weekday == 7", "claim.weekday == 7"),
        ("customer.friend and (customer.bound or claim.hour < 9)", "", "customer.friend"),
        ("customer.friend and not customer.bound", "not customer.bound", "customer.friend"),
        ("customer.bound or customer.id == 'demo:c2'", "", ""),
    ],
)
def test_the_first_part_that_is_not_met_is_named(rule: str, known: str, stranger: str) -> None:
    codes = {"q1": ["q1.sz-nanshan"]}
    eligibility.check(rule, codes)
    assert eligibility.unmet(rule, codes, KNOWN) == known
    assert eligibility.unmet(rule, codes, STRANGER) == stranger


def test_a_rule_that_an_earlier_release_took_is_met_by_nobody() -> None:
    assert eligibility.unmet("follow.userid", {}, KNOWN) == "follow.userid"
