"""Trouble for API calls, and the log of them (contract/wechat F, D2)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

EC = "/cgi-bin/externalcontact"
WELCOME = f"{EC}/send_welcome_msg"


async def fault(play, kind, **fields: Any):
    await play.control("/faults", {"target": "api", "kind": kind, **fields})


@pytest.mark.parametrize("errcode", [-1, 45009, 45033, 42001, 40014, 41051])
async def test_errcode_is_answered_so_many_times_and_nothing_is_done(playing, errcode):
    """D2: the next two welcomes fail; the third one is sent."""
    async with playing() as play:
        person, added = await play.friend()
        await fault(play, "errcode", path=WELCOME, errcode=errcode, times=2)
        body = {"welcome_code": added["welcome_code"], "text": {"content": "欢迎"}}
        assert [(await play.wecom(WELCOME, body))["errcode"] for _ in range(3)] == [errcode, errcode, 0]
        assert len((await play.control(f"/people/{person['id']}"))["inbox"]) == 1


async def test_timeout_after_success_does_it_and_never_answers(playing):
    """The worst case of a welcome: it was sent, and the caller cannot know."""
    async with playing() as play:
        person, added = await play.friend()
        token = (await play.wecom_token())["access_token"]
        await fault(play, "timeout_after_success", path=WELCOME, times=1)
        body = {"welcome_code": added["welcome_code"], "text": {"content": "欢迎"}}
        with pytest.raises(httpx.ReadTimeout):
            await play.http.post(
                f"/wecom{WELCOME}", params={"access_token": token}, json=body, timeout=httpx.Timeout(20, read=0.5)
            )
        assert len((await play.control(f"/people/{person['id']}"))["inbox"]) == 1
        assert (await play.wecom(WELCOME, body))["errcode"] == 41051


async def test_closed_connection_means_nothing_was_done(playing):
    async with playing() as play:
        person, added = await play.friend()
        token = (await play.wecom_token())["access_token"]
        await fault(play, "close", path=WELCOME, times=1)
        body = {"welcome_code": added["welcome_code"], "text": {"content": "欢迎"}}
        with pytest.raises(httpx.RemoteProtocolError):
            await play.http.post(f"/wecom{WELCOME}", params={"access_token": token}, json=body)
        assert (await play.control(f"/people/{person['id']}"))["inbox"] == []
        assert (await play.wecom(WELCOME, body))["errcode"] == 0


async def test_server_error_lasts_until_cleared(playing):
    async with playing() as play:
        await fault(play, "http", path="/wecom/cgi-bin/gettoken", status=502)
        for _ in range(3):
            assert (await play.http.get("/wecom/cgi-bin/gettoken")).status_code == 502
        await play.http.delete("/control/faults")
        assert (await play.wecom_token())["errcode"] == 0


async def test_caller_who_gives_up_on_a_slow_answer_does_no_harm(playing):
    """Latency: the call is done late; the next one is answered."""
    async with playing() as play:
        await fault(play, "latency", path="gettoken", seconds=0.3, times=1)
        with pytest.raises(httpx.ReadTimeout):
            await play.http.get("/wecom/cgi-bin/gettoken", timeout=httpx.Timeout(20, read=0.05))
        assert (await play.wecom_token())["errcode"] == 0


async def test_fault_meets_only_its_path(playing):
    """`get` of customers is not `get` of users; without a path every call is met, but no token call by a token error."""
    async with playing() as play:
        await fault(play, "errcode", path="externalcontact/get", errcode=-1)
        assert (await play.wecom("/cgi-bin/user/get", userid="rm.chen"))["errcode"] == 0
        assert (await play.wecom(f"{EC}/get", external_userid="x"))["errcode"] == -1
        await play.http.delete("/control/faults")
        await fault(play, "errcode", errcode=42001)
        assert (await play.wecom_token())["errcode"] == 0
        assert (await play.wecom("/cgi-bin/user/get", userid="rm.chen"))["errcode"] == 42001


@pytest.mark.parametrize(
    "body",
    [
        {"target": "api", "kind": "drop"},
        {"target": "callback", "kind": "errcode", "errcode": 1},
        {"target": "api", "kind": "errcode"},
        {"target": "callback", "kind": "reorder"},
        {"target": "api", "kind": "latency", "times": 0},
        {"target": "moon", "kind": "drop"},
        {"target": "api", "kind": "close", "colour": "red"},
    ],
)
async def test_senseless_fault_is_refused(playing, body):
    async with playing() as play:
        assert (await play.control("/faults", body, status=400))["error"]["code"] == "bad_fault"
        assert await play.control("/faults") == {"faults": []}


async def test_calls_are_logged_without_secrets(playing):
    """Every call with time, base, path, query, body, errcode and duration; no secret and no token."""
    async with playing() as play:
        await play.stable_token()
        await play.wecom("/cgi-bin/user/get", userid="rm.chen")
        await play.wecom("/cgi-bin/user/get", userid="rm.nobody")
        answer = await play.control("/calls?limit=3")
        assert [(c["base"], c["path"], c["errcode"]) for c in answer["calls"]] == [
            ("wecom", "/cgi-bin/user/get", 0),
            ("wecom", "/cgi-bin/gettoken", 0),
            ("wecom", "/cgi-bin/user/get", 60111),
        ]
        whole = await play.http.get("/control/calls")
        assert (answer["calls"][0]["query"], answer["calls"][0]["method"]) == ({"userid": "rm.chen"}, "GET")
        assert play.app.secret not in whole.text
        assert play.mini.secret not in whole.text
        assert (await play.wecom_token())["access_token"] not in whole.text
        only = await play.control("/calls?path=stable_token")
        assert only["counts"] == {"/wechat/cgi-bin/stable_token": 1}
        assert [c["body"] for c in only["calls"]] == [{"grant_type": "client_credential", "appid": play.mini.appid}]
