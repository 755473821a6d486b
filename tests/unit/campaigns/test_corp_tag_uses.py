"""Which tags a document's steps and rules mean, and what a tag may be called."""

from __future__ import annotations

import pytest

from campaigns.corp_tags import desk, uses
from customers.rules.reading import read_rule
from customers.rules.vocabulary import Vocabulary
from services.errors import Conflict, InvalidInput

NAMES = ["来源:南山", "来源:福田", "等级:金卡", "热"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("来源:南山", {"来源:南山"}),
        ("来源:{{channel.branch}}", {"来源:南山", "来源:福田"}),
        ("等级:{{channel.code}}卡", {"等级:金卡"}),
        ("等级:{{channel.code}}金卡", set()),
        ("银桥:热", {"热"}),
        ("热度", set()),
    ],
)
def test_a_written_tag_means_the_tags_that_it_may_become(written: str, meant: set[str]) -> None:
    assert uses.matching([written], NAMES) == meant


def test_rules_mean_the_tags_that_they_ask_for() -> None:
    words = Vocabulary(names={}, known={"tag": None, "segment": None})
    trees = [read_rule(rule, words) for rule in ("tag('热') or not tag('等级:金卡')", "segment('热门')")]
    assert uses.in_rules(trees) == {"热", "等级:金卡"}


@pytest.mark.parametrize(
    ("name", "kept"), [("金卡", "金卡"), (" 金卡 ", "金卡"), ("字" * 30, "字" * 30), ("𠮷" * 30, "𠮷" * 30)]
)
def test_a_name_of_at_most_30_characters_is_taken(name: str, kept: str) -> None:
    assert desk.check_name(name) == kept


@pytest.mark.parametrize("name", ["", "  ", "字" * 31, "等级:金卡"])
def test_a_name_that_wecom_or_our_own_spelling_has_no_room_for_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="tag_name"):
        desk.check_name(name)


def test_a_corp_has_room_for_10_000_tags_of_both_kinds() -> None:
    full = tuple(desk.OneTag(str(number), f"{number}", f"等级:{number}", 0) for number in range(9_999))
    one = (desk.OneTag("st", "新客", "南山:新客", 0),)
    shown = desk.Overview([desk.OneGroup("g", "等级", 0, full)], [desk.OneGroup("s", "南山", 0, one, 7)])
    assert desk.lacking(shown, "等级", ["7"], 0) == []
    assert desk.lacking(shown, "南山", ["新客"], 7) == []
    for group, strategy in (("等级", 0), ("南山", 7), ("南山", 8)):
        with pytest.raises(Conflict, match="tags_full"):
            desk.lacking(shown, group, ["新的"], strategy)
