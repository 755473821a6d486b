"""The console's pages of segments: written by one, agreed to by another, and a mistake shown where it is."""

from __future__ import annotations

import pytest
import yaml

from customers import relationships
from customers.banks import apply
from customers.fields import values
from customers.fields.values import Update
from customers.identity import resolution
from customers.identity.facts import Facts
from customers.profiles import refreshing
from customers.segments import filling, members
from operations import columnar, profiling
from services.container import Services
from tests.conftest import DEMO_BANK
from tests.http.conftest import Clerk, post_form
from tests.support import jobs
from tests.support.banks import open_bank

ALL, NEW, RICH = "/console/segments", "/console/segments/new", "/console/segments/rich"
FIELDS = {"segment": "rich", "name_zh": "高资产", "name_en": "Wealthy", "rule": "customer.balance_band in ['A', 'B']"}


async def test_a_segment_is_written_approved_changed_explained_and_archived_by_two(
    clerk: Clerk, demo: Services
) -> None:
    lin, zhao, audit = await clerk("lin"), await clerk("zhao"), await clerk("audit")
    done = await post_form(lin, NEW, ALL, **FIELDS)
    assert done.url.path == RICH, done.text
    assert "待审批" in done.text
    assert "/versions/1/approve" not in done.text
    assert "/versions/1/approve" in (await zhao.get(RICH)).text
    assert "/versions/1/approve" not in (await audit.get(RICH)).text
    approved = await post_form(zhao, RICH, f"{RICH}/versions/1/approve")
    assert "生效中" in approved.text
    bank = await open_bank(demo, "demo")
    cid = await resolution.identify(bank, Facts(external_userid="wmE"), source="callback", proof="e1")
    await refreshing.refresh(bank, [cid], profiling.SOURCES)
    told = await post_form(lin, RICH, f"{RICH}/why", customer=cid)
    assert "没有记录" in told.text or "缺少" in told.text or "未知" in told.text, told.text
    nobody = await post_form(lin, RICH, f"{RICH}/why", customer="13800000000")
    assert nobody.status_code == 404
    edit = (await zhao.get(f"{RICH}/edit")).text
    assert "customer.balance_band in [&#x27;A&#x27;" in edit or "customer.balance_band in [&#39;A&#39;" in edit
    changed = {**FIELDS, "edited": "rich", "base": "1", "rule": "customer.balance_band == 'A'"}
    await post_form(zhao, f"{RICH}/edit", ALL, **changed)
    await post_form(lin, RICH, f"{RICH}/versions/2/reject", reason="太窄")
    assert "太窄" in (await zhao.get(RICH)).text
    await post_form(lin, RICH, f"{RICH}/archive", reason="不再用")
    await post_form(zhao, RICH, f"{RICH}/versions/3/approve")
    assert "Archived" in (await lin.get(f"{ALL}?lang=en")).text


async def test_the_pages_say_how_many_are_in_a_segment_and_what_uses_it_and_each_field(
    clerk: Clerk, demo: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(members, "COUNT_SECONDS", 0.0)
    lin, zhao = await clerk("lin"), await clerk("zhao")
    bank = await open_bank(demo, "demo")
    for number, band in enumerate("ABC"):
        facts = Facts(external_userid=f"wm{number}")
        cid = await resolution.identify(bank, facts, source="callback", proof=f"e{number}")
        await values.write_many(bank, [Update(cid, {"balance_band": band}, 10.0, "core", f"t{number}")])
        await profiling.bring(bank, [cid])
    over = {"segment": "over", "name_zh": "其他", "name_en": "Others", "rule": "not segment('rich')"}
    for fields in (FIELDS, over):
        await post_form(lin, NEW, ALL, **fields)
        await post_form(zhao, f"{ALL}/{fields['segment']}", f"{ALL}/{fields['segment']}/versions/1/approve")
    await jobs.run(bank, filling.TASK)
    page = (await lin.get(f"{ALL}?lang=en")).text
    rows = {row.split('href="/console/segments/')[1].split('"')[0]: row for row in page.split("<tr>")[2:]}
    assert '<a href="/console/segments/rich/members">2</a>' in rows["rich"]
    assert '<a href="/console/segments/over/members">1</a>' in rows["over"]
    assert 'href="/console/segments/over">' in rows["rich"]
    assert "2 customers are in it" in (await lin.get(f"{RICH}?lang=en")).text
    fields_page = (await lin.get("/console/fields?lang=en")).text
    held = {row.split("customer.")[1].split("<")[0]: row for row in fields_page.split("<tr>")[2:] if "customer." in row}
    assert 'href="/console/segments/rich">' in held["balance_band"]
    assert "/console/segments/" not in held["stage"]
    assert "RFM: customers ranked" in fields_page
    assert "Payment made, Deposit made, Fund bought" in fields_page
    assert "The first night is still to come." in fields_page
    refused = await post_form(lin, RICH, f"{RICH}/archive", reason="不再用")
    assert (refused.status_code, "over" in refused.text) == (409, True)


async def test_a_wrong_rule_is_shown_at_its_place_and_nothing_typed_is_lost(clerk: Clerk, demo: Services) -> None:
    lin = await clerk("lin")
    wrong = {**FIELDS, "name_en": "Wealthy & old", "rule": "customer.bound and customer.balance_bnd == 'A'"}
    for language, said in (("zh", "第 20 个字符"), ("en", "column 20")):
        page = await post_form(lin, f"{NEW}?lang={language}", ALL, **wrong)
        assert page.status_code == 400
        assert said in page.text
        assert "customer.balance_band" in page.text
        assert "<mark>customer.balance_bnd</mark>" in page.text
        assert "Wealthy &amp; old" in page.text
    assert await (await open_bank(demo, "demo")).db["segments"].count() == 0


LIMITS = [
    ("(" * 100 + "customer.bound" + ")" * 100, "最多嵌套 50 层，请简化规则", "at most 50 levels deep; write it"),
    (
        "customer.balance_band in [" + ", ".join(["'A'"] * 10_001) + "]",
        "更多客户请用名单",
        "for more customers use a list",
    ),
    ("customer.bound or " * 17_000, "最多 300000", "at most 300000"),
    ("segment('rich') or customer.bound", "请去掉其中一处引用", "take one of them out"),
    (
        "customer.bound or segment('me')",
        "客群互相引用，绕了一圈：rich → me → rich",
        "back to themselves: rich → me → rich",
    ),
    (
        "customer.interest == 'A'",
        "customer.interest 已被删除，请把它从规则里去掉",
        "customer.interest was removed; take it out",
    ),
    ("list('event')", "没有名单 event；可以用：（还没有）", "unknown list event; expected one of (there is none yet)"),
    ("customer.bound > 3", "只有是、否两种值的字段，只能用", "is yes or no; expected one of"),
]


async def test_a_rule_beyond_a_limit_is_told_in_both_languages_with_what_to_write_instead(
    clerk: Clerk, demo: Services
) -> None:
    lin = await clerk("lin")
    file = yaml.safe_load(DEMO_BANK.read_text(encoding="utf-8"))
    (gone,) = [one for one in file["fields"] if one["key"] == "interest"]
    gone["removed"] = True
    await apply.apply_tenant(demo, yaml.safe_dump(file, allow_unicode=True), "bank.yaml")
    await post_form(lin, NEW, ALL, **FIELDS)
    await post_form(lin, NEW, ALL, **FIELDS | {"segment": "me", "rule": "segment('rich')"})
    for rule, *said in LIMITS:
        for language, wanted in zip(("zh", "en"), said, strict=True):
            page = await post_form(lin, f"{NEW}?lang={language}", ALL, **FIELDS | {"edited": "rich", "rule": rule})
            assert page.status_code == 400
            assert wanted in page.text, (rule[:40], wanted)
            assert 'value="rich"' in page.text


async def test_members_and_the_estimate_of_a_rule_are_shown_masked_and_by_branch(clerk: Clerk, demo: Services) -> None:
    bank = await open_bank(demo, "demo")
    facts = Facts(external_userid="wmE", name="欧阳娜娜")
    cid = await resolution.identify(bank, facts, source="callback", proof="e1")
    await relationships.changed(bank, "rm.chen", cid, at=100.0, active=True)
    await profiling.bring(bank, [cid])
    lin, zhao = await clerk("lin"), await clerk("zhao")
    wanted = {**FIELDS, "rule": "not customer.bound"}
    counted = await post_form(lin, f"{NEW}?lang=en", f"{ALL}/estimate", **wanted)
    assert "1 customers meet the rule now" in counted.text
    assert "not customer.bound</textarea>" in counted.text
    assert "Counted in the database." in counted.text
    assert await bank.db["segments"].count() == 0
    await post_form(lin, NEW, ALL, **wanted)
    await post_form(zhao, RICH, f"{RICH}/versions/1/approve")
    filled = {"$set": {"due": 0.0}}
    assert await bank.db["segment_fills"].update({"segment": "rich"}, filled)
    waiting = (await lin.get(f"{RICH}/members?lang=en")).text
    assert "<progress" in waiting
    await jobs.run(bank, filling.TASK)
    page = (await lin.get(f"{RICH}/members?lang=en")).text
    assert "1 customers are in it" in page
    assert "欧阳娜娜" not in page
    assert "欧" in page
    assert "came in" in page
    assert "<progress" not in page
    async for _ in columnar.rebuild(bank):
        pass
    counted = await post_form(lin, f"{NEW}?lang=en", f"{ALL}/estimate", **wanted)
    assert "1 customers meet the rule now" in counted.text
    assert "Counted in this host&#x27;s columnar mirror, 0 seconds old." in counted.text
    members = (await lin.get(f"{RICH}/members?lang=zh")).text
    assert "由本机的列式镜像统计，数据截至 0 秒前。" in members
    assert (await lin.get("/console/segments/nothing/members")).status_code == 404
