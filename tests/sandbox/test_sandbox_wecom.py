"""WeCom's members, app messages and OAuth (contract/wechat B1, B2, B10)."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from sandbox.core.world import World

AUTHORIZE = "/open/connect/oauth2/authorize"


def question(play, **changes: Any):
    """A correct request for the OAuth page."""
    return {
        "appid": play.box.world.corp.corp_id,
        "redirect_uri": "https://bank.example/sidebar/back?tenant=demo",
        "response_type": "code",
        "scope": "snsapi_base",
        "agentid": str(play.app.agent_id),
        "state": "Abc123",
    } | changes


async def test_oauth_redirects_with_code_and_state(playing):
    """B1: the code names the member, once."""
    async with playing() as play:
        answer = await play.http.get(AUTHORIZE, params=question(play, sandbox_userid="rm.chen"))
        assert answer.status_code == 302
        target = urlsplit(answer.headers["Location"])
        query = parse_qs(target.query)
        assert (target.netloc, target.path, query["tenant"], query["state"]) == (
            "bank.example",
            "/sidebar/back",
            ["demo"],
            ["Abc123"],
        )
        code = query["code"][0]
        assert await play.wecom("/cgi-bin/auth/getuserinfo", code=code) == {
            "errcode": 0,
            "errmsg": "ok",
            "userid": "rm.chen",
        }
        assert (await play.wecom("/cgi-bin/auth/getuserinfo", code=code))["errcode"] == 40029


async def test_oauth_page_lets_the_visitor_choose(playing):
    """Without a chosen member the page offers all six."""
    async with playing() as play:
        page = await play.http.get(AUTHORIZE, params=question(play))
        assert page.status_code == 200
        assert page.text.count("sandbox_userid=") == 6
        assert "script-src 'self'" in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "changes",
    [
        {"appid": "ww0000000000000000"},
        {"response_type": "token"},
        {"scope": "everything"},
        {"agentid": "999"},
        {"state": "not-alphanumeric"},
        {"state": "a" * 129},
        {"redirect_uri": "javascript:alert(1)"},
        {"redirect_uri": ""},
        {"sandbox_userid": "rm.nobody"},
    ],
)
async def test_oauth_refuses_a_wrong_question(playing, changes):
    """B1: appid, response_type, scope, agentid, state of a-zA-Z0-9 up to 128 bytes, a web address to return to."""
    async with playing() as play:
        answer = await play.http.get(AUTHORIZE, params=question(play, sandbox_userid="rm.chen") | changes)
        assert answer.status_code == 400
        assert "Location" not in answer.headers


async def test_oauth_keeps_to_the_trusted_domain(playing, world):
    """B1: 50001, the redirect must match the app's trusted domain."""
    app = world.corp.apps[0].model_copy(update={"trusted_domains": ("other.example",)})
    strict = World.model_validate(
        world.model_copy(update={"corp": world.corp.model_copy(update={"apps": (app,)})}).model_dump()
    )
    async with playing(strict) as play:
        answer = await play.http.get(AUTHORIZE, params=question(play, sandbox_userid="rm.chen"))
        assert answer.status_code == 400
        assert "50001" in answer.text


async def test_oauth_code_is_missing_unknown_or_expired(playing):
    """B1: 41008, 40029, 42003."""
    async with playing() as play:
        old = (await play.control("/members/rm.li/oauth", {}))["code"]
        await play.control("/clock", {"advance": 300})
        errcodes = [(await play.wecom("/cgi-bin/auth/getuserinfo", code=c))["errcode"] for c in ("", "what", old)]
        assert errcodes == [41008, 40029, 42003]


async def test_member_is_described_without_sensitive_fields(playing):
    """B2: apps of today do not receive mobile, e-mail or avatar; ids ignore case."""
    async with playing() as play:
        answer = await play.wecom("/cgi-bin/user/get", userid="RM.Chen")
        assert (answer["userid"], answer["name"], answer["main_department"]) == ("rm.chen", "陈思远", 2)
        assert not {"mobile", "email", "avatar"} & answer.keys()
        assert (await play.wecom("/cgi-bin/user/get", userid="rm.nobody"))["errcode"] == 60111


def message(play, **changes: Any):
    return {
        "touser": "rm.chen|rm.nobody",
        "msgtype": "text",
        "agentid": play.app.agent_id,
        "text": {"content": "有新客户"},
    } | changes


async def test_app_message_reaches_members_and_names_bad_targets(playing):
    """B10: partly bad targets are errcode 0 with invalid*."""
    async with playing() as play:
        answer = await play.wecom("/cgi-bin/message/send", message(play, toparty="3|99"))
        assert (answer["errcode"], answer["invaliduser"], answer["invalidparty"]) == (0, "rm.nobody", "99")
        members = (await play.control("/members"))["members"]
        received = {m["userid"]: [x["text"] for x in m["messages"]] for m in members if m["messages"]}
        assert received == {"rm.chen": ["有新客户"], "rm.wang": ["有新客户"], "rm.zhao": ["有新客户"]}


async def test_app_message_to_all_reaches_all(playing):
    """B10: @all."""
    async with playing() as play:
        await play.wecom("/cgi-bin/message/send", message(play, touser="@all"))
        assert [len(m["messages"]) for m in (await play.control("/members"))["members"]] == [1] * 6


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [
        ({"touser": "rm.nobody"}, 81013),
        ({"touser": ""}, 40058),
        ({"agentid": 7}, 40056),
        ({"msgtype": "smoke"}, 40008),
        ({"text": {"content": ""}}, 44004),
    ],
)
async def test_refused_app_message_reaches_nobody(playing, changes, errcode):
    """B10: 81013 when all targets are bad; bad agent, type, content."""
    async with playing() as play:
        assert (await play.wecom("/cgi-bin/message/send", message(play) | changes))["errcode"] == errcode
        assert all(not m["messages"] for m in (await play.control("/members"))["members"])


async def test_wecom_error_has_hint_address_and_page(playing):
    """Section 0, I: the shape of an error."""
    async with playing() as play:
        text = (await play.wecom("/cgi-bin/user/get", userid="x"))["errmsg"]
        assert text.startswith("userid not found, hint: [")
        assert text.endswith("from ip: 127.0.0.1, more info at https://open.work.weixin.qq.com/devtool/query?e=60111")


async def test_app_without_the_permission_may_not_call_customer_contact(playing, world):
    """B3, D2: 48002 for an app that is not listed."""
    app = world.corp.apps[0].model_copy(update={"customer_contact": False})
    closed = world.model_copy(update={"corp": world.corp.model_copy(update={"apps": (app,)})})
    async with playing(closed) as play:
        assert (await play.wecom("/cgi-bin/externalcontact/get_follow_user_list"))["errcode"] == 48002
        assert (await play.wecom("/cgi-bin/user/get", userid="rm.chen"))["errcode"] == 0
