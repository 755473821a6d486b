"""A rule against words has a name that people read: nothing is filled in there."""

from __future__ import annotations

import pytest

from customers.intercepts import Rule


@pytest.mark.parametrize(
    ("name", "taken"),
    [("保本承诺", True), ("禁用[微笑]", True), ("{{customer.name}}", False),
     ("{姓名}", False), ("｛｛姓名｝｝", False), ("[姓名]", False)],
)  # fmt: skip
def test_a_rules_name_has_no_placeholder(name: str, taken: bool) -> None:
    rule = Rule(name, "block", ("保本",), userids=("rm.chen",))
    assert ("name" in rule.problems()) is not taken
