"""JS tickets, sign-ins with consent, members in mini-programs, addresses (contract/wechat B1)."""

from __future__ import annotations

import pytest

AUTHORIZE = "/open/connect/oauth2/authorize"
INFO, DETAIL = "/cgi-bin/auth/getuserinfo", "/cgi-bin/auth/getuserdetail"


@pytest.mark.parametrize(
    ("path", "query"), [("/cgi-bin/get_jsapi_ticket", {}), ("/cgi-bin/ticket/get", {"type": "agent_config"})]
)
async def test_ticket_is_the_same_while_it_is_valid(playing, path, query):
    """B1, 90506, F3: 7200 s."""
    async with playing() as play:
        first = await play.wecom(path, **query)
        await play.control("/clock", {"advance": 7199})
        again = await play.wecom(path, **query)
        await play.control("/clock", {"advance": 1})
        later = await play.wecom(path, **query)
        assert (first["expires_in"], again["expires_in"], later["expires_in"]) == (7200, 1, 7200)
        assert first["ticket"] == again["ticket"] != later["ticket"]


async def test_corp_and_app_have_different_tickets_that_open_nothing(playing):
    """B1: a ticket is no token."""
    async with playing() as play:
        corp = (await play.wecom("/cgi-bin/get_jsapi_ticket"))["ticket"]
        app = (await play.wecom("/cgi-bin/ticket/get", type="agent_config"))["ticket"]
        assert corp != app
        for base, path in (("wecom", "/cgi-bin/department/list"), ("wechat", "/wxa/checksession")):
            assert (await play.get(f"/{base}{path}", access_token=corp))["errcode"] == 40014
        assert (await play.wecom("/cgi-bin/ticket/get", type="other"))["errcode"] == 40058


async def test_consent_opens_a_members_details_for_half_an_hour(playing):
    """B1, 95833: user_ticket only with snsapi_privateinfo, 1800 s."""
    async with playing() as play:
        await play.control("/members/rm.li", {"mobile": "13800001111", "gender": "2", "email": "li@bank.example"})
        plain = await play.wecom(INFO, code=(await play.control("/members/rm.li/oauth", {}))["code"])
        assert plain == {"errcode": 0, "errmsg": "ok", "userid": "rm.li"}
        code = (await play.control("/members/rm.li/oauth", {"private": True}))["code"]
        ticket = {"user_ticket": (await play.wecom(INFO, code=code))["user_ticket"]}
        detail = await play.wecom(DETAIL, ticket)
        assert (detail["userid"], detail["mobile"], detail["gender"], detail["email"]) == (
            "rm.li",
            "13800001111",
            "2",
            "li@bank.example",
        )
        assert detail.keys() >= {"avatar", "qr_code", "biz_mail", "address"}
        await play.control("/clock", {"advance": 1800})
        assert (await play.wecom(DETAIL, ticket))["errcode"] == 42003
        assert (await play.wecom(DETAIL, {"user_ticket": "made up"}))["errcode"] == 40029
        assert (await play.wecom(DETAIL, {}))["errcode"] == 40058


async def test_page_with_private_scope_gives_a_code_of_consent(playing):
    """B1, 91022."""
    async with playing() as play:
        query = {
            "appid": play.box.world.corp.corp_id,
            "redirect_uri": "https://bank.example/back",
            "response_type": "code",
            "scope": "snsapi_privateinfo",
            "agentid": str(play.app.agent_id),
            "state": "s",
            "sandbox_userid": "rm.chen",
        }
        target = (await play.http.get(AUTHORIZE, params=query)).headers["Location"]
        code = target.partition("code=")[2].partition("&")[0]
        assert "user_ticket" in await play.wecom(INFO, code=code)


async def test_visitor_who_is_no_member_has_an_openid(playing):
    """B1, 91023: the external_userid only of a customer; the code works once, for five minutes."""
    async with playing() as play:
        person = await play.person()
        code = (await play.control(f"/people/{person['id']}/oauth", {}))["code"]
        openid = person["openids"][play.mini.appid]
        assert await play.wecom(INFO, code=code) == {"errcode": 0, "errmsg": "ok", "openid": openid}
        assert (await play.wecom(INFO, code=code))["errcode"] == 40029
        await play.control(f"/people/{person['id']}/add", {"userid": "rm.li"})
        code = (await play.control(f"/people/{person['id']}/oauth", {}))["code"]
        assert (await play.wecom(INFO, code=code))["external_userid"] == person["external_userid"]
        code = (await play.control(f"/people/{person['id']}/oauth", {}))["code"]
        await play.control("/clock", {"advance": 300})
        assert (await play.wecom(INFO, code=code))["errcode"] == 42003


async def test_member_opens_the_mini_program_inside_wecom(playing):
    """B1, 91507."""
    async with playing() as play:
        code = (await play.control("/members/rm.li/login", {}))["code"]
        asked = {"js_code": code, "grant_type": "authorization_code"}
        path = "/cgi-bin/miniprogram/jscode2session"
        assert (await play.wecom(path, js_code=code))["errcode"] == 40058
        session = await play.wecom(path, **asked)
        assert (session["corpid"], session["userid"], len(session["session_key"])) == (
            play.box.world.corp.corp_id,
            "rm.li",
            24,
        )
        assert (await play.wecom(path, **asked))["errcode"] == 40029


@pytest.mark.parametrize("path", ["/cgi-bin/get_api_domain_ip", "/cgi-bin/getcallbackip"])
async def test_platform_names_its_addresses(playing, path):
    """B1."""
    async with playing() as play:
        assert (await play.wecom(path))["ip_list"] == ["127.0.0.1"]
