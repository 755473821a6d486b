"""The operations console: two people, one campaign, and the server's word on who may do what (promise P7)."""

from __future__ import annotations

import html
import re
from typing import Any

import httpx
import pytest

from services.container import Services
from tests.http.conftest import PASSWORD, Clerk, post_form, sign_in

CAMPAIGN = "/console/campaigns/acq-branch"


async def _text(demo: Services) -> str:
    rows = await demo.store.tenant("demo")["campaign_versions"].find({"campaign": "acq-branch", "version": 1})
    return str(rows[0]["text"])


async def _state(demo: Services) -> dict[str, Any]:
    row = await demo.store.tenant("demo")["campaigns"].find_one({"campaign": "acq-branch"})
    assert row is not None
    return {"state": row["state"], "live": row["live_version"], "versions": row["versions"]}


async def test_signing_in_makes_a_new_session_and_ends_the_old_one(http: httpx.AsyncClient, demo: Services) -> None:
    first = (await sign_in(http, "demo", "lin", PASSWORD)).cookies["yq_console"]
    answer = await sign_in(http, "demo", "lin", PASSWORD)
    second = answer.cookies["yq_console"]
    assert first != second
    assert await demo.sessions.read("clerk", first) is None
    assert await demo.sessions.read("clerk", second) is not None
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie


async def test_a_wrong_password_says_nothing_about_which_part_was_wrong(http: httpx.AsyncClient) -> None:
    wrong = await sign_in(http, "demo", "lin", "not-the-password")
    nobody = await sign_in(http, "demo", "nobody", "not-the-password")
    nowhere = await sign_in(http, "", "lin", "not-the-password")
    assert [each.status_code for each in (wrong, nobody, nowhere)] == [401, 401, 401]
    for each in (wrong, nobody, nowhere):
        assert "登录未通过" in each.text
        assert "yq_console" not in each.cookies
    assert 'value="lin"' in wrong.text


async def test_too_many_tries_are_stopped(http: httpx.AsyncClient) -> None:
    for _ in range(10):
        await sign_in(http, "demo", "zhao", "wrong")
    stopped = await sign_in(http, "demo", "zhao", PASSWORD)
    assert (stopped.status_code, "yq_console" in stopped.cookies) == (429, False)


async def test_a_wrong_document_comes_back_whole_with_its_problems_and_lines(clerk: Clerk, demo: Services) -> None:
    lin = await clerk("lin")
    before = await _state(demo)
    text = (await _text(demo)).replace("kind: code", "kind: cod & <b>e</b>")
    answer = await post_form(lin, f"{CAMPAIGN}/edit", "/console/campaigns", text=text, campaign="acq-branch")
    line = text[: text.index("kind: cod &")].count("\n") + 1
    assert answer.status_code == 400
    assert f"第 {line} 行" in answer.text
    shown = answer.text.split("<textarea", 1)[1].split(">", 1)[1].split("</textarea>")[0]
    assert html.unescape(shown).removeprefix("\n") == text
    assert await _state(demo) == before


async def test_the_author_cannot_approve_and_a_second_clerk_can(clerk: Clerk, demo: Services) -> None:
    lin, zhao = await clerk("lin"), await clerk("zhao")
    text = (await _text(demo)).replace("stock: 20000", "stock: 19999")
    submitted = await post_form(lin, f"{CAMPAIGN}/edit", "/console/campaigns", text=text, campaign="acq-branch")
    assert submitted.status_code == 200
    assert "版本 2 待审批" in submitted.text
    assert "+    stock: 19999" in submitted.text
    refused = await post_form(lin, CAMPAIGN, f"{CAMPAIGN}/versions/2/approve")
    assert refused.status_code == 403
    assert "提交人不能批准自己的版本" in refused.text
    assert await _state(demo) == {"state": "live", "live": 1, "versions": 2}
    approved = await post_form(zhao, CAMPAIGN, f"{CAMPAIGN}/versions/2/approve")
    assert approved.status_code == 200
    assert "新版本已上线" in approved.text
    assert await _state(demo) == {"state": "live", "live": 2, "versions": 2}
    again = await post_form(zhao, CAMPAIGN, f"{CAMPAIGN}/versions/2/approve")
    assert again.status_code == 409
    audit = (await lin.get("/console/audit?lang=en")).text
    assert "tried to approve his own version" in audit
    assert "version went live" in audit


async def test_a_rejected_version_stays_out_and_says_why(clerk: Clerk, demo: Services) -> None:
    lin, zhao = await clerk("lin"), await clerk("zhao")
    text = (await _text(demo)).replace("stock: 20000", "stock: 19998")
    await post_form(lin, f"{CAMPAIGN}/edit", "/console/campaigns", text=text, campaign="acq-branch")
    silent = await post_form(zhao, CAMPAIGN, f"{CAMPAIGN}/versions/2/reject", reason=" ")
    assert silent.status_code == 400
    rejected = await post_form(zhao, CAMPAIGN, f"{CAMPAIGN}/versions/2/reject", reason="预算未批")
    assert "已驳回" in rejected.text
    rows = await demo.store.tenant("demo")["campaign_versions"].find({"campaign": "acq-branch", "version": 2})
    assert (rows[0]["state"], rows[0]["reason"]) == ("rejected", "预算未批")
    assert (await _state(demo))["live"] == 1


async def test_who_decides_on_a_replaced_version_is_told_which_one_waits_in_its_place(
    clerk: Clerk, demo: Services
) -> None:
    lin, zhao = await clerk("lin"), await clerk("zhao")
    text = await _text(demo)
    for stock in ("19997", "19996", "19995"):
        changed = text.replace("stock: 20000", f"stock: {stock}")
        await post_form(lin, f"{CAMPAIGN}/edit", "/console/campaigns", text=changed, campaign="acq-branch")
    for deed, fields in (("approve", {}), ("reject", {"reason": "预算未批"})):
        late = await post_form(zhao, CAMPAIGN, f"{CAMPAIGN}/versions/2/{deed}", **fields)
        assert late.status_code == 409
        assert "lin 已提交新版本 4，请重新审阅" in late.text
    english = await post_form(zhao, f"{CAMPAIGN}?lang=en", f"{CAMPAIGN}/versions/3/approve")
    assert "lin has submitted version 4" in english.text
    assert (await _state(demo))["live"] == 1


async def test_pausing_and_going_on(clerk: Clerk, demo: Services) -> None:
    lin = await clerk("lin")
    paused = await post_form(lin, CAMPAIGN, f"{CAMPAIGN}/pause")
    assert "活动已暂停" in paused.text
    assert (await _state(demo))["state"] == "paused"
    twice = await post_form(lin, CAMPAIGN, f"{CAMPAIGN}/pause")
    assert (twice.status_code, (await _state(demo))["state"]) == (409, "paused")
    await post_form(lin, CAMPAIGN, f"{CAMPAIGN}/resume")
    assert (await _state(demo))["state"] == "live"


async def test_the_funnel_is_a_fragment_that_asks_for_a_session(clerk: Clerk, http: httpx.AsyncClient) -> None:
    shown = await (await clerk("lin")).get(f"{CAMPAIGN}/funnel")
    assert shown.text.startswith("<table")
    refused = await http.get(f"{CAMPAIGN}/funnel", headers={"HX-Request": "true"})
    assert (refused.status_code, refused.headers["HX-Redirect"]) == (401, "/console/")


async def test_signing_out_ends_the_session_on_the_server(clerk: Clerk, demo: Services) -> None:
    lin = await clerk("lin")
    token = lin.cookies["yq_console"]
    answer = await post_form(lin, "/console/", "/console/logout", follow=False)
    assert answer.headers["Location"] == "/console/login"
    assert await demo.sessions.read("clerk", token) is None


@pytest.mark.parametrize(
    ("address", "other"),
    [
        ("/console/alarms?state=handled", "/console/alarms?state=handled&lang=en"),
        ("/console/events?state=waiting&lang=zh", "/console/events?state=waiting&lang=en"),
        (
            "/console/handover/new?mode=onjob&giver=rm.chen&lang=en",
            "/console/handover/new?mode=onjob&giver=rm.chen&lang=zh",
        ),
        ("/console/people?q=13812345678", "/console/people?lang=en"),
        ("/console/alarms?state=%22%3E%3Cscript%3E", "/console/alarms?state=%22%3E%3Cscript%3E&lang=en"),
    ],
)
async def test_the_other_language_shows_the_same_page(clerk: Clerk, address: str, other: str) -> None:
    page = await (await clerk("lin")).get(address)
    (link,) = re.findall(r'<a class="toplink" href="([^"]*lang=[^"]*)"', page.text)
    assert html.unescape(link) == other
