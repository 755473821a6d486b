"""Corp tags: changed, deleted, capped, owned, and changed by the administrator (contract/wechat B4, C4)."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.core.state import Tag, TagGroup
from sandbox.core.world import App
from sandbox.wecom import tags

EC = "/cgi-bin/externalcontact"


async def make(play, *names: str, group="来源"):
    """A group with its new tags."""
    answer = await play.wecom(f"{EC}/add_corp_tag", {"group_name": group, "tag": [{"name": n} for n in names]})
    assert answer["errcode"] == 0, answer
    return answer["tag_group"]


async def names(play):
    """Every tag's name by group."""
    listed = await play.wecom(f"{EC}/get_corp_tag_list", {})
    return {g["group_name"]: [t["name"] for t in g["tag"]] for g in listed["tag_group"]}


def other_app(world, **fields: Any):
    """The demonstration world with a second app."""
    second = App(
        agent_id=1000003,
        name="另一个应用",
        secret="fake-other-secret",
        token="Other",
        encoding_aes_key=world.corp.apps[0].encoding_aes_key,
        callback_url="http://127.0.0.1:9/",
        **fields,
    )
    corp = world.corp.model_copy(update={"apps": (*world.corp.apps, second)})
    return world.model_copy(update={"corp": corp}), second


async def test_tag_and_group_get_another_name_and_order(playing):
    """B4: edit_corp_tag."""
    async with playing() as play:
        group = await make(play, "扫码", "到店")
        tag_id = group["tag"][0]["id"]
        assert (await play.wecom(f"{EC}/edit_corp_tag", {"id": tag_id, "name": "网点", "order": 7}))["errcode"] == 0
        assert (await play.wecom(f"{EC}/edit_corp_tag", {"id": group["group_id"], "name": "渠道"}))["errcode"] == 0
        assert await names(play) == {"渠道": ["网点", "到店"]}
        listed = (await play.wecom(f"{EC}/get_corp_tag_list", {}))["tag_group"]
        assert listed[0]["tag"][0]["order"] == 7


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({"id": "etUnknown", "name": "x"}, 40068),
        ({"name": "x"}, 40068),
        ({"id": "first", "name": "到店"}, 40071),
        ({"id": "first", "name": ""}, 40072),
        ({"id": "first", "name": "字" * 31}, 40072),
        ({"id": "first", "order": -1}, 40058),
        ({"id": "first", "order": 2**32}, 40058),
        ({"id": "first", "name": "x", "agentid": 7}, 40056),
        ({"id": "group", "name": "渠道"}, 40071),
    ],
)
async def test_refused_change_of_a_tag_changes_nothing(playing, body, errcode):
    """B4: unknown id, duplicate name, length, uint32 order."""
    async with playing() as play:
        group = await make(play, "扫码", "到店")
        await make(play, "x", group="渠道")
        known = {"first": group["tag"][0]["id"], "group": group["group_id"]}
        body = body | ({"id": known.get(body["id"], body["id"])} if "id" in body else {})
        assert (await play.wecom(f"{EC}/edit_corp_tag", body))["errcode"] == errcode
        assert await names(play) == {"来源": ["扫码", "到店"], "渠道": ["x"]}


async def test_group_goes_with_its_last_tag(playing):
    """B4: del_corp_tag by tag and by group; a friend's tags lose it."""
    async with playing() as play:
        group = await make(play, "扫码", "到店")
        await make(play, "a", "b", group="渠道")
        person, added = await play.friend()
        first, second = (t["id"] for t in group["tag"])
        pair = {"userid": added["userid"], "external_userid": person["external_userid"]}
        await play.wecom(f"{EC}/mark_tag", {**pair, "add_tag": [first, second]})
        assert (await play.wecom(f"{EC}/del_corp_tag", {"tag_id": [first]}))["errcode"] == 0
        assert await names(play) == {"来源": ["到店"], "渠道": ["a", "b"]}
        (follow,) = (await play.wecom(f"{EC}/get", external_userid=person["external_userid"]))["follow_user"]
        assert [t["tag_name"] for t in follow["tags"]] == ["到店"]
        assert (await play.wecom(f"{EC}/del_corp_tag", {"tag_id": [second]}))["errcode"] == 0
        assert await names(play) == {"渠道": ["a", "b"]}
        assert (await play.wecom(f"{EC}/mark_tag", {**pair, "add_tag": [first]}))["errcode"] == 40068


async def test_deleting_a_group_is_told_as_one(playing):
    """C4: one event for the group, none for its tags."""
    async with playing() as play:
        group = await make(play, "扫码", "到店")
        await play.control("/switches", {"api_changes_emit_events": True})
        assert (await play.wecom(f"{EC}/del_corp_tag", {"group_id": [group["group_id"]]}))["errcode"] == 0
        await play.box.sender.idle()
        (event,) = play.receiver.events
        assert (event["ChangeType"], event["Id"], event["TagType"]) == ("delete", group["group_id"], "tag_group")
        assert await names(play) == {}


@pytest.mark.parametrize(
    ("body", "errcode"), [({}, 40058), ({"tag_id": ["etUnknown"]}, 40068), ({"group_id": ["etUnknown"]}, 40068)]
)
async def test_refused_deletion_deletes_nothing(playing, body, errcode):
    """B4."""
    async with playing() as play:
        group = await make(play, "扫码")
        body = {name: [*ids, group["tag"][0]["id"]] if name == "tag_id" else ids for name, ids in body.items()}
        assert (await play.wecom(f"{EC}/del_corp_tag", body))["errcode"] == errcode
        assert await names(play) == {"来源": ["扫码"]}


@pytest.mark.parametrize(("fields", "errcode"), [({}, 81011), ({"builtin": True}, 0)])
async def test_only_the_app_that_made_a_tag_changes_it(playing, world, fields, errcode):
    """B4: 81011 for another app; WeCom's own customer-contact secret may, where it may call at all."""
    world, second = other_app(world, **fields)
    async with playing(world) as play:
        await play.control("/switches", {"system_secret_may_call": True})
        group = await make(play, "扫码", "到店")
        token = (await play.wecom_token(second.secret))["access_token"]
        edit = {"id": group["tag"][0]["id"], "name": "x"}
        edited = await play.post(f"/wecom{EC}/edit_corp_tag", edit, access_token=token)
        gone = await play.post(f"/wecom{EC}/del_corp_tag", {"tag_id": [group["tag"][1]["id"]]}, access_token=token)
        assert (edited["errcode"], gone["errcode"]) == (errcode, errcode)
        assert await names(play) == {"来源": ["扫码", "到店"] if errcode else ["x"]}


async def test_corp_has_at_most_ten_thousand_tags(playing):
    """B4, D3."""
    async with playing() as play:
        group = TagGroup(group_id="etBig", group_name="大", create_time=0)
        play.box.state.add_tags(
            group, [Tag(id=f"et{n}", name=str(n), create_time=0) for n in range(tags.TAGS_MOST - 1)]
        )
        two = {"group_name": "来源", "tag": [{"name": "a"}, {"name": "b"}]}
        assert (await play.wecom(f"{EC}/add_corp_tag", two))["errcode"] == 40058
        assert play.box.state.tag_count() == tags.TAGS_MOST - 1
        await make(play, "a")


async def test_administrators_tags_are_told(playing):
    """C4: create of group and tags, update, shuffle without TagType, delete."""
    async with playing() as play:
        made = (await play.control("/tags", {"group_name": "分层", "names": ["私行", "财富"]}))["tag_group"]
        first = made["tag"][0]["id"]
        await play.control(f"/tags/{first}", {"name": "私人银行"})
        await play.control("/tags/shuffle", {"group_id": made["group_id"]})
        await play.control("/tags/shuffle", {})
        await play.http.delete(f"/control/tags/{first}")
        await play.http.delete(f"/control/tags/{made['group_id']}")
        told = [(e["ChangeType"], e.get("TagType"), e.get("Id")) for e in play.receiver.events]
        assert told == [
            ("create", "tag_group", made["group_id"]),
            ("create", "tag", first),
            ("create", "tag", made["tag"][1]["id"]),
            ("update", "tag", first),
            ("shuffle", None, made["group_id"]),
            ("shuffle", None, None),
            ("delete", "tag", first),
            ("delete", "tag_group", made["group_id"]),
        ]
        assert await names(play) == {}


async def test_app_may_not_change_an_administrators_tag(playing):
    """B4: 81011."""
    async with playing() as play:
        made = (await play.control("/tags", {"group_name": "分层", "names": ["私行"]}))["tag_group"]
        body = {"id": made["tag"][0]["id"], "name": "x"}
        assert (await play.wecom(f"{EC}/edit_corp_tag", body))["errcode"] == 81011
        assert await names(play) == {"分层": ["私行"]}


async def test_tags_of_a_rule_group_are_made_changed_and_deleted_apart_from_corp_tags(playing):
    """B4: 94882."""
    async with playing() as play:
        add, one = f"{EC}/add_strategy_tag", {"strategy_id": 1, "group_name": "深圳", "tag": [{"name": "客户"}]}
        assert (await play.wecom(add, one))["errcode"] == 40058
        await play.control("/strategies", {"strategy_id": 1})
        await play.control("/strategies", {"strategy_id": 2, "parent_id": 1})
        assert (await play.wecom(add, {**one, "strategy_id": 2}))["errcode"] == 40058
        twice = {**one, "tag": [{"name": "客户"}, {"name": "客户"}, {"name": "理财"}]}
        group = (await play.wecom(add, twice))["tag_group"]
        assert [tag["name"] for tag in group["tag"]] == ["客户", "理财"]
        assert (await play.wecom(add, one))["errcode"] == 40071
        first, second = (tag["id"] for tag in group["tag"])
        edit = f"{EC}/edit_strategy_tag"
        assert (await play.wecom(edit, {"id": first, "name": "理财"}))["errcode"] == 40071
        assert (await play.wecom(edit, {"id": first, "name": "新客", "order": 3}))["errcode"] == 0
        assert (await play.wecom(edit, {"id": group["group_id"], "name": "南山"}))["errcode"] == 0
        assert await names(play) == {}
        (listed,) = (await play.wecom(f"{EC}/get_strategy_tag_list", {"strategy_id": 1}))["tag_group"]
        assert (listed["strategy_id"], listed["group_name"]) == (1, "南山")
        assert [(tag["name"], tag["order"]) for tag in listed["tag"]] == [("新客", 3), ("理财", 0)]
        delete = f"{EC}/del_strategy_tag"
        assert (await play.wecom(delete, {}))["errcode"] == 40058
        assert (await play.wecom(delete, {"tag_id": [first]}))["errcode"] == 0
        assert (await play.wecom(delete, {"tag_id": [second, first]}))["errcode"] == 40068
        assert (await play.wecom(delete, {"group_id": [group["group_id"]]}))["errcode"] == 0
        assert (await play.wecom(f"{EC}/get_strategy_tag_list", {}))["tag_group"] == []
