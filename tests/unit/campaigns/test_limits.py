"""What a document may say of how much is given to whom: read, and refused with the line and what to write."""

from __future__ import annotations

import pytest

from campaigns.document import limits
from campaigns.document.reading import DocumentError, read
from tests.support.documents import BRANCHES, REWARDS

OPEN = "claim: anyone}"
SECOND = "\n  tea: {kind: code, title: {zh: 茶}, cost: 50, stock: 5"


def _with(said: str) -> str:
    return REWARDS.replace(OPEN, f"claim: anyone, {said}}}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (_with("quotas: [{per: branch}]"), "f.yaml:8: rewards.cup.quotas.0: a quota needs a count, a cost, or both"),
        (_with("quotas: [{per: branch, count: 0}]"), "f.yaml:8: rewards.cup.quotas.0.count: Input should be greater"),
        (_with("quotas: [{per: branch, count: -1}]"), "f.yaml:8: rewards.cup.quotas.0.count: Input should be greater"),
        (_with("quotas: [{per: branch, count: 1.5}]"), "f.yaml:8: rewards.cup.quotas.0.count: Input should be a valid"),
        (
            _with("quotas: [{per: branch, cost: 1000000000000001}]"),
            "f.yaml:8: rewards.cup.quotas.0.cost: Input should be less than or equal to",
        ),
        (
            _with("quotas: [{per: campaign, count: 5}]"),
            "f.yaml:8: rewards.cup.quotas.0.per: Input should be 'reward', 'customer', 'channel', 'branch' or 'staff'",
        ),
        (
            _with("quotas: [{per: branch, period: week, count: 5}]"),
            "f.yaml:8: rewards.cup.quotas.0.period: Input should be 'ever', 'day' or 'month'",
        ),
        (
            _with("quotas: [{per: branch, count: 5}, {per: branch, count: 6, cost: 900}]"),
            "f.yaml:8: there is another quota of count per branch and ever here",
        ),
        (
            _with("quotas: [{per: branch, cost: 99}]"),
            "f.yaml:8: the quota of 99 fen is less than the 100 that one costs",
        ),
        (
            REWARDS + "limits: {quotas: [{per: reward, count: 5}]}\n",
            "f.yaml:9: limits.quotas.0.per: Input should be 'campaign', 'customer'",
        ),
        (
            REWARDS + "limits: {quotas: [{per: campaign, cost: 99}]}\n",
            "f.yaml:9: the quota of 99 fen is less than the 100 that one costs",
        ),
        (_with("eligible: 'customer.rich'"), "f.yaml:8: column 1: unknown field customer.rich; expected one of"),
        (_with("eligible: 'customer.bound and'"), "f.yaml:8: column "),
        (_with("eligible: \"channel.code in codes('c')\""), "f.yaml:8: column 23: unknown codes 'c'"),
        (
            _with("eligible_text: {zh: 请先绑定手机}"),
            "f.yaml:8: there is a text for those who may not claim, and no rule",
        ),
        (_with("stack: {group: gift, most: 0}"), "f.yaml:8: rewards.cup.stack.most: Input should be greater"),
        (_with("stack: {group: Gift!}"), "f.yaml:8: rewards.cup.stack.group: String should match pattern"),
        (
            _with("stack: {group: gift}").rstrip("\n") + SECOND + ", claim: anyone, stack: {group: gift, most: 2}}\n",
            "f.yaml:9: a customer may have 2 of the group gift by this reward, and 1 by another one here",
        ),
        (_with("fallback: tea"), "f.yaml:8: unknown reward tea; expected ['cup']"),
        (_with("fallback: cup"), "f.yaml:8: rewards stand in for each other in a ring: cup → cup"),
        (
            _with("fallback: tea").rstrip("\n") + SECOND + ", claim: anyone, fallback: cup}\n",
            "f.yaml:8: rewards stand in for each other in a ring: cup → tea → cup",
        ),
        (
            _with("per_customer: 2, fallback: tea").rstrip("\n") + SECOND + "}\n",
            "f.yaml:8: a reward that has a fallback is one for each customer; it says 2",
        ),
        (
            REWARDS.replace('contact: "95500"}', 'contact: "95500", accept: never}'),
            "f.yaml:6: disclosure.accept: Input should be 'shown' or 'required'",
        ),
        (
            _with("eligible: customer.bound, eligible_text: {zh: 分享即可领奖}"),
            "f.yaml:8: a reward for sharing or following is banned by WeChat",
        ),
    ],
)
def test_what_cannot_be_a_limit_is_refused_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(DocumentError) as refused:
        read(text, "f.yaml", BRANCHES)
    said = [str(one) for one in refused.value.problems]
    assert any(one.startswith(problem) for one in said), said
    assert all(one.say("zh") != one.message for one in refused.value.problems)


def test_a_reward_that_only_stands_in_for_another_needs_no_step() -> None:
    document = read(_with("fallback: tea").rstrip("\n") + SECOND + "}\n", "f.yaml", BRANCHES)
    assert limits.row_of(document, "cup", BRANCHES)["fallback"] == "shop.tea"
    assert "fallback" not in limits.row_of(document, "tea", BRANCHES)


def test_a_reward_keeps_its_own_quotas_and_those_of_its_campaign() -> None:
    said = _with(
        "quotas: [{per: branch, period: day, count: 5, cost: 900}], eligible: customer.bound,"
        " eligible_text: {zh: 请先绑定手机}, stack: {group: gift}"
    )
    document = read(said + "limits: {quotas: [{per: customer, count: 2}]}\n", "f.yaml", BRANCHES)
    row = limits.row_of(document, "cup", BRANCHES)
    assert row["quotas"] == [
        {"over": "shop.cup", "per": "branch", "period": "day", "unit": "count", "most": 5},
        {"over": "shop.cup", "per": "branch", "period": "day", "unit": "cost", "most": 900},
        {"over": "shop", "per": "customer", "period": "ever", "unit": "count", "most": 2},
    ]
    assert (row["eligible"], row["stack"], row["most"]) == ("customer.bound", "gift", 1)
    assert row["eligible_text"] == {"zh": "请先绑定手机", "en": ""}


def test_a_budget_that_does_not_pay_for_the_whole_stock_is_a_notice() -> None:
    document = read(REWARDS.replace("stock: 10", "stock: 1001"), "f.yaml", BRANCHES)
    (notice,) = limits.notices(document)
    assert notice.message == (
        "all rewards together would cost 100100 fen, and the budget is 100000: giving stops when it is spent,"
        " though there is stock left"
    )
    assert "100100" in notice.say("zh")
    assert list(limits.notices(read(REWARDS, "f.yaml", BRANCHES))) == []
