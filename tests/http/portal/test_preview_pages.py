"""The portal preview: what a customer sees on a phone, and that production does not have it."""

from __future__ import annotations

import dataclasses
import re

import httpx
import pytest
from tornado.httpserver import HTTPServer

from server import make_app
from services.container import Services
from tests.conftest import Sandbox
from tests.http.conftest import form_token, post_form
from tests.integration.campaigns import tools
from tests.support.documents import REWARDS


@pytest.fixture
async def visitor(http: httpx.AsyncClient, sandbox: Sandbox, appid: str) -> httpx.AsyncClient:
    code = await sandbox.open(await sandbox.person(phone="13812345678"), appid)
    answer = await http.get(f"/preview/{appid}/", params={"code": code})
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/preview/{appid}/")
    return http


async def test_without_a_session_the_page_says_how_to_get_in(
    http: httpx.AsyncClient, appid: str, sandbox: Sandbox
) -> None:
    page = await http.get(f"/preview/{appid}/")
    assert page.status_code == 200
    assert f'href="{sandbox.url}"' in page.text
    used = await http.get(f"/preview/{appid}/", params={"code": "never-given"})
    assert used.status_code == 401
    assert "登录码已用过" in used.text


async def test_the_same_page_claims_once_however_often_it_is_sent(
    visitor: httpx.AsyncClient, appid: str, demo: Services
) -> None:
    home = (await visitor.get(f"/preview/{appid}/")).text
    key = re.search(r'name="key" value="([^"]+)"', home)
    assert key is not None
    form = {"_xsrf": form_token(home), "key": key.group(1)}
    for _ in range(2):
        answer = await visitor.post(f"/preview/{appid}/rewards/flash.voucher/claim", data=form)
        assert answer.headers["Location"] == f"/preview/{appid}/redemptions"
    assert await demo.store.tenant("demo")["transfers"].count({"kind": "grant"}) == 1
    mine = (await visitor.get(f"/preview/{appid}/redemptions")).text
    assert len(re.findall(r"[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}", mine)) == 1
    refused = await visitor.post(f"/preview/{appid}/rewards/flash.voucher/claim", data={**form, "key": "another"})
    assert refused.status_code == 409
    assert "您已经领取过了" in refused.text


async def test_terms_that_must_be_accepted_are_ticked_before_a_claim(
    visitor: httpx.AsyncClient, appid: str, demo: Services
) -> None:
    await tools.go_live(demo, REWARDS.replace('contact: "95500"}', 'contact: "95500", accept: required}'))
    page, action = f"/preview/{appid}/", f"/preview/{appid}/rewards/shop.cup/claim"
    home = (await visitor.get(page)).text
    box = re.search(r'<input type="hidden" name="disclosure" value="([0-9a-f]{32})">', home[home.index(action) :])
    assert box is not None
    assert '<input type="checkbox" name="accept" value="yes" required>' in home
    refused = await post_form(visitor, page, action, key="k1")
    assert (refused.status_code, "请先阅读并同意活动规则" in refused.text) == (409, True)
    claimed = await post_form(visitor, page, action, key="k2", disclosure=box[1], accept="yes")
    assert claimed.status_code in (200, 303)
    (row,) = await demo.store.tenant("demo")["transfers"].find({"kind": "grant"})
    assert (row["terms"], row["accepted"]) == (box[1], True)


async def test_a_phone_is_bound_after_the_consent_is_ticked(
    visitor: httpx.AsyncClient, sandbox: Sandbox, appid: str
) -> None:
    people = await sandbox.control("GET", "people")
    person = (people if isinstance(people, list) else people["people"])[0]
    code = await sandbox.phone_code(person, appid)
    page, action = f"/preview/{appid}/", f"/preview/{appid}/phone"
    refused = await post_form(visitor, page, action, code=code)
    assert (refused.status_code, "请先勾选同意" in refused.text) == (400, True)
    bound = await post_form(visitor, page, action, code=code, consent="phone/2026-11")
    assert "手机号绑定成功" in bound.text
    assert "138****5678" in bound.text
    withdrawn = await post_form(visitor, page, f"{action}/withdrawal")
    assert "已撤回授权，手机号码已删除。" in withdrawn.text
    assert "138****5678" not in withdrawn.text


async def test_leaving_ends_the_session(visitor: httpx.AsyncClient, appid: str, demo: Services) -> None:
    token = visitor.cookies[f"yq_portal_{appid}"]
    await post_form(visitor, f"/preview/{appid}/", f"/preview/{appid}/logout")
    assert await demo.sessions.read("customer", token) is None
    answer = await visitor.get(f"/preview/{appid}/redemptions")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/preview/{appid}/")


async def test_production_has_no_front_page_and_no_preview_and_binds_its_cookies(demo: Services, appid: str) -> None:
    changed = {"env": "production", "public_url": "https://yinqiao.example"}
    bank = dataclasses.replace(demo, settings=demo.settings.model_copy(update=changed))
    listening = HTTPServer(make_app(bank))
    listening.listen(demo.settings.port, "127.0.0.1")
    try:
        url = f"http://127.0.0.1:{demo.settings.port}"
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            for path in ("/", f"/preview/{appid}/", f"/preview/{appid}/redemptions"):
                assert (await client.get(path)).status_code == 404
            cookie = (await client.get("/console/login")).headers["Set-Cookie"]
    finally:
        listening.stop()
        await listening.close_all_connections()
    assert cookie.startswith("__Host-yq_xsrf=")
    assert "Secure" in cookie


async def test_the_front_page_leads_to_every_face(http: httpx.AsyncClient, sandbox: Sandbox, appid: str) -> None:
    page = (await http.get("/?lang=en")).text
    for link in (sandbox.url, f"/preview/{appid}/", "/sidebar/demo/", "/console/login?bank=demo"):
        assert f'href="{link}"' in page
    assert "names “lin” and “zhao”" in page


async def test_without_its_session_every_page_of_the_preview_leads_to_its_own_start(
    http: httpx.AsyncClient, appid: str, sandbox: Sandbox
) -> None:
    start, deep = f"/preview/{appid}/", f"/preview/{appid}/redemptions"
    asked = await http.get(deep)
    assert (asked.status_code, asked.headers["Location"]) == (303, start)
    page = await http.get(deep, follow_redirects=True)
    assert "yinqiao-demo" not in page.text
    lost = await http.get(f"/preview/{appid}/nothing", headers={"Accept": "text/html"})
    sent = await http.post(f"{start}logout", data={"_xsrf": form_token((await http.get("/console/login")).text)})
    for answer in (lost, sent):
        assert f'href="{start}"' in answer.text
        assert 'href="/"' not in answer.text
    code = await sandbox.open(await sandbox.person(), appid)
    back = await http.get(start, params={"code": code})
    assert (back.status_code, back.headers["Location"]) == (303, deep)


async def test_a_refused_phone_form_keeps_what_was_filled_in(visitor: httpx.AsyncClient, appid: str) -> None:
    refused = await post_form(visitor, f"/preview/{appid}/", f"/preview/{appid}/phone", code="not-a-code", consent="x")
    assert refused.status_code == 400
    assert 'value="not-a-code"' in refused.text
