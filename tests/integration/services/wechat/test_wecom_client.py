"""WeCom calls whose answers or arguments need more than the table of test_wecom_calls.py."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from services.wechat.core import errors

EC = "/cgi-bin/externalcontact"
OK = {"errcode": 0, "errmsg": "ok"}


async def test_the_token_is_asked_for_with_corp_and_secret(rig):
    async with rig() as r:
        assert await r.wecom.token() == "T1"
        (call,) = r.platform.calls
    assert (call.method, call.path) == ("GET", "/cgi-bin/gettoken")
    assert call.query == {"corpid": "wwcorp", "corpsecret": "corp-secret"}


async def test_a_customer_is_read_page_by_page(rig):
    async with rig() as r:
        r.platform.answers[f"{EC}/get"] = OK
        await r.wecom.customers.get("wm1")
        await r.wecom.customers.get("wm1", cursor="c1")
        first, second = r.platform.of(f"{EC}/get")
    assert first.query == {"external_userid": "wm1", "access_token": "T1"}
    assert second.query == {"external_userid": "wm1", "cursor": "c1", "access_token": "T1"}


async def test_mark_tag_leaves_empty_lists_out(rig):
    async with rig() as r:
        r.platform.answers[f"{EC}/mark_tag"] = OK
        await r.wecom.tags.mark("rm001", "wm1", add=["et1"])
        await r.wecom.tags.mark("rm001", "wm1", remove=["et2"])
        bodies = [call.json for call in r.platform.of(f"{EC}/mark_tag")]
    assert bodies == [
        {"userid": "rm001", "external_userid": "wm1", "add_tag": ["et1"]},
        {"userid": "rm001", "external_userid": "wm1", "remove_tag": ["et2"]},
    ]


async def test_corp_tags(rig):
    async with rig() as r:
        r.platform.answers[f"{EC}/get_corp_tag_list"] = r.platform.answers[f"{EC}/add_corp_tag"] = OK
        await r.wecom.tags.list()
        await r.wecom.tags.list(tag_ids=["et1"])
        await r.wecom.tags.list(group_ids=["etg"])
        await r.wecom.tags.create(["金卡"], group_name="等级")
        await r.wecom.tags.create(["银卡"], group_id="etg")
        bodies = [call.json for call in r.platform.calls[1:]]
    assert bodies == [
        {},
        {"tag_id": ["et1"]},
        {"group_id": ["etg"]},
        {"group_name": "等级", "tag": [{"name": "金卡"}], "agentid": 1000002},
        {"group_id": "etg", "tag": [{"name": "银卡"}], "agentid": 1000002},
    ]


async def test_contact_ways(rig):
    async with rig() as r:
        r.platform.answers[f"{EC}/add_contact_way"] = {**OK, "config_id": "c1", "qr_code": "http://q"}
        r.platform.answers[f"{EC}/get_contact_way"] = {**OK, "contact_way": {"state": "s"}}
        r.platform.answers[f"{EC}/list_contact_way"] = {**OK, "contact_way": [{"config_id": "c1"}]}
        one = await r.wecom.ways.create(["rm001"], state="sz-01", remark="南山")
        await r.wecom.ways.create(["rm001", "rm002"], state="sz-02", skip_verify=False)
        assert (one["config_id"], one["qr_code"]) == ("c1", "http://q")
        assert (await r.wecom.ways.get("c1"))["contact_way"] == {"state": "s"}
        await r.wecom.ways.list(cursor="x")
        bodies = [call.json for call in r.platform.calls[1:]]
    assert bodies == [
        {
            "type": 1,
            "scene": 2,
            "remark": "南山",
            "skip_verify": True,
            "state": "sz-01",
            "user": ["rm001"],
        },
        {"type": 2, "scene": 2, "skip_verify": False, "state": "sz-02", "user": ["rm001", "rm002"]},
        {"config_id": "c1"},
        {"cursor": "x", "limit": 100},
    ]


async def test_welcomes(rig):
    link = {"msgtype": "link", "link": {"title": "t", "url": "https://x"}}
    async with rig() as r:
        r.platform.answers[f"{EC}/send_welcome_msg"] = [OK, {"errcode": 41051, "errmsg": "already sent"}]
        await r.wecom.welcome.send("WC-1", text="您好", attachments=[link])
        with pytest.raises(errors.AlreadyDone) as caught:
            await r.wecom.welcome.send("WC-1", text="您好")
        bodies = [call.json for call in r.platform.of(f"{EC}/send_welcome_msg")]
    assert caught.value.errcode == 41051
    assert bodies == [
        {"welcome_code": "WC-1", "text": {"content": "您好"}, "attachments": [link]},
        {"welcome_code": "WC-1", "text": {"content": "您好"}},
    ]


async def test_a_member_without_customers_has_an_empty_list(rig):
    async with rig() as r:
        r.platform.answers[f"{EC}/list"] = [
            {**OK, "external_userid": ["wm1"]},
            {"errcode": 84061, "errmsg": "not external contact"},
            {"errcode": 84074, "errmsg": "no permission"},
        ]
        assert (await r.wecom.customers.list("rm001"))["external_userid"] == ["wm1"]
        assert await r.wecom.customers.list("rm002") == {**OK, "external_userid": []}
        with pytest.raises(errors.SubjectState) as caught:
            await r.wecom.customers.list("rm003")
    assert caught.value.errcode == 84074


async def test_app_messages(rig):
    async with rig() as r:
        r.platform.answers["/cgi-bin/message/send"] = OK
        await r.wecom.messages.send(["rm001", "rm002"], {"msgtype": "text", "text": {"content": "hi"}})
        body = r.platform.calls[-1].json
    assert (body["touser"], body["agentid"], body["msgtype"]) == ("rm001|rm002", 1000002, "text")


async def test_oauth_address_and_code(rig):
    async with rig() as r:
        r.platform.answers["/cgi-bin/auth/getuserinfo"] = [
            {**OK, "userid": "rm001"},
            {"errcode": 40029, "errmsg": "used"},
        ]
        assert (await r.wecom.members.get_user_info("code+/"))["userid"] == "rm001"
        assert r.platform.calls[-1].query["code"] == "code+/"
        with pytest.raises(errors.SubjectState):
            await r.wecom.members.get_user_info("code+/")
        address = urlsplit(r.wecom.authorize_url("https://bank.example/sidebar?a=1&b=2", "Abc123"))
        for state in ("", "a b", "é", "a" * 129, "a&b=c"):
            with pytest.raises(ValueError, match="OAuth state"):
                r.wecom.authorize_url("https://bank.example/", state)
    assert (address.netloc, address.path, address.fragment) == (
        "open.weixin.qq.com",
        "/connect/oauth2/authorize",
        "wechat_redirect",
    )
    assert parse_qs(address.query) == {
        "appid": ["wwcorp"],
        "redirect_uri": ["https://bank.example/sidebar?a=1&b=2"],
        "response_type": ["code"],
        "scope": ["snsapi_base"],
        "agentid": ["1000002"],
        "state": ["Abc123"],
    }
