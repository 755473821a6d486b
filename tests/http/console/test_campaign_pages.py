"""The console's pages of campaigns: what is asked, what is said to whom, and that nobody can hold up the others."""

from __future__ import annotations

import asyncio
import html
import re
import time

import httpx
import pytest

from services.container import Services
from tests.conftest import DEMO_CAMPAIGNS, Sandbox
from tests.http.conftest import PASSWORD, Clerk, post_form
from tests.integration.campaigns import tools
from tests.support.documents import REWARDS, WELCOME
from tests.support.forms import PageForm, forms_of

CAMPAIGN = "/console/campaigns/acq-branch"
NEW, ALL = "/console/campaigns/new", "/console/campaigns"
LIVE = (DEMO_CAMPAIGNS / "branch-acquisition.yaml").read_text(encoding="utf-8")
HI = "- {id: hi, send: {via: wecom.welcome, template: hi}}\n"


def problems(answer: httpx.Response) -> list[str]:
    found = re.search(r'<ul class="problems".*?</ul>', answer.text, re.DOTALL)
    assert found is not None, answer.text
    items = re.findall(r"<li>(.*?)</li>", found[0], re.DOTALL)
    return [html.unescape(re.sub(r"<[^>]+>", "", item)).strip() for item in items]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("stock: 20000", "stock: 0100", '第 32 行 0100 以 0 开头，可以读作 100、八进制数或文字；数字请写 100，文字请写 "0100"。'),
        ("id: hi", "id: 100123", '第 35 行 steps.0.id：这里要文字，读到的是数字 100123，请写成 "100123"。'),
        ("to: 2027-12-31", "to: 20271231", "第 6 行 window.to：这里要日期，读到的是数字 20271231，请写成 2027-12-31。"),
        ("steps:", "setps:", "第 34 行 setps：没有这个键，是不是想写 steps。"),
        ("{{customer.name}}您好", "{customer.name}您好",
         "第 21 行 “{customer.name}”不是占位符，客户会原样看到它，请写成 {{customer.name}}。"),
    ],
)  # fmt: skip
async def test_a_chinese_page_says_in_chinese_what_was_read_and_what_to_write(
    clerk: Clerk, demo: Services, old: str, new: str, said: str
) -> None:
    lin = await clerk("lin")
    answer = await post_form(lin, f"{CAMPAIGN}/edit", ALL, text=LIVE.replace(old, new, 1), campaign="acq-branch")
    assert answer.status_code == 400
    found = problems(answer)
    assert any(one.startswith(said) for one in found), found
    assert all(re.search("[\u4e00-\u9fff]", one) for one in found)
    english = await post_form(lin, f"{NEW}?lang=en", ALL, text=LIVE.replace(old, new, 1), campaign="acq-branch")
    assert not any(re.search("[\u4e00-\u9fff]", one) for one in problems(english))


async def test_an_overlap_is_confirmed_before_it_is_submitted(clerk: Clerk, demo: Services) -> None:
    lin, zhao = await clerk("lin"), await clerk("zhao")
    copy = LIVE.replace("id: acq-branch", "id: copy")
    asked = await post_form(lin, NEW, ALL, text=copy, campaign="")
    assert asked.status_code == 409
    assert "一次扫码会同时进入两个活动" in asked.text
    seen = re.search(r'name="seen" value="([^"]+)"', asked.text)
    assert seen is not None
    shown = asked.text.split("<textarea", 1)[1].split(">", 1)[1].split("</textarea>")[0]
    assert html.unescape(shown).removeprefix("\n") == copy
    unticked = await post_form(lin, NEW, ALL, text=copy, campaign="", seen=seen[1])
    assert unticked.status_code == 409
    done = await post_form(lin, NEW, ALL, text=copy, campaign="", seen=seen[1], confirmed="yes")
    assert "版本 1" in done.text
    assert "一次扫码会同时进入两个活动" in (await zhao.get(f"{ALL}/copy")).text


async def test_a_new_campaign_with_a_known_id_leads_to_that_one(clerk: Clerk, demo: Services) -> None:
    lin = await clerk("lin")
    answer = await post_form(lin, NEW, ALL, text=LIVE.replace("stock: 20000", "stock: 5"), campaign="")
    assert answer.status_code == 409
    assert f'href="{CAMPAIGN}/edit"' in answer.text
    same = await post_form(lin, f"{CAMPAIGN}/edit", ALL, text=LIVE, campaign="acq-branch")
    assert (same.status_code, "内容与版本 1 完全相同" in same.text) == (409, True)


async def test_the_author_has_no_buttons_to_decide_and_is_told_why_he_was_turned_down(
    clerk: Clerk, demo: Services
) -> None:
    lin, zhao = await clerk("lin"), await clerk("zhao")
    await post_form(lin, NEW, ALL, text=REWARDS, campaign="")
    own, other = (await lin.get(f"{ALL}/shop")).text, (await zhao.get(f"{ALL}/shop")).text
    assert ("versions/1/approve" in own, "versions/1/approve" in other) == (False, True)
    assert "由另一位同事审批" in own
    assert "由另一位同事审批" not in other
    await post_form(zhao, f"{ALL}/shop", f"{ALL}/shop/versions/1/reject", reason="预算未批")
    for page in (f"{ALL}/shop", "/console/"):
        told = (await lin.get(page)).text
        assert "赵敏驳回" in told
        assert "预算未批" in told


async def test_wording_passes_with_the_checkers_reason(clerk: Clerk, demo: Services) -> None:
    lin, zhao = await clerk("lin"), await clerk("zhao")
    text = WELCOME.replace("您好", "您好，请关注账户安全，收到送款短信切勿转账") + HI
    asked = await post_form(lin, NEW, ALL, text=text, campaign="")
    seen = re.search(r'name="seen" value="([^"]+)"', asked.text)
    assert seen is not None
    assert "“关注账户安全，收到送”" in asked.text
    await post_form(lin, NEW, ALL, text=text, campaign="", seen=seen[1], confirmed="yes")
    without = await post_form(zhao, f"{ALL}/hello", f"{ALL}/hello/versions/1/approve")
    assert (without.status_code, "写明理由" in without.text) == (400, True)
    done = await post_form(zhao, f"{ALL}/hello", f"{ALL}/hello/versions/1/approve", reason="反诈提示")
    assert done.status_code == 200
    assert "新版本已上线" in done.text


async def test_pausing_says_what_it_will_do_and_asks(clerk: Clerk, demo: Services) -> None:
    lin = await clerk("lin")
    page = await lin.get(CAMPAIGN)
    assert f'action="{CAMPAIGN}/pause"' not in page.text
    asked = await lin.get(f"{CAMPAIGN}/pause")
    for said in ("暂停“网点拉新”？", "进行中的客户：0 位", "仍会加好友的活码和链接：3 个", "不发欢迎语"):
        assert said in html.unescape(asked.text)
    paused = await post_form(lin, f"{CAMPAIGN}/pause", f"{CAMPAIGN}/pause", greet="plain")
    assert "新好友会收到一句普通欢迎语" in paused.text
    assert "恢复“网点拉新”？" in html.unescape((await lin.get(f"{CAMPAIGN}/resume")).text)
    resumed = await post_form(lin, f"{CAMPAIGN}/resume", f"{CAMPAIGN}/resume")
    assert "仍会加好友" not in resumed.text


BAD = {
    "unknown keys": "".join(f"key{n}: 1\n" for n in range(5_500)),
    "steps": LIVE + "".join(f"  - {{id: s{n}, exit: x}}\n" for n in range(2_300)),
    "templates": WELCOME.replace("steps:", "".join(f"  t{n}: {{zh: 文}}\n" for n in range(90)) + "steps:") + HI,
    "base 60": LIVE.replace("stock: 20000", "stock: 1" + ":59" * 18_000),
    "digits": LIVE.replace("stock: 20000", "stock: " + "9" * 60_000),
    "depth": "a: " + "[" * 60_000,
    "braces": LIVE.replace("您好", "{{a" * 19_000),
    "lines": LIVE + "".join(f"# {n % 7}\n" for n in range(14_000)),
    "problems": LIVE.replace("labels: [获客]", "labels: [" + "1," * 450 + "]"),
}


@pytest.mark.parametrize("bad", BAD)
async def test_no_document_holds_up_whoever_else_is_served(
    clerk: Clerk, http: httpx.AsyncClient, demo: Services, bad: str
) -> None:
    """The server answers others while it reads, and its loop, which is this test's, is not held."""
    lin = await clerk("lin")
    text = BAD[bad]
    assert len(text.encode()) <= 64 * 1024
    lags: list[float] = []
    reading = asyncio.create_task(post_form(lin, f"{CAMPAIGN}/edit", ALL, text=text, campaign="acq-branch"))
    while not reading.done():
        begun = time.perf_counter()
        await asyncio.sleep(0.01)
        lags.append(time.perf_counter() - begun)
    answer = await reading
    assert answer.status_code in (200, 400, 409, 413)
    assert max(lags) < 1.0, sorted(lags)[-3:]
    assert len(lags) < 1_000
    shown = await lin.get(CAMPAIGN)
    assert len(shown.text) < 200_000


def edit_form(page: str) -> PageForm:
    return next(form for form in forms_of(page) if form.action == ALL)


async def test_a_text_over_a_version_that_its_writer_has_not_seen_is_kept_and_compared(
    clerk: Clerk, demo: Services
) -> None:
    lin, zhao = await clerk("lin"), await clerk("zhao")
    mine = edit_form((await zhao.get(f"{CAMPAIGN}/edit")).text)
    theirs = LIVE.replace("stock: 20000", "stock: 11111")
    await post_form(lin, f"{CAMPAIGN}/edit", ALL, text=theirs, campaign="acq-branch")
    text = LIVE.replace("stock: 20000", "stock: 12222")
    refused = await zhao.post(ALL, data={**mine.sent(), "text": text})
    assert refused.status_code == 409, refused.text
    assert "林晓 在你编辑期间提交了版本 2。" in refused.text
    changed = [html.unescape(line) for line in re.findall(r'<span class="(?:add|del)">(.*?)</span>', refused.text)]
    assert [line.strip() for line in changed] == ["-    stock: 11111", "+    stock: 12222"]
    again = edit_form(refused.text)
    assert again.texts["text"].replace("\r\n", "\n") == text
    assert "这是你提交的内容" not in refused.text
    done = await zhao.post(ALL, data=again.sent(), follow_redirects=True)
    assert (done.status_code, "版本 3" in done.text) == (200, True)
    english = await post_form(lin, f"{CAMPAIGN}/edit?lang=en", ALL, text=theirs, campaign="acq-branch", base="2")
    assert "submitted version 3 while you were editing" in english.text


async def test_a_text_that_outlived_its_session_still_began_with_the_older_version(
    clerk: Clerk, demo: Services
) -> None:
    lin, zhao = await clerk("lin"), await clerk("zhao")
    mine = edit_form((await zhao.get(f"{CAMPAIGN}/edit")).text)
    await demo.sessions.end("clerk", zhao.cookies["yq_console"])
    zhao.cookies.delete("yq_console")
    await post_form(lin, f"{CAMPAIGN}/edit", ALL, text=LIVE.replace("stock: 20000", "stock: 5"), campaign="acq-branch")
    text = LIVE.replace("stock: 20000", "stock: 6")
    stopped = await zhao.post(ALL, data={**mine.sent(), "text": text})
    (sign_in_form,) = [one for one in forms_of(stopped.text) if one.action == "/console/login"]
    who = {"bank": "demo", "name": "zhao", "password": PASSWORD}
    answer = await zhao.post(sign_in_form.action, data={**sign_in_form.hidden, **who})
    back = edit_form((await zhao.get(answer.headers["Location"])).text)
    assert back.texts["text"].replace("\r\n", "\n") == text
    refused = await zhao.post(ALL, data=back.sent())
    assert (refused.status_code, "林晓 在你编辑期间提交了版本 2" in refused.text) == (409, True)


async def test_what_wecom_refuses_for_good_is_said_with_its_reason_and_is_no_outage(
    clerk: Clerk, demo: Services, sandbox: Sandbox
) -> None:
    lin, zhao = await clerk("lin"), await clerk("zhao")
    text = LIVE.replace("id: acq-branch", "id: other").replace("branch-q1", "other-q1")
    asked = await post_form(lin, NEW, ALL, text=text, campaign="")
    seen = re.search(r'name="seen" value="([^"]+)"', asked.text)
    assert seen is not None
    await post_form(lin, NEW, ALL, text=text, campaign="", seen=seen[1], confirmed="yes")
    await tools.fault(sandbox, "errcode", tools.ADD, errcode=48002)
    said = await post_form(zhao, f"{ALL}/other", f"{ALL}/other/versions/1/approve", version="1")
    assert said.status_code == 502
    assert (
        "企业微信拒绝了发布所需的活码、获客链接或群欢迎语：平台拒绝我们的配置，需要人工处理 (48002)"
        in html.unescape(said.text)
    )
    await tools.no_faults(sandbox)
    again = await post_form(zhao, f"{ALL}/other", f"{ALL}/other/versions/1/approve", version="1")
    assert again.status_code == 200
