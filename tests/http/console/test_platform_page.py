"""The page of the platforms' limits, in both languages: what is used, what is closed, and the lifting of it."""

from __future__ import annotations

import html

import httpx
import pytest

from operations import limits
from sandbox.wechat.endpoints import ENDPOINTS as OF_WECHAT
from sandbox.wecom.endpoints import ENDPOINTS as OF_WECOM
from services.container import Services
from services.limiter.limits import _NAMED
from services.texts import Language, sentence
from tests.conftest import Sandbox
from tests.http.conftest import Clerk, post_form
from tests.integration.campaigns import tools
from tests.support.banks import open_bank

PAGE = "/console/platform"
TAG = "/cgi-bin/externalcontact/mark_tag"


@pytest.fixture
async def closed(demo: Services, sandbox: Sandbox, http: httpx.AsyncClient) -> None:
    """A customer was greeted, and his tag waits behind a closed API."""
    await tools.fault(sandbox, "errcode", TAG, errcode=45009, window="day")
    await tools.scanned(sandbox, http)
    await tools.all_work(demo)
    await limits.watch(await open_bank(demo, "demo"))


@pytest.mark.usefixtures("closed")
async def test_what_is_closed_stands_first_with_everything_that_matters(clerk: Clerk) -> None:
    lin = await clerk("lin")
    page = html.unescape((await lin.get(PAGE)).text)
    for words in (
        "客户打标签",
        TAG,
        "暂停",
        "平台提示调用过于频繁（45009）",
        "reach max api daily quota limit",
        "尚未试探",
    ):
        assert words in page
    assert "1 标签、通知等动作" in page
    assert page.index("客户打标签") < page.index("客户详情")
    english = html.unescape((await lin.get(f"{PAGE}?lang=en")).text)
    for words in ("Tagging of customers", "Closed since", "None yet", "1 tags, notes and other effects", "/ 10,000"):
        assert words in english


@pytest.mark.usefixtures("closed")
async def test_an_operator_opens_it_again_and_says_why(clerk: Clerk, demo: Services, sandbox: Sandbox) -> None:
    lin, bank = await clerk("lin"), await open_bank(demo, "demo")
    refused = await post_form(lin, PAGE, f"{PAGE}/lift", api=f"wecom:{TAG}", reason=" ")
    assert refused.status_code == 400
    await tools.no_faults(sandbox)
    done = await post_form(lin, PAGE, f"{PAGE}/lift", api=f"wecom:{TAG}", reason="平台说是误报")
    assert "接口已恢复" in done.text
    assert "目前没有被暂停的接口" in done.text
    await tools.all_work(demo)
    assert (await tools.effect(demo, "tag"))["state"] == "done"
    (row,) = await bank.db["audit"].find({"action": "platform.lifted"})
    assert (row["actor"], row["data"]["reason"]) == ("lin", "平台说是误报")
    again = await post_form(lin, PAGE, f"{PAGE}/lift", api=f"wecom:{TAG}", reason="nochmal")
    assert again.status_code == 404


@pytest.mark.usefixtures("closed")
async def test_an_auditor_looks_and_does_not_touch(clerk: Clerk) -> None:
    audit = await clerk("audit")
    page = await audit.get(PAGE)
    assert (page.status_code, "立即恢复" in page.text) == (200, False)
    token = page.text.split('name="_xsrf" value="', 1)[1].split('"', 1)[0] if "_xsrf" in page.text else ""
    refused = await audit.post(f"{PAGE}/lift", data={"_xsrf": token, "api": f"wecom:{TAG}", "reason": "x"})
    assert refused.status_code == 403


@pytest.mark.usefixtures("closed")
async def test_the_alarms_say_in_words_what_happened(
    clerk: Clerk, demo: Services, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    await tools.fault(sandbox, "errcode", tools.WELCOME_CALL, errcode=41050)
    for name in ("王芳", "陈强"):
        await tools.scanned(sandbox, http, name=name)
    await tools.all_work(demo)
    lin = await clerk("lin")
    chinese = html.unescape((await lin.get("/console/alarms")).text)
    assert "平台暂停了一个接口" in chinese
    assert "有 2 位客户没有收到欢迎语" in chinese
    assert "客户打标签" in chinese
    english = html.unescape((await lin.get("/console/alarms?lang=en")).text)
    assert "Welcomes not sent: 2. Why:" in english
    assert "Tagging of customers" in english


def test_every_api_has_a_name_in_both_languages() -> None:
    names = {endpoint.path for endpoint in (*OF_WECOM, *OF_WECHAT)} | {name for _, name, _ in _NAMED if name}
    languages: tuple[Language, ...] = ("zh", "en")
    for language in languages:
        nameless = {name for name in names if sentence(f"api_{name}", language) == f"api_{name}"}
        assert nameless == set()
