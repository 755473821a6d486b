"""A walk through every face in a real browser, in both languages: nothing may go wrong on the way.

Any console error, any violation of the content security policy, any failed request and any fault that axe finds (WCAG 2.1 AA)
fails it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, expect

from deploy.parts import Parts
from tests.browser.watching import Watched, browser, watched
from tests.conftest import Sandbox, Server
from tests.support.waiting import until

APPID = "wx5ab0000000000001"
SAID = {
    "zh": {
        "front": "银行与微信里的客户",
        "arrive": "您还没有登录",
        "no_consent": "请先勾选同意",
        "bound": "手机号绑定成功",
        "claimed": "领取成功",
        "story": ["领取权益", "绑定手机号", "打开小程序", "获得领取资格", "收到欢迎语", "进入活动", "添加了客户经理"],
        "wrong_password": "登录未通过",
        "line": "第 ",
        "submitted": "版本 2 待审批",
        "author": "由另一位同事审批",
        "approved": "新版本已上线",
        "paused": "活动已暂停",
        "resumed": "活动已恢复",
        "audit": "版本上线",
        "not_found": "没有这个页面",
    },
    "en": {
        "front": "A bank and its customers on WeChat",
        "arrive": "You are not signed in",
        "no_consent": "Please tick the consent first",
        "bound": "Your phone number is bound",
        "claimed": "It is yours",
        "story": ["Claimed a reward", "Bound the phone number", "Opened the mini-program", "Was offered a reward",
                  "Got the welcome", "Entered a campaign", "Added the relationship manager"],
        "wrong_password": "Sign-in refused",
        "line": "Line ",
        "submitted": "Version 2 is pending approval",
        "author": "a colleague approves or rejects it",
        "approved": "the new version is live",
        "paused": "The campaign is paused",
        "resumed": "The campaign is resumed",
        "audit": "version went live",
        "not_found": "There is no such page",
    },
}  # fmt: skip


@pytest.fixture
async def chrome() -> AsyncIterator[Browser]:
    async with browser() as launched:
        yield launched


async def _befriended(sandbox: Sandbox) -> dict[str, object]:
    """A person who has scanned a code of 深圳南山支行 and is a friend of rm.chen."""
    person = await sandbox.person("刘敏", phone="13812345678")
    ways = await sandbox.control("GET", "ways")
    ways = ways if isinstance(ways, list) else ways["ways"]
    way = next(way for way in ways if way["state"].endswith("sz-nanshan"))
    await sandbox.scan(person, config_id=way["config_id"], userid="rm.chen")
    return person


@pytest.mark.parametrize("lang", ["zh", "en"])
async def test_the_front_page_and_an_unknown_one(chrome: Browser, server: Server, lang: str) -> None:
    said = SAID[lang]
    async with watched(chrome, 1280, 800) as visitor:
        await visitor.go(f"{server.url}/?lang={lang}")
        assert said["front"] in await visitor.look()
        async with visitor.refusal(404):
            await visitor.go(f"{server.url}/console/nothing")
        assert said["not_found"] in await visitor.look()


@pytest.mark.parametrize("lang", ["zh", "en"])
async def test_a_customer_claims_and_his_rm_reads_the_story(
    chrome: Browser, server: Server, sandbox: Sandbox, worker: Parts, lang: str
) -> None:
    person = await _befriended(sandbox)
    story = server.services.store.tenant("demo")["timeline"]
    await until(lambda: story.count({"kind": "reward.offered"}))
    await until(lambda: story.count({"kind": "welcome.sent"}))
    async with watched(chrome, 375, 740) as phone:
        await _portal(phone, server, sandbox, person, lang)
    async with watched(chrome, 400, 700) as panel:
        await _panel(panel, server, lang)


async def _portal(phone: Watched, server: Server, sandbox: Sandbox, person: dict[str, object], lang: str) -> None:
    said, page, home = SAID[lang], phone.page, f"{server.url}/preview/{APPID}/"
    await phone.go(f"{home}?lang={lang}")
    assert said["arrive"] in await phone.look()
    await phone.go(f"{home}?code={await sandbox.open(person, APPID)}")
    assert "陈思远" in await phone.look()
    await page.fill("#phone-code", await sandbox.phone_code(person, APPID))
    async with phone.refusal(400):
        await page.click("form[action$='/phone'] button")
    assert said["no_consent"] in await phone.look()
    await page.fill("#phone-code", await sandbox.phone_code(person, APPID))
    await page.check("input[name=consent]")
    await page.click("form[action$='/phone'] button")
    assert said["bound"] in await phone.look()
    await page.check("form[action$='/rewards/acq-branch.coffee/claim'] input[name=accept]")
    await page.click("form[action$='/rewards/acq-branch.coffee/claim'] button")
    assert said["claimed"] in await phone.look()
    code = await page.inner_text(".ticket-code")
    assert len(code) == 14
    await page.click(".tabs a >> nth=0")
    await expect(page.locator(".reward a")).to_have_count(1)
    await phone.look()


async def _panel(panel: Watched, server: Server, lang: str) -> None:
    said, page = SAID[lang], panel.page
    await panel.go(f"{server.url}/sidebar/demo/?lang={lang}")
    await page.click("text=陈思远")
    listed = await panel.look()
    assert "138****5678" in listed
    assert "刘敏" not in listed
    await page.click("a.person")
    await panel.look()
    told = await page.locator(".story-what").all_inner_texts()
    assert sorted(set(said["story"]) - set(told)) == []
    await page.click(".phone-back")
    await page.click(".panel-foot button")
    await panel.look()


@pytest.mark.parametrize("lang", ["zh", "en"])
async def test_two_clerks_change_a_campaign(chrome: Browser, server: Server, lang: str) -> None:
    async with watched(chrome, 1280, 800) as lin:
        await _author(lin, server, lang)
    async with watched(chrome, 1280, 800) as zhao:
        await _checker(zhao, server, lang)


async def test_a_page_whose_session_ended_stays_and_leads_to_the_sign_in(chrome: Browser, server: Server) -> None:
    async with watched(chrome, 1280, 800) as lin:
        await _sign_in(lin, server, "zh", "lin", "yinqiao-demo")
        await lin.page.click("a[href$='/acq-branch']")
        cookies = {cookie["name"]: cookie["value"] for cookie in await lin.page.context.cookies()}
        async with lin.refusal(401):
            await server.services.sessions.end("clerk", cookies["yq_console"])
        await expect(lin.page.get_by_role("status")).to_contain_text("页面上填写的内容还在")
        await lin.look()
        async with lin.page.context.expect_page() as opened:
            await lin.page.click("[role=status] a")
        sign_in = await opened.value
        await sign_in.wait_for_url("**/console/login")
        assert "密码" in await sign_in.inner_text("main")
        assert lin.page.url.endswith("/console/campaigns/acq-branch")


async def _sign_in(clerk: Watched, server: Server, lang: str, name: str, password: str) -> None:
    await clerk.go(f"{server.url}/console/?lang={lang}")
    await clerk.go(f"{server.url}/console/login?bank=demo&lang={lang}")
    await clerk.page.fill("#name", name)
    await clerk.page.fill("#password", password)
    await clerk.page.click("main button")


async def _author(lin: Watched, server: Server, lang: str) -> None:
    said, page = SAID[lang], lin.page
    async with lin.refusal(401):
        await _sign_in(lin, server, lang, "lin", "not-the-password")
    assert said["wrong_password"] in await lin.look()
    await page.fill("#password", "yinqiao-demo")
    await page.click("main button")
    await lin.look()
    await page.click("a[href$='/acq-branch']")
    async with page.expect_response(lambda answer: answer.url.endswith("/funnel")) as polled:
        await lin.look()
    assert (await polled.value).status == 200
    await page.click("a[href$='/edit']")
    text = await page.input_value("#text")
    await page.fill("#text", text.replace("kind: code", "kind: surprise"))
    async with lin.refusal(400):
        await page.click("main form button")
    assert said["line"] in await lin.look()
    assert "kind: surprise" in await page.input_value("#text")
    await page.fill("#text", text.replace("stock: 20000", "stock: 19999"))
    await page.click("main form button")
    assert said["submitted"] in await lin.look()
    assert said["author"] in await lin.look()
    await expect(page.locator("form[action$='/approve'], form[action$='/reject']")).to_have_count(0)
    await page.click("form[action='/console/logout'] button")
    await lin.look()


async def _checker(zhao: Watched, server: Server, lang: str) -> None:
    said, page = SAID[lang], zhao.page
    await _sign_in(zhao, server, lang, "zhao", "yinqiao-demo")
    await page.click("a[href$='/acq-branch']")
    await page.click("form[action$='/approve'] button")
    assert said["approved"] in await zhao.look()
    await page.click("a[href$='/pause']")
    await page.click("form[action$='/pause'] button")
    assert said["paused"] in await zhao.look()
    await page.click("a[href$='/resume']")
    await page.click("form[action$='/resume'] button")
    assert said["resumed"] in await zhao.look()
    await page.click("nav.sections a >> nth=-1")
    await page.click("a[href='/console/audit']")
    assert said["audit"] in await zhao.look()
    await page.click(".sections a >> nth=0")
    await page.click("a[href='/console/campaigns/new']")
    await zhao.look()


async def test_what_was_written_outlives_a_reload_and_nothing_else_does(
    chrome: Browser, server: Server, sandbox: Sandbox
) -> None:
    """With the version that it began with: a newer one is not written over because of a reload."""
    async with watched(chrome, 1280, 800) as lin, watched(chrome, 1280, 800) as zhao:
        for clerk, name in ((lin, "lin"), (zhao, "zhao")):
            await clerk.go(f"{server.url}/console/login?lang=en&bank=demo")
            await clerk.page.fill("input[name=name]", name)
            await clerk.page.fill("input[name=password]", "yinqiao-demo")
            await clerk.page.click("main form button")
            await clerk.go(f"{server.url}/console/campaigns/acq-branch/edit")
        text = await lin.page.input_value("textarea")
        mine, theirs = text.replace("stock: 20000", "stock: 5"), text.replace("stock: 20000", "stock: 6")
        await zhao.page.fill("textarea", theirs)
        await zhao.page.click("main form button")
        await lin.page.fill("textarea", mine)
        await lin.page.reload()
        assert await lin.page.input_value("textarea") == mine
        async with lin.refusal(409):
            await lin.page.click("main form button")
        assert "submitted version 2 while you were editing" in await lin.page.inner_text("[role=alert]")
        assert await lin.page.input_value("textarea") == mine
        await lin.go(f"{server.url}/console/people")
        await lin.page.fill("input[name=q]", "13812345678")
        await lin.page.reload()
        assert await lin.page.input_value("input[name=q]") == ""
        await lin.go(f"{server.url}/console/campaigns/acq-branch/edit")
        assert await lin.page.input_value("textarea") == theirs
        assert await lin.page.evaluate("sessionStorage.length") == 0
