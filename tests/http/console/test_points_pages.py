"""The console's pages of points: one clerk fills in a form, another agrees."""

from __future__ import annotations

from typing import Any

import pytest

from rewards.points import program
from services.container import Services
from tests.http.conftest import Clerk, post_form
from tests.support.banks import open_bank

PAGE = "/console/points"
PROGRAM = {
    "base": "0",
    "id": "points",
    "name_zh": "银桥积分",
    "name_en": "Yinqiao Points",
    "cost": "800",
    "lifetime": "365",
}
RULE = {
    "base": "1", "key": "login", "event": "customer.login", "title_zh": "每日登录", "title_en": "Signing in",
    "points": "10", "per_day": "50", "state": "live",
}  # fmt: skip


async def _holds(demo: Services) -> dict[str, Any]:
    document = (await program.holding(await open_bank(demo, "demo")))[1]
    assert document is not None
    return document


async def test_two_clerks_begin_a_programme_and_give_it_a_rule(clerk: Clerk, demo: Services) -> None:
    lin, zhao = await clerk("lin"), await clerk("zhao")
    page = await post_form(lin, f"{PAGE}/program", f"{PAGE}/program", **PROGRAM)
    assert "已提交" in page.text
    refused = await post_form(lin, PAGE, f"{PAGE}/versions/1/approve")
    assert "版本 1" in refused.text
    assert await program.find_live(await open_bank(demo, "demo")) is None
    await post_form(zhao, PAGE, f"{PAGE}/versions/1/approve")
    assert (await _holds(demo))["cost"] == 800
    await post_form(lin, f"{PAGE}/rule", f"{PAGE}/rule", **RULE)
    waiting = (await zhao.get(PAGE)).text
    assert "每日登录 · 每次积分" in waiting
    assert "登录小程序" in waiting
    await post_form(zhao, PAGE, f"{PAGE}/versions/2/approve")
    assert (await _holds(demo))["rules"]["login"]["per_day"] == 50
    edit = (await lin.get(f"{PAGE}/rule?rule=login&lang=en")).text
    assert 'value="50"' in edit
    assert "At most a day" in edit


@pytest.mark.parametrize(
    ("field", "wrong", "told"),
    [
        ("points", "-5", "每次积分"),
        ("points", "1.5", "每次积分"),
        ("points", "", "每次积分"),
        ("per_day", "9", "每天"),
        ("begin", "2026-13-01", "开始日期"),
        ("title_zh", "", "中文名称"),
    ],
)
async def test_a_rule_that_cannot_be_is_refused_and_its_field_named(
    clerk: Clerk, demo: Services, field: str, wrong: str, told: str
) -> None:
    lin, zhao = await clerk("lin"), await clerk("zhao")
    await post_form(lin, f"{PAGE}/program", f"{PAGE}/program", **PROGRAM)
    await post_form(zhao, PAGE, f"{PAGE}/versions/1/approve")
    page = await post_form(lin, f"{PAGE}/rule", f"{PAGE}/rule", **{**RULE, field: wrong})
    assert "积分计划有误" in page.text
    assert f"<li>{told}" in page.text
    assert 'value="每日登录"' in page.text or field == "title_zh"
    assert "rules" not in await _holds(demo) or (await _holds(demo))["rules"] == {}


async def test_an_auditor_reads_and_changes_nothing(clerk: Clerk) -> None:
    auditor = await clerk("audit")
    assert (await auditor.get(PAGE)).status_code == 200
    assert (await auditor.get(f"{PAGE}/program")).status_code == 403
