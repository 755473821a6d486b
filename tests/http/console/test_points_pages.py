"""The console's pages of points: one clerk fills in a form, another agrees."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from customers.banks.bank import Bank
from rewards.points import liability, program, spending
from services.container import Services
from services.documents.parts import Text
from tests.http.conftest import Clerk, post_form
from tests.integration.rewards import points_world as world
from tests.support.banks import open_bank
from tests.support.waiting import until

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
        ("key", "Bad Key", "规则"),
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
    assert "[key]" not in page.text
    assert 'value="每日登录"' in page.text or field == "title_zh"
    assert "rules" not in await _holds(demo) or (await _holds(demo))["rules"] == {}


async def test_an_auditor_reads_and_changes_nothing(clerk: Clerk) -> None:
    auditor = await clerk("audit")
    assert (await auditor.get(PAGE)).status_code == 200
    assert (await auditor.get(f"{PAGE}/program")).status_code == 403


async def _settled(bank: Bank) -> None:
    await until(lambda: world.settled(bank))


async def test_a_customers_points_are_corrected_by_two_clerks(clerk: Clerk, demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    await world.begin(bank)
    cid = await world.person(bank, "a")
    line = await world.give(bank, cid, 1_200, bank.utc() + timedelta(days=3))
    await _settled(bank)
    lin, zhao = await clerk("lin"), await clerk("zhao")
    account = f"{PAGE}/customers/{cid}"
    page = (await lin.get(account)).text
    assert "1,200" in page
    assert "每日登录" in page
    refused = await post_form(lin, account, account, points="many", reason="补偿")
    assert "积分" in refused.text
    assert "已提交" in (await post_form(lin, account, account, points="300", reason="补偿")).text
    assert "已提交" in (await post_form(lin, account, account, transfer=line, reason="误发")).text
    waiting = (await zhao.get(f"{PAGE}/corrections")).text
    actions = re.findall(r'action="(/console/points/corrections/[^"]+/approve)"', waiting)
    assert len(actions) == 2
    for action in actions:
        done = await post_form(zhao, f"{PAGE}/corrections", action)
        assert "积分已入账" in done.text
        await _settled(bank)
    assert (await world.points(bank, cid)).available == 300
    assert "已入账" in (await lin.get(f"{account}?lang=zh")).text


async def test_what_the_bank_owes_ties_and_comes_as_a_file(clerk: Clerk, demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    lin = await clerk("lin")
    assert "还没有积分计划" in (await lin.get(f"{PAGE}/liability")).text
    await world.begin(bank)
    month = bank.utc().replace(day=15) + timedelta(days=60)
    for name in ("a", "b"):
        cid = await world.person(bank, name)
        await world.give(bank, cid, 5_000, month)
        await world.give(bank, cid, 2_000, None)
        await _settled(bank)
    await spending.spend(bank, cid, 1_000, "k", Text(zh="券"))
    await _settled(bank)
    found = await liability.report(bank)
    assert (found.outstanding, found.issued, found.spent, found.ties) == (13_000, 14_000, 1_000, True)
    assert [(row.month, row.points, row.accounts, row.cost) for row in found.months] == [
        (f"{month.astimezone(bank.tz):%Y-%m}", 9_000, 2, 7_200),
        ("later", 4_000, 2, 3_200),
    ]
    page = (await lin.get(f"{PAGE}/liability")).text
    assert "13,000" in page
    assert "104.00 元" in page
    file = await lin.get(f"{PAGE}/liability.csv")
    assert file.headers["Content-Type"].startswith("text/csv")
    rows = file.content.decode("utf-8-sig").split("\r\n")
    assert rows[:4] == ["month,points,accounts,cost_fen", f"{found.months[0].month},9000,2,7200", "later,4000,2,3200",
                        "total,13000,2,10400"]  # fmt: skip
    (kept,) = await bank.db["audit"].find({"action": "points.downloaded"})
    assert (kept["actor"], kept["object"], kept["data"]) == ("lin", "points", {"rows": 2})
