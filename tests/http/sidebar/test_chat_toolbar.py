"""The side panel as WeCom's chat toolbar opens it: the customer whose chat it is, for the RM who is there."""

from __future__ import annotations

import hashlib
import re

import httpx
import pytest

from customers import relationships
from customers.identity import resolution
from customers.wecom_mirror import tags
from services.container import Services
from tests.conftest import Sandbox
from tests.support.banks import open_bank
from tests.support.forms import forms_of


async def _friend(demo: Services, external: str, name: str, userid: str) -> str:
    bank = await open_bank(demo, "demo")
    cid = await resolution.identify(bank, resolution.Facts(external_userid=external, name=name))
    await relationships.changed(bank, userid, cid, at=demo.clock(), active=True)
    return cid


async def _open(client: httpx.AsyncClient, sandbox: Sandbox, userid: str, query: str = "") -> httpx.Response:
    """The member opens the panel beside a chat; WeCom says who he is."""
    there = await client.get(f"/sidebar/demo/chat{query}")
    state = httpx.URL(there.headers["Location"]).params["state"]
    code = await sandbox.oauth_code(userid)
    return await client.get("/sidebar/demo/oauth", params={"code": code, "state": state}, follow_redirects=True)


async def test_the_chat_of_a_customer_opens_his_page(http: httpx.AsyncClient, demo: Services, sandbox: Sandbox) -> None:
    cid = await _friend(demo, "wmOne", "欧阳娜娜", "rm.chen")
    page = await _open(http, sandbox, "rm.chen", "?external_userid=wmOne")
    assert (page.status_code, page.url.path) == (200, f"/sidebar/demo/customers/{cid}")
    assert "欧***" in page.text


async def test_the_rm_who_is_there_wins_over_the_one_who_was(
    rm: httpx.AsyncClient, demo: Services, sandbox: Sandbox
) -> None:
    await _friend(demo, "wmOne", "欧阳娜娜", "rm.chen")
    cid = await _friend(demo, "wmTwo", "司马相如", "rm.li")
    before = rm.cookies["yq_rm_demo"]
    page = await _open(rm, sandbox, "rm.li", "?external_userid=wmTwo")
    assert (page.status_code, page.url.path) == (200, f"/sidebar/demo/customers/{cid}")
    assert "李嘉宁" in (await rm.get("/sidebar/demo/")).text
    assert await demo.sessions.read("staff", before) is None


@pytest.mark.parametrize("external", ["wmTwo", "wmNobody", "x" * 64])
async def test_the_clients_word_shows_nobody_elses_customer(
    http: httpx.AsyncClient, demo: Services, sandbox: Sandbox, external: str
) -> None:
    await _friend(demo, "wmTwo", "司马相如", "rm.li")
    page = await _open(http, sandbox, "rm.chen", f"?external_userid={external}")
    assert page.status_code == 404
    assert "还不是你的好友" in page.text
    assert "司马" not in page.text


async def test_without_a_hint_the_page_asks_wecoms_client_with_a_signature_of_its_own(
    http: httpx.AsyncClient, demo: Services, sandbox: Sandbox
) -> None:
    page = await _open(http, sandbox, "rm.chen")
    given = dict(re.findall(r'data-([a-z]+)="([^"]*)"', page.text))
    bank = await open_bank(demo, "demo")
    ticket = (await bank.wecom.members.get_agent_ticket())["ticket"]
    url = f"{demo.settings.url}/sidebar/demo/contact"
    signed = f"jsapi_ticket={ticket}&noncestr={given['nonce']}&timestamp={given['timestamp']}&url={url}"
    assert given["signature"] == hashlib.sha1(signed.encode(), usedforsecurity=False).hexdigest()
    assert given["corp"] == bank.wecom_app.corp_id
    assert ticket not in page.text
    assert "panel.js" in page.text


async def test_saving_says_so_once_and_without_tags_there_is_no_dead_form(
    rm: httpx.AsyncClient, demo: Services, sandbox: Sandbox
) -> None:
    person = await sandbox.person("刘敏")
    await sandbox.control("POST", f"people/{person['id']}/add", {"userid": "rm.chen"})
    external = (await sandbox.control("GET", f"people/{person['id']}"))["external_userid"]
    cid = await _friend(demo, external, "刘敏", "rm.chen")
    page = f"/sidebar/demo/customers/{cid}"
    shown = (await rm.get(page)).text
    assert "还没有企业标签" in shown
    assert [one for one in forms_of(shown) if one.action.endswith("/tags")] == []
    notes = next(one for one in forms_of(shown) if one.action.endswith("/notes"))
    saved = await rm.post(notes.action, data={**notes.sent(), "remark": "老客户"}, follow_redirects=True)
    assert "备注已保存" in saved.text
    assert "备注已保存" not in (await rm.get(page)).text
    bank = await open_bank(demo, "demo")
    await bank.wecom.tags.create(["高净值"], group_name="客户等级")
    await tags.refresh(bank)
    add = next(one for one in forms_of((await rm.get(page)).text) if one.action.endswith("/tags"))
    added = await rm.post(add.action, data=add.sent(), follow_redirects=True)
    assert "标签已添加" in added.text
    assert "已有全部标签" in added.text
    remove = next(one for one in forms_of(added.text) if one.action.endswith("/tags"))
    assert "标签已移除" in (await rm.post(remove.action, data=remove.sent(), follow_redirects=True)).text
