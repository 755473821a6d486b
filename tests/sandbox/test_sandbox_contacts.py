"""WeCom's customers, tags and welcome message (contract/wechat B3, B4, B8)."""

from __future__ import annotations

from typing import Any

import pytest

EC = "/cgi-bin/externalcontact"


async def tag_ids(play, *names: str, group="来源"):
    """The ids of new tags."""
    answer = await play.wecom(f"{EC}/add_corp_tag", {"group_name": group, "tag": [{"name": n} for n in names]})
    assert answer["errcode"] == 0, answer
    return [t["id"] for t in answer["tag_group"]["tag"]]


async def test_members_with_the_permission_are_listed(playing):
    """B3: get_follow_user_list."""
    async with playing() as play:
        answer = await play.wecom(f"{EC}/get_follow_user_list")
        assert answer["follow_user"] == ["rm.chen", "rm.li", "rm.wang", "rm.zhao", "rm.liu", "rm.sun"]


async def test_customers_of_a_member_are_listed(playing):
    """B3: 84061 when the member has none."""
    async with playing() as play:
        person, added = await play.friend()
        assert (await play.wecom(f"{EC}/list", userid=added["userid"]))["external_userid"] == [
            person["external_userid"]
        ]
        assert (await play.wecom(f"{EC}/list", userid="rm.sun"))["errcode"] == 84061
        assert (await play.wecom(f"{EC}/list", userid="rm.nobody"))["errcode"] == 60111


async def test_customer_is_described_with_the_way_he_came(playing):
    """B3: unionid, add_way 1 and state."""
    async with playing() as play:
        person, added = await play.friend(state="branch-sz-01")
        answer = await play.wecom(f"{EC}/get", external_userid=person["external_userid"])
        contact, (follow,) = answer["external_contact"], answer["follow_user"]
        assert (contact["name"], contact["type"], contact["unionid"]) == ("张晓雯", 1, person["unionid"])
        assert (follow["userid"], follow["state"], follow["add_way"]) == (added["userid"], "branch-sz-01", 1)
        assert (follow["createtime"], follow["tags"]) == (added["create_time"], [])


async def test_unknown_customer_and_stranger_are_told_apart(playing):
    """B3: 40096 for an unknown id, 84061 for someone who is nobody's friend."""
    async with playing() as play:
        stranger = await play.person()
        assert (await play.wecom(f"{EC}/get", external_userid="wmNobody"))["errcode"] == 40096
        assert (await play.wecom(f"{EC}/get", external_userid=stranger["external_userid"]))["errcode"] == 84061


async def test_remark_changes_only_what_is_given(playing):
    """B3: fields that are absent stay; [""] clears the mobiles."""
    async with playing() as play:
        person, added = await play.friend()
        pair = {"userid": added["userid"], "external_userid": person["external_userid"]}
        assert (await play.wecom(f"{EC}/remark", {**pair, "remark": "张女士", "remark_mobiles": ["138"]}))[
            "errcode"
        ] == 0
        await play.wecom(f"{EC}/remark", {**pair, "description": "存款到期"})
        (friend,) = (await play.control(f"/people/{person['id']}"))["friends"]
        assert (friend["remark"], friend["description"], friend["remark_mobiles"]) == ("张女士", "存款到期", ["138"])
        await play.wecom(f"{EC}/remark", {**pair, "remark_mobiles": [""]})
        (friend,) = (await play.control(f"/people/{person['id']}"))["friends"]
        assert friend["remark_mobiles"] == []


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [
        ({"remark": "字" * 21}, 40058),
        ({"description": "字" * 151}, 40058),
        ({}, 40058),
        ({"remark": "x", "userid": "rm.sun"}, 84061),
        ({"remark": "x", "external_userid": "wmNobody"}, 40096),
    ],
)
async def test_refused_remark_changes_nothing(playing, changes, errcode):
    """B3, D3: at least one field, 20 and 150 characters, friends only."""
    async with playing() as play:
        person, added = await play.friend()
        body = {"userid": added["userid"], "external_userid": person["external_userid"]} | changes
        assert (await play.wecom(f"{EC}/remark", body))["errcode"] == errcode
        (friend,) = (await play.control(f"/people/{person['id']}"))["friends"]
        assert (friend["remark"], friend["description"]) == ("", "")


async def test_tags_go_on_and_off_and_twice_is_once(playing):
    """B3: mark_tag is idempotent; the customer's detail names group and tag."""
    async with playing() as play:
        person, added = await play.friend()
        first, second = await tag_ids(play, "扫码", "到店")
        pair = {"userid": added["userid"], "external_userid": person["external_userid"]}
        for _ in range(2):
            assert (await play.wecom(f"{EC}/mark_tag", {**pair, "add_tag": [first, second]}))["errcode"] == 0
        (follow,) = (await play.wecom(f"{EC}/get", external_userid=person["external_userid"]))["follow_user"]
        assert follow["tags"] == [
            {"group_name": "来源", "tag_name": "扫码", "tag_id": first, "type": 1},
            {"group_name": "来源", "tag_name": "到店", "tag_id": second, "type": 1},
        ]
        await play.wecom(f"{EC}/mark_tag", {**pair, "remove_tag": [first]})
        assert (await play.control(f"/people/{person['id']}"))["friends"][0]["tag_names"] == ["到店"]


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [
        ({"add_tag": ["etUnknown"]}, 40068),
        ({"add_tag": [], "remove_tag": []}, 40058),
        ({"userid": "rm.sun"}, 84061),
        ({"userid": "rm.nobody"}, 60111),
        ({"add_tag": "et1"}, 40058),
    ],
)
async def test_refused_tag_changes_nothing(playing, changes, errcode):
    """B3: 40068 unknown tag, 84061 not friends."""
    async with playing() as play:
        person, added = await play.friend()
        (tag,) = await tag_ids(play, "扫码")
        body = {"userid": added["userid"], "external_userid": person["external_userid"], "add_tag": [tag]}
        assert (await play.wecom(f"{EC}/mark_tag", body | changes))["errcode"] == errcode
        assert (await play.control(f"/people/{person['id']}"))["friends"][0]["tags"] == []


async def test_new_tags_reuse_the_group_of_that_name(playing):
    """B4: add_corp_tag answers the new tags only; group_id wins over tag_id in the list."""
    async with playing() as play:
        (first,) = await tag_ids(play, "扫码")
        answer = await play.wecom(f"{EC}/add_corp_tag", {"group_name": "来源", "tag": [{"name": "到店", "order": 5}]})
        group = answer["tag_group"]
        assert [(t["name"], t["order"]) for t in group["tag"]] == [("到店", 5)]
        (listed,) = (await play.wecom(f"{EC}/get_corp_tag_list", {}))["tag_group"]
        assert (listed["group_id"], [t["name"] for t in listed["tag"]]) == (group["group_id"], ["扫码", "到店"])
        (one,) = (await play.wecom(f"{EC}/get_corp_tag_list", {"tag_id": [first]}))["tag_group"]
        assert [t["id"] for t in one["tag"]] == [first]
        asked = {"tag_id": [first], "group_id": [group["group_id"]]}
        (both,) = (await play.wecom(f"{EC}/get_corp_tag_list", asked))["tag_group"]
        assert len(both["tag"]) == 2


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({"group_name": "来源", "tag": [{"name": "新"}, {"name": "扫码"}]}, 40071),
        ({"group_name": "来源", "tag": [{"name": "字" * 31}]}, 40072),
        ({"group_id": "etUnknown", "tag": [{"name": "新"}]}, 40068),
        ({"group_name": "来源", "tag": []}, 40058),
        ({"tag": [{"name": "新"}]}, 40058),
    ],
)
async def test_refused_tags_add_none(playing, body, errcode):
    """B4: duplicate name, length, unknown group; nothing of the batch stays."""
    async with playing() as play:
        await tag_ids(play, "扫码")
        assert (await play.wecom(f"{EC}/add_corp_tag", body))["errcode"] == errcode
        (group,) = (await play.wecom(f"{EC}/get_corp_tag_list", {}))["tag_group"]
        assert [t["name"] for t in group["tag"]] == ["扫码"]


def welcome(added, **changes: Any):
    return {"welcome_code": added["welcome_code"], "text": {"content": "欢迎"}} | changes


async def test_welcome_reaches_the_persons_phone_once(playing):
    """B8: 41051 the second time."""
    async with playing() as play:
        person, added = await play.friend()
        link = {"msgtype": "link", "link": {"title": "开户礼", "url": "https://bank.example/"}}
        assert (await play.wecom(f"{EC}/send_welcome_msg", welcome(added, attachments=[link])))["errcode"] == 0
        assert (await play.wecom(f"{EC}/send_welcome_msg", welcome(added)))["errcode"] == 41051
        (message,) = (await play.control(f"/people/{person['id']}"))["inbox"]
        assert (message["kind"], message["sender"], message["text"]) == ("welcome", added["userid"], "欢迎")
        assert message["content"] == {"attachments": [link]}
        sent = await play.control("/welcomes")
        assert (sent["count"], sent["welcomes"][0]["welcome_code"]) == (1, added["welcome_code"])


async def test_welcome_code_dies_after_twenty_seconds(playing):
    """B8, C4: 41050."""
    async with playing() as play:
        person, added = await play.friend()
        await play.control("/clock", {"advance": 20})
        assert (await play.wecom(f"{EC}/send_welcome_msg", welcome(added)))["errcode"] == 41050
        assert (await play.control(f"/people/{person['id']}"))["inbox"] == []


async def test_welcome_is_too_late_once_the_chat_started(playing):
    """B8: 41051 after the customer wrote first."""
    async with playing() as play:
        person, added = await play.friend()
        await play.control(f"/people/{person['id']}/message", {"userid": added["userid"], "text": "在吗"})
        assert (await play.wecom(f"{EC}/send_welcome_msg", welcome(added)))["errcode"] == 41051


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [
        ({"welcome_code": ""}, 41049),
        ({"welcome_code": "WCunknown"}, 41050),
        ({"text": {"content": ""}}, 40058),
        ({"text": {"content": "字" * 1334}}, 45002),
        ({"attachments": [{"msgtype": "link", "link": {"title": "a", "url": "u"}}] * 10}, 41064),
        ({"attachments": [{"msgtype": "smoke"}]}, 41065),
        ({"attachments": [{"msgtype": "link", "link": {"title": "a"}}]}, 40058),
        ({"attachments": [{"msgtype": "link", "link": {"title": "字" * 43, "url": "u"}}]}, 45002),
    ],
)
async def test_refused_welcome_does_not_use_up_the_code(playing, changes, errcode):
    """B8, D3: text up to 4000 bytes, nine attachments, not both empty."""
    async with playing() as play:
        person, added = await play.friend()
        assert (await play.wecom(f"{EC}/send_welcome_msg", welcome(added) | changes))["errcode"] == errcode
        assert (await play.control(f"/people/{person['id']}"))["inbox"] == []
        assert (await play.wecom(f"{EC}/send_welcome_msg", welcome(added)))["errcode"] == 0
