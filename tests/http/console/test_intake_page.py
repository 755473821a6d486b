"""The console's page of what the bank's own systems sent, and where its events are seen besides."""

from __future__ import annotations

from customers.identity import customer_numbers
from customers.intake.rows import INTAKE
from services.container import Services
from tests.http.conftest import Clerk, post_form
from tests.support.bank_systems import customer, event, join, split, take
from tests.support.banks import open_bank

PHONE = "+8613800000001"


async def test_a_clerk_sees_events_whose_they_are_and_says_which_customer_is_meant(
    demo: Services, clerk: Clerk
) -> None:
    bank = await open_bank(demo, "demo")
    cid = await customer(bank, unionid="u-0", name="王小明")
    await customer_numbers.link(bank, "C0001", cid, source="bank", proof="test")
    one = await customer(bank, unionid="u-1", phone=PHONE, name="李一")
    await customer(bank, unionid="u-2", phone=PHONE, name="李二")
    bad = event("e4", "never.declared")
    await take(bank, [event("e1"), event("e2", phone=PHONE), event("e3", number="C0009"), bad])
    await split(bank)
    lin = await clerk("lin")
    page = (await lin.get("/console/intake")).text
    for text in ("登录手机银行", "核心系统", "王**", "手机号有多位客户", "客户号尚未关联", "未声明的事件: 1", "已处理"):
        assert text in page
    assert "王小明" not in page
    assert "C0009" not in page
    assert "登录手机银行" in (await lin.get("/console/intake?name=app.login")).text
    only = (await lin.get("/console/intake?name=account.opened")).text
    assert "王**" not in only
    wait = next(part for part in page.split('"') if part.startswith("/console/intake/") and part.endswith("/join"))
    said = await post_form(lin, "/console/intake", wait, cid=one)
    assert "已指明" in said.text
    assert "手机号属于谁" not in said.text
    await join(bank)
    assert "登录手机银行" in (await lin.get(f"/console/people/{one}")).text
    gone = await post_form(lin, "/console/points", wait, cid=one)
    assert "没有这样的等待" in gone.text
    english = (await lin.get("/console/intake?lang=en")).text
    for text in ("Signed in to the app", "nobody has this number yet"):
        assert text in english


async def test_an_auditor_sees_and_decides_nothing(demo: Services, clerk: Clerk) -> None:
    bank = await open_bank(demo, "demo")
    await customer(bank, unionid="u-1", phone=PHONE)
    await customer(bank, unionid="u-2", phone=PHONE)
    await take(bank, [event("e2", phone=PHONE)])
    await split(bank)
    auditor = await clerk("audit")
    page = await auditor.get("/console/intake")
    assert (page.status_code, "/join" in page.text) == (200, False)
    assert await bank.db[INTAKE].count() == 1
