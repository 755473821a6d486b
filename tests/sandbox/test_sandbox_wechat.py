"""The mini-program API (contract/wechat 0, A2, A3)."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from sandbox.core.world import World


async def login_code(play, person, appid=""):
    return (await play.control(f"/people/{person['id']}/open", {"appid": appid or play.mini.appid}))["code"]


async def phone_code(play, person, appid=""):
    return (await play.control(f"/people/{person['id']}/phone", {"appid": appid or play.mini.appid}))["code"]


async def test_login_gives_openid_session_key_and_unionid(playing):
    """A2: success carries no errcode."""
    async with playing() as play:
        person = await play.person()
        answer = await play.session(await login_code(play, person))
        assert answer.keys() == {"openid", "session_key", "unionid"}
        assert (answer["openid"], answer["unionid"]) == (person["openids"][play.mini.appid], person["unionid"])


async def test_two_mini_programs_give_one_unionid_and_two_openids(playing):
    """A2: one Open Platform account."""
    async with playing() as play:
        person, other = await play.person(), play.other_mini
        first = await play.session(await login_code(play, person))
        code = await login_code(play, person, other.appid)
        second = await play.session(code, appid=other.appid, secret=other.secret)
        assert first["unionid"] == second["unionid"]
        assert first["openid"] != second["openid"]


async def test_mini_program_without_open_platform_account_gives_no_unionid(playing, world):
    """A2: unionid only when bound; a switch of the world."""
    minis = (world.mini_programs[0].model_copy(update={"open_platform": False}), world.mini_programs[1])
    alone = World.model_validate(world.model_copy(update={"mini_programs": minis}).model_dump())
    async with playing(alone) as play:
        answer = await play.session(await login_code(play, await play.person()))
        assert answer.keys() == {"openid", "session_key"}


async def test_login_code_works_once(playing):
    """A2, F4: a code that was used is 40163."""
    async with playing() as play:
        code = await login_code(play, await play.person())
        assert "openid" in await play.session(code)
        assert (await play.session(code))["errcode"] == 40163


async def test_login_code_dies_after_five_minutes(playing):
    """A2, F3: lifetimes follow the clock."""
    async with playing() as play:
        person = await play.person()
        young, old = await login_code(play, person), await login_code(play, person)
        await play.control("/clock", {"advance": 299})
        assert "openid" in await play.session(young)
        await play.control("/clock", {"advance": 1})
        assert (await play.session(old))["errcode"] == 40029


async def test_login_code_of_another_mini_program_is_refused_and_stays_good(playing):
    """A2: 40029 for a code of another appid."""
    async with playing() as play:
        code = await login_code(play, await play.person(), play.other_mini.appid)
        assert (await play.session(code))["errcode"] == 40029
        assert "openid" in await play.session(code, appid=play.other_mini.appid, secret=play.other_mini.secret)


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [
        ({"js_code": ""}, 41008),
        ({"js_code": "unknown"}, 40029),
        ({"appid": ""}, 41002),
        ({"appid": "wx0"}, 40013),
        ({"secret": "wrong"}, 40125),
        ({"grant_type": "x"}, 40002),
    ],
)
async def test_login_checks_its_parameters_without_using_the_code(playing, changes, errcode):
    """A2: errors."""
    async with playing() as play:
        code = await login_code(play, await play.person())
        assert (await play.session(code, **changes))["errcode"] == errcode
        assert "openid" in await play.session(code)


async def test_phone_code_gives_the_number_once(playing):
    """A3: phone_info with watermark; single use."""
    async with playing() as play:
        code = await phone_code(play, await play.person(phone="13812345678"))
        answer = await play.wechat("/wxa/business/getuserphonenumber", {"code": code})
        assert answer == {
            "errcode": 0,
            "errmsg": "ok",
            "phone_info": {
                "phoneNumber": "13812345678",
                "purePhoneNumber": "13812345678",
                "countryCode": 86,
                "watermark": {"timestamp": play.box.seconds(), "appid": play.mini.appid},
            },
        }
        assert (await play.wechat("/wxa/business/getuserphonenumber", {"code": code}))["errcode"] == 40029


async def test_phone_call_refuses_login_codes_and_foreign_codes(playing):
    """A3: 40029 for a login code, another appid's code, none, or one of five minutes."""
    async with playing() as play:
        person = await play.person()
        old = await phone_code(play, person)
        await play.control("/clock", {"advance": 300})
        foreign = await phone_code(play, person, play.other_mini.appid)
        for code in (old, foreign, await login_code(play, person), ""):
            assert (await play.wechat("/wxa/business/getuserphonenumber", {"code": code}))["errcode"] == 40029


async def test_session_key_is_checked_by_its_signature(playing):
    """A2: checksession signs the empty string with the raw key; a later login replaces the key."""
    async with playing() as play:
        person = await play.person()
        session = await play.session(await login_code(play, person))
        signature = hmac.new(session["session_key"].encode(), b"", hashlib.sha256).hexdigest()
        asked = {"openid": session["openid"], "signature": signature, "sig_method": "hmac_sha256"}
        assert (await play.wechat("/wxa/checksession", **asked))["errcode"] == 0
        assert (await play.wechat("/wxa/checksession", **asked | {"signature": "0" * 64}))["errcode"] == 87009
        assert (await play.wechat("/wxa/checksession", **asked | {"openid": "oNobody"}))["errcode"] == 40003
        await play.session(await login_code(play, person))
        assert (await play.wechat("/wxa/checksession", **asked))["errcode"] == 87009


async def test_wrong_method_and_wrong_body_have_their_errcodes(playing):
    """Section 0, A1: 43002, 44002, 47001; the status stays 200."""
    async with playing() as play:
        path = "/wechat/cgi-bin/stable_token"
        answers = [await play.http.get(path), await play.http.post(path), await play.http.post(path, content=b"{")]
        assert [a.status_code for a in answers] == [200, 200, 200]
        assert [a.json()["errcode"] for a in answers] == [43002, 44002, 47001]


async def test_unknown_path_is_404_and_logged(playing):
    """F6: mistakes are loud."""
    async with playing() as play:
        assert (await play.http.get("/wechat/wxa/nothing")).status_code == 404
        assert (await play.control("/calls"))["counts"] == {"/wechat/wxa/nothing": 1}
