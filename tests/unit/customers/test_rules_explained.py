"""Why a customer meets a rule or does not, in both languages."""

from __future__ import annotations

from typing import Any

import pytest

from customers.rules import days
from customers.rules.explaining import explain
from customers.rules.reading import read_rule
from customers.rules.vocabulary import Name, Vocabulary

TODAY = days.number_of(days.date(2026, 11, 30))
BANDS = {"A": {"zh": "甲", "en": "A"}, "B": {"zh": "乙", "en": "B"}, "C": {"zh": "丙", "en": "C"}}
NAMES = [
    Name(name="customer.balance_band", kind="choice", path=("fields", "balance_band"), choices=BANDS,
         titles={"zh": "余额档位", "en": "balance_band"}),
    Name(name="customer.income", kind="money", path=("fields", "income"), titles={"zh": "收入", "en": "income"}, secret=True),
    Name(name="customer.fee", kind="money", path=("fields", "fee"), titles={"zh": "年费", "en": "fee"}),
    Name(name="customer.phone", kind="sealed", path=("blind", "phone"), titles={"zh": "手机", "en": "phone"},
         blind=lambda text: f"ix:{text}"),
    Name(name="customer.bound", kind="bool", path=("bound",), titles={"zh": "已绑定", "en": "bound"}),
    Name(name="customer.birthday", kind="date", path=("fields", "birthday"), titles={"zh": "生日", "en": "birthday"}),
    Name(name="customer.added_at", kind="moment", path=("added_at",), titles={"zh": "加入时间", "en": "added"}),
    Name(name="customer.city", kind="text", path=("fields", "city"), titles={"zh": "城市", "en": "city"}),
    Name(name="customer.labels", kind="texts", path=("labels",), titles={"zh": "标记", "en": "labels"}),
]  # fmt: skip
VOCABULARY = Vocabulary(
    names={name.name: name for name in NAMES},
    known={
        "tag": {"vip": {}},
        "event": {"app.login": {"zh": "登录手机银行", "en": "sign-ins to the app"}},
        "campaign": {"acq": {"zh": "拉新", "en": "Acquisition"}},
        "reward": None,
    },
)
LIU: dict[str, Any] = {
    "fields": {"balance_band": "C", "income": 987_654, "fee": 123_450, "birthday": "1996-12-02", "city": "深圳"},
    "blind": {"phone": "ix:138"},
    "bound": False,
    "added_at": days.begin(TODAY, days.SECONDS // 3) + 1,
    "labels": ["甲", "乙"],
    "events": {"app/login": {"n": 2, "days": {str(TODAY): 2}, "first": 1, "last": 1}},
}


@pytest.mark.parametrize(
    ("rule", "reasons", "english", "chinese"),
    [
        ("customer.balance_band in ['A', 'B']", ["not_met:customer.balance_band"],
         "false, because balance_band is C and the rule wants A or B", "不满足。余额档位：丙，规则要求：甲或乙"),
        ("customer.balance_band != 'A'", [], "true: balance_band is C and the rule wants anything but A",
         "满足。余额档位：丙，规则要求：不是甲"),
        ("customer.income >= 1000000", ["not_met:customer.income"],
         "false, because income is *** and the rule wants at least 10,000.00", "不满足。收入：***，规则要求：至少 10,000.00"),
        ("customer.fee between 0 and 99", ["not_met:customer.fee"],
         "false, because fee is 1,234.50 and the rule wants 0.00 to 0.99", "不满足。年费：1,234.50，规则要求：0.00 到 0.99"),
        ("customer.phone == '139'", ["not_met:customer.phone"], "false, because phone is *** and the rule wants ***",
         "不满足。手机：***，规则要求：***"),
        ("customer.bound and tag('vip')", ["not_met:customer.bound", "not_met:tag('vip')"],
         "false, because bound is false and the rule wants true; the tag vip is not there and the rule wants there",
         "不满足。已绑定：否，规则要求：是；标签vip：没有，规则要求：有"),
        ("not tag('vip')", [], "true: the tag vip is not there and the rule wants not there",
         "满足。标签vip：没有，规则要求：没有"),
        ("customer.birthday < '1990-01-01'", ["not_met:customer.birthday"],
         "false, because birthday is 1996-12-02 and the rule wants 1989-12-31 or earlier",
         "不满足。生日：1996-12-02，规则要求：1989-12-31 或以前"),
        ("customer.added_at older than 7d", ["not_met:customer.added_at"],
         "false, because added is 2026-11-30 and the rule wants 2026-11-22 or earlier",
         "不满足。加入时间：2026-11-30，规则要求：2026-11-22 或以前"),
        ("anniversary(customer.birthday) in next 2d", ["not_met:customer.birthday"],
         "false, because birthday is 1996-12-02 and the rule wants a day from 11-30 to 12-01",
         "不满足。生日：1996-12-02，规则要求：11-30 到 12-01 之间的日子"),
        ("count(event('app.login'), 30d) >= 3", ["not_met:event('app.login')"],
         "false, because sign-ins to the app in the last 30 days is 2 times and the rule wants at least 3 times",
         "不满足。最近 30 天登录手机银行：2 次，规则要求：至少 3 次"),
        ("campaign('acq', 6mo)", ["not_met:campaign('acq')"],
         "false, because the campaign Acquisition in the last 6 months is not there and the rule wants there",
         "不满足。最近 6 个月参加活动拉新：没有，规则要求：有"),
        ("not known(customer.city)", ["not_met:customer.city"], "false, because city is known and the rule wants unknown",
         "不满足。城市：已知，规则要求：未知"),
        ("customer.city contains '广'", ["not_met:customer.city"],
         "false, because city is 深圳 and the rule wants something with 广", "不满足。城市：深圳，规则要求：包含广"),
        ("'丙' in customer.labels", ["not_met:customer.labels"],
         "false, because labels is 甲 or 乙 and the rule wants something with 丙", "不满足。标记：甲或乙，规则要求：包含丙"),
        ("false", ["not_met:false"], "false, because the rule is never true", "不满足。规则从不成立"),
        ("customer.city in ['1', '2', '3', '4', '5', '6']", ["not_met:customer.city"],
         "false, because city is 深圳 and the rule wants one of 6 values", "不满足。城市：深圳，规则要求：6 个值之一"),
    ],
)  # fmt: skip
def test_a_rule_is_explained(rule: str, reasons: list[str], english: str, chinese: str) -> None:
    told = explain(read_rule(rule, VOCABULARY), LIU, TODAY)
    assert (list(told.reasons), told.say("en"), told.say("zh")) == (reasons, english, chinese)
    assert told.truth is not bool(reasons)


@pytest.mark.parametrize(
    ("rule", "reasons"),
    [
        ("customer.fee > 3", ["missing:customer.fee"]),
        ("not customer.fee > 3", ["missing:customer.fee"]),
        ("not (customer.bound or customer.fee > 3)", ["missing:customer.bound", "missing:customer.fee"]),
        ("customer.bound or customer.city == 'x'", ["missing:customer.bound", "missing:customer.city"]),
        ("last(event('app.login')) older than 9d", ["missing:last(event('app.login'))"]),
        ("known(customer.fee) and customer.fee > 3", ["not_met:customer.fee", "missing:customer.fee"]),
        ("tag('vip') and reward('x') and event('app.login')", ["not_met:tag('vip')", "not_met:reward('x')",
                                                               "not_met:event('app.login')"]),
    ],
)  # fmt: skip
def test_what_is_missing_makes_a_rule_false_and_is_named(rule: str, reasons: list[str]) -> None:
    told = explain(read_rule(rule, VOCABULARY), {}, TODAY)
    assert (told.truth, list(told.reasons)) == (False, reasons)


def test_an_explanation_is_a_tree_of_the_rules_parts() -> None:
    told = explain(
        read_rule("(customer.bound or true) and not (tag('vip') or not customer.fee <= 3)", VOCABULARY), LIU, TODAY
    )
    either, neither = told.parts
    assert [(part.truth, part.rule) for part in (told, either, neither)] == [
        (False, "(customer.bound or true) and not (tag('vip') or not customer.fee <= 3)"),
        (True, "(customer.bound or true)"),
        (False, "not (tag('vip') or not customer.fee <= 3)"),
    ]
    assert [(part.truth, part.rule) for part in neither.parts] == [
        (True, "not tag('vip')"),
        (False, "customer.fee <= 3"),
    ]
    assert told.reasons == ("not_met:customer.fee",)
