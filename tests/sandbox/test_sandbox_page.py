"""The visitor's page in a real browser: customer and relationship manager played by hand, trouble made by a click.

Any console error, violation of the content security policy, failed request and fault that axe finds fails it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, expect

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
