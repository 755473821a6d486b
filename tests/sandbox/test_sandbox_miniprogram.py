"""The rest of the mini-program server API (contract/wechat A1-A3, A5-A7)."""

from __future__ import annotations

import hashlib
import hmac
import io

import pytest
from PIL import Image

from sandbox.core.world import World

DAY = 86_400


async def image(play, path, body):
    token = (await play.stable_token())["access_token"]
    return await play.http.post("/wechat" + path, params={"access_token": token}, json=body)


async def signed_in(play):
    """A person with a session, and the query that his session_key signs."""
    person = await play.person()
    code = (await play.control(f"/people/{person['id']}/open", {"appid": play.mini.appid}))["code"]
    session = await play.session(code)
    signature = hmac.new(session["session_key"].encode(), b"", hashlib.sha256).hexdigest()
    return person, {"openid": session["openid"], "signature": signature, "sig_method": "hmac_sha256"}


async def test_reset_makes_the_old_session_key_void(playing):
    """A2: resetusersessionkey, then 87009."""
    async with playing() as play:
        _, query = await signed_in(play)
        answer = await play.wechat("/wxa/resetusersessionkey", **query)
        assert (answer["errcode"], answer["openid"]) == (0, query["openid"])
        assert (await play.wechat("/wxa/checksession", **query))["errcode"] == 87009


async def test_encrypt_keys_are_renewed_each_hour_and_three_are_kept(playing):
    """A2: getuserencryptkey by GET and POST; 87009."""
    async with playing() as play:
        _, query = await signed_in(play)
        path = "/wxa/business/getuserencryptkey"
        for _ in range(4):
            keys = (await play.wechat(path, **query))["key_info_list"]
            await play.control("/clock", {"advance": 3600})
        assert [k["version"] for k in keys] == [4, 3, 2]
        assert (len(keys[0]["iv"]), keys[0]["expire_in"], keys[1]["expire_in"]) == (16, 3600, 0)
        assert (await play.wechat(path, {"a": 1}, **query))["errcode"] == 0
        assert (await play.wechat(path, **query | {"signature": "x"}))["errcode"] == 87009


async def test_switches_of_login_and_phone(playing):
    """F11: jscode_errcode_field, countryCode_type."""
    async with playing() as play:
        await play.control("/switches", {"jscode_errcode_field": True, "countryCode_type": "string"})
        person = await play.person()
        code = (await play.control(f"/people/{person['id']}/open", {"appid": play.mini.appid}))["code"]
        session = await play.session(code)
        assert (session["errcode"], session["expires_in"]) == (0, 7200)
        code = (await play.control(f"/people/{person['id']}/phone", {"appid": play.mini.appid}))["code"]
        answer = await play.wechat("/wxa/business/getuserphonenumber", {"code": code})
        assert answer["phone_info"]["countryCode"] == "86"


@pytest.mark.parametrize(("hyaline", "kind"), [(False, "JPEG"), (True, "PNG")])
async def test_code_is_a_picture_of_the_width_asked_for(playing, hyaline, kind):
    """A5: getwxacodeunlimit answers bytes; the code is in the sandbox's list."""
    async with playing() as play:
        body = {"scene": "b=sz&r=1", "page": "pages/index", "width": 300, "is_hyaline": hyaline, "check_path": False}
        answer = await image(play, "/wxa/getwxacodeunlimit", body)
        picture = Image.open(io.BytesIO(answer.content))
        assert (picture.format, picture.size) == (kind, (300, 300))
        assert answer.headers["Content-Type"] == f"image/{kind.lower()}"
        (code,) = (await play.control("/codes"))["codes"]
        assert (code["appid"], code["page"], code["scene"]) == (play.mini.appid, "pages/index", "b=sz&r=1")


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [
        ({"scene": ""}, 40169),
        ({"scene": "a" * 33}, 40169),
        ({"scene": "中文"}, 40129),
        ({"scene": "a%b"}, 40129),
        ({"page": "/pages/index"}, 41030),
        ({"page": "pages/index?a=1"}, 41030),
        ({"page": "pages/other"}, 41030),
        ({"width": 279}, 40097),
        ({"width": 1281}, 40097),
        ({"env_version": "beta"}, 40097),
        ({"line_color": {"r": "300"}}, 40097),
    ],
)
async def test_wrong_code_is_refused_in_json(playing, world, changes, errcode):
    """A5: 40169, 40129, 41030 for a page of no published version, 40097."""
    minis = tuple(m.model_copy(update={"pages": ("pages/index",)}) for m in world.mini_programs)
    async with playing(World.model_validate(world.model_copy(update={"mini_programs": minis}).model_dump())) as play:
        body = {"scene": "a=1", "page": "pages/index"}
        assert (await image(play, "/wxa/getwxacodeunlimit", body)).headers["Content-Type"] == "image/jpeg"
        assert (await image(play, "/wxa/getwxacodeunlimit", body | changes)).json()["errcode"] == errcode


async def test_code_of_a_path_carries_its_query(playing):
    """A5: getwxacode, up to 1024 characters."""
    async with playing() as play:
        answer = await image(play, "/wxa/getwxacode", {"path": "pages/index?from=poster"})
        assert Image.open(io.BytesIO(answer.content)).size == (430, 430)
        assert (await image(play, "/wxa/getwxacode", {"path": "p" * 1025})).json()["errcode"] == 40159


async def test_links_are_made_and_looked_up(playing):
    """A5: scheme and URL link, their lives of at most 30 days."""
    async with playing() as play:
        now = play.box.seconds()
        jump = {"path": "pages/index", "query": "a=1"}
        body = {"jump_wxa": jump, "is_expire": True, "expire_type": 1, "expire_interval": 3}
        scheme = (await play.wechat("/wxa/generatescheme", body))["openlink"]
        assert scheme.startswith("weixin://dl/business/?t=")
        info = (await play.wechat("/wxa/queryscheme", {"scheme": scheme}))["scheme_info"]
        assert info == {**jump, "appid": play.mini.appid, "env_version": "release", "create_time": now} | {
            "expire_time": now + 3 * DAY
        }
        asked = {"path": "pages/index", "expire_type": 1, "expire_interval": 30}
        link = (await play.wechat("/wxa/generate_urllink", asked))["url_link"]
        assert link.startswith("https://wxaurl.cn/")
        found = await play.wechat("/wxa/query_urllink", {"url_link": link})
        assert found["quota_info"] == {"remain_visit_quota": 6_000_000}
        await play.control("/switches", {"link_opens_a_day": 3_000_000})
        before = await play.wechat("/wxa/query_urllink", {"url_link": link})
        assert before["quota_info"] == {"remain_visit_quota": 3_000_000}
        info = found["url_link_info"]
        assert info["expire_time"] == now + 30 * DAY
        assert (await play.wechat("/wxa/query_urllink", {"url_link": "https://wxaurl.cn/x"}))["errcode"] == 40097


@pytest.mark.parametrize(
    ("expiry", "errcode"),
    [
        ({}, 85401),
        ({"is_expire": False}, 85401),
        ({"expire_type": 1, "expire_interval": 31}, 85401),
        ({"expire_type": 1, "expire_interval": 30}, 0),
        ({"expire_time": 1_800_000_000 + 31 * DAY}, 85401),
        ({"expire_time": 1_800_000_000 + 30 * DAY}, 0),
    ],
)
async def test_url_link_must_say_when_it_ends(playing, expiry, errcode):
    """A5: no `is_expire`; a time or an interval of at most 30 days is required."""
    async with playing() as play:
        answer = await play.wechat("/wxa/generate_urllink", {"path": "pages/index", **expiry})
        assert answer["errcode"] == errcode


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [
        ({"path": "a?b"}, 40165),
        ({"query": "q" * 1025}, 40212),
        ({"is_expire": True, "expire_type": 1, "expire_interval": 31}, 85401),
        ({"is_expire": True, "expire_type": 0, "expire_time": 1}, 85401),
    ],
)
async def test_wrong_link_is_refused(playing, changes, errcode):
    """A5: 40165, 40212, 85401."""
    async with playing() as play:
        assert (await play.wechat("/wxa/generate_urllink", {"path": "p"} | changes))["errcode"] == errcode


async def test_text_is_judged_by_the_words_of_the_control_plane(playing):
    """A6: msg_sec_check v2 pass, review, risky; v1 87014; 61010 without a visit in two hours."""
    async with playing() as play:
        await play.control("/safety", {"risky": ["套现"], "review": ["加微信"]})
        person, query = await signed_in(play)
        body = {"version": 2, "scene": 2, "openid": query["openid"]}

        async def verdict(text):
            return (await play.wechat("/wxa/msg_sec_check", {**body, "content": text}))["result"]["suggest"]

        assert [await verdict(t) for t in ("您好", "加微信聊", "信用卡套现")] == ["pass", "review", "risky"]
        assert (await play.wechat("/wxa/msg_sec_check", {"content": "套现"}))["errcode"] == 87014
        wrong = [
            {"content": ""},
            {"scene": 9},
            {"openid": "o-nobody"},
            {"openid": person["openids"][play.other_mini.appid]},
        ]
        codes = [(await play.wechat("/wxa/msg_sec_check", {**body, "content": "x", **w}))["errcode"] for w in wrong]
        assert codes == [44002, 40129, 40003, 43104]
        await play.control("/clock", {"advance": 7201})
        assert (await play.wechat("/wxa/msg_sec_check", {**body, "content": "x"}))["errcode"] == 61010


async def test_verdict_on_a_picture_comes_as_an_event(playing):
    """A6: media_check_async, then wxa_media_check."""
    async with playing() as play:
        _, query = await signed_in(play)
        body = {"version": 2, "scene": 1, "openid": query["openid"], "media_type": 2}
        answer = await play.wechat("/wxa/media_check_async", {**body, "media_url": "https://x.example/套现.png"})
        await play.settled()
        assert play.pushes.events == []
        await play.control("/clock", {"advance": 5})
        await play.settled()
        (event,) = play.pushes.events
        assert (event["Event"], event["trace_id"], event["appid"]) == (
            "wxa_media_check",
            answer["trace_id"],
            play.mini.appid,
        )
        assert (event["result"], event["FromUserName"]) == ({"suggest": "risky", "label": "20008"}, query["openid"])


async def test_risk_rank_is_what_the_control_plane_says(playing):
    """A6: risk_rank with unoin_id; client_ip is required; 61010 two hours after the visit, not for a test."""
    async with playing() as play:
        person, query = await signed_in(play)
        await play.control(f"/people/{person['id']}/risk", {"rank": 4})
        body = {"appid": play.mini.appid, "openid": query["openid"], "scene": 1, "client_ip": "1.2.3.4"}
        answer = await play.wechat("/wxa/getuserriskrank", body)
        assert (answer["risk_rank"], answer["errmsg"], "unoin_id" in answer) == (4, "getuserriskrank succ", True)
        assert (await play.wechat("/wxa/getuserriskrank", {**body, "client_ip": ""}))["errcode"] == 40097
        await play.control("/clock", {"advance": 7200})
        assert (await play.wechat("/wxa/getuserriskrank", body))["errcode"] == 0
        await play.control("/clock", {"advance": 1})
        assert (await play.wechat("/wxa/getuserriskrank", body))["errcode"] == 61010
        assert (await play.wechat("/wxa/getuserriskrank", {**body, "is_test": True}))["errcode"] == 0
        await play.control("/switches", {"visit_needed": False})
        assert (await play.wechat("/wxa/getuserriskrank", body))["errcode"] == 0


async def test_login_through_the_api_is_no_visit(playing):
    """A6: 61010 wants a visit to the mini-program."""
    async with playing() as play:
        person = await play.person()
        code = play.box.codes.issue("login", person["id"], play.mini.appid)
        openid = (await play.session(code))["openid"]
        rank = {"appid": play.mini.appid, "openid": openid, "scene": 1, "client_ip": "1.2.3.4"}
        text = {"openid": openid, "content": "您好", "version": 2, "scene": 2}
        picture = {"openid": openid, "media_url": "https://a.example/b.png", "media_type": 2, "version": 2, "scene": 2}
        calls = {"getuserriskrank": rank, "msg_sec_check": text, "media_check_async": picture}
        for errcode in (61010, 0):
            found = {path: (await play.wechat(f"/wxa/{path}", body))["errcode"] for path, body in calls.items()}
            assert found == dict.fromkeys(calls, errcode)
            await play.control(f"/people/{person['id']}/open", {"appid": play.mini.appid})


async def test_service_message_needs_an_open_window(playing):
    """A7: 45015 without, five after a message, two after entering, 45047 too many."""
    async with playing() as play:
        person = await play.person()
        openid = person["openids"][play.mini.appid]
        body = {"touser": openid, "msgtype": "text", "text": {"content": "您好"}}
        path, me = "/cgi-bin/message/custom/send", {"appid": play.mini.appid}
        assert (await play.wechat(path, body))["errcode"] == 45015
        await play.control(f"/people/{person['id']}/session", me)
        assert [(await play.wechat(path, body))["errcode"] for _ in range(3)] == [0, 0, 45047]
        await play.control(f"/people/{person['id']}/service-message", {**me, "text": "在吗"})
        assert [(await play.wechat(path, body))["errcode"] for _ in range(6)] == [0] * 5 + [45047]
        await play.control("/clock", {"advance": 48 * 3600})
        assert (await play.wechat(path, body))["errcode"] == 45015
        assert len(await play.inbox(person, "service")) == 7
        event = play.pushes.events[-1]
        assert (event["MsgType"], event["Content"], "Event" in event, event["MsgId"].isdigit()) == (
            "text",
            "在吗",
            False,
            True,
        )


async def test_typing_is_shown_shortly_after_a_contact(playing):
    """A7: 45072, 45081, 45080."""
    async with playing() as play:
        person = await play.person()
        path, touser = "/cgi-bin/message/custom/typing", person["openids"][play.mini.appid]
        await play.control(f"/people/{person['id']}/service-message", {"appid": play.mini.appid, "text": "在吗"})
        commands = ("Smile", "Typing", "Typing", "CancelTyping")
        codes = [(await play.wechat(path, {"touser": touser, "command": c}))["errcode"] for c in commands]
        assert codes == [45072, 0, 45081, 0]
        await play.control("/clock", {"advance": 30})
        assert (await play.wechat(path, {"touser": touser, "command": "Typing"}))["errcode"] == 45080


async def test_error_can_be_looked_up_by_its_id(playing):
    """A1, section 0: rid/get; 76003."""
    async with playing() as play:
        text = (await play.wechat("/wxa/business/getuserphonenumber", {"code": "x"}))["errmsg"]
        rid = text.rpartition("rid: ")[2]
        found = await play.wechat("/cgi-bin/openapi/rid/get", {"rid": rid})
        assert found["request"]["request_url"] == "/wxa/business/getuserphonenumber"
        assert (await play.wechat("/cgi-bin/openapi/rid/get", {"rid": "x"}))["errcode"] == 76003


async def test_quota_is_told_and_cleared_ten_times(playing):
    """A1: 48006 the eleventh time in a month."""
    async with playing() as play:
        await play.wechat("/wxa/business/getuserphonenumber", {"code": "x"})
        body = {"cgi_path": "/wxa/business/getuserphonenumber"}
        quota = (await play.wechat("/cgi-bin/openapi/quota/get", body))["quota"]
        assert (quota["used"], quota["daily_limit"] - quota["remain"]) == (1, 1)
        clear = {"appid": play.mini.appid}
        codes = [(await play.wechat("/cgi-bin/clear_quota", clear))["errcode"] for _ in range(11)]
        assert codes == [0] * 10 + [48006]
