"""YAML as a clerk writes it: what is plainly one thing is read, what could be two is refused with what to write."""

from __future__ import annotations

import time
from typing import Any, get_args

import pytest
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from customers.banks.files import TenantFile, read_tenant_file
from services.documents import problems, yaml12
from services.documents.problems import Problem
from services.errors import InvalidInput


def value(text: str) -> Any:
    parsed = yaml12.parse(f"v: {text}\n")
    assert (parsed.problems, parsed.unclear) == ([], {}), [one.message for one in parsed.problems]
    return parsed.value["v"]


def said(text: str, language: problems.Language = "en") -> list[str]:
    parsed = yaml12.parse(text)
    return [f"{one.line}: {one.say(language)}" for one in [*parsed.problems, *parsed.unclear.values()]]


@pytest.mark.parametrize(
    ("text", "is_"),
    [
        ("100", 100), ("-5", -5), ("0", 0), ("1.5", 1.5), ("20304000", 20304000), ("999999999999999999", 10**18 - 1),
        ("true", True), ("False", False), ("", None), ("null", None), ("2026-11-01", "2026-11-01"),
        ("2027-02-01T10:00:00+08:00", "2027-02-01T10:00:00+08:00"), ("'0100'", "0100"), ('"yes"', "yes"),
        ("'10:00'", "10:00"), ("n", "n"), ("y", "y"), ("rm.chen", "rm.chen"), ("0755-8888", "0755-8888"),
        ("1.2.3", "1.2.3"), ("12:30-13:30", "12:30-13:30"), ("2027q1", "2027q1"), ("=", "="), ("1,000", "1,000"),
        ("１００", "１００"), ("+86 138", "+86 138"), ("[a, 1, {b: c}]", ["a", 1, {"b": "c"}]), ("|\n  0100\n", "0100\n"),
    ],
)  # fmt: skip
def test_what_is_plainly_one_thing_is_read(text: str, is_: object) -> None:
    found = value(text)
    assert (found, type(found)) == (is_, type(is_))


@pytest.mark.parametrize(
    ("text", "write"),
    [
        ("0100", "100"), ("007", "7"), ("-010", "-10"), ("00", "0"), ("01", "1"), ("yes", "true"), ("No", "false"),
        ("ON", "true"), ("off", "false"), ("0x10", "16"), ("0o17", "15"), ("0b11", "3"), ("1_000", "1000"),
        ("1e3", "1000"), ("1.5E2", "150"), ("+5", "5"), ("+8613800000000", "8613800000000"), ("5.", "5"),
        (".5", "0.5"), ("1.25e1", "12.5"),
        ("10:00", ""), ("9:00", ""), ("12:30:00", ""), ("1:99", ""), ("190:20:30.15", ""), ("~", ""),
        ("NULL", ""), (".inf", ""), ("-.INF", ""), (".NaN", ""), ("NaN", ""), ("12345678901234567890", ""),
    ],
)  # fmt: skip
def test_what_could_be_two_things_is_refused_with_what_to_write(text: str, write: str) -> None:
    for place in (f"a: 1\nv: {text}\n", f"a:\n- {text}\n"):
        (english,), (chinese,) = said(place), said(place, "zh")
        assert english.startswith("2: "), english
        assert f'"{text}"' in english
        assert f'"{text}"' in chinese
        assert f"write {write}, or" in english if write else True
        assert f"请写 {write}，" in chinese if write else True


@pytest.mark.parametrize("key", ["yes", "on", "0100", "10:00", "~", "true", "1.5", "1e3", "null", "“a”"])
def test_a_key_is_judged_as_a_value_is_and_wants_quotes(key: str) -> None:
    (found,), (chinese,) = said(f"a: 1\n{key}: 2\n"), said(f"a: 1\n{key}: 2\n", "zh")
    assert found.startswith(f'2: the key {key} could be read as something else than a text; write "{key}" in quotes')
    assert f'请加引号写成 "{key}"' in chinese
    assert said(f"a: 1\n'{key}': 2\n") == []


@pytest.mark.parametrize("text", ["“95500”", "‘95500’", "＂95500＂", "“" + "长" * 200 + "”"])
def test_quotation_marks_of_an_input_method_are_no_quotes(text: str) -> None:
    (chinese,) = said(f"a: 1\nb: {text}\n", "zh")
    assert chinese.startswith("2: ")
    assert '请写成 "' in chinese
    assert said(f"a: '{text}'\nb: 打开“银桥”小程序\nc: “银桥”小程序与“手机银行”\n") == []


@pytest.mark.parametrize(
    ("text", "line", "code"),
    [
        ("a: &x 1\nb: *x\n", 1, "yaml_alias"), ("a: 1\nb: *x\n", 2, "yaml"), ("a: !!int 5\n", 1, "yaml_tag"),
        ("a: ! 5\n", 1, "yaml_tag"), ("b: 1\n<<: {a: 1}\n", 2, "yaml_merge"), ("a: 1\nb: 2\na: 3\n", 3, "yaml_twice"),
        ("'a': 1\na: 3\n", 2, "yaml_twice"), ("%YAML 1.1\n---\na: 1\n", 1, "yaml_directive"),
        ("a: 1\n---\nb: 2\n", 2, "yaml_second"), ("? [a]\n: b\n", 1, "yaml_key"), 
        ("a: {b: 1, ~: c}\n", 1, "unclear_key"), ("a: 1\n? \n", 2, "yaml_empty_key"),
        ("a: {{b}}\n", 1, "yaml_key"), ("a:\n\tb: 1\n", 2, "yaml_tab"), ("a：b\nc: 1\n", 2, "yaml_full_width"),
        ("a: b: c\n", 1, "yaml_colon"), ("a: [b\n", 2, "yaml_open_bracket"), ('a: "b\n', 1, "yaml_open_quote"),
        ("a: 1\nb: 'c\nd: 2\n", 2, "yaml_open_quote"), ('a: 1\nb: "2”\nc: 3\n', 2, "yaml_full_width"),
        ("a: [b:{{c}}]\n", 1, "yaml_colon"), ("a: 1\n...\nb: 2\n", 3, "yaml_second"),
        ("a: 1\nb: 2\u2028c\n", 2, "yaml_characters"), ("a: 1\u0085b: 2\n", 1, "yaml_characters"),
        ("a: @b\n", 1, "yaml_token"), ("a: 1\nb: \x00\n", 2, "yaml_characters"), ('a: "\\q"\n', 1, "yaml_escape"),
        ("a: \ud800\n", 1, "yaml_characters"),
    ],
)  # fmt: skip
def test_what_programs_need_is_refused_with_its_line(text: str, line: int, code: str) -> None:
    parsed = yaml12.parse(text)
    found = [(one.line, one.code) for one in parsed.problems]
    assert (line, code) in found or (code == "yaml" and found), found


def test_every_key_that_stands_twice_is_named() -> None:
    found = said("a: 1\na: 2\nb: {c: 1, c: 2}\na: 3\n")
    assert found == ["2: the key a stands twice", "3: the key c stands twice", "4: the key a stands twice"]


def test_a_byte_order_mark_and_windows_lines_are_no_matter() -> None:
    assert yaml12.parse("\ufeffa: 1\r\nb: [2]\r\n").value == {"a": 1, "b": [2]}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("".join(f"k{n}: 1\n" for n in range(20_000)), "too_big"),
        ("".join(f"k{n}: 1\n" for n in range(6_000)), "too_many_keys"),
        ("a:\n" + "- 1\n" * 15_000, "too_many_items"),
        ("[" * 64_000, "too_deep"),
        ("{a: " * 15_000, "too_deep"),
        ("a: " + "9" * 60_000 + "\n", "unclear_long"),
        ("a: 1" + ":59" * 20_000 + "\n", "unclear_long"),
        ("a: " + "1_" * 30_000 + "\n", "unclear_long"),
        ("a: " + "&x " * 20_000, "yaml"),
        ("? " * 30_000, ""),
        ("- " * 30_000, ""),
        ("'" * 60_001, ""),
        ("a: |\n" + " \n" * 30_000, None),
        ("\t" * 60_000, ""),
        ("!" * 60_000, ""),
        ('"\\x41' * 12_000, ""),
    ],
)
def test_no_text_takes_long(text: str, code: str | None) -> None:
    begun = time.process_time()
    parsed = yaml12.parse(text)
    codes = [one.code for one in [*parsed.problems, *parsed.unclear.values()]]
    assert time.process_time() - begun < 1.0
    if code is not None:
        assert any(one.startswith(code) for one in codes), codes
        assert all(len(one.message) < 400 for one in parsed.problems)


def test_fifty_problems_are_told_and_the_rest_is_counted() -> None:
    found = problems.in_order(Problem(n, "missing", {"place": f"k{n:03}"}) for n in range(1, 200))
    assert [one.line for one in found] == [*range(1, 51), 50]
    assert found[-1].message == "and 149 more problems; mend these first"
    assert "149" in found[-1].say("zh")


@pytest.mark.parametrize("kind", get_args(ErrorType))
def test_every_type_of_error_is_said_in_chinese(kind: str) -> None:
    detail: Any = {"type": kind, "loc": ("name", "zh"), "msg": "Input should be English", "input": 7, "ctx": {}}
    detail["ctx"] = {name: 5 for name in ("gt", "ge", "lt", "le", "min_length", "max_length", "expected", "pattern")}
    found: list[ErrorDetails] = [detail]
    (place, code, data), *_ = problems.found(found, TenantFile)
    chinese = Problem(1, code, data).say("zh")
    assert place == ("name", "zh")
    assert any("\u4e00" <= character <= "\u9fff" for character in chinese), chinese
    assert "Input" not in chinese
    assert "{" not in chinese


@pytest.mark.parametrize(
    "written",
    [
        "secret:hush-hush",
        "'secret：hush-hush'",
        "secret = hush-hush",
        "password hush-hush",
        "hush-hush-hush-hush-hush: 1",
    ],
)
def test_a_secret_that_became_a_part_of_its_key_is_not_shown(written: str) -> None:
    part = "clerks" if written.startswith("password") else "miniprograms"
    with pytest.raises(InvalidInput) as refused:
        read_tenant_file(f"kind: tenant/v1\n{part}:\n- {{name: a, {written}}}\n", "t")
    assert "hush" not in str(refused.value)
    assert f"t:3: {part}.0" in str(refused.value)
