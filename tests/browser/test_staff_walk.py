"""The pages of hand-overs and alarms, and the side panel's forms, in a real browser: watched as the walk is."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser

from customers import relationships
from customers.actors import ClerkActor
from customers.alerts import alarms
from customers.banks import bank as banks_bank
from customers.handover import batches
from customers.identity import resolution
from customers.wecom_mirror import tags
from services.container import Services
from tests.browser.watching import Watched, browser, watched
from tests.conftest import Sandbox, Server
from tests.support import jobs
from tests.support.banks import open_bank

LIN = ClerkActor("demo", "lin", "林晓", frozenset())
ZHAO = ClerkActor("demo", "zhao", "赵敏", frozenset())


@pytest.fixture
async def chrome() -> AsyncIterator[Browser]:
    async with browser() as launched:
        yield launched


async def _friend(services: Services, sandbox: Sandbox) -> str:
    """A friend of rm.chen, at WeCom and here."""
    person = await sandbox.person("欧阳娜娜")
    await sandbox.control("POST", f"people/{person['id']}/add", {"userid": "rm.chen"})
    external = (await sandbox.control("GET", f"people/{person['id']}"))["external_userid"]
    cid = await resolution.identify(
        await open_bank(services, "demo"), resolution.Facts(external_userid=external, name="欧阳娜娜")
    )
    await relationships.changed(await open_bank(services, "demo"), "rm.chen", cid, at=services.clock(), active=True)
    return cid


async def _sign_in(visitor: Watched, url: str, lang: str) -> None:
    await visitor.go(f"{url}/console/login?lang={lang}&bank=demo")
    await visitor.page.fill("input[name=name]", "lin")
    await visitor.page.fill("input[name=password]", "yinqiao-demo")
    await visitor.page.click("main form button")


@pytest.mark.parametrize(("lang", "width"), [("zh", 800), ("en", 1280)])
async def test_hand_overs_and_alarms_at_the_console(
    chrome: Browser, server: Server, sandbox: Sandbox, lang: str, width: int
) -> None:
    services = server.services
    cid = await _friend(services, sandbox)
    await alarms.raise_alarm(
        await open_bank(services, "demo"), "customer.lost", "e1", cid=cid, userids=["rm.chen"], userid="rm.chen"
    )
    async with watched(chrome, width, 800) as visitor:
        await _sign_in(visitor, server.url, lang)
        await visitor.go(f"{server.url}/console/handover")
        await visitor.look()
        await visitor.go(f"{server.url}/console/handover/new?mode=onjob&giver=rm.chen")
        assert "欧***" in await visitor.look()
        await visitor.page.click("main form button[type=submit]")
        assert "欧***" in await visitor.look()
        (batch,) = await batches.list_batches(await open_bank(services, "demo"), LIN)
        await batches.approve(await open_bank(services, "demo"), ZHAO, batch["_id"])
        await jobs.hand_over(await open_bank(services, "demo"))
        await visitor.page.reload()
        await visitor.look()
        await visitor.go(f"{server.url}/console/handover")
        await visitor.look()
        await visitor.go(f"{server.url}/console/alarms")
        assert "欧***" in await visitor.look()
        await visitor.page.click("main form button")
        await visitor.look()
        await visitor.go(f"{server.url}/console/alarms?state=handled")
        assert "lin" in await visitor.look()


@pytest.mark.parametrize("lang", ["zh", "en"])
async def test_notes_and_tags_in_the_side_panel(chrome: Browser, server: Server, sandbox: Sandbox, lang: str) -> None:
    services = server.services
    cid = await _friend(services, sandbox)
    bank = await banks_bank.open_bank(services, "demo")
    await bank.wecom.tags.create(["高净值"], group_name="客户等级")
    await tags.refresh(bank)
    async with watched(chrome, 400, 700) as panel:
        await panel.go(f"{server.url}/sidebar/demo/?lang={lang}")
        await panel.page.click("text=陈思远")
        await panel.go(f"{server.url}/sidebar/demo/customers/{cid}?lang={lang}")
        await panel.look()
        await panel.page.click("details:has(#remark) summary")
        await panel.look()
        await panel.page.fill("#remark", "娜娜")
        await panel.page.click("form[action$='/notes'] button")
        assert "娜娜" in await panel.look()
        await panel.page.click("details:has(#add) summary")
        await panel.page.click("form[action$='/tags'] button")
        assert "客户等级:高净值" in await panel.look()


@pytest.mark.parametrize("answer", ["knows", "refuses", "silent"])
async def test_wecoms_client_is_asked_whose_chat_it_is(
    chrome: Browser, server: Server, sandbox: Sandbox, answer: str
) -> None:
    """A client as contract/jssdk describes it: it registers the page, then names the customer of the chat."""
    cid = await _friend(server.services, sandbox)
    row = await resolution.customer(await open_bank(server.services, "demo"), cid)
    async with watched(chrome, 400, 700) as panel:
        replies = {
            "knows": f"{{err_msg: api + ':ok', userId: '{row.external_userid}'}}",
            "refuses": "{err_msg: api + ':fail_no permission'}",
            "silent": "undefined",
        }
        bridge = f"window.WeixinJSBridge = {{invoke: (api, given, said) => {{ const answer = {replies[answer]};"
        await panel.page.add_init_script(f"{bridge} if (answer) setTimeout(() => said(answer), 20); }} }}")
        await panel.go(f"{server.url}/sidebar/demo/chat?lang=zh")
        await panel.page.click("text=陈思远")
        wanted = f"**/sidebar/demo/customers/{cid}" if answer == "knows" else "**/sidebar/demo/"
        await panel.page.wait_for_url(wanted, timeout=20_000)
        assert "欧***" in await panel.look()
