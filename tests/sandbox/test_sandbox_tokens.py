"""Tokens of both families (contract/wechat A1, B1, F2)."""

from __future__ import annotations

import re

import pytest


async def refusal(play, token):
    """What a mini-program call and a WeCom call answer to this token."""
    wechat = await play.post("/wechat/wxa/business/getuserphonenumber", {"code": "x"}, access_token=token)
    wecom = await play.get("/wecom/cgi-bin/user/get", userid="rm.chen", access_token=token)
    return wechat["errcode"], wecom["errcode"]


async def classic(play):
    asked = {"grant_type": "client_credential", "appid": play.mini.appid, "secret": play.mini.secret}
    return (await play.get("/wechat/cgi-bin/token", **asked))["access_token"]


async def test_classic_token_rotates_with_five_minutes_of_overlap(playing):
    """A1: each call issues a new token; the former lives about five minutes more."""
    async with playing() as play:
        first, second = await classic(play), await classic(play)
        assert first != second
        assert (await refusal(play, first))[0] == 40029
        play.box.clock.advance(300)
        assert (await refusal(play, first))[0] == 42001
        assert (await refusal(play, second))[0] == 40029


async def test_stable_token_stays_until_its_last_five_minutes(playing):
    """A1: normal mode repeats the token, then a new one while the old is still good."""
    async with playing() as play:
        first = await play.stable_token()
        assert first.keys() == {"access_token", "expires_in"}
        assert first["expires_in"] == 7200
        play.box.clock.advance(6000)
        assert await play.stable_token() == {"access_token": first["access_token"], "expires_in": 1200}
        play.box.clock.advance(900)
        second = await play.stable_token()
        assert second["access_token"] != first["access_token"]
        assert (await refusal(play, first["access_token"]))[0] == 40029
        play.box.clock.advance(300)
        assert (await refusal(play, first["access_token"]))[0] == 42001


async def test_forced_refresh_voids_the_former_but_not_within_thirty_seconds(playing):
    """A1: force mode, at least 30 s apart, else the current token unchanged."""
    async with playing() as play:
        first = (await play.stable_token())["access_token"]
        second = (await play.stable_token(force_refresh=True))["access_token"]
        assert second != first
        assert (await refusal(play, first))[0] == 40001
        assert (await play.stable_token(force_refresh=True))["access_token"] == second
        play.box.clock.advance(30)
        assert (await play.stable_token(force_refresh=True))["access_token"] != second


async def test_forced_refresh_works_twenty_times_a_day(playing):
    """A1: the 21st force of a day returns the current token."""
    async with playing() as play:
        await play.stable_token()
        seen = set()
        for _ in range(21):
            seen.add((await play.stable_token(force_refresh=True))["access_token"])
            play.box.clock.advance(30)
        assert len(seen) == 20


async def test_classic_and_stable_tokens_do_not_disturb_each_other(playing):
    """A1: the two token spaces are isolated."""
    async with playing() as play:
        stable = (await play.stable_token())["access_token"]
        await classic(play)
        await classic(play)
        play.box.clock.advance(301)
        assert (await play.stable_token())["access_token"] == stable


async def test_wecom_repeats_its_token_until_it_expires(playing):
    """B1: the same token while it is valid."""
    async with playing() as play:
        first = await play.wecom_token()
        play.box.clock.advance(7199)
        again = await play.wecom_token()
        assert (again["access_token"], again["expires_in"]) == (first["access_token"], 1)
        play.box.clock.advance(1)
        assert (await refusal(play, first["access_token"]))[1] == 42001
        assert (await play.wecom_token())["access_token"] != first["access_token"]


@pytest.mark.parametrize("errcode", [40014, 42001])
async def test_revoked_token_is_refused_and_replaced(playing, errcode):
    """F2: the control plane revokes; the next call says so, and asking again helps."""
    async with playing() as play:
        before = (await play.wecom_token())["access_token"]
        assert await play.control("/tokens/revoke", {"errcode": errcode}) == {"revoked": 1}
        assert (await refusal(play, before))[1] == errcode
        after = (await play.wecom_token())["access_token"]
        assert after != before
        assert (await refusal(play, after))[1] == 0


async def test_token_of_the_other_family_or_none_is_refused(playing):
    """D2: 41001 without a token, 40014 for one that is not ours."""
    async with playing() as play:
        assert await refusal(play, "") == (41001, 41001)
        assert await refusal(play, "made-up") == (40014, 40014)
        assert (await refusal(play, (await play.wecom_token())["access_token"]))[0] == 40014
        assert (await refusal(play, (await play.stable_token())["access_token"]))[1] == 40014


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [
        ({"grant_type": "password"}, 40002),
        ({"appid": ""}, 41002),
        ({"secret": ""}, 41004),
        ({"appid": "wx0000000000000000"}, 40013),
        ({"secret": "wrong"}, 40125),
    ],
)
async def test_stable_token_checks_its_credentials(playing, changes, errcode):
    """A1: errors, each with the request id of section 0."""
    async with playing() as play:
        answer = await play.stable_token(**changes)
        assert answer["errcode"] == errcode
        assert re.search(r" rid: [0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}$", answer["errmsg"])


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [({"corpid": ""}, 41002), ({"corpsecret": ""}, 41004), ({"corpid": "ww1"}, 40013), ({"corpsecret": "no"}, 40001)],
)
async def test_gettoken_checks_its_credentials(playing, changes, errcode):
    """B1: errors; 40001 means a wrong secret here."""
    async with playing() as play:
        assert (await play.wecom_token(**changes))["errcode"] == errcode


async def test_classic_token_says_40001_for_a_wrong_secret(playing):
    """A1: 40001 on /token where stable_token says 40125."""
    async with playing() as play:
        query = {"grant_type": "client_credential", "appid": play.mini.appid, "secret": "wrong"}
        assert (await play.get("/wechat/cgi-bin/token", **query))["errcode"] == 40001
