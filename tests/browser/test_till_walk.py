"""The counter in a real browser, at 360 px: by keyboard alone, without a script, and with a camera that shows a code."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import segno
from playwright.async_api import Browser, Page, expect

from tests.browser.watching import Watched, browser, watched
from tests.conftest import Server
from tests.http.conftest import clients
from tests.http.counter.granting import Grant, grant

__all__ = ["clients", "grant"]

HOME = "/counter/demo/"
THERE = re.compile(r"/counter/demo/(\?lang=..)?$")
SAID = {
    "zh": {
        "wrong": "不是本行的券码",
        "confirm": "确认核销",
        "done": "核销成功",
        "undone": "已撤销",
        "used": "不能核销",
    },
    "en": {
        "wrong": "no code of this bank",
        "confirm": "Confirm write-off",
        "done": "was written off",
        "undone": "taken back",
        "used": "May not be written off",
    },
}


@pytest.fixture
async def chrome() -> AsyncIterator[Browser]:
    async with browser() as launched:
        yield launched


async def _sign_in(till: Watched, server: Server, lang: str, *, scripts: bool = True) -> None:
    await till.go(f"{server.url}{HOME}?lang={lang}")
    if scripts:
        await till.look()
    await expect(till.page.locator("#name")).to_be_focused()
    await till.page.keyboard.type("nanshan")
    await till.page.keyboard.press("Tab")
    await till.page.keyboard.type("yinqiao-demo")
    await till.page.keyboard.press("Enter")
    await till.page.wait_for_url(THERE)


async def _type(page: Page, code: str) -> None:
    """As a hand scanner does: keys, then Enter, wherever the focus is."""
    await page.keyboard.type(code)
    async with page.expect_navigation():
        await page.keyboard.press("Enter")


@pytest.mark.parametrize("lang", ["zh", "en"])
async def test_a_teller_with_a_hand_scanner_and_no_mouse(
    chrome: Browser, server: Server, grant: Grant, lang: str
) -> None:
    said, code = SAID[lang], await grant()
    async with watched(chrome, 360, 700) as till:
        await _sign_in(till, server, lang)
        assert "0 / 200" in await till.look()
        async with till.refusal(400):
            await _type(till.page, "AAAA-AAAA-AAAA")
        assert said["wrong"] in (await till.look()).lower() or said["wrong"] in await till.look()
        await _type(till.page, code)  # in the place of what was refused
        assert said["confirm"] in await till.look()
        await till.page.keyboard.press("Enter")  # a scanner that reads twice confirms nothing
        assert "/look" in till.page.url
        await till.page.keyboard.press("Tab")
        async with till.page.expect_navigation():
            await till.page.keyboard.press("Enter")
        assert said["done"] in await till.look()
        await _type(till.page, code)
        assert said["used"] in await till.look()
        await till.page.go_back()
        await till.page.click("summary")
        await till.page.fill("#reason", "错扫")
        await till.page.click("details button")
        assert said["undone"] in (await till.look()).lower() or said["undone"] in await till.look()
        await till.page.click("nav a >> nth=1")
        assert "1 / 200" in await till.look()
        await till.page.click("nav a >> nth=2")
        await till.look()


async def test_without_a_script_the_typed_way_is_the_same(chrome: Browser, server: Server, grant: Grant) -> None:
    code = await grant()
    async with watched(chrome, 360, 700, java_script_enabled=False) as till:
        await _sign_in(till, server, "zh", scripts=False)
        await till.page.fill("#code", code)
        await till.page.click("form[action$='/look'] button >> nth=0")
        await till.page.click("form[action$='/redeem'] button")
        assert "核销成功" in await till.page.inner_text("main")
        assert await till.page.locator("[data-start]").is_visible() is False


async def test_a_camera_that_sees_a_code_types_it(chrome: Browser, server: Server, grant: Grant) -> None:
    """The decoder is ours where the browser has none: it is fetched when the camera is opened, and not before."""
    code = await grant()
    picture = segno.make(code, micro=False).png_data_uri(scale=12, border=4)
    async with watched(chrome, 360, 700) as till:
        await till.page.add_init_script(
            f"""delete window.BarcodeDetector;
            navigator.mediaDevices.getUserMedia = async () => {{
              const canvas = document.createElement('canvas'); canvas.width = 640; canvas.height = 480;
              const drawn = canvas.getContext('2d');
              const image = new Image(); image.src = {picture!r}; await image.decode();
              const paint = () => {{ drawn.fillStyle = '#fff'; drawn.fillRect(0, 0, 640, 480);
                drawn.drawImage(image, 120, 40, 400, 400); }};
              paint(); setInterval(paint, 50);
              return canvas.captureStream(20);
            }};"""
        )
        asked: list[str] = []
        till.page.on("request", lambda request: asked.append(request.url))
        await _sign_in(till, server, "zh")
        assert not any("vendor" in url for url in asked)
        await till.page.click("[data-start]")
        await till.page.wait_for_url("**/look", timeout=20_000)
        assert any("vendor/qr/decode.js" in url for url in asked)
        assert "确认核销" in await till.look()


async def test_a_camera_that_may_not_be_used_says_so(chrome: Browser, server: Server) -> None:
    async with watched(chrome, 360, 700) as till:
        await till.page.add_init_script(
            "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('no', 'NotAllowedError'); };"
        )
        await _sign_in(till, server, "zh")
        await till.page.click("[data-start]")
        await till.page.wait_for_function(
            "document.querySelector('[data-status]').textContent.includes('无法使用摄像头')"
        )
        await till.look()
        assert await till.page.evaluate("document.activeElement.matches('[data-start]')")
