"""The console's pages of vouchers: found, shown with what became of them, changed by two clerks."""

from __future__ import annotations

import re

import httpx
import pytest

from rewards.vouchers import acts, redeem, search
from services.container import Services
from tests.http.conftest import Clerk, post_form
from tests.integration.rewards import vouchering
from tests.integration.rewards.vouchering import ANN, code, now, voucher
from tests.support import jobs

PAGE = "/console/vouchers"


async def _link(client: httpx.AsyncClient, wanted: str) -> str:
    answer = await post_form(client, PAGE, PAGE, q=wanted)
    assert answer.status_code == 200, answer.text
    return str(answer.url.path)


async def test_a_voucher_is_found_by_its_code_its_customer_and_its_campaign(clerk: Clerk, demo: Services) -> None:
    bank, row = await voucher(demo)
    lin = await clerk("lin")
    assert await _link(lin, code(bank, row).lower()) == f"{PAGE}/{row['_id']}"
    shown = (await lin.get(PAGE, params={"customer": row["cid"]})).text
    assert f"{PAGE}/{row['_id']}" in shown
    assert f"{PAGE}/{row['_id']}" in (await lin.get(PAGE, params={"campaign": "camp", "state": "granted"})).text
    assert f"{PAGE}/{row['_id']}" not in (await lin.get(PAGE, params={"campaign": "camp", "state": "used"})).text
    wrong = await post_form(lin, PAGE, PAGE, q="AAAA-AAAA-AAAA")
    assert wrong.status_code in (400, 404)
    assert "券码" in wrong.text or "不是本行" in wrong.text


async def test_the_list_goes_on_page_by_page_and_loses_nobody(
    clerk: Clerk, demo: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "PAGE", 3)
    bank, first = await voucher(demo)
    rows = [first, *[await vouchering.granted(bank, first["cid"], key=f"k{n}") for n in range(6)]]
    lin, seen, address = await clerk("lin"), [], PAGE
    while address:
        text = (await lin.get(address)).text
        seen += re.findall(rf'href="{PAGE}/(demo:[0-9a-f]+)"', text)
        found = re.search(rf'class="btn btn-outline-primary" href="({PAGE}\?[^"]*before=[^"]+)"', text)
        address = found[1].replace("&amp;", "&") if found else ""
    assert sorted(seen) == sorted(row["_id"] for row in rows)


async def test_a_write_off_is_taken_back_by_two_clerks_on_the_vouchers_page(clerk: Clerk, demo: Services) -> None:
    bank, row = await voucher(demo)
    done = await redeem.redeem(bank, ANN, code(bank, row), "k")
    page = f"{PAGE}/{row['_id']}"
    lin, zhao, audit = [await clerk(name) for name in ("lin", "zhao", "audit")]
    shown = (await lin.get(page)).text
    assert "安妮" in shown
    assert "深圳南山支行" in shown
    assert 'value="undo"' not in (await audit.get(page)).text
    asked = await post_form(lin, page, page, act="undo", use=done.use, reason="客户走错网点")
    assert asked.status_code == 200
    assert "已提交" in asked.text
    (act,) = await acts.waiting(bank)
    own = await post_form(lin, page, f"{PAGE}/acts/{act['_id']}/approve")
    assert own.status_code == 403
    agreed = await post_form(zhao, PAGE, f"{PAGE}/acts/{act['_id']}/approve")
    assert agreed.status_code == 200
    assert (await now(bank, row))["state"] == "active"
    assert "客户走错网点" in (await lin.get(page)).text


async def test_the_unused_vouchers_of_a_campaign_are_recalled_with_progress(clerk: Clerk, demo: Services) -> None:
    bank, row = await voucher(demo)
    lin, zhao = [await clerk(name) for name in ("lin", "zhao")]
    page = f"{PAGE}?campaign=camp"
    nobody = await post_form(lin, page, f"{PAGE}/recall", campaign="none", reason="x")
    assert nobody.status_code == 404
    asked = await post_form(lin, page, f"{PAGE}/recall", campaign="camp", reason="活动规则有误")
    assert asked.status_code == 200
    (act,) = await acts.waiting(bank)
    await post_form(zhao, PAGE, f"{PAGE}/acts/{act['_id']}/approve")
    assert (
        "0 / 1" in (await lin.get(f"{PAGE}/progress")).text or "<progress" in (await lin.get(f"{PAGE}/progress")).text
    )
    await jobs.run(bank, acts.TASK)
    assert (await now(bank, row))["state"] == "recalled"
    assert "已收回" in (await lin.get(f"{PAGE}/{row['_id']}")).text
    viewer = await clerk("audit")
    assert (await viewer.get(PAGE)).status_code == 200
    assert (await post_form(viewer, PAGE, f"{PAGE}/recall", campaign="camp", reason="x")).status_code == 403
