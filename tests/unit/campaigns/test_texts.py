"""Texts of a campaign: placeholders that are none, words that WeChat bans, and the longest filling."""

from __future__ import annotations

import time

import pytest

from campaigns.document import reading
from campaigns.document.reading import DocumentError
from services.documents import wording
from services.documents.placeholders import look_alikes
from tests.support.documents import BRANCHES, REWARDS, WELCOME

HI = "- {id: hi, send: {via: wecom.welcome, template: hi}}\n"
BY_HAND = "- {id: hi, send: {via: wecom.welcome, template: hi, fallback: [staff]}}\n"
STAFF = "- {id: hi, send: {via: staff, template: hi}}\n"


def found(text: str, language: str = "zh") -> list[tuple[int, str, str]]:
    try:
        reading.read(text, "f", BRANCHES)
    except DocumentError as error:
        return [(one.line, one.code, one.say(language)) for one in error.problems]  # type: ignore[arg-type]
    return []


def template(text: str, steps: str = HI) -> list[tuple[int, str, str]]:
    return found(WELCOME.replace('"{{customer.name}}您好"', f"'{text}'") + steps)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("{customer.name}", "{{customer.name}}"), ("｛｛customer.name｝｝", "{{customer.name}}"),
        ("{{ customer。name }}", "{{customer.name}}"), ("${customer.name}", "{{customer.name}}"),
        ("{{客户姓名}}", "{{customer.name}}"), ("<customer.name>", "{{customer.name}}"),
        ("%(name)s", "{{customer.name}}"), ("[姓名]", "{{customer.name}}"), ("【客户姓名】", "{{customer.name}}"),
        ("{{customer.name}", "{{customer.name}}"), ("{customer.name}}", "{{customer.name}}"),
        ("{{Customer.Name}}", "{{customer.name}}"), ("{{customer_name}}", "{{customer.name}}"),
        ("{{customer name}}", "{{customer.name}}"), ("{{{customer.name}}}", "{{customer.name}}"),
        ("#姓名#", "{{customer.name}}"), ("《姓名》", "{{customer.name}}"), ("%name%", "{{customer.name}}"),
        ("customer.name", "{{customer.name}}"), ("$customer.name", "{{customer.name}}"),
        ("{{ｃustomer.name}}", "{{customer.name}}"), ("{{客户经理}}", "{{staff.name}}"), ("{网点}", "{{branch.name}}"),
        ("{{nickname}}", "{{customer.name}}"), ("{{customer.nmae}}", "{{customer.name}}"), ("％NICKNAME％", "%NICKNAME%"),
        ("（姓名）", "{{customer.name}}"), ("((name))", "{{customer.name}}"), ("〖姓名〗", "{{customer.name}}"),
        ("『客户姓名』", "{{customer.name}}"), ("__name__", "{{customer.name}}"), ("**姓名**", "{{customer.name}}"),
        ("@姓名 ", "{{customer.name}}"), ("尊敬的XX先生", "{{customer.name}}"), ("%s", ""), ("%1$s", ""),
        ("{{}}", ""), ("{1}", ""), ("}", ""), ("你好{", ""),
    ],
)  # fmt: skip
def test_what_only_looks_like_a_placeholder_is_refused_with_the_right_spelling(text: str, right: str) -> None:
    problems = template(f"{text}您好")
    assert problems, text
    for line, code, said in problems:
        assert (line, code[:11]) == (8, "placeholder")
        if right:
            assert f"请写成 {right}" in said


@pytest.mark.parametrize(
    "text",
    ["{{customer.name}}您好", "{{ customer.name }}您好", "[微笑]您好", "【银桥示范银行】您好", "满100元减5%", "a<b",
     "5%d", "100%s", "（周一）", "*限新客*", "a_b__c", "@银桥", "XXL 码", "张**先生",
     "www.bank.com", "见 https://bank.example.com/a?x=%E4%BD%A0", "#获客#", "《用户协议》", "1 < 2 > 0", "客户经理"],
)  # fmt: skip
def test_other_signs_are_no_placeholders(text: str) -> None:
    assert template(text) == []


def test_what_looks_like_one_is_shown_as_it_stands_and_not_without_end() -> None:
    (like,) = look_alikes("您好ｃustomer.name")
    assert (like.text, like.name) == ("ｃustomer.name", "customer.name")
    assert [len(look_alikes(sign * 50)) for sign in ("{a} ", "[姓名] ", "XX先生 ", "customer.name ")] == [20] * 4


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{zh: 杯子}", "{zh: '杯子{name}'}"), ("{zh: 杯子}", "{zh: '{{customer.name}}的杯子'}"),
        ("{zh: 商城}", "{zh: '[姓名]商城'}"),
        ("rules_zh: 规则", "rules_zh: '${rules}'"), ("host: 银行", "host: '{{bank.name}}'"),
    ],
)  # fmt: skip
def test_no_text_that_is_not_filled_has_a_placeholder(old: str, new: str) -> None:
    (problem,) = found(REWARDS.replace(old, new))
    assert problem[1].startswith("placeholder_")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{zh: 杯子}", "{zh: ' '}"), ("{zh: 杯子}", "{zh: 杯子, en: '\u3000'}"), ("{zh: 商城}", '{zh: "\\t"}'),
        ("rules_zh: 规则", "rules_zh: '\u00a0'"), ("host: 银行", "host: '  '"),
    ],
)  # fmt: skip
def test_no_text_is_of_blanks_alone(old: str, new: str) -> None:
    (problem,) = found(REWARDS.replace(old, new))
    assert problem[1] == "text_blank"
    assert template(" ")[0][1] == "text_blank"


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("来源:{{channel.branch}}", ""), ("a" * 30, ""), ("a" * 31, "tag_long"), ("组:" + "签" * 31, "tag_long"),
        ("来源于这家网点的客户的标签啊:来源{{channel.branch}}", ""), ("签" * 21 + "{{channel.branch}}", "tag_long"),
        ("{{follow.userid}}", "tag_long"), ("", "tag_blank"), ("组:", "tag_blank"), (" ", "tag_blank"),
        (":签", "tag_blank"), ("组" * 31 + ":签", "tag_group_long"), ("{{customer.name}}", "placeholder_unknown_in"),
        ("来源:{channel.branch}", "placeholder_like"),
    ],
)  # fmt: skip
def test_a_tag_fits_with_the_longest_filling(tag: str, code: str) -> None:
    for key in ("add", "del"):
        problems = found(WELCOME + f"- id: a\n  tag:\n    {key}:\n    - '{tag}'\n")
        assert [(line, what) for line, what, _ in problems] == ([(14, code)] if code else [])


@pytest.mark.parametrize(
    ("steps", "most"), [(HI, 4000), (STAFF, 2048), (BY_HAND, 2048 - 54)]
)  # fmt: skip
def test_a_text_fits_with_the_longest_filling_and_what_is_added(steps: str, most: int) -> None:
    room = most - 256  # a name of 64 characters of four bytes
    fits, long = "{{customer.name}}" + "a" * room, "{{customer.name}}" + "a" * (room + 1)
    assert template(fits, steps) == []
    ((line, code, said),) = template(long, steps)
    assert (line, code) == (8, "text_bytes")
    assert "customer.name: 256" in said
    english = f"您好', en: '{long}"
    assert [code for _, code, _ in template(english, steps)] == ["text_bytes"]


@pytest.mark.parametrize("name", ["customer.name", "staff.name", "branch.name", "bank.name"])
def test_every_name_may_have_64_characters_of_four_bytes(name: str) -> None:
    text = "{{" + name + "}}" + "a" * (4000 - 256)
    unknown = WELCOME.replace("{{customer.name}}您好", text) + HI
    reading.read(unknown, "f")
    with pytest.raises(DocumentError, match="256"):
        reading.read(unknown.replace("aaa", "aaaa", 1), "f")


def test_a_greeting_of_a_group_is_looked_at_in_both_languages() -> None:
    text = REWARDS + 'group_welcome: {g: {template: t}}\ntemplates: {t: {zh: 欢迎, en: "Hi {{customer.name}}"}}\n'
    assert [code for _, code, _ in found(text)] == ["group_facts"]
    assert found(text.replace("{{customer.name}}", "%NICKNAME%")) == []


@pytest.mark.parametrize(
    ("text", "banned"),
    [
        ("您好，分享即可领奖", True), ("转发给好友就送咖啡", True), ("关注公众号，即可领取红包", True), ("集赞可领大奖", True),
        ("请关注账户安全，收到送款短信切勿转账", False), ("谨防分享即可领奖的骗局", False), ("关注我行公众号领取资讯", False),
        ("请关注账户安全。领取咖啡请到网点", None), ("感谢您的关注", None), ("分享快乐", None), ("咖啡券请到网点领取", None),
    ],
)  # fmt: skip
def test_banned_words_are_shown_and_a_warning_is_no_offence(text: str, banned: bool | None) -> None:
    assert [one.banned for one in wording.found_in(text)] == ([] if banned is None else [banned])
    problems = template(text)
    assert [code for _, code, _ in problems] == (["wording"] if banned else [])
    if banned is not None:
        assert wording.found_in(text)[0].words in text
    if banned:
        assert f"“{wording.found_in(text)[0].words}”" in problems[0][2]


@pytest.mark.parametrize(
    "text", ["{" * 60_000, "{{a" * 20_000, "[" * 60_000, "关注" * 30_000, "%a" * 30_000, "<a>" * 20_000]
)
def test_no_text_takes_long(text: str) -> None:
    begun = time.process_time()
    look_alikes(text)
    wording.found_in(text)
    assert time.process_time() - begun < 2.0
