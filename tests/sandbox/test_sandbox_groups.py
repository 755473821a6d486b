"""Customer groups: life, lists, codes, statistics (contract/wechat B7, C4)."""

from __future__ import annotations

import re
from typing import Any

import pytest

from sandbox.core.models import day_of
from sandbox.core.world import Member

EC = "/cgi-bin/externalcontact"
GC = f"{EC}/groupchat"
NOW = 1_800_000_000
DAY = 86_400


async def group(play, owner="rm.li", name="理财群", **others: Any):
    """A new group."""
    return await play.control("/groups", {"owner": owner, "name": name, **others})


async def detail(play, chat_id, **asked: Any):
    return (await play.wecom(f"{GC}/get", {"chat_id": chat_id, **asked}))["group_chat"]


def told(play):
    """The group events that came."""
    return [e for e in play.receiver.events if e["Event"] == "change_external_chat"]


async def test_new_group_is_told_and_has_its_members(playing):
    """B7, C4: create; names only with need_name, unionid of customers, invitor of the invited."""
    async with playing() as play:
        person = await play.person()
        made = await group(play, people=[person["id"]], members=["rm.sun"])
        (event,) = told(play)
        assert (event["ChangeType"], event["ChatId"]) == ("create", made["chat_id"])
        found = await detail(play, made["chat_id"])
        assert re.fullmatch(r"wr.{30}", found["chat_id"])
        assert re.fullmatch(r"[0-9a-f]{32}", found["member_version"])
        assert (found["name"], found["owner"], found["create_time"], "notice" in found) == (
            "理财群",
            "rm.li",
            NOW,
            False,
        )
        assert found["member_list"] == [
            {"userid": "rm.li", "type": 1, "join_time": NOW, "join_scene": 1, "group_nickname": ""},
            {
                "userid": person["external_userid"],
                "type": 2,
                "join_time": NOW,
                "join_scene": 1,
                "group_nickname": "",
                "unionid": person["unionid"],
                "invitor": {"userid": "rm.li"},
            },
            {
                "userid": "rm.sun",
                "type": 1,
                "join_time": NOW,
                "join_scene": 1,
                "group_nickname": "",
                "invitor": {"userid": "rm.li"},
            },
        ]
        named = await detail(play, made["chat_id"], need_name=1)
        assert [m["name"] for m in named["member_list"]] == ["李嘉宁", "张晓雯", "孙景行"]


async def test_every_change_of_members_has_the_version_before_and_after(playing):
    """C4: JoinScene 0 invited, QuitScene 0 left and 1 removed; LastMemVer is the version before."""
    async with playing() as play:
        made = await group(play)
        people = [await play.person(f"客{n}") for n in range(2)]
        for person in people:
            await play.control(f"/groups/{made['chat_id']}/join", {"person": person["id"]})
        await play.control(f"/groups/{made['chat_id']}/leave", {"person": people[0]["id"]})
        await play.control(f"/groups/{made['chat_id']}/leave", {"person": people[1]["id"], "removed": True})
        _, *changes = told(play)
        assert [(e["UpdateDetail"], e.get("JoinScene"), e.get("QuitScene")) for e in changes] == [
            ("add_member", "0", None),
            ("add_member", "0", None),
            ("del_member", None, "0"),
            ("del_member", None, "1"),
        ]
        assert [e["MemChangeList"]["Item"] for e in changes] == [
            people[0]["external_userid"],
            people[1]["external_userid"],
            people[0]["external_userid"],
            people[1]["external_userid"],
        ]
        assert {e["MemChangeCnt"] for e in changes} == {"1"}
        versions = [made["version"], *(e["CurMemVer"] for e in changes)]
        assert [e["LastMemVer"] for e in changes] == versions[:-1]
        found = await detail(play, made["chat_id"])
        assert (found["member_version"], [m["userid"] for m in found["member_list"]]) == (versions[-1], ["rm.li"])


async def test_name_notice_and_owner_change_and_the_group_ends(playing):
    """C4: change_name, change_notice, change_owner, dismiss."""
    async with playing() as play:
        made = await group(play)
        path = f"/groups/{made['chat_id']}"
        await play.control(f"{path}/rename", {"name": "财富群"})
        await play.control(f"{path}/notice", {"notice": "周五直播"})
        await play.control(f"{path}/owner", {"userid": "rm.sun"})
        found = await detail(play, made["chat_id"])
        assert (found["name"], found["notice"], found["owner"]) == ("财富群", "周五直播", "rm.sun")
        assert [m["userid"] for m in found["member_list"]] == ["rm.li", "rm.sun"]
        assert (await play.http.delete(f"/control{path}")).status_code == 200
        assert [(e["ChangeType"], e.get("UpdateDetail")) for e in told(play)] == [
            ("create", None),
            ("update", "change_name"),
            ("update", "change_notice"),
            ("update", "change_owner"),
            ("dismiss", None),
        ]
        assert (await play.wecom(f"{GC}/get", {"chat_id": made["chat_id"]}))["errcode"] == 90501


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/groups", {"owner": "rm.nobody", "name": "x"}, 404),
        ("/groups", {"owner": "rm.li", "name": "x", "people": ["p9"]}, 404),
        ("/groups/wrNone/join", {"userid": "rm.li"}, 404),
        ("{group}/join", {"userid": "rm.li"}, 409),
        ("{group}/leave", {"userid": "rm.li"}, 409),
        ("{group}/leave", {"userid": "rm.sun"}, 409),
        ("{group}/message", {"userid": "rm.sun"}, 409),
        ("{group}/owner", {"userid": "rm.nobody"}, 404),
    ],
)
async def test_impossible_group_calls_change_nothing(playing, path, body, status):
    async with playing() as play:
        made = await group(play)
        posts = len(play.receiver.bodies)
        await play.control(path.replace("{group}", f"/groups/{made['chat_id']}"), body, status=status)
        (only,) = (await play.control("/groups"))["groups"]
        assert only["members"] == made["members"]
        assert len(play.receiver.bodies) == posts


async def test_full_group_takes_nobody(playing):
    """B7: 500 people, here 2 by the switch."""
    async with playing() as play:
        await play.control("/switches", {"group_size": 2})
        made, person = await group(play, members=["rm.sun"]), await play.person()
        body = {"person": person["id"]}
        assert (await play.control(f"/groups/{made['chat_id']}/join", body, status=409))["error"][
            "code"
        ] == "impossible"


async def test_groups_are_listed_by_owner_and_state_in_pages(playing):
    """B7, 92120."""
    async with playing() as play:
        made = [await group(play, owner=o) for o in ("rm.li", "rm.sun", "rm.li")]
        first = await play.wecom(f"{GC}/list", {"limit": 2})
        rest = await play.wecom(f"{GC}/list", {"limit": 2, "cursor": first["next_cursor"]})
        found = first["group_chat_list"] + rest["group_chat_list"]
        assert found == [{"chat_id": g["chat_id"], "status": 0} for g in made]
        assert "next_cursor" not in rest
        own = await play.wecom(f"{GC}/list", {"limit": 10, "owner_filter": {"userid_list": ["rm.sun"]}})
        assert [g["chat_id"] for g in own["group_chat_list"]] == [made[1]["chat_id"]]
        assert (await play.wecom(f"{GC}/list", {"limit": 10, "status_filter": 1}))["group_chat_list"] == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"limit": 0},
        {"limit": 1001},
        {"limit": 1, "status_filter": 4},
        {"limit": 1, "owner_filter": {"userid_list": ["x"] * 101}},
    ],
)
async def test_senseless_group_list_is_refused(playing, body):
    """B7: the limit is required."""
    async with playing() as play:
        assert (await play.wecom(f"{GC}/list", body))["errcode"] == 40058


async def test_groups_of_a_big_corp_need_owners(playing, world):
    """B7: 81017 above 1000 visible members."""
    members = [Member(userid=f"u{n}", name="员", department=2) for n in range(1001)]
    async with playing(world.with_people(members, world.corp.departments)) as play:
        assert (await play.wecom(f"{GC}/list", {"limit": 10}))["errcode"] == 81017
        asked = {"limit": 10, "owner_filter": {"userid_list": ["u1"]}}
        assert (await play.wecom(f"{GC}/list", asked))["errcode"] == 0


async def join_way(play, *chats: str, **fields: Any):
    answer = await play.wecom(f"{GC}/add_join_way", {"scene": 2, "chat_id_list": list(chats), **fields})
    assert answer["errcode"] == 0, answer
    return answer["config_id"]


async def test_join_way_is_made_read_replaced_and_deleted(playing):
    """B7, 92229: update replaces everything; a long remark is cut; auto_create_room is 1 by default."""
    async with playing() as play:
        made = await group(play)
        config_id = await join_way(play, made["chat_id"], remark="字" * 31, state="g1", room_base_name="理财群")
        asked = {"config_id": config_id}
        found = (await play.wecom(f"{GC}/get_join_way", asked))["join_way"]
        assert found == {
            "config_id": config_id,
            "scene": 2,
            "qr_code": f"{play.url}/qr/{config_id}.svg",
            "remark": "字" * 30,
            "auto_create_room": 1,
            "room_base_name": "理财群",
            "room_base_id": 1,
            "chat_id_list": [made["chat_id"]],
            "state": "g1",
            "mark_source": True,
        }
        assert (await play.http.get(f"/qr/{config_id}.svg")).status_code == 200
        replaced = {**asked, "scene": 2, "chat_id_list": [made["chat_id"]], "auto_create_room": 0}
        assert (await play.wecom(f"{GC}/update_join_way", replaced))["errcode"] == 0
        found = (await play.wecom(f"{GC}/get_join_way", asked))["join_way"]
        assert (found["state"], found["remark"], found["auto_create_room"]) == ("", "", 0)
        assert (await play.wecom(f"{GC}/del_join_way", asked))["errcode"] == 0
        assert (await play.wecom(f"{GC}/get_join_way", asked))["errcode"] == 41044
        assert (await play.wecom(f"{GC}/get_join_way", {}))["errcode"] == 41043


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [
        ({"scene": None}, 41038),
        ({"scene": 3}, 41040),
        ({"chat_id_list": []}, 40058),
        ({"chat_id_list": [f"wr{n}" for n in range(6)]}, 41091),
        ({"chat_id_list": ["wrUnknown"]}, 90501),
        ({"room_base_name": "字" * 41}, 40058),
        ({"state": "s" * 31}, 40058),
        ({"auto_create_room": 2}, 40058),
    ],
)
async def test_refused_join_way_is_not_made(playing, changes, errcode):
    """B7, D3: one to five groups, 40 and 30 characters."""
    async with playing() as play:
        made = await group(play)
        body = {"scene": 2, "chat_id_list": [made["chat_id"]]} | changes
        assert (await play.wecom(f"{GC}/add_join_way", body))["errcode"] == errcode
        assert (await play.control("/groups"))["join_ways"] == []


async def test_contact_ways_and_join_ways_have_one_cap(playing):
    """B5: 41045, 500,000 of both together, here 2 by the switch."""
    async with playing() as play:
        made = await group(play)
        await play.control("/switches", {"contact_ways_most": 2})
        await play.way()
        await join_way(play, made["chat_id"])
        third = await play.wecom(f"{EC}/add_contact_way", {"type": 2, "scene": 2, "party": [2]})
        fourth = await play.wecom(f"{GC}/add_join_way", {"scene": 2, "chat_id_list": [made["chat_id"]]})
        assert (third["errcode"], fourth["errcode"]) == (41045, 41045)


async def test_code_leads_into_the_next_group_when_one_is_full(playing):
    """B7: join_scene 3 and the state are in the detail, JoinScene 3 in the event; a new group is made after the last."""
    async with playing() as play:
        first, second = await group(play, name="一群"), await group(play, name="二群")
        config_id = await join_way(
            play, first["chat_id"], second["chat_id"], state="g1", room_base_name="新群", room_base_id=3
        )
        await play.control("/switches", {"group_size": 2})
        joined = []
        for number in range(3):
            person = await play.person(f"客{number}")
            joined.append((await play.control(f"/people/{person['id']}/join", {"config_id": config_id}))["chat_id"])
        assert joined[:2] == [first["chat_id"], second["chat_id"]]
        found = await detail(play, joined[2])
        assert (found["name"], found["owner"]) == ("新群3", "rm.li")
        assert [(m["join_scene"], m.get("state")) for m in found["member_list"]] == [(1, None), (3, "g1")]
        *_, created, added = told(play)
        assert (created["ChangeType"], created["ChatId"]) == ("create", joined[2])
        assert (added["UpdateDetail"], added["JoinScene"], added["ChatId"]) == ("add_member", "3", joined[2])
        way = (await play.wecom(f"{GC}/get_join_way", {"config_id": config_id}))["join_way"]
        assert (way["room_base_id"], way["chat_id_list"][2]) == (4, joined[2])


async def test_code_without_new_groups_is_full_when_its_groups_are(playing):
    """B7: auto_create_room 0."""
    async with playing() as play:
        made, person = await group(play, members=["rm.sun"]), await play.person()
        await join_way(play, made["chat_id"], state="g1", auto_create_room=0)
        await play.control("/switches", {"group_size": 2})
        await play.control(f"/people/{person['id']}/join", {"state": "g1"}, status=409)
        assert len((await play.control("/groups"))["groups"]) == 1


async def test_statistic_adds_up_each_owners_groups(playing):
    """B7, 92133: sorted, paged; day by day the owners together."""
    async with playing() as play:
        person = await play.person()
        big = await group(play, owner="rm.li", people=[person["id"]])
        await group(play, owner="rm.sun")
        await group(play, owner="rm.sun")
        for _ in range(3):
            await play.control(f"/groups/{big['chat_id']}/message", {"person": person["id"]})
        asked = {"day_begin_time": NOW, "owner_filter": {"userid_list": ["rm.li", "rm.sun"]}}
        found = await play.wecom(f"{GC}/statistic", asked)
        assert [i["owner"] for i in found["items"]] == ["rm.sun", "rm.li"]
        assert found["items"][1]["data"] == {
            "new_chat_cnt": 1,
            "chat_total": 1,
            "chat_has_msg": 1,
            "new_member_cnt": 1,
            "member_total": 2,
            "member_has_msg": 1,
            "msg_total": 3,
            "migrate_trainee_chat_cnt": 0,
        }
        page = await play.wecom(f"{GC}/statistic", {**asked, "order_by": 4, "order_asc": 1, "offset": 1, "limit": 1})
        assert (page["total"], page["next_offset"], len(page["items"])) == (2, 2, 1)
        asked |= {"day_begin_time": NOW - DAY, "day_end_time": NOW}
        days = (await play.wecom(f"{GC}/statistic_group_by_day", asked))["items"]
        assert [(d["stat_time"], d["data"]["new_chat_cnt"], d["data"]["msg_total"]) for d in days] == [
            (day_of(NOW - DAY), 0, 0),
            (day_of(NOW), 3, 3),
        ]


@pytest.mark.parametrize(
    "changes",
    [
        {"owner_filter": None},
        {"day_begin_time": None},
        {"day_begin_time": NOW - 31 * DAY, "day_end_time": NOW},
        {"day_begin_time": NOW - 181 * DAY},
        {"order_by": 5},
    ],
)
async def test_senseless_statistic_is_refused(playing, changes):
    """B7."""
    async with playing() as play:
        asked = {"day_begin_time": NOW, "owner_filter": {"userid_list": ["rm.li"]}} | changes
        assert (await play.wecom(f"{GC}/statistic", asked))["errcode"] == 40058
