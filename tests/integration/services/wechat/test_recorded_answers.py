"""Answers as the platforms gave them to others (recorded/, wechatpy's fixtures) and as their documents show them, through our
clients: each comes out whole, or as the PlatformError of its code."""

from __future__ import annotations

import json
from operator import attrgetter
from pathlib import Path

import pytest

from services.wechat.core import errors
from services.wechat.miniprogram import LoginSession, PhoneNumber

RECORDED = Path(__file__).parent / "recorded"
FILES = sorted(path.relative_to(RECORDED).as_posix() for path in RECORDED.glob("*/*.json"))


def recorded(name):
    return (RECORDED / name).read_bytes()


def served(name):
    return (200, {"Content-Type": "application/json; encoding=utf-8"}, recorded(name))


def test_the_recorded_answers_are_all_there():
    assert len([name for name in FILES if name.startswith("work/")]) == 89
    assert len([name for name in FILES if name.startswith("mini/")]) == 6
    assert "The MIT License" in (RECORDED / "LICENSE").read_text()


@pytest.mark.parametrize("name", FILES)
async def test_a_recorded_answer_comes_out_whole(rig, name):
    """Also those of APIs that we do not use, and those whose errcode is the text "0"."""
    async with rig() as r:
        r.platform.answers["/cgi-bin/some/call"] = served(name)
        client = r.wecom if name.startswith("work/") else r.mini
        assert await client.get("some/call") == json.loads(recorded(name))


# file, method, arguments, path below /cgi-bin
METHODS = [
    (
        "externalcontact_add_contact_way",
        "ways.create",
        (["rm1"],),
        {"state": "s"},
        "externalcontact/add_contact_way",
    ),
    ("externalcontact_add_corp_tag", "tags.create", (["大鸟"],), {"group_id": "et"}, "externalcontact/add_corp_tag"),
    (
        "externalcontact_add_msg_template",
        "broadcasts.create",
        ({"external_userid": ["wm1"], "text": {"content": "t"}},),
        {},
        "externalcontact/add_msg_template",
    ),
    (
        "externalcontact_batch_get_by_user",
        "customers.batch_get_by_user",
        (["rm1"],),
        {},
        "externalcontact/batch/get_by_user",
    ),
    ("externalcontact_del_contact_way", "ways.delete", ("c1",), {}, "externalcontact/del_contact_way"),
    ("externalcontact_del_corp_tag", "tags.delete", (), {"tag_ids": ["et"]}, "externalcontact/del_corp_tag"),
    ("externalcontact_edit_corp_tag", "tags.update", ("et",), {"name": "n"}, "externalcontact/edit_corp_tag"),
    ("externalcontact_get", "customers.get", ("wo1",), {}, "externalcontact/get"),
    (
        "externalcontact_get_follow_user_list",
        "customers.list_followers",
        (),
        {},
        "externalcontact/get_follow_user_list",
    ),
    ("externalcontact_get_unassigned_list", "handover.list_unassigned", (), {}, "externalcontact/get_unassigned_list"),
    (
        "externalcontact_get_user_behavior_data",
        "customers.get_behavior_data",
        (),
        {"userids": ["rm1"], "start_time": 1536508800, "end_time": 1536940800},
        "externalcontact/get_user_behavior_data",
    ),
    (
        "externalcontact_group_welcome_template_add",
        "welcome.create_template",
        ({"text": {"content": "t"}},),
        {},
        "externalcontact/group_welcome_template/add",
    ),
    (
        "externalcontact_group_welcome_template_edit",
        "welcome.update_template",
        ("tp", {"text": {"content": "t"}}),
        {},
        "externalcontact/group_welcome_template/edit",
    ),
    (
        "externalcontact_group_welcome_template_get",
        "welcome.get_template",
        ("tp",),
        {},
        "externalcontact/group_welcome_template/get",
    ),
    (
        "externalcontact_group_welcome_template_del",
        "welcome.delete_template",
        ("tp",),
        {},
        "externalcontact/group_welcome_template/del",
    ),
    ("externalcontact_groupchat_get", "groups.get", ("wr1",), {}, "externalcontact/groupchat/get"),
    ("externalcontact_groupchat_list", "groups.list", (), {}, "externalcontact/groupchat/list"),
    ("externalcontact_list", "customers.list", ("rm1",), {}, "externalcontact/list"),
    ("externalcontact_mark_tag", "tags.mark", ("rm1", "wo1"), {"add": ["et"]}, "externalcontact/mark_tag"),
    (
        "externalcontact_send_welcome_msg",
        "welcome.send",
        ("WC",),
        {"text": "t"},
        "externalcontact/send_welcome_msg",
    ),
    (
        "externalcontact_update_contact_way",
        "ways.update",
        ("c1",),
        {"remark": "r"},
        "externalcontact/update_contact_way",
    ),
    ("get_jsapi_ticket", "members.get_jsapi_ticket", (), {}, "get_jsapi_ticket"),
    ("getcallbackip", "members.get_callback_ip", (), {}, "getcallbackip"),
    ("department_list", "members.list_departments", (), {}, "department/list"),
    ("media_upload", "files.upload", ("image", "a.png", b"picture"), {}, "media/upload"),
    ("user_convert_to_openid", "members.convert_to_openid", ("rm1",), {}, "user/convert_to_openid"),
    ("user_list", "members.list", (1,), {}, "user/list"),
    ("user_simplelist", "members.list_simple", (1,), {}, "user/simplelist"),
]


@pytest.mark.parametrize(("file", "name", "args", "kwargs", "path"), METHODS, ids=[row[0] for row in METHODS])
async def test_a_recorded_answer_through_its_method(rig, file, name, args, kwargs, path):
    async with rig() as r:
        r.platform.answers[f"/cgi-bin/{path}"] = served(f"work/{file}.json")
        assert await attrgetter(name)(r.wecom)(*args, **kwargs) == json.loads(recorded(f"work/{file}.json"))


async def test_a_live_code_that_comes_as_a_list_of_one(rig):
    async with rig() as r:
        r.platform.answers["/cgi-bin/externalcontact/get_contact_way"] = served(
            "work/externalcontact_get_contact_way.json"
        )
        way = (await r.wecom.ways.get("42b34949e138eb6e027c123cba77fad7"))["contact_way"]
    assert (way["config_id"], way["state"]) == ("42b34949e138eb6e027c123cba77fad7", "teststate")


async def test_recorded_tokens_of_both_platforms_are_used(rig):
    async with rig() as r:
        r.platform.answers["/cgi-bin/gettoken"] = served("work/gettoken.json")
        r.platform.answers["/cgi-bin/stable_token"] = served("mini/token.json")
        assert await r.wecom.token() == "1234567890"
        assert await r.mini.token() == "1234567890"


async def test_recorded_answers_of_the_mini_program(rig):
    async with rig() as r:
        r.platform.answers |= {
            "/sns/jscode2session": served("mini/sns_jscode2session.json"),
            "/wxa/business/getuserphonenumber": served("mini/wxa_business_getuserphonenumber.json"),
            "/cgi-bin/message/custom/send": served("mini/message_custom_send.json"),
            "/cgi-bin/media/upload": served("mini/media_upload.json"),
        }
        assert await r.mini.code_to_session("c") == LoginSession(
            "o16wA0b4AZKzgVJR3MBwoUdTfU_E", "or4zX05h_Ykt4ju0TUfx3CQsvfTo", "D1ZWEygStjuLCnZ9IN2l4Q=="
        )
        assert (await r.mini.custom_send("o1", {"msgtype": "text"}))["errcode"] == 0
        assert (await r.mini.upload("image", "a.png", b"p"))["media_id"] == "12345678"
        with pytest.raises(errors.BadConfig, match="another appid"):
            await r.mini.get_phone_number("p")  # its watermark names no mini-program at all


async def test_a_phone_number_whose_watermark_is_ours(rig):
    answer = json.loads(recorded("mini/wxa_business_getuserphonenumber.json"))
    answer["phone_info"]["watermark"]["appid"] = "wxapp"
    async with rig() as r:
        r.platform.answers["/wxa/business/getuserphonenumber"] = answer
        assert await r.mini.get_phone_number("p") == PhoneNumber("13123456789", "13123456789", "86")


WECOM_TEXT = (
    "{text}, hint: [1700000000_1_0123456789abcdef0123456789abcdef], from ip: 127.0.0.1, more info at https://e={code}"
)
# fmt: off
REFUSALS = [
    ("wecom", 84061, "not external contact", errors.SubjectState),
    ("wecom", 40014, "invalid access_token", errors.TokenRejected),
    ("wecom", 40058, "wrong json format. Warning: wrong json format. ", errors.BadRequest),
    ("wecom", 41051, "user start chatting", errors.AlreadyDone),
    ("wecom", 41063, "group msg is dispatching", errors.TryLater),
    ("wecom", 45009, "api freq out of limit", errors.SlowDown),
    ("wecom", 48002, "api forbidden for no authority of app", errors.BadConfig),
    ("wecom", 60020, "not allow to access from your ip", errors.BadConfig),
    ("wecom", "60111", "userid not found", errors.SubjectState),
    ("wecom", -1, "system busy", errors.Transient),
    ("wechat", 43101, "user refuse to accept the msg rid: 65000000-00000001-00000002", errors.SubjectState),
    ("wechat", 40001, "invalid credential, access_token is invalid or not latest rid: 65000000-00000001-00000002",
     errors.TokenRejected),
    ("wechat", 47003, "argument invalid! data.thing1.value invalid rid: 65000000-00000001-00000002", errors.BadRequest),
    ("wechat", 45009, "reach max api daily quota limit rid: 65000000-00000001-00000002", errors.SlowDown),
    ("wechat", 987654, "something new rid: 65000000-00000001-00000002", errors.UnknownCode),
]
# fmt: on


@pytest.mark.parametrize(("family", "code", "text", "kind"), REFUSALS, ids=[f"{row[0]}{row[1]}" for row in REFUSALS])
async def test_a_refusal_as_the_platform_words_it(rig, family, code, text, kind):
    errmsg = WECOM_TEXT.format(text=text, code=code) if family == "wecom" else text
    async with rig() as r:
        r.platform.answers["/cgi-bin/some/call"] = {"errcode": code, "errmsg": errmsg}
        with pytest.raises(errors.PlatformError) as caught:
            await (r.wecom if family == "wecom" else r.mini).post("some/call", data={})
    assert type(caught.value) is kind
    assert (caught.value.errcode, caught.value.errmsg) == (int(code), errmsg)
