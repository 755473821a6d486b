"""The visitor's page in a real browser: customer and relationship manager played by hand, trouble made by a click.

Any console error, violation of the content security policy, failed request and fault that axe finds fails it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, expect

from deploy.processes import ROOT
from sandbox.core.switches import Switches
from tests.browser.watching import browser, watched

EC = "/cgi-bin/externalcontact"
CARD = {
    "card_type": "button_interaction",
    "main_title": {"title": "更换客户经理"},
    "task_id": "t-1",
    "button_list": [{"text": "接受", "key": "yes"}],
}


@pytest.fixture
async def chrome() -> AsyncIterator[Browser]:
    async with browser() as launched:
        yield launched


async def test_visitor_plays_both_sides(playing, chrome):
    """F9, B8, B10: scan, write, answer, confirm a broadcast, press a card, and see it all in the log."""
    async with playing() as play, watched(chrome, 1280, 900) as visitor:
        await play.way(state="nanshan", user=["rm.chen"], party=[])
        page = visitor.page
        await visitor.go(play.url)
        await page.fill("#name", "张晓雯")
        await page.click("#create button")
        await expect(page.locator("#who")).to_have_text("张晓雯的手机")
        await page.click("[data-phone=scan]")
        await page.click("#screen .way button")
        await page.click("[data-phone=chats]")
        await page.click("#screen .chat")
        await page.fill("#say", "怎么领？")
        await page.click("#speak button")
        await expect(page.locator("#screen .mine")).to_contain_text("怎么领？")
        await page.click("#desk .chat")
        await expect(page.locator("#desk")).to_contain_text("怎么领？")
        await page.fill("#reply", "点卡片")
        await page.click("#answer button")
        await expect(page.locator("#screen")).to_contain_text("点卡片")
        await page.click("[data-log=deliveries]")
        await expect(page.locator("#log")).to_contain_text("客户添加了客户经理")
        await visitor.look()
        await _work(play, page)
        await visitor.look()


async def _work(play, page):
    """The bank sends a broadcast and a card; the manager confirms and presses."""
    (person,) = (await play.control("/people"))["people"]
    body = {"external_userid": [person["external_userid"]], "text": {"content": "周末沙龙"}}
    await play.wecom(f"{EC}/add_msg_template", body)
    content = {"touser": "rm.chen", "msgtype": "template_card", "agentid": play.app.agent_id, "template_card": CARD}
    await play.wecom("/cgi-bin/message/send", content)
    await page.click("[data-wecom=tasks]")
    await page.click("#desk .bubble button.main")
    await expect(page.locator("#screen")).to_contain_text("周末沙龙")
    await page.click("[data-wecom=app]")
    await page.click("#desk .bubble button.main")
    await expect(page.locator("#log")).to_contain_text("点了卡片按钮")
    assert play.receiver.events[-1]["EventKey"] == "yes"


async def test_trouble_is_made_and_ended_by_a_click(playing, chrome):
    """F5, F8: a fault of the form, a storm, and the end of all."""
    async with playing() as play, watched(chrome, 1280, 900) as visitor:
        page = visitor.page
        await visitor.go(play.url)
        await page.select_option("#fault-kind", "4")
        await page.fill("#fault-path", "user/get")
        await page.fill("#fault-value", "45033")
        await page.fill("#fault-times", "2")
        await page.click("#fault button")
        await expect(page.locator("#faults")).to_contain_text("45033")
        assert (await play.wecom("/cgi-bin/user/get", userid="rm.chen"))["errcode"] == 45033
        await page.click("text=限流风暴")
        await expect(page.locator("#faults")).to_contain_text("45009")
        await page.click("text=全部恢复")
        await expect(page.locator("#faults")).to_contain_text("现在没有故障")
        assert (await play.wecom("/cgi-bin/user/get", userid="rm.chen"))["errcode"] == 0
        await visitor.look()


@pytest.mark.parametrize("tab", ["scan", "mini", "me"])
async def test_page_fits_a_narrow_window(playing, chrome, tab):
    """390 pixels wide, nothing sticks out to the side."""
    async with playing() as play, watched(chrome, 390, 844) as visitor:
        await play.befriended("张晓雯")
        await visitor.go(play.url)
        await visitor.page.click(f"[data-phone={tab}]")
        await expect(visitor.page.locator("#screen :is(button, dl)").first).to_be_visible()
        await visitor.look()


async def test_what_was_chosen_outlives_a_reload(playing, chrome):
    """The person, the member, the chat and the log that were looked at; others come and go."""
    async with playing() as play, watched(chrome, 1280, 900) as visitor:
        page = visitor.page
        first, _ = await play.befriended("张晓雯"), await play.befriended("李建国")
        await visitor.go(play.url)
        await page.click("#people button:has-text('张晓雯')")
        await page.select_option("#member", "rm.li")
        await page.click("[data-phone=me]")
        await page.click("[data-log=deliveries]")
        await play.befriended("王芳")
        await page.reload()
        await expect(page.locator("#who")).to_have_text("张晓雯的手机")
        await expect(page.locator("#screen")).to_contain_text(first["external_userid"])
        await expect(page.locator("#member")).to_have_value("rm.li")
        for tab in ("data-phone=me", "data-log=deliveries"):
            await expect(page.locator(f"[{tab}]")).to_have_attribute("aria-pressed", "true")


async def test_double_click_on_scan_adds_one_member(playing, chrome):
    async with playing() as play, watched(chrome, 1280, 900) as visitor:
        page = visitor.page
        await play.way(state="nanshan", party=[2])
        await play.way(state="futian", party=[3])
        person = await play.person()
        await visitor.go(play.url)
        await page.click("[data-phone=scan]")
        await page.dblclick("#screen .way button >> nth=0")
        await expect(page.locator("#log")).to_contain_text("add_contact_way")
        await play.settled()
        assert len((await play.control(f"/people/{person['id']}"))["friends"]) == 1
        await expect(page.locator("[data-phone=chats]")).to_have_attribute("aria-pressed", "true")


async def test_everybody_can_be_found(playing, chrome):
    """Fifty at first, more on demand, and anybody by name or phone."""
    async with playing() as play, watched(chrome, 1280, 900) as visitor:
        page = visitor.page
        for n in range(120):
            await play.person(name=f"客户{n:03d}", phone=f"1380000{n:04d}")
        await visitor.go(play.url)
        people = page.locator("#people button:not(.more)")
        await expect(people).to_have_count(50)
        await page.click("#people .more")
        await expect(people).to_have_count(100)
        await page.fill("#search", "13800000007")
        await expect(people).to_have_count(1)
        await page.click("#people button:has-text('客户007')")
        await page.fill("#search", "没有这个人")
        await expect(page.locator("#people")).to_contain_text("没有找到")
        await expect(page.locator("#who")).to_have_text("客户007的手机")
        await visitor.look()


async def test_notice_covers_no_list(playing, chrome):
    async with playing() as play, watched(chrome, 1280, 900) as visitor:
        page = visitor.page
        await visitor.go(play.url)
        await page.click("text=限流风暴")
        await expect(page.locator("#notice")).to_contain_text("45009")
        overlaps = await page.evaluate(
            """() => {
              const box = document.getElementById("notice").getBoundingClientRect();
              return [...document.querySelectorAll("main .card")].filter((card) => {
                const other = card.getBoundingClientRect();
                return box.bottom > other.top + 4 && box.top < other.bottom && box.right > other.left && box.left < other.right;
              }).map((card) => card.className);
            }"""
        )
        assert overlaps == []
        await visitor.look()


async def test_start_over_asks_and_empties_the_world(playing, chrome):
    async with playing() as play, watched(chrome, 1280, 900) as visitor:
        page = visitor.page
        await play.befriended("张晓雯")
        await play.control("/switches", {"medical": True})
        await visitor.go(play.url)
        await page.click("#restart")
        await expect(page.locator("#restart-sure")).to_contain_text("沙盒会忘掉所有人")
        await visitor.look()
        await page.click("#restart-no")
        await expect(page.locator("#who")).to_have_text("张晓雯的手机")
        await page.click("#restart")
        await page.click("#restart-yes")
        await expect(page.locator("#people")).to_contain_text("还没有人")
        assert (await play.control("/people"))["count"] == 0
        assert (await play.control("/switches"))["medical"] is False


async def test_log_leads_to_the_event_on_the_console(playing, chrome):
    """The answer's header X-Event-Id names it; a call about the same customer leads there too."""
    async with (
        playing(event_url="http://127.0.0.1:1/console/events/{event}") as play,
        watched(chrome, 1280, 900) as visitor,
    ):
        page = visitor.page
        play.receiver.names = ["demo:0123"]
        person = await play.befriended("张晓雯")
        await play.wecom(f"{EC}/get", external_userid=person["external_userid"])
        await visitor.go(play.url)
        link = page.locator("#log a:has-text('Event')").first
        await expect(link).to_have_attribute("href", "http://127.0.0.1:1/console/events/demo%3A0123")
        await page.click("[data-log=deliveries]")
        await expect(page.locator("#log a:has-text('Event')")).to_have_count(1)
        await visitor.look()


async def test_switch_is_turned_on_the_page(playing, chrome):
    async with playing() as play, watched(chrome, 1280, 900) as visitor:
        page = visitor.page
        await visitor.go(play.url)
        await page.click("#switches-box summary")
        await page.check("input[aria-label*='app_unused']")
        await expect(page.locator(".switch.held")).to_have_count(1)
        await page.select_option("select[aria-label*='broadcast_cap']", "day1")
        await expect(page.locator(".switch.held")).to_have_count(2)
        await page.fill("input[aria-label*='idle_members']", "rm.chen rm.li")
        await page.press("input[aria-label*='idle_members']", "Enter")
        await expect(page.locator("#notice")).to_contain_text("久未登录的员工")
        found = await play.control("/switches")
        assert (found["app_unused"], found["broadcast_cap"], found["idle_members"]) == (
            True,
            "day1",
            ["rm.chen", "rm.li"],
        )
        await visitor.look()
        await page.click("#switches-reset button")
        await expect(page.locator(".switch.held")).to_have_count(0)


async def test_every_switch_has_a_chinese_name():
    words = (ROOT / "sandbox" / "web" / "static" / "switches.js").read_text(encoding="utf-8")
    named = set(re.findall(r"(\w+): \"", words.partition("const WORDS")[2].partition("};")[0]))
    assert named == set(Switches.model_fields)


@pytest.mark.parametrize("width", [360, 1280])
async def test_bank_is_played_by_hand(playing, chrome, width):
    """A person becomes a customer, opens an account and signs in; what is not taken says so, and is sent again."""
    async with playing() as play, watched(chrome, width, 900) as visitor:
        page = visitor.page
        person = await play.person()
        await visitor.go(play.url)
        await page.click("text=银行 Bank")
        await expect(page.locator("#who")).to_have_text("张晓雯在银行")
        await page.click("#become button")
        await expect(page.locator("#customer")).to_contain_text("手机号 Phone")
        await page.click("#open button")
        await expect(page.locator("#customer")).to_contain_text("活期储蓄")
        await page.fill("#total", "1000000")
        await page.click("#balance button")
        await expect(page.locator("#customer")).to_contain_text("¥1,000,000.00")
        await page.click("text=登录手机银行")
        kept = play.box.state.bank[person["id"]]
        await expect(page.locator("#customer")).to_contain_text("登录 signed in")
        assert (kept.logins, kept.balance, kept.fields["balance_band"]) == (1, 100_000_000, "A")
        await expect(page.locator("#log tr")).to_have_count(6)
        await expect(page.locator("#log")).to_contain_text("404")
        await page.click("#log tr:first-child button")
        await expect(page.locator("#log")).to_contain_text("重发 again")
        await page.fill("#rate", "60")
        await page.click("#rate-form button")
        await expect(page.locator("#notice")).to_contain_text("60")
        assert play.box.bank.rate == 60
        await visitor.look()
