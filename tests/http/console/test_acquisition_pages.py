"""The console's page of channels: who may look, and what it shows."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.conftest import Sandbox, Server
from tests.http.conftest import Clerk
from tests.integration.campaigns import tools
from tests.integration.campaigns.test_acquisition import TEXT as LINKS
from tests.integration.campaigns.test_community import text as group_text
from tests.integration.campaigns.test_left_out import with_bad_staff
from tests.integration.campaigns.test_rosters import text as roster_text
from tests.support import jobs
from tests.support.banks import open_bank

PAGE = "/console/channels"


async def test_the_page_shows_codes_links_balance_group_codes_and_groups(
    server: Server, clerk: Clerk, sandbox: Sandbox
) -> None:
    demo = server.services
    person = await sandbox.person("周强")
    body = {"owner": "rm.chen", "name": "南山理财交流群", "people": [person["id"]]}
    chat = (await sandbox.control("POST", "groups", body))["chat_id"]
    await tools.go_live(demo, LINKS)
    await tools.go_live(demo, group_text(chat).replace("id: hello", "id: talks"))
    await sandbox.scan(person, state=tools.NANSHAN, userid="rm.li")
    await tools.all_work(demo)
    await jobs.keep_channels(await open_bank(demo, "demo"))
    lin = await clerk("lin")
    answer = await lin.get(PAGE)
    page = answer.text
    assert answer.status_code == 200
    assert '<div>李嘉宁 <span class="small text-body-secondary">1</span></div>' in page
    assert f"<code>{tools.NANSHAN}</code>" in page
    assert "ads.sz-nanshan?" not in page
    assert "customer_channel=ads.sz-nanshan" in page
    assert f'<strong id="balance">{(await sandbox.control("GET", "links"))["quota"]["balance"]}</strong>' in page
    assert '<div>南山理财交流群 <span class="small text-body-secondary">2</span></div>' in page
    assert "%NICKNAME%您好" in page
    assert "周强" not in page
    assert person["external_userid"] not in page
    english = (await lin.get(f"{PAGE}?lang=en")).text
    assert "Acquisition links" in english


async def test_the_page_names_whom_wecom_does_not_take_and_why(server: Server, clerk: Clerk, sandbox: Sandbox) -> None:
    await with_bad_staff(server.services, sandbox)
    await tools.go_live(server.services, roster_text())
    lin = await clerk("lin")
    page = (await lin.get(PAGE)).text
    assert "未加入: 新人 · 没有客户联系权限（84074）" in page
    assert "未加入: 写错 · 企业微信中没有这位成员（60111）" in page
    assert "rm.typo" not in page
    assert "Left out: 新人 · no right to customer contact (84074)" in (await lin.get(f"{PAGE}?lang=en")).text


async def test_pictures_are_let_in_from_the_host_of_a_group_code_only(
    server: Server, clerk: Clerk, sandbox: Sandbox
) -> None:
    lin = await clerk("lin")
    assert "img-src 'self' data:;" in (await lin.get(PAGE)).headers["Content-Security-Policy"]
    chat = (await sandbox.control("POST", "groups", {"owner": "rm.chen", "name": "群", "people": []}))["chat_id"]
    await tools.go_live(server.services, group_text(chat))
    policy = (await lin.get(PAGE)).headers["Content-Security-Policy"]
    assert f"img-src 'self' data: {sandbox.url};" in policy
    assert "script-src 'self';" in policy


async def test_an_auditor_may_look_and_a_stranger_may_not(clerk: Clerk, http: httpx.AsyncClient) -> None:
    assert (await (await clerk("audit")).get(PAGE)).status_code == 200
    stranger = await http.get(PAGE)
    assert (stranger.status_code, stranger.headers["Location"]) == (303, "/console/login")


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/a.png",
        "https://evil.example; script-src *",
        "https://evil.example%0d%0aX-Injected: 1/",
        "https://wework.qpic.cn.evil.example/a.png",
        "https://wework.qpic.cn@evil.example/a.png",
        "https://wework.qpic.cn:443@evil.example/",
        "https://*/",
        "https:// 'unsafe-inline'/",
        "data:text/html,<script>alert(1)</script>",
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)//https://wework.qpic.cn/",
        "\nhttps://evil.example/",
    ],
)
async def test_what_a_platform_answers_does_not_widen_the_policy_nor_become_a_script(
    server: Server, clerk: Clerk, sandbox: Sandbox, address: str
) -> None:
    lin = await clerk("lin")
    chat = (await sandbox.control("POST", "groups", {"owner": "rm.chen", "name": "群", "people": []}))["chat_id"]
    await tools.go_live(server.services, group_text(chat))
    channels = server.services.store.tenant("demo")["channels"]
    await channels.update_many({}, {"$set": {"qr_code": address, "url": address}})
    answer = await lin.get(PAGE)
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "img-src 'self' data:;" in policy
    assert "evil" not in policy
    assert policy.count("script-src 'self';") == 1
    assert not re.search(r'(?:href|src)="\s*(?:javascript|data):', answer.text, re.IGNORECASE)


async def test_the_pictures_of_wecom_itself_are_let_in(server: Server, clerk: Clerk, sandbox: Sandbox) -> None:
    lin = await clerk("lin")
    chat = (await sandbox.control("POST", "groups", {"owner": "rm.chen", "name": "群", "people": []}))["chat_id"]
    await tools.go_live(server.services, group_text(chat))
    channels = server.services.store.tenant("demo")["channels"]
    await channels.update_many({}, {"$set": {"qr_code": "https://wework.qpic.cn/wwpic/1_abc/0"}})
    policy = (await lin.get(PAGE)).headers["Content-Security-Policy"]
    assert "img-src 'self' data: https://wework.qpic.cn;" in policy
