"""Every mini-program endpoint of contract/wechat H has a method, which sends the right request: method, path, query and body."""

from __future__ import annotations

import re
from typing import Any

import pytest

from services.wechat.core import errors
from services.wechat.miniprogram import MiniProgramClient

OK = {"errcode": 0, "errmsg": "ok"}
PICTURE = b"\xff\xd8\xff\xe0picture"
IMAGE = (200, {"Content-Type": "image/jpeg"}, PICTURE)

# The contract's list without its column on wechatpy.
ENDPOINTS = """
GET  /cgi-bin/token                          GET  /sns/jscode2session
POST /cgi-bin/stable_token                   GET  /wxa/checksession
GET  /wxa/resetusersessionkey                GET  /wxa/business/getuserencryptkey
POST /wxa/business/getuserphonenumber        POST /wxa/getuserriskrank
POST /cgi-bin/message/subscribe/send         POST /cgi-bin/message/custom/send
POST /cgi-bin/message/custom/typing          POST /wxa/getwxacode
POST /wxa/getwxacodeunlimit                  POST /wxa/generatescheme
POST /wxa/generate_urllink                   POST /wxa/queryscheme
POST /wxa/query_urllink                      POST /wxa/msg_sec_check
POST /wxa/media_check_async                  POST /cgi-bin/clear_quota
POST /cgi-bin/openapi/quota/get              POST /cgi-bin/openapi/rid/get
POST /cgi-bin/media/upload                   GET  /cgi-bin/media/get
"""
UNUSED = {("GET", "/cgi-bin/token")}
"""Each of its calls makes the token before it void; the stable one is used instead."""

IN_TEST_MINIPROGRAM_CLIENT = {
    ("POST", "/cgi-bin/stable_token"),
    ("GET", "/sns/jscode2session"),
    ("GET", "/wxa/checksession"),
    ("POST", "/wxa/business/getuserphonenumber"),
}
BELOW = {
    ("GET", "/wxa/resetusersessionkey"),
    ("POST", "/wxa/getwxacode"),
    ("POST", "/wxa/getwxacodeunlimit"),
    ("POST", "/cgi-bin/media/upload"),
    ("GET", "/cgi-bin/media/get"),
}
SESSION_KEY = "o0q0otL8aEzpcZL/FT9WsQ=="
SIGNED = {
    "openid": "o1",
    "signature": "46e043c5525c2d817c44be603d30837a808a1d930d038f6fdc3e62a201fed128",
    "sig_method": "hmac_sha256",
}
PAGE = {"path": "pages/a", "query": "c=1", "env_version": "release"}
MONTH = {"is_expire": True, "expire_type": 1, "expire_interval": 30}

# fmt: off
CALLS: list[tuple[str, str, str, tuple[Any, ...], dict[str, Any], dict[str, Any]]] = [
    ("GET", "/wxa/business/getuserencryptkey", "get_user_encrypt_key", ("o1", SESSION_KEY), {}, SIGNED),
    ("POST", "/cgi-bin/message/subscribe/send", "subscribe_send", ("o1", "tpl", {"thing1": "到期", "time2": "15:01"}),
     {"page": "pages/a?c=1", "state": "trial"},
     {"touser": "o1", "template_id": "tpl", "page": "pages/a?c=1", "miniprogram_state": "trial", "lang": "zh_CN",
      "data": {"thing1": {"value": "到期"}, "time2": {"value": "15:01"}}}),
    ("POST", "/cgi-bin/message/custom/send", "custom_send", ("o1", {"msgtype": "text", "text": {"content": "您好"}}), {},
     {"touser": "o1", "msgtype": "text", "text": {"content": "您好"}}),
    ("POST", "/cgi-bin/message/custom/typing", "custom_typing", ("o1",), {}, {"touser": "o1", "command": "Typing"}),
    ("POST", "/wxa/generatescheme", "generate_scheme", (), {"page": "pages/a", "query": "c=1"},
     {"jump_wxa": PAGE, **MONTH}),
    ("POST", "/wxa/generate_urllink", "generate_urllink", (),
     {"page": "pages/a", "query": "c=1", "expire_time": 1_700_000_000},
     {**PAGE, "expire_type": 0, "expire_time": 1_700_000_000}),
    ("POST", "/wxa/queryscheme", "query_scheme", ("weixin://dl/business/?t=X",), {},
     {"scheme": "weixin://dl/business/?t=X", "query_type": 0}),
    ("POST", "/wxa/query_urllink", "query_urllink", ("https://wxaurl.cn/X",), {"query_type": 1},
     {"url_link": "https://wxaurl.cn/X", "query_type": 1}),
    ("POST", "/wxa/msg_sec_check", "msg_sec_check", ("o1", "你好"), {"scene": 2, "title": "t"},
     {"content": "你好", "version": 2, "scene": 2, "openid": "o1", "title": "t"}),
    ("POST", "/wxa/media_check_async", "media_check_async", ("o1", "https://x/a.png"), {"scene": 1},
     {"media_url": "https://x/a.png", "media_type": 2, "version": 2, "scene": 1, "openid": "o1"}),
    ("POST", "/wxa/getuserriskrank", "get_user_risk_rank", ("o1",), {"scene": 1, "client_ip": "203.0.113.7"},
     {"appid": "wxapp", "openid": "o1", "scene": 1, "client_ip": "203.0.113.7"}),
    ("POST", "/cgi-bin/clear_quota", "clear_quota", (), {}, {"appid": "wxapp"}),
    ("POST", "/cgi-bin/openapi/quota/get", "quota_get", ("/wxa/msg_sec_check",), {},
     {"cgi_path": "/wxa/msg_sec_check"}),
    ("POST", "/cgi-bin/openapi/rid/get", "rid_get", ("65000000-00000001-00000002",), {},
     {"rid": "65000000-00000001-00000002"}),
]
# fmt: on


def test_every_endpoint_of_the_contract_has_a_call():
    listed = set(re.findall(r"(GET|POST) +(\S+)", ENDPOINTS))
    assert len(listed) == 24
    assert {(method, path) for method, path, *_ in CALLS} | IN_TEST_MINIPROGRAM_CLIENT | BELOW | UNUSED == listed


@pytest.mark.parametrize(("method", "path", "name", "args", "kwargs", "sent"), CALLS, ids=[row[2] for row in CALLS])
async def test_a_call_as_it_goes_over_the_wire(rig, method, path, name, args, kwargs, sent):
    async with rig() as r:
        r.platform.answers[path] = OK
        assert await getattr(r.mini, name)(*args, **kwargs) == OK
        (call,) = r.platform.of(path)
    assert call.method == method
    assert call.query.pop("access_token") == "T1"
    if method == "GET":
        assert (call.query, call.content) == (sent, b"")
    else:
        assert (call.query, call.json) == ({}, sent)
    assert b"T1" not in call.content
    assert "T1" not in "".join(call.headers.values())


async def test_a_session_key_is_replaced(rig):
    path = "/wxa/resetusersessionkey"
    async with rig() as r:
        r.platform.answers[path] = [{"openid": "o1", "session_key": "new=="}, {"errcode": 87009, "errmsg": "signature"}]
        session = await r.mini.reset_session_key("o1", SESSION_KEY)
        assert (session.openid, session.session_key) == ("o1", "new==")
        with pytest.raises(errors.SubjectState):
            await r.mini.reset_session_key("o1", "old==")
        assert r.platform.of(path)[0].query == {**SIGNED, "access_token": "T1"}


async def test_a_code_is_a_picture_or_an_error(rig):
    path = "/wxa/getwxacodeunlimit"
    async with rig() as r:
        r.platform.answers[path] = [IMAGE, {"errcode": 41030, "errmsg": "invalid page rid: 1"}, OK]
        assert await r.mini.get_unlimited("c=1&r=2", page="pages/home", is_hyaline=True) == PICTURE
        with pytest.raises(errors.BadRequest) as caught:
            await r.mini.get_unlimited("c=1", page="pages/none")
        with pytest.raises(errors.UnknownOutcome, match="no file"):
            await r.mini.get_unlimited("c=1")
        bodies = [call.json for call in r.platform.of(path)]
    assert caught.value.errcode == 41030
    assert bodies[0] == {
        "scene": "c=1&r=2",
        "page": "pages/home",
        "check_path": True,
        "env_version": "release",
        "width": 430,
        "is_hyaline": True,
    }
    assert "page" not in bodies[2]


async def test_a_counted_code_is_a_picture_and_the_last_one_calls_a_person(rig):
    path = "/wxa/getwxacode"
    async with rig() as r:
        r.platform.answers[path] = [IMAGE, {"errcode": 45029, "errmsg": "qrcode count out of limit"}]
        assert await r.mini.get_wxacode("pages/home?c=1", width=280) == PICTURE
        with pytest.raises(errors.BadConfig):
            await r.mini.get_wxacode("pages/home?c=1")
        body = r.platform.of(path)[0].json
    assert body == {"path": "pages/home?c=1", "env_version": "release", "width": 280, "is_hyaline": False}


async def test_a_file_goes_up_and_comes_down(rig):
    async with rig() as r:
        r.platform.answers["/cgi-bin/media/upload"] = {"type": "image", "media_id": "md1", "created_at": 1}
        r.platform.answers["/cgi-bin/media/get"] = [IMAGE, {"errcode": 40007, "errmsg": "invalid media_id"}]
        assert (await r.mini.upload("image", "a.jpg", PICTURE))["media_id"] == "md1"
        assert await r.mini.download("md1") == PICTURE
        with pytest.raises(errors.SubjectState):
            await r.mini.download("md2")
        upload = r.platform.of("/cgi-bin/media/upload")[0]
    assert upload.query == {"type": "image", "access_token": "T1"}
    assert b'name="media"; filename="a.jpg"' in upload.content
    assert PICTURE in upload.content


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "limit"),
    [
        ("get_unlimited", ("",), {}, "scene has 1 to 32"),
        ("get_unlimited", ("s" * 33,), {}, "scene has 1 to 32"),
        ("get_unlimited", ("a%20b",), {}, "scene has 1 to 32"),
        ("get_unlimited", ("网点",), {}, "scene has 1 to 32"),
        ("get_unlimited", ("c",), {"page": "/pages/a"}, "no leading /"),
        ("get_unlimited", ("c",), {"page": "pages/a?b=1"}, "no query"),
        ("get_unlimited", ("c",), {"width": 1281}, "width is 280 to 1280"),
        ("get_wxacode", ("p" * 1025,), {}, "page has at most 1024 characters"),
        ("generate_scheme", (), {"query": "q" * 1025}, "query has at most 1024 characters"),
        ("generate_urllink", (), {"expire_days": 31}, "expire_interval is 1 to 30"),
        ("subscribe_send", ("o1", "tpl", {"thing1": "汉" * 21}), {}, "thing1 has at most 20 characters"),
        ("subscribe_send", ("o1", "tpl", {"phrase12": "六个汉字真长"}), {}, "phrase12 has at most 5 characters"),
        ("subscribe_send", ("o1", "tpl", {"character_string3": "x" * 33}), {}, "at most 32 characters"),
        ("subscribe_send", ("o1", "tpl", {"thing1": ""}), {}, "thing1 is empty"),
        ("custom_send", ("o1", {"text": {"content": "汉" * 683}}), {}, "text has at most 2048 bytes"),
        ("msg_sec_check", ("o1", "汉" * 2501), {"scene": 1}, "content has at most 2500 characters"),
        ("msg_sec_check", ("o1", ""), {"scene": 1}, "an empty text"),
        ("msg_sec_check", ("o1", "t"), {"scene": 5}, "scene is 1 to 4"),
        ("get_user_risk_rank", ("o1",), {"scene": 1, "client_ip": ""}, "client_ip"),
        ("upload", ("image", "a.jpg", b""), {}, "an empty file"),
    ],
)
async def test_what_is_over_a_limit_is_not_sent(rig, name, args, kwargs, limit):
    async with rig() as r:
        with pytest.raises(errors.BadRequest) as caught:
            await getattr(r.mini, name)(*args, **kwargs)
        assert r.platform.calls == []
    assert limit in caught.value.errmsg
    assert "汉" not in str(caught.value)


def test_a_finished_link_takes_parameters_of_its_own():
    """A5: `?cq=`, at most 256 characters."""
    link = MiniProgramClient.with_query("https://wxaurl.cn/abc", "c=1&x=a/b")
    assert link == "https://wxaurl.cn/abc?cq=c%3D1%26x%3Da%2Fb"
    for bad in ("", "x" * 257, "a b", "汉"):
        with pytest.raises(errors.BadRequest, match="cq has 1 to 256"):
            MiniProgramClient.with_query("https://wxaurl.cn/abc", bad)
    assert len(MiniProgramClient.with_query("https://wxaurl.cn/abc", "x" * 256)) == 21 + 4 + 256
