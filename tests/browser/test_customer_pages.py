"""The customer's pages in a real browser: small, kept fresh without a reload, usable by keyboard and without a script;
and a voucher that goes from his phone to the camera of his RM's WeCom."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator

import httpx
import pytest
from playwright.async_api import Browser, Page, Response, expect

from customers import relationships
from customers.identity import resolution
from tests.browser.watching import Watched, browser, watched
from tests.conftest import Sandbox, Server
from tests.support.banks import open_bank

APPID = "wx5ab0000000000001"
MOST_BYTES = 150 * 1024
SAID = {
    "zh": {"used": "已使用", "done": "核销成功", "left": "天", "scan": "扫码核销"},
    "en": {"used": "Used", "done": "Written off", "left": "days left", "scan": "Scan with the camera"},
}


@pytest.fixture
async def chrome() -> AsyncIterator[Browser]:
    async with browser() as launched:
        yield launched


class Customer:
    """Somebody with the mini-program, a friend of rm.chen."""

    def __init__(self, server: Server, sandbox: Sandbox, client: httpx.AsyncClient) -> None:
        self.server, self.sandbox, self.client = server, sandbox, client
        self.person: dict[str, object] = {}

    async def arrive(self) -> None:
        self.person = await self.sandbox.person("刘敏")
        await self.sandbox.control("POST", f"people/{self.person['id']}/add", {"userid": "rm.chen"})
        code = await self.sandbox.open(self.person, APPID)
        token = (await self.client.post(f"/mp/{APPID}/login", json={"code": code})).json()["token"]
        self.client.headers["Authorization"] = f"Bearer {token}"
        bank = await open_bank(self.server.services, "demo")
        session = await self.server.services.sessions.read("customer", token)
        assert session is not None
        one = await resolution.customer(bank, session["cid"])
        known = await self.sandbox.control("GET", f"people/{self.person['id']}")
        facts = resolution.Facts(unionid=one.unionid, external_userid=known["external_userid"], name="刘敏")
        cid = await resolution.identify(bank, facts)
        await relationships.changed(bank, "rm.chen", cid, at=bank.now(), active=True)

    async def ticket(self, to: str = "") -> str:
        """The address with which the web-view begins."""
        url = str((await self.client.post(f"/mp/{APPID}/tickets")).json()["url"])
        return f"{url}&to={to}" if to else url


@pytest.fixture
async def customer(server: Server, sandbox: Sandbox) -> AsyncIterator[Customer]:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=15.0) as client:
        one = Customer(server, sandbox, client)
        await one.arrive()
        yield one


async def _claim(page: Page, reward: str = "flash.voucher") -> None:
    form = f"form[action$='/rewards/{reward}/claim']"
    tick = page.locator(f"{form} input[type=checkbox]")
    if await tick.count():
        await tick.check()
    await page.click(f"{form} button")


def _weigh(page: Page) -> dict[str, int]:
    """Bytes of whatever each page loads, by the page's path."""
    weights: dict[str, int] = defaultdict(int)

    async def add(answer: Response) -> None:
        if answer.ok:
            weights[page.url.partition("?")[0]] += len(await answer.body())

    page.on("response", add)
    return weights


@pytest.mark.parametrize("lang", ["zh", "en"])
async def test_every_page_is_small_and_a_voucher_stays_fresh(chrome: Browser, customer: Customer, lang: str) -> None:
    async with watched(chrome, 360, 640) as phone:
        page = phone.page
        await page.clock.install()
        weights = _weigh(page)
        await phone.go(f"{customer.server.url}/h5/{APPID}/?lang={lang}")
        await phone.look()
        await phone.go(await customer.ticket())
        await phone.look()
        await _claim(page)
        await phone.look()
        await page.click("a.voucher-link")
        assert SAID[lang]["left"] in await phone.look()
        first = await page.inner_html("#qr")
        opened = await page.evaluate("performance.timeOrigin")
        await page.clock.run_for(54_000)
        await expect(page.locator("#qr")).not_to_have_js_property("innerHTML", first)
        assert await page.evaluate("performance.timeOrigin") == opened
        await phone.look()
        await _written_off(customer, await page.inner_text(".ticket-code"))
        await page.clock.run_for(54_000)
        await expect(page.locator("#voucher-state")).to_have_text(SAID[lang]["used"])
        await expect(page.locator("#qr")).to_have_count(0)
        assert "深圳南山支行" in await page.inner_text("#voucher")
        await phone.look()
        for address in ("redemptions", ""):
            await phone.go(f"{customer.server.url}/h5/{APPID}/{address}")
            await phone.look()
    assert len(weights) >= 4
    assert {path: size for path, size in weights.items() if size > MOST_BYTES} == {}


@pytest.mark.parametrize("lang", ["zh", "en"])
async def test_a_voucher_is_given_away_by_keyboard_and_without_a_script(
    chrome: Browser, customer: Customer, lang: str
) -> None:
    async with watched(chrome, 360, 640, java_script_enabled=False) as phone:
        page = phone.page
        await phone.go(await customer.ticket())
        await phone.go(f"{customer.server.url}/h5/{APPID}/?lang={lang}")
        await _claim(page)
        await page.click("a.voucher-link")
        await page.focus("#gift summary")
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#gift .ticket-code")
        code = await page.inner_text("#gift .ticket-code")
        address = page.url
    friend = Customer(
        customer.server, customer.sandbox, httpx.AsyncClient(base_url=customer.server.url, trust_env=False)
    )
    await friend.arrive()
    async with watched(chrome, 360, 640) as phone:
        page = phone.page
        weights = _weigh(page)
        await phone.go(await friend.ticket("gifts"))
        await phone.look()
        await page.fill("#code", "0000")
        async with phone.refusal(404):
            await page.keyboard.press("Enter")
        await phone.look()
        await page.fill("#code", code.lower())
        await page.keyboard.press("Enter")
        await page.wait_for_url(address, wait_until="networkidle")
        await phone.look()
        await page.click("#gift summary")
        await page.click("#gift button")
        assert code not in await phone.look()
        await page.click("#gift form[action$='/withdrawal'] button")
        await phone.look()
    await friend.client.aclose()
    assert {path: size for path, size in weights.items() if size > MOST_BYTES} == {}


async def _written_off(customer: Customer, code: str) -> None:
    from rewards.vouchers import redeem

    bank = await open_bank(customer.server.services, "demo")
    by = redeem.Redeemer("rm", "rm.chen", "陈思远", branch="sz-nanshan", place="深圳南山支行")
    await redeem.redeem(bank, by, code, "k")


async def test_the_pages_work_without_a_script(chrome: Browser, customer: Customer) -> None:
    async with watched(chrome, 360, 640, java_script_enabled=False) as phone:
        page = phone.page
        await phone.go(await customer.ticket())
        await _claim(page)
        await page.click("a.voucher-link")
        first = await page.inner_html("#qr")
        assert "days left" in await page.inner_text("#voucher-left")
        await page.click("#qr-left a")
        assert await page.inner_html("#qr") != first
        await page.click(".tabs button")
        assert await page.locator(".ticket-code").count() == 0


async def test_a_reward_is_claimed_and_shown_by_keyboard_alone(chrome: Browser, customer: Customer) -> None:
    async with watched(chrome, 360, 640) as phone:
        page = phone.page
        await phone.go(await customer.ticket())
        await _reach(page, "form[action$='/flash.voucher/claim'] button")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/redemptions")
        await _reach(page, "a.voucher-link")
        await page.keyboard.press("Enter")
        await expect(page.locator("#qr")).to_be_visible()


async def _reach(page: Page, wanted: str) -> None:
    """Tabs until the focus is there, ticking what is on the way."""
    for _ in range(40):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.matches('main form[action*=\"/claim\"] input[type=checkbox]')"):
            await page.keyboard.press("Space")
        if await page.evaluate("wanted => document.activeElement.matches(wanted)", wanted):
            outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", wanted
            return
    raise AssertionError(wanted)


@pytest.mark.parametrize("lang", ["zh", "en"])
async def test_a_voucher_goes_from_the_phone_to_the_camera_of_the_rms_wecom(
    chrome: Browser, customer: Customer, lang: str
) -> None:
    """All of it in the sandbox: the person claims and holds the voucher out, the member scans it."""
    said, name = SAID[lang], str(customer.person["name"])
    async with watched(chrome, 1440, 900) as player:
        page = player.page
        await player.go(f"{customer.sandbox.url}/")
        await page.click(f"#people button:has-text('{name}')")
        await page.click("[data-phone=mini]")
        claim = page.locator("#screen .way:has-text('二十元生活券') button")
        await claim.click()
        show = page.locator("#screen .way:has-text('待使用') button")
        await show.click()
        await expect(page.locator("#screen .held-out svg")).to_be_visible()
        await page.select_option("#member", "rm.chen")
        await page.click(f"#desk button.chat:has-text('{name}')")
        async with page.context.expect_page() as opened:
            await page.click("#desk a:has-text('Side panel')")
        await _scanned(Watched(await opened.value), customer, said, lang)


async def _scanned(panel: Watched, customer: Customer, said: dict[str, str], lang: str) -> None:
    page = panel.page
    await page.set_viewport_size({"width": 400, "height": 740})
    await page.wait_for_url("**/customers/**")
    assert page.url.startswith(customer.sandbox.url)
    await panel.go(f"{customer.sandbox.url}/sidebar/demo/counter?lang={lang}")
    await panel.look()
    await page.click(f"button:has-text('{said['scan']}')")
    await page.click("form[action$='/redeem'] button")
    assert said["done"] in await panel.look()
    await page.click(f"button:has-text('{said['scan']}')")
    await expect(page.locator("main [role=alert]:visible")).to_be_visible()
    assert panel.wrong == []
