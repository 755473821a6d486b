"""The console's pages of the catalogue: a form of the item's model, problems at their fields, and two clerks."""

from __future__ import annotations

import re

import pytest

from rewards.items import live
from services.container import Services
from tests.http.conftest import Clerk, post_form
from tests.support.banks import open_bank

ALL, NEW = "/console/items", "/console/items/new?kind=code"
FIELDS = {"item": "coffee", "title__zh": "咖啡券", "title__en": "Coffee", "text__zh": "到店出示", "cost": "1000"}


async def test_an_item_is_written_approved_changed_and_retired_by_two(clerk: Clerk, demo: Services) -> None:
    lin, zhao = await clerk("lin"), await clerk("zhao")
    kinds = await lin.get("/console/items/new")
    assert "实物" in kinds.text
    assert "次数权益" in kinds.text
    done = await post_form(lin, NEW, ALL, **FIELDS)
    assert done.url.path == "/console/items/coffee", done.text
    mine = (await lin.get("/console/items/coffee")).text
    assert "待审批" in mine
    assert "/versions/1/approve" not in mine
    assert "/versions/1/approve" in (await zhao.get("/console/items/coffee")).text
    await post_form(zhao, "/console/items/coffee", "/console/items/coffee/versions/1/approve")
    assert (await live.listed(await open_bank(demo, "demo")))["coffee"].item.cost == 1000
    edit = (await zhao.get("/console/items/coffee/edit")).text
    assert 'value="1000"' in edit
    assert "咖啡券" in edit
    changed = {**FIELDS, "edited": "coffee", "base": "1", "kind": "code", "cost": "1500"}
    await post_form(zhao, "/console/items/coffee/edit", ALL, **changed)
    english = (await lin.get("/console/items/coffee?lang=en")).text
    assert "¥10.00" in english
    assert "¥15.00" in english
    assert "with the campaign&#x27;s next version" in english or "with the campaign&#39;s next version" in english
    await post_form(lin, "/console/items/coffee", "/console/items/coffee/versions/2/reject", reason="太贵")
    assert "太贵" in (await zhao.get("/console/items/coffee?lang=zh")).text
    await post_form(lin, "/console/items/coffee", "/console/items/coffee/retire", reason="停产")
    await post_form(zhao, "/console/items/coffee", "/console/items/coffee/versions/3/approve")
    assert "已停用" in (await lin.get(f"{ALL}?lang=zh")).text


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("cost", "一百", "cost：这里要"),
        ("cost", "1,000", "请写成 1000"),
        ("cost", "1.5", "cost"),
        ("cost", "-3", "cost"),
        ("cost", "99999999999", "cost"),
        ("item", "Big Cup", "key"),
    ],
)
async def test_what_is_wrong_is_said_at_its_field_and_nothing_typed_is_lost(
    clerk: Clerk, demo: Services, field: str, value: str, said: str
) -> None:
    lin = await clerk("lin")
    answer = await post_form(lin, NEW, ALL, **{**FIELDS, field: value})
    assert answer.status_code == 400
    name = "item" if field == "item" else field
    found = re.search(rf'id="{name}-wrong">(.*?)</div>', answer.text)
    assert found is not None, answer.text
    assert said in found[1]
    assert f'value="{value}"' in answer.text
    assert "咖啡券" in answer.text
    assert await live.listed(await open_bank(demo, "demo")) == {}


async def test_an_auditor_reads_and_changes_nothing(clerk: Clerk, demo: Services) -> None:
    audit = await clerk("audit")
    page = await audit.get(ALL)
    assert page.status_code == 200
    assert "/console/items/new" not in page.text
    assert (await audit.get(NEW)).status_code == 403


async def test_the_stock_of_all_rewards_is_a_page_and_each_has_its_own(clerk: Clerk, demo: Services) -> None:
    lin, audit = await clerk("lin"), await clerk("audit")
    page = (await lin.get("/console/rewards")).text
    assert "咖啡券一份" in page
    assert "20,000" in page
    one = "/console/rewards/acq-branch.coffee"
    shown = await lin.get(one)
    assert "网点拉新" in shown.text
    saved = await post_form(lin, one, one, low="500")
    assert 'value="500"' in saved.text
    for wrong in ("", "-1", "1.5", "many"):
        assert (await post_form(lin, one, one, low=wrong)).status_code == 400
    assert (await post_form(audit, one, one, low="1")).status_code == 403
    assert (await lin.get("/console/rewards/no.such")).status_code == 404
    assert "Stock" in (await lin.get("/console/rewards?lang=en")).text
