from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaigns.engine import facts
from customers.segments.rules import RuleError, compile_rule

FIELDS = facts.known(facts.RULE)

CODES = {"branch-q1": ["q1.sz", "q1.gz"], "empty": []}
FACTS = {
    "channel.code": "q1.sz",
    "channel.branch": "sz",
    "follow.add_way": 1,
    "customer.name": "刘敏",
    "customer.bound": False,
}


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("True", True),
        ("False", False),
        ("customer.bound", False),
        ("not customer.bound", True),
        ("channel.code in codes('branch-q1')", True),
        ("channel.code not in codes('branch-q1')", False),
        ("channel.code in codes('empty')", False),
        ("channel.code in codes('branch-q1') and not customer.bound", True),
        ("channel.code in codes('empty') or follow.add_way == 1", True),
        ("channel.branch in ['sz', 'gz']", True),
        ("channel.branch in ('bj', 'gz')", False),
        ("customer.name == '刘敏'", True),
        ("customer.name != '刘敏'", False),
        ("follow.add_way >= 1", True),
        ("follow.add_way > 1", False),
        ("follow.add_way < 2", True),
        ("follow.add_way <= 0.5", False),
        ("not (customer.bound or channel.branch == 'sz')", False),
        ("follow.userid == 'rm.a'", False),
        ("follow.userid", False),
        ("follow.userid < 'a'", False),
        ("follow.userid in follow.userid", False),
        ("customer.name < 3", False),
        ("[1] in codes('branch-q1')", False),
        ("  customer.name == '刘敏'  ", True),
    ],
)
def test_a_rule_says_whether_it_holds(rule: str, holds: bool) -> None:
    assert compile_rule(rule, CODES, FIELDS)(FACTS) is holds


def test_the_codes_are_those_of_the_time_of_compiling() -> None:
    codes = {"a": ["x"]}
    rule = compile_rule("channel.code in codes('a')", codes, FIELDS)
    codes["a"].append("y")
    assert (rule({"channel.code": "x"}), rule({"channel.code": "y"})) == (True, False)


@pytest.mark.parametrize(
    ("rule", "column", "says"),
    [
        ("foo == 1", 1, "unknown field foo; expected one of"),
        ("customer.bound and foo", 20, "unknown field foo"),
        ("  foo", 3, "unknown field foo"),
        ("customer.name == '刘敏' and foo", 27, "unknown field foo"),
        ("'中文' == foo", 9, "unknown field foo"),
        ("customer.phone == '1'", 1, "unknown field customer.phone"),
        ("not customer.__class__", 5, "unknown field customer.__class__"),
        ("1 < follow.add_way < 3", 1, "expected one comparison; join several with and"),
        ("True and follow.add_way is 1", 10, "expected ==, !=, <, <=, >, >=, in or not in"),
        ("True or 1 + 1", 9, "expected a field, a value"),
        ("channel.code in codes('nope')", 23, "unknown codes 'nope'; expected one of ['branch-q1', 'empty']"),
        ("channel.code in codes()", 17, "expected codes('name')"),
        ("channel.code in codes(channel.branch)", 17, "expected codes('name')"),
        ("channel.code in codes('a', 'b')", 17, "expected codes('name')"),
        ("channel.code in codes(name='a')", 17, "expected codes('name')"),
        ("channel.code in codes(*['a'])", 17, "expected codes('name')"),
        ("__import__('os').system('x')", 1, "expected codes('name')"),
        ("True if True else False", 1, "expected a field, a value"),
        ("[x for x in 'a']", 1, "expected a field, a value"),
        ("(lambda: 1)()", 1, "expected codes('name')"),
        ("b'x'", 1, "expected a field, a value"),
        ("None", 1, "expected a field, a value"),
        ("-1 < follow.add_way", 1, "expected a field, a value"),
        ("f'{channel.code}'", 1, "expected a field, a value"),
        ("customer.bound and", 19, "not a rule"),
        ("customer.bound = True", 16, "not a rule"),
        ("import os", 1, "not a rule"),
        ("", 1, "not a rule"),
    ],
)
def test_a_mistake_is_named_with_its_column(rule: str, column: int, says: str) -> None:
    with pytest.raises(RuleError) as refused:
        compile_rule(rule, CODES, FIELDS)
    assert (refused.value.column, says in refused.value.message) == (column, True), str(refused.value)
    assert str(refused.value).startswith(f"column {column}: ")


@pytest.mark.parametrize(
    "rule",
    [
        "not " * 5000 + "True",
        "(" * 3000 + "True" + ")" * 3000,
        "-" * 10_000 + "1",
        "customer" + ".a" * 5000,
        "True" + " and (True" * 190 + ")" * 190,
        "[" * 90 + "]" * 90,
        "9" * 5000,
        "a\0b",
        "\ud800",
        "'\\d'",
        "'\\N{nothing}'",
        "0777",
        "\t\n",
    ],
    ids=lambda rule: repr(rule[:12]),
)
def test_no_text_is_too_odd_to_be_refused(rule: str) -> None:
    assert _read(rule, FACTS) in (True, False, "refused")


def _read(rule: str, facts: dict[str, Any]) -> bool | str:
    """What the rule says, or that it was refused at a place within it."""
    try:
        predicate = compile_rule(rule, CODES, FIELDS)
    except RuleError as error:
        return "refused" if error.message and 1 <= error.column <= len(rule) + 1 else f"refused at {error.column}"
    return predicate(facts)


_words = st.sampled_from(
    [*FIELDS, "codes('branch-q1')", "codes", "and", "or", "not", "in", "is", "==", "<", "(", ")", "[", "]", ",", "'刘'"]
    + [
        "1",
        "True",
        "None",
        ".",
        "lambda",
        ":",
        "if",
        "else",
        "{",
        "}",
        "*",
        "-",
        "\n",
        "\\",
        "#",
        "f'{",
        "\0",
        "=",
        ":=",
        "'",
    ]
)
_texts = st.text(max_size=60) | st.lists(_words, max_size=12).map(" ".join) | st.lists(_words, max_size=12).map("".join)
_values = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers())
_facts = st.dictionaries(st.sampled_from(sorted(FIELDS)), _values)


@given(text=_texts, facts=_facts)
def test_whatever_is_written_is_a_rule_or_a_rule_error(text: str, facts: dict[str, Any]) -> None:
    assert _read(text, facts) in (True, False, "refused")
