"""The pages of what is sent: the customer's form, the console's parcels and batches, the file and the numbers."""

from __future__ import annotations

import re

import httpx
import pytest

from services.container import Services
from tests.http.conftest import Clerk, post_form
from tests.integration.rewards import test_shipping as shipping
from tests.integration.rewards import world

ALL = "/console/shipments"
PATH = "/mp/{}/redemptions/{}/address"


async def signed_in(demo: Services) -> tuple[dict[str, str], str]:
    """A customer with a towel: his headers, and the redemption's id."""
    (actor,) = await shipping.granted(demo)
    session = {"tenant": "demo", "cid": actor.cid, "appid": world.BANK}
    token = await demo.sessions.open("customer", session)
    return {"Authorization": f"Bearer {token}"}, (await shipping.mine(demo, actor))["id"]


async def test_the_mini_program_gives_an_address_and_sees_it_masked(http: httpx.AsyncClient, demo: Services) -> None:
    headers, redemption = await signed_in(demo)
    path = PATH.format(world.BANK, redemption)
    body = {**shipping.ADDRESS, "consent": shipping.VERSION}
    refused = await http.put(path, headers=headers, json={**body, "phone": "12"})
    assert (refused.status_code, refused.json()["error"]["fields"]) == (400, {"phone": "phone_invalid"})
    assert (await http.put(path, json=body)).status_code == 401
    done = await http.put(path, headers=headers, json=body)
    assert (done.status_code, done.json()["state"], done.json()["address"]["name"]) == (200, "ready", "张**")
    listed = (await http.get(f"/mp/{world.BANK}/redemptions", headers=headers)).json()["redemptions"]
    assert listed[0]["delivery"]["address"]["phone"] == "138****8000"
    assert (await http.put(PATH.format(world.BANK, "0" * 32), headers=headers, json=body)).status_code == 404


@pytest.mark.parametrize("base", ["preview", "h5"])
async def test_the_page_asks_for_the_address_with_the_consents_text(
    http: httpx.AsyncClient, demo: Services, base: str
) -> None:
    headers, redemption = await signed_in(demo)
    token = headers["Authorization"].removeprefix("Bearer ")
    http.cookies.set(f"yq_{'portal' if base == 'preview' else 'h5'}_{world.BANK}", token)
    http.cookies.set(f"yq_portal_{world.BANK}", token)
    page = f"/{base}/{world.BANK}/redemptions/{redemption}/address"
    shown = await http.get(page)
    assert "交给快递公司" in shown.text, shown.text
    wrong = await post_form(http, page, page, **{**shipping.ADDRESS, "phone": "12", "consent": shipping.VERSION})
    assert wrong.status_code == 400
    assert "请填写能收短信的电话号码" in wrong.text
    assert "张三丰" in wrong.text  # nothing typed is lost
    done = await post_form(http, page, page, **shipping.ADDRESS, consent=shipping.VERSION)
    assert "地址已保存" in done.text
    assert "张**" in done.text


async def test_two_clerks_send_a_parcel_by_the_console(clerk: Clerk, demo: Services) -> None:
    await shipping.ready(demo, 2)
    lin, zhao = await clerk("lin"), await clerk("zhao")
    page = await lin.get(ALL)
    assert "张**" in page.text
    assert "张三丰" not in page.text
    batch = await post_form(lin, ALL, ALL, key="k" * 16, reward="")
    address = batch.url.path
    assert address.startswith("/console/shipping/"), batch.text
    assert f"{address}/approve" not in batch.text
    await post_form(zhao, address, f"{address}/approve")
    file = await post_form(lin, address, f"{address}/file", kind="xlsx")
    assert file.content.startswith(b"PK")
    assert "attachment" in file.headers["content-disposition"]
    text = shipping.numbers(await shipping.all_shipments(demo), "YQ-0,顺丰,SF99999")
    report = await post_form(lin, address, f"{address}/numbers", text=text)
    assert re.search(r"本次发货 2 件，此前已发货 0 件，1 行未导入", report.text), report.text
    assert "没有这个订单" in report.text
    row = (await shipping.all_shipments(demo))[0]
    one = f"{ALL}/{row['_id']}"
    clear = await post_form(zhao, one, f"{one}/address", reason="客户来电")
    assert "张三丰" in clear.text
    await post_form(zhao, one, f"{one}/mark", state="delivered", reason="")
    english = await lin.get(f"{ALL}?state=delivered&lang=en")
    assert row["order"] in english.text
    assert "delivered" in english.text


async def test_an_auditor_sees_masks_alone(clerk: Clerk, demo: Services) -> None:
    await shipping.ready(demo)
    (row,) = await shipping.all_shipments(demo)
    audit = await clerk("audit")
    page = await audit.get(f"{ALL}/{row['_id']}")
    assert page.status_code == 200
    assert f"{row['_id']}/address" not in page.text
    refused = await post_form(audit, ALL, f"{ALL}/{row['_id']}/address", reason="why")
    assert refused.status_code == 403
