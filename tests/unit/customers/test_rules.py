"""The language of rules: what may be written, what it means for a document, and how mistakes are told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaigns.engine import facts
from customers.rules import days
from customers.rules.circles import check_circle
from customers.rules.errors import RuleError
from customers.rules.predicate import predicate
from customers.rules.reading import read_rule
from customers.rules.syntax import DEEPEST, MOST_ENTRIES, MOST_TERMS
from customers.rules.tokens import texts_of
from customers.rules.tree import mentions, windowed
from customers.rules.vocabulary import CHINA, LONGEST, Name, Vocabulary

TODAY = days.number_of(days.date(2026, 11, 30))


def moment(day: str, second: int = 43_200) -> int:
    number = days.read_iso(day)
    assert number is not None
    return days.begin(number, CHINA) + second


def _names(*names: Name) -> dict[str, Name]:
    return {name.name: name for name in names}


def _field(key: str, kind: Any, **more: Any) -> Name:
    return Name(name=f"customer.{key}", kind=kind, path=("fields", key), **more)


BANDS = {"A": {"zh": "甲档"}, "B": {"zh": "乙档"}, "C": {"zh": "丙档"}}
VOCABULARY = Vocabulary(
    names=_names(
        _field("balance_band", "choice", choices=BANDS),
        _field("age", "number"),
        _field("balance", "money"),
        _field("birthday", "date"),
        _field("city", "text"),
        _field("vip", "bool"),
        Name(name="customer.id_number", kind="sealed", path=("blind", "id_number"), blind=lambda text: f"ix:{text}"),
        Name(name="customer.bound", kind="bool", path=("bound",)),
        Name(name="customer.added_at", kind="moment", path=("added_at",)),
        Name(name="customer.labels", kind="texts", path=("labels",)),
        Name(name="rm.since", kind="moment", path=("rms", "since"), earliest=True),
    ),
    removed=["customer.hobby"],
    known={
        "tag": {"vip": {}, "金卡": {}},
        "segment": {"silent": {}},
        "list": {"l1": {}},
        "rm": None,
        "branch": {"sz": {}},
        "event": {"app.login": {}},
        "campaign": {"acq": {}},
        "reward": {"coffee": {}},
    },
)
LIU: dict[str, Any] = {
    "_id": "c1",
    "fields": {
        "balance_band": "C",
        "age": 30,
        "balance": 100_000,
        "birthday": "1996-12-02",
        "city": "深圳·南山",
        "vip": False,
    },
    "blind": {"id_number": "ix:4403"},
    "tags": ["vip"],
    "rms": [
        {"userid": "rm.li", "branch": "sz", "since": moment("2026-11-01")},
        {"userid": "rm.wang", "branch": "gz", "since": moment("2026-06-01")},
    ],
    "events": {
        "app/login": {
            "n": 6,
            "first": moment("2026-08-01"),
            "last": moment("2026-11-30"),
            "days": {str(TODAY - 30): 2, str(TODAY - 29): 1, str(TODAY): 3},
        }
    },
    "campaigns": {"acq": moment("2026-11-24", 0)},
    "rewards": {"coffee": {"n": 1, "last": moment("2026-11-25")}},
    "segments": ["silent"],
    "lists": [],
    "labels": ["甲"],
    "bound": True,
    "added_at": moment("2026-11-30", 0),
}
NOBODY: dict[str, Any] = {"_id": "c2"}


@pytest.mark.parametrize(
    ("rule", "liu", "nobody"),
    [
        ("true", True, True),
        ("not True", False, False),
        ("customer.balance_band == 'C'", True, False),
        ("customer.balance_band != 'C'", False, False),
        ("customer.balance_band in ['A', \"C\"]", True, False),
        ("not customer.balance_band in ('A', 'B',)", True, False),
        ("customer.age >= 30 and customer.age < 31", True, False),
        ("30 < customer.age", False, False),
        ("not customer.age > 30", True, False),
        ("customer.age between 18 and 30 and true", True, False),
        ("not customer.age between 18 and 30.5", False, False),
        ("customer.age != -1", True, False),
        ("customer.age in [30.0]", True, False),
        ("customer.balance >= 100000", True, False),
        ("customer.vip", False, False),
        ("not customer.vip", True, False),
        ("customer.vip == False", True, False),
        ("customer.city contains '·南'", True, False),
        ("not '北京' in customer.city", True, False),
        ("customer.id_number == '4403'", True, False),
        ("customer.id_number not in ['1', '2']", True, False),
        ("'甲' in customer.labels", True, False),
        ("not customer.labels contains '甲'", False, True),
        ("customer.bound or false", True, False),
        ("customer.birthday < '1996-12-03'", True, False),
        ("customer.birthday in ['1996-12-02']", True, False),
        ("customer.birthday between '1996-12-02' and '1996-12-02'", True, False),
        ("anniversary(customer.birthday) in next 3d", True, False),
        ("anniversary(customer.birthday) in next 2d", False, False),
        ("not anniversary(customer.birthday) in last 7d", True, False),
        ("customer.added_at == today", True, False),
        ("customer.added_at > '2026-11-29'", True, False),
        ("customer.added_at > '2026-11-30'", False, False),
        ("customer.added_at newer than 1d", True, False),
        ("customer.added_at older than 1d", False, False),
        ("not customer.added_at older than 1d", True, False),
        ("customer.added_at >= today - 1mo and customer.added_at < today + 1d", True, False),
        ("tag('vip')", True, False),
        ("not tag('金卡')", True, True),
        ("rm('rm.wang')", True, False),
        ("branch('sz') and not branch('sz')", False, False),
        ("rm.since < '2026-10-01'", True, False),
        ("rm.since newer than 3mo", False, False),
        ("event('app.login')", True, False),
        ("not event('app.login', 30d)", False, True),
        ("count(event('app.login')) == 6", True, False),
        ("count(event('app.login'), 30d) == 4", True, False),
        ("count(event('app.login'), 31d) > 5", True, False),
        ("count(event('app.login'), 30d) <= 3", False, True),
        ("count(event('app.login'), 1d) between 1 and 3", True, False),
        ("count(event('app.login')) != 0", True, False),
        ("count(event('app.login')) >= 0", True, True),
        ("last(event('app.login')) older than 90d", False, False),
        ("first(event('app.login')) == '2026-08-01'", True, False),
        ("known(last(event('app.login')))", True, False),
        ("not known(customer.age)", False, True),
        ("campaign('acq')", True, False),
        ("campaign('acq', 7d)", True, False),
        ("campaign('acq', 6d)", False, False),
        ("reward('coffee')", True, False),
        ("segment('silent') and not list('l1')", True, False),
        ("customer.vip or customer.bound and not (customer.vip or customer.age == 1)", True, False),
        ("not (customer.age > 40 and customer.city == '广州')", True, False),
        (" \n customer.age == 30\u3000", True, False),
    ],
)
def test_a_rule_says_whether_it_holds(rule: str, liu: bool, nobody: bool) -> None:
    holds = predicate(read_rule(rule, VOCABULARY))
    assert (holds(LIU, TODAY), holds(NOBODY, TODAY)) == (liu, nobody)


@pytest.mark.parametrize("value", ["30", True, None, 2.5j])
def test_a_value_of_another_type_counts_as_missing(value: Any) -> None:
    for rule in (
        "customer.age == 1",
        "customer.age != 7",
        "customer.age > 0",
        "not customer.age > 0",
        "known(customer.age)",
    ):
        assert predicate(read_rule(rule, VOCABULARY))({"fields": {"age": value}}, TODAY) is False


def test_one_tree_serves_every_day() -> None:
    holds = predicate(read_rule("count(event('app.login'), 30d) >= 4", VOCABULARY))
    assert [holds(LIU, TODAY + day) for day in (-1, 0, 1, 400)] == [False, True, False, False]


def test_the_29th_of_february_falls_on_the_28th_in_other_years() -> None:
    holds = predicate(read_rule("anniversary(customer.birthday) in next 1d", VOCABULARY))
    leap = {"fields": {"birthday": "2000-02-29"}}
    celebrated = [
        day for day in ("2027-02-28", "2027-03-01", "2028-02-28", "2028-02-29") if holds(leap, days.read_iso(day) or 0)
    ]
    assert celebrated == ["2027-02-28", "2028-02-29"]


def test_months_end_on_their_last_day() -> None:
    end = days.read_iso("2027-03-31")
    assert end is not None
    assert [days.iso(days.Span(n, unit).shift(end, -1)) for n, unit in ((1, "mo"), (13, "mo"), (1, "y"), (30, "d"))] == [
        "2027-02-28", "2026-02-28", "2026-03-31", "2027-03-01",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "column", "english", "chinese"),
    [
        ("", 1, "the rule is empty", "规则是空的"),
        ("\t\n", 1, "the rule is empty", "规则是空的"),
        ("foo == 1", 1, "unknown field foo; expected one of customer.added_at, customer.age", "没有字段 foo；可以用："),
        ("customer.bound and 'x' == customer.agee", 27, "did you mean customer.age?", "是不是想写 customer.age"),
        ("'中文𠮷' == 生日", 10, "unknown field 生日", "没有字段 生日"),
        ("customer.hobby == 'x'", 1, "the field customer.hobby was removed", "字段 customer.hobby 已被删除"),
        (
            "tag('vlp')",
            5,
            "unknown tag vlp; expected one of vip, 金卡; did you mean vip?",
            "没有标签 vlp，是不是想写 vip",
        ),
        ("segment('s')", 9, "unknown segment s", "没有客群 s"),
        ("list('l2')", 6, "unknown list l2", "没有名单 l2"),
        ("event('app.logn')", 7, "did you mean app.login?", "没有事件 app.logn"),
        ("campaign('x')", 10, "unknown campaign x", "没有活动 x"),
        ("reward('x')", 8, "unknown reward x", "没有权益 x"),
        ("branch('x')", 8, "unknown branch x", "没有网点 x"),
        ("tags('vip')", 1, "unknown function tags(); expected one of anniversary()", "没有函数 tags()，是不是想写 tag"),
        ("customer.city in codes('x')", 18, "unknown function codes()", "没有函数 codes()"),
        ("customer.balance_band == 'D'", 26, "customer.balance_band is never D; expected one of A, B, C", "没有选项 D"),
        ("customer.balance_band < 'B'", 23, "is a choice; expected one of ==, !=, in, not in", "是选项，只能用：=="),
        ("customer.age == '30'", 17, "customer.age is a number; expected a number", "是数字，这里要数字"),
        ("customer.age == true", 17, "expected a number", "这里要数字"),
        (
            "customer.age > customer.balance",
            16,
            "customer.balance is another field; expected a value",
            "不能拿另一个字段",
        ),
        ("customer.city == 3", 18, "expected a text in quotes", "这里要引号里的文本"),
        ("customer.vip == 'yes'", 17, "expected true or false", "true 或 false"),
        ("customer.birthday > 20270131", 21, "expected a day such as '2027-01-31'", "这里要日期"),
        ("customer.birthday > '2027-02-29'", 21, "2027-02-29 is no day", "2027-02-29 不是日期"),
        ("customer.birthday > '0001-01-01'", 21, "is no day", "不是日期"),
        ("customer.birthday > today - 7", 29, "expected a span: 30d, 12mo or 2y", "这里要时长"),
        ("customer.birthday in [today]", 22, "compare with today by between", "列表里要写具体日期"),
        ("customer.birthday older than 'x'", 30, "expected a span", "这里要时长"),
        ("customer.birthday older than 200y", 30, "200y is out of range; 1 to 36500 days", "200y 超出范围"),
        (
            "anniversary(customer.birthday) == today",
            32,
            "expected in next 7d or in last 7d",
            "in next 7d 或 in last 7d",
        ),
        ("anniversary(customer.age) in next 7d", 1, "expected anniversary(customer.…)", "anniversary 的写法"),
        ("count(event('app.login'), 401d) > 1", 27, "1 to 400 days", "1 到 400 天"),
        ("count(event('app.login'), 0d) > 1", 27, "0d is out of range", "0d 超出范围"),
        ("count('app.login') > 1", 1, "expected count(event('…'))", "count 的写法"),
        ("count(event('app.login'))", 1, "count() alone is no rule", "count() 后面还要比较"),
        ("count(event('app.login')) in [1]", 27, "count() is a number; expected one of ==", "count() 是数字，只能用"),
        ("tag('vip') == true", 1, "tag() is met or not by itself", "tag() 本身就是条件"),
        ("tag(vip)", 1, "expected tag('…')", "tag 的写法"),
        ("tag('vip', 30d)", 1, "expected tag('…')", "tag 的写法"),
        ("known(customer.labels)", 1, "customer.labels is never missing", "customer.labels 总是有值"),
        ("customer.age", 1, "customer.age alone is no rule; expected one of ==", "customer.age 后面还要比较"),
        ("customer.bound and 'x'", 20, "a value alone is no rule", "一个值不是条件"),
        ("1 == 1", 1, "expected a field or a function on one side", "比较的一边要是字段或函数"),
        ("1 < customer.age < 3", 18, "expected one comparison; join several with and", "一次只能比较一次"),
        ("customer.age between 5 and 3", 22, "the first value of between may not be above", "between 的第一个值"),
        ("customer.age between 5 or 3", 24, "expected and: between 18 and 60", "between 的两个值之间"),
        ("customer.age in []", 17, "the list needs an entry", "列表里至少要有一项"),
        ("customer.age in 3", 17, "expected a list after in", "in 后面要列表"),
        ("customer.age in [1 2]", 20, "expected a comma or ]", "这里要逗号或 ]"),
        ("customer.age in [1, 2", 17, "[ is not closed", "这里的 [ 没有关闭"),
        ("(customer.bound", 1, "( is not closed", "这里的 ( 没有关闭"),
        ("customer.bound)", 15, ") closes nothing", "多了一个 )"),
        ("()", 2, "expected a field, a value, a function or not", "这里要字段、值、函数"),
        ("customer.bound and", 19, "expected a field, a value", "这里要字段、值、函数"),
        ("customer.bound is true", 16, "expected ==, !=, <, <=", "这里要比较"),
        ("customer.age = 30", 14, "a rule has no =; write ==", "不能有 =，请写成 =="),
        ("customer.bound && customer.vip", 16, "write and", "请写成 and"),
        ("customer.city == “深圳”", 18, 'write "', "请写成"),
        ("customer.city == '深圳", 18, "the quotation mark ' is not closed", "引号 ' 没有结束"),
        ("customer.city == 'a\x00'", 20, "a rule has no U+0000", "不能有 U+0000"),
        ("customer.city == '\ud800'", 19, "a rule has no U+D800", "不能有 U+D800"),
        (f"customer.city == '{'长' * 201}'", 18, "a text in quotes has at most 200 characters", "最多 200 个字符"),
        ("customer.age == 9999999999999999", 17, "a number has at most 15 digits", "数字最多 15 位"),
        ("customer.age == " + "9" * 5000, 17, "is no number and no span", "不是数字或时长"),
        ("customer.age == 1e5", 17, "1e5 is no number", "1e5 不是数字"),
        ("customer.age == 0x10", 17, "0x10 is no number", "0x10 不是数字"),
        ("customer.age == ３０", 17, "３０ is no number", "３０ 不是数字"),
        ("customer.age == 5 5", 19, "expected ==, !=", "这里要比较"),
        ("None", 1, "unknown field None", "没有字段 None"),
        ("__import__('os').system('x')", 17, "a rule has no .", "不能有 ."),
        ("customer.__class__ == 1", 1, "unknown field customer.__class__", "没有字段 customer.__class__"),
    ],
)
def test_a_mistake_is_named_with_its_column_in_both_languages(
    rule: str, column: int, english: str, chinese: str
) -> None:
    with pytest.raises(RuleError) as refused:
        read_rule(rule, VOCABULARY)
    error = refused.value
    assert english in error.message, str(error)
    assert chinese in error.say("zh"), error.say("zh")
    assert error.column == column
    assert str(error) == f"column {error.column}: {error.message}"
    assert error.say("zh").startswith(f"规则第 {error.column} 个字符：")


def _deep(levels: int) -> str:
    return "(" * levels + "customer.bound" + ")" * levels


@pytest.mark.parametrize(
    ("rule", "code", "column"),
    [
        (_deep(DEEPEST), "", 0),
        (_deep(DEEPEST + 1), "rule_deep", DEEPEST + 1),
        (_deep(5000), "rule_deep", DEEPEST + 1),
        ("not " * 100 + "customer.bound", "rule_deep", 4 * DEEPEST + 1),
        ("(customer.bound and " * 100 + "true" + ")" * 100, "rule_deep", 20 * DEEPEST + 1),
        ("tag(" * 100 + ")" * 100, "rule_deep", 4 * DEEPEST + 4),
        (" or ".join(["customer.bound"] * MOST_TERMS), "", 0),
        (" or ".join(["customer.bound"] * (MOST_TERMS + 1)), "rule_terms", 18 * MOST_TERMS + 1),
        (f"customer.age in [{', '.join(['1'] * MOST_ENTRIES)}]", "", 0),
        (f"customer.age in [{', '.join(['1'] * (MOST_ENTRIES + 1))}]", "rule_entries", 18 + 3 * MOST_ENTRIES),
        (" or ".join([f"customer.age in [{', '.join(['1'] * 6000)}]"] * 2), "rule_entries", 0),
        ("x" * (LONGEST + 1), "rule_long", LONGEST + 1),
        ("-" * 10_000 + "1", "rule_value", 2),
        ("[" * 90 + "]" * 90, "rule_deep", DEEPEST + 1),
    ],
)  # fmt: skip
def test_a_rule_has_an_end_in_every_direction(rule: str, code: str, column: int) -> None:
    if not code:
        read_rule(rule, VOCABULARY)
        return
    with pytest.raises(RuleError) as refused:
        read_rule(rule, VOCABULARY)
    assert refused.value.code == code
    assert refused.value.column == column or not column


@pytest.mark.parametrize("function", ["event", "campaign", "reward"])
@pytest.mark.parametrize("value", ["", "$where", "a b", "a\u202eb", "x" * 129])
def test_what_becomes_a_key_of_a_map_is_a_name(function: Any, value: str) -> None:
    anything = Vocabulary(names={}, known={function: None})
    with pytest.raises(RuleError, match="is no name; one has letters, digits") as refused:
        read_rule(f"{function}('{value}')", anything)
    assert "不能作名称" in refused.value.say("zh")
    assert mentions(read_rule(f"{function}('a.b-c:1/二')", anything)) == {(function, "a.b-c:1/二")}


def test_of_many_names_a_sentence_lists_the_first() -> None:
    words = Vocabulary(names=_names(*(_field(f"f{n:04}", "number") for n in range(2000))))
    with pytest.raises(RuleError) as refused:
        read_rule("customer.f13370 == 1", words)
    assert refused.value.message.count("customer.f") == 22
    assert "customer.f0019, …; did you mean customer.f" in refused.value.message


def test_the_texts_of_a_function_are_found_also_in_a_rule_that_cannot_be_read_any_more() -> None:
    rule = """customer.tag == 'a' and not tag( 'b' ) or gone(tag("it's"), segment('c')) and 'tag(d)' in customer.gone"""
    assert texts_of(rule, "tag") == {"b", "it's"}
    assert texts_of(rule, "segment") == {"c"}
    assert texts_of("tag", "tag") == frozenset()


def test_a_rule_mentions_what_it_uses() -> None:
    rule = (
        "(tag('vip') or not segment('silent')) and count(event('app.login'), 30d) > 1 and campaign('acq')"
        " and last(event('app.login')) older than 3d and reward('coffee') and list('l1') and rm('x') and branch('sz')"
        " and anniversary(customer.birthday) in next 7d and known(customer.age) and rm.since < today"
    )
    assert mentions(read_rule(rule, VOCABULARY)) == {
        ("tag", "vip"), ("segment", "silent"), ("event", "app.login"), ("campaign", "acq"), ("reward", "coffee"),
        ("list", "l1"), ("rm", "x"), ("branch", "sz"), ("field", "customer.birthday"), ("field", "customer.age"),
        ("field", "rm.since"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "moves"),
    [
        ("customer.birthday < '2000-01-01' or tag('vip') or count(event('app.login')) > 3 or campaign('acq')", False),
        ("customer.bound and (tag('vip') or customer.birthday < today)", True),
        ("customer.added_at older than 3d", True),
        ("count(event('app.login'), 3d) > 3", True),
        ("campaign('acq', 3d)", True),
        ("anniversary(customer.birthday) in next 3d", True),
    ],
)
def test_a_rule_says_whether_the_day_matters(rule: str, moves: bool) -> None:
    assert windowed(read_rule(rule, VOCABULARY)) is moves


def test_segments_that_lead_back_to_themselves_are_refused() -> None:
    words = Vocabulary(names={}, known={"segment": {"a": {}, "b": {}, "c": {}}})
    tree = read_rule("not segment('c') or segment('b')", words)
    check_circle("a", tree, {"b": frozenset("c"), "c": frozenset()})
    for uses, way, column in (
        ({"c": frozenset("c"), "b": frozenset("ca")}, "a → b → a", 21),
        ({"c": frozenset("b"), "b": frozenset("a")}, "a → c → b → a", 5),
    ):
        with pytest.raises(RuleError) as refused:
            check_circle("a", tree, uses)
        assert (refused.value.code, refused.value.column, refused.value.data["way"]) == ("rule_circle", column, way)
        assert refused.value.say("zh") == f"规则第 {column} 个字符：客群互相引用，绕了一圈：{way}。请去掉其中一处引用。"
    with pytest.raises(RuleError, match="a → a"):
        check_circle("a", read_rule("segment('a')", words), {})


CODES = {"branch-q1": ["q1.sz", "q1.gz"], "empty": []}
FACTS = {"channel.code": "q1.sz", "follow.add_way": 1, "customer.name": "刘敏", "customer.bound": False}


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("True", True),
        ("channel.code in codes('branch-q1') and not customer.bound", True),
        ("channel.code not in codes('branch-q1')", False),
        ("channel.code in codes('empty')", False),
        ("channel.code not in codes('empty')", True),
        ("channel.branch in ['sz', 'gz']", False),
        ("channel.branch not in codes('empty')", False),
        ("customer.name != '刘'", True),
        ("follow.add_way <= 0.5", False),
    ],
)
def test_a_campaigns_rule_is_over_its_facts(rule: str, holds: bool) -> None:
    assert predicate(read_rule(rule, facts.vocabulary(CODES)))(FACTS, 0) is holds


@pytest.mark.parametrize(
    ("rule", "column", "says"),
    [
        ("channel.code in codes('nope')", 23, "unknown codes 'nope'; expected one of ['branch-q1', 'empty']"),
        ("channel.code in codes('branch-q2')", 23, "; did you mean branch-q1?"),
        ("channel.code in codes()", 17, "expected codes('…')"),
        ("channel.code in codes(channel.branch)", 17, "expected codes('…')"),
        ("tag('vip')", 1, "unknown function tag()"),
        ("channel.code == 'x' or " * 30 + "true", 501, "a rule has at most 500 characters"),
    ],
)
def test_a_mistake_in_a_campaigns_rule_is_named(rule: str, column: int, says: str) -> None:
    with pytest.raises(RuleError) as refused:
        read_rule(rule, facts.vocabulary(CODES))
    assert refused.value.column == column
    assert says in refused.value.message


_words = st.sampled_from(
    [
        *VOCABULARY.names,
        "tag('vip')",
        "count",
        "event('app.login')",
        "today",
        "30d",
        "and",
        "or",
        "not",
        "in",
        "next",
        "last",
    ]
    + [
        "between",
        "contains",
        "older",
        "than",
        "==",
        "<",
        "(",
        ")",
        "[",
        "]",
        ",",
        "'刘'",
        "1",
        "True",
        "-",
        "+",
        "'",
        "\\",
    ]
)
_texts = st.text(max_size=60) | st.lists(_words, max_size=12).map(" ".join) | st.lists(_words, max_size=12).map("".join)


def _answers(text: str) -> list[object]:
    """What the rule says of both, or that it was refused at a place within it, in words."""
    try:
        holds = predicate(read_rule(text, VOCABULARY))
    except RuleError as error:
        worded = error.code not in (error.message, error.say("zh"))
        return ["refused" if worded and 1 <= error.column <= len(text) + 1 else f"refused at {error.column}"]
    return [holds(LIU, TODAY), holds(NOBODY, TODAY)]


@given(text=_texts)
def test_whatever_is_written_is_a_rule_or_a_rule_error(text: str) -> None:
    assert all(answer in (True, False, "refused") for answer in _answers(text))
