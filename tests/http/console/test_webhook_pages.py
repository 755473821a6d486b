"""The console's pages of webhooks, in both languages: how each goes, what failed and why, and sending it again."""

from __future__ import annotations

import html

import pytest
import yaml

from customers import timeline
from customers.banks import apply
from customers.banks.bank import Bank
from customers.webhooks.delivering import KEPT
from services.container import Services
from tests.conftest import DEMO_BANK
from tests.http.conftest import Clerk, post_form
from tests.support.banks import open_bank

PAGE = "/console/webhooks"


@pytest.fixture
async def bank(demo: Services) -> Bank:
    """One that failed, and one that waits, at a webhook that its receiver turned off."""
    file = yaml.safe_load(DEMO_BANK.read_text(encoding="utf-8"))
    file["webhooks"] = [{"id": "core", "url": "https://core.bank.example/in", "events": ["customer.added"]}]
    await apply.apply_tenant(demo, yaml.safe_dump(file, allow_unicode=True), "bank.yaml")
    demo.cache.clear()
    bank = await open_bank(demo, "demo")
    for key in ("k1", "k2"):
        await timeline.record(bank, "demo:nobody", "customer.added", key, userid="rm.chen", state="spring")
    first, _ = await bank.db["webhook_deliveries"].find({}, sort=[("noted_at", 1)])
    failed = {"open": False, "state": "failed", "reason": "webhook_refused", "status": 422, "attempts": 74}
    failed["due"] = bank.now() + KEPT["failed"]
    await bank.db["webhook_deliveries"].update({"_id": first["_id"]}, {"$set": failed})
    await bank.db["webhooks"].update({"_id": "demo:core"}, {"$set": {"off": bank.utc()}})
    return bank


async def test_the_pages_say_how_it_goes_and_what_failed(bank: Bank, clerk: Clerk) -> None:
    lin = await clerk("lin")
    listed = html.unescape((await lin.get(PAGE)).text)
    assert "core" in listed
    assert "已停用" in listed
    chinese = html.unescape((await lin.get(f"{PAGE}/core?state=failed")).text)
    for words in ("https://core.bank.example/in", "客户添加好友", "接收方拒绝", "422", "74", "重新推送"):
        assert words in chinese
    english = html.unescape((await lin.get(f"{PAGE}/core?lang=en")).text)
    for words in ("The receiver refused it", "customer added", "Turned off by the receiver", "Send again"):
        assert words in english
    assert (await lin.get(f"{PAGE}/none")).status_code == 404
    assert "webhook_" not in chinese + english


async def test_an_operator_sends_again_and_turns_it_on(bank: Bank, clerk: Clerk) -> None:
    lin = await clerk("lin")
    first, _ = await bank.db["webhook_deliveries"].find({}, sort=[("noted_at", 1)])
    one = first["_id"].partition(":")[2]
    assert "已安排重新推送" in (await post_form(lin, f"{PAGE}/core", f"{PAGE}/core", delivery=one)).text
    assert await bank.db["webhook_deliveries"].count({"state": "waiting", "open": True}) == 2
    assert (await post_form(lin, f"{PAGE}/core", f"{PAGE}/core", delivery="0" * 32)).status_code == 404
    assert "已恢复推送" in (await post_form(lin, f"{PAGE}/core", f"{PAGE}/core/on")).text
    row = await bank.db["webhooks"].find_one({"_id": "demo:core"})
    assert row is not None
    assert row["off"] is None
    done = [one["action"] for one in await bank.db["audit"].find({}, limit=None) if one["actor"] == "lin"]
    assert [one for one in done if one.startswith("webhook.")] == ["webhook.replayed", "webhook.turned_on"]


async def test_an_auditor_sees_it_and_sends_nothing_again(bank: Bank, clerk: Clerk) -> None:
    zhou = await clerk("audit")
    assert "重新推送" not in (await zhou.get(f"{PAGE}/core")).text
    refused = await post_form(zhou, f"{PAGE}/core", f"{PAGE}/core/replay")
    assert refused.status_code == 403
    assert await bank.db["webhook_deliveries"].count({"state": "failed"}) == 1
