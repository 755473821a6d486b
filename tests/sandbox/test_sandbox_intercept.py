"""Rules against words in members' messages (externalcontact/*_intercept_rule; contract/wechat D, F10)."""

from __future__ import annotations

from typing import Any

import pytest

EC = "/cgi-bin/externalcontact"


def rule(**changes: Any):
    fields = {"rule_name": "收益承诺", "word_list": ["保本"], "intercept_type": 1}
    return {**fields, "applicable_range": {"user_list": ["rm.chen"], "department_list": [3]}, **changes}


async def written(play, text, userid="rm.chen"):
    person = await play.befriended("甲", userid)
    answer = await play.control(f"/members/{userid}/write", {"person": person["id"], "text": text})
    return answer, [m["text"] for m in await play.inbox(person, "text")]


async def test_word_blocks_a_message_of_those_it_applies_to(playing):
    """Type 1 blocks members and departments of the range, and nobody else."""
    async with playing() as play:
        assert (await play.wecom(f"{EC}/add_intercept_rule", rule()))["errcode"] == 0
        blocked = {"sent": False, "rule": "收益承诺", "warning": False}
        assert await written(play, "这款保本") == (blocked, [])
        assert await written(play, "这款保本", "rm.wang") == (blocked, [])
        passed = {"sent": True, "rule": "", "warning": False}
        assert await written(play, "这款保本", "rm.sun") == (passed, ["这款保本"])
        assert await written(play, "您好") == (passed, ["您好"])


async def test_warning_lets_the_message_through(playing):
    """Type 2 warns; a phone number is recognised by itself (semantics 1)."""
    async with playing() as play:
        body = rule(intercept_type=2, word_list=[], semantics_list=[1])
        assert (await play.wecom(f"{EC}/add_intercept_rule", body))["errcode"] == 0
        text = "打我手机13800000001"
        assert await written(play, text) == ({"sent": True, "rule": "收益承诺", "warning": True}, [text])


async def test_rule_is_listed_read_changed_and_removed(playing):
    """The list has no words; a range is added to and removed from."""
    async with playing() as play:
        rule_id = {"rule_id": (await play.wecom(f"{EC}/add_intercept_rule", rule()))["rule_id"]}
        listed = (await play.wecom(f"{EC}/get_intercept_rule_list"))["rule_list"]
        assert listed == [{**rule_id, "rule_name": "收益承诺", "create_time": play.box.seconds()}]
        change = {
            **rule_id,
            "word_list": ["保本", "稳赚"],
            "extra_rule": {"semantics_list": [2]},
            "intercept_type": 2,
            "add_applicable_range": {"user_list": ["rm.li"]},
            "remove_applicable_range": {"department_list": [3]},
        }
        assert (await play.wecom(f"{EC}/update_intercept_rule", change))["errcode"] == 0
        assert (await play.wecom(f"{EC}/get_intercept_rule", rule_id))["rule"] == {
            **rule_id,
            "rule_name": "收益承诺",
            "word_list": ["保本", "稳赚"],
            "intercept_type": 2,
            "extra_rule": {"semantics_list": [2]},
            "applicable_range": {"user_list": ["rm.chen", "rm.li"], "department_list": []},
        }
        assert [(await play.wecom(f"{EC}/del_intercept_rule", rule_id))["errcode"] for _ in range(2)] == [0, 41071]


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [
        ({"rule_name": ""}, 40058),
        ({"rule_name": "长" * 21}, 40058),
        ({"word_list": ["词"] * 301}, 41068),
        ({"word_list": [""]}, 41083),
        ({"word_list": []}, 41083),
        ({"semantics_list": [9]}, 41084),
        ({"intercept_type": 3}, 40058),
        ({"applicable_range": {}}, 40058),
        ({"applicable_range": {"user_list": ["rm.nobody"]}}, 60111),
        ({"applicable_range": {"department_list": [99]}}, 60123),
    ],
)
async def test_wrong_rule_is_refused(playing, changes, errcode):
    """41068, 41083, 41084, and whom it applies to."""
    async with playing() as play:
        assert (await play.wecom(f"{EC}/add_intercept_rule", rule(**changes)))["errcode"] == errcode
        assert play.box.state.records.rules == {}


async def test_hundred_rules_of_different_names(playing):
    """41069, 41077."""
    async with playing() as play:
        add = f"{EC}/add_intercept_rule"
        codes = [(await play.wecom(add, rule(rule_name=f"规则{i}")))["errcode"] for i in (0, 0, *range(1, 100), 100)]
        assert codes == [0, 41077, *[0] * 99, 41069]
