"""The mini-program calls of the slice, as they go over the wire."""

from __future__ import annotations

import pytest

from services.wechat.core import errors
from services.wechat.miniprogram import LoginSession

LOGIN = "/sns/jscode2session"
PHONE = "/wxa/business/getuserphonenumber"
OK = {"errcode": 0, "errmsg": "ok"}


async def test_the_stable_token_is_asked_for(rig):
    async with rig() as r:
        assert await r.mini.token() == "T1"
        (call,) = r.platform.calls
    assert (call.method, call.path, call.query) == ("POST", "/cgi-bin/stable_token", {})
    assert call.json == {
        "grant_type": "client_credential",
        "appid": "wxapp",
        "secret": "mini-secret",
        "force_refresh": False,
    }


@pytest.mark.parametrize("extra", [{}, {"errcode": 0, "expires_in": 7200}])
async def test_a_login_code_gives_a_session_without_any_token(rig, extra):
    async with rig() as r:
        r.platform.answers[LOGIN] = {"openid": "o1", "session_key": "k==", "unionid": "u1", **extra}
        assert await r.mini.code_to_session("c1") == LoginSession("o1", "u1", "k==")
        (call,) = r.platform.calls
    assert call.query == {
        "appid": "wxapp",
        "secret": "mini-secret",
        "js_code": "c1",
        "grant_type": "authorization_code",
    }


async def test_a_session_without_unionid_and_without_its_key_in_print(rig):
    async with rig() as r:
        r.platform.answers[LOGIN] = {"openid": "o1", "session_key": "k=="}
        session = await r.mini.code_to_session("c1")
    assert session.unionid is None
    assert repr(session) == "LoginSession(openid='o1', unionid=None)"


async def test_a_used_login_code_and_an_empty_answer(rig):
    async with rig() as r:
        r.platform.answers[LOGIN] = [{"errcode": 40029, "errmsg": "invalid code rid: 1"}, {}]
        with pytest.raises(errors.SubjectState) as caught:
            await r.mini.code_to_session("c1")
        assert caught.value.errcode == 40029
        with pytest.raises(errors.UnknownOutcome, match="no openid"):
            await r.mini.code_to_session("c1")


@pytest.mark.parametrize("country", [86, "86"])
async def test_a_phone_code_gives_the_number(rig, country):
    info = {"phoneNumber": "+8613800000000", "purePhoneNumber": "13800000000", "countryCode": country}
    async with rig() as r:
        r.platform.answers[PHONE] = {**OK, "phone_info": {**info, "watermark": {"appid": "wxapp", "timestamp": 1}}}
        phone = await r.mini.get_phone_number("p1")
        assert r.platform.calls[-1].json == {"code": "p1"}
    assert (phone.number, phone.pure_number, phone.country_code) == ("+8613800000000", "13800000000", "86")
    assert repr(phone) == "PhoneNumber(country_code='86')"


async def test_a_phone_of_another_app_or_no_phone_is_refused(rig):
    async with rig() as r:
        r.platform.answers[PHONE] = [
            {**OK, "phone_info": {"phoneNumber": "1", "watermark": {"appid": "other"}}},
            {**OK, "phone_info": {}},
            {"errcode": 40029, "errmsg": "invalid code"},
        ]
        for kind in (errors.BadConfig, errors.UnknownOutcome, errors.SubjectState):
            with pytest.raises(kind):
                await r.mini.get_phone_number("p1")


async def test_check_session_signs_the_empty_message(rig):
    async with rig() as r:
        r.platform.answers["/wxa/checksession"] = [OK, {"errcode": 87009}, {"errcode": 40003}]
        assert await r.mini.check_session("o1", "o0q0otL8aEzpcZL/FT9WsQ==") is True
        assert await r.mini.check_session("o1", "old") is False
        with pytest.raises(errors.SubjectState):
            await r.mini.check_session("o2", "old")
        call = r.platform.of("/wxa/checksession")[0]
    assert call.query == {
        "openid": "o1",
        "signature": "46e043c5525c2d817c44be603d30837a808a1d930d038f6fdc3e62a201fed128",
        "sig_method": "hmac_sha256",
        "access_token": "T1",
    }
