"""An RM offers a reward to his customer in the side panel, the customer claims it, and the month's page shows the cost."""

from __future__ import annotations

import httpx
import pytest

from customers import relationships
from customers.identity import resolution
from services.container import Services
from tests.conftest import Sandbox
from tests.support.banks import open_bank
from tests.support.forms import PageForm, forms_of

TEA = "rm-care.tea"


@pytest.fixture
async def cid(demo: Services, customer: httpx.AsyncClient, appid: str, sandbox: Sandbox) -> str:
    """The signed-in customer, a friend of rm.chen."""
    bank = await open_bank(demo, "demo")
    session = await demo.sessions.read("customer", customer.headers["Authorization"].removeprefix("Bearer "))
    assert session is not None
    one = str(session["cid"])
    await resolution.identify(
        bank, resolution.Facts(unionid=(await resolution.customer(bank, one)).unionid, name="刘敏")
    )
    await relationships.changed(bank, "rm.chen", one, at=demo.clock(), active=True)
    return one


async def _form(rm: httpx.AsyncClient, cid: str) -> PageForm:
    page = (await rm.get(f"/sidebar/demo/customers/{cid}")).text
    return next(one for one in forms_of(page) if one.action.endswith("/offers"))


async def test_what_is_offered_is_claimed_and_costs(
    rm: httpx.AsyncClient, customer: httpx.AsyncClient, cid: str, appid: str, demo: Services
) -> None:
    assert TEA not in (await customer.get(f"/mp/{appid}/rewards")).text
    form = await _form(rm, cid)
    assert "下午茶一份 · 本月还剩 20 / 20 份" in (await rm.get(f"/sidebar/demo/customers/{cid}")).text
    sent = {**form.sent(), "reward": TEA, "reason": "生日祝福"}
    for _ in range(2):
        done = await rm.post(form.action, data=sent, follow_redirects=True)
        assert "已发放资格" in done.text
    assert "本月还剩 19 / 20 份" in done.text
    assert "陈思远" in done.text
    again = await rm.post(form.action, data={**sent, "key": "another"})
    assert (again.status_code, "已经有这项权益的领取资格" in again.text) == (409, True)
    assert 'value="生日祝福"' in again.text
    claim = f"/mp/{appid}/rewards/{TEA}/claim"
    claimed = await customer.post(claim, json={}, headers={"Idempotency-Key": "k"})
    assert claimed.status_code == 200
    month = await rm.get("/sidebar/demo/offers")
    assert "深圳南山支行的费用" in month.text
    assert "¥30.00 · 1" in month.text
    assert "生日祝福" in month.text
    assert "李嘉宁" in month.text
    assert "Nothing was offered" in (await rm.get("/sidebar/demo/offers?month=202601&lang=en")).text
    audit = await demo.store.tenant("demo")["audit"].find({"action": "reward.offered"})
    assert [(row["actor"], row["object"], row["data"]["reason"]) for row in audit] == [("rm.chen", cid, "生日祝福")]


async def test_an_offer_without_a_reason_or_of_nothing_is_refused_in_words(
    rm: httpx.AsyncClient, cid: str, demo: Services
) -> None:
    form = await _form(rm, cid)
    empty = await rm.post(form.action, data={**form.sent(), "reward": TEA, "reason": " "})
    assert (empty.status_code, "请写明原因" in empty.text) == (400, True)
    other = await rm.post(form.action, data={**form.sent(), "reward": "flash.voucher", "reason": "x"})
    assert (other.status_code, "客户经理不能发放这项权益" in other.text) == (409, True)
    unknown = await rm.post(form.action, data={**form.sent(), "reward": "no.such", "reason": "x"})
    assert unknown.status_code == 404
    assert await demo.store.tenant("demo")["offers"].count({"reward": TEA}) == 0
    for month in ("2026", "209913", "$gt"):
        assert (await rm.get("/sidebar/demo/offers", params={"month": month})).status_code == 400
