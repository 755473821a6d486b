"""WeCom's contact ways and what scanning them does (contract/wechat B5)."""

from __future__ import annotations

import pytest

from sandbox.core.clock import Clock
from sandbox.core.world import App

EC = "/cgi-bin/externalcontact"


async def test_way_is_made_read_changed_and_deleted(playing):
    """B5: add, get, update, del."""
    async with playing() as play:
        made = await play.wecom(
            f"{EC}/add_contact_way", {"type": 1, "scene": 2, "user": ["rm.chen"], "state": "s1", "remark": "网点"}
        )
        asked = {"config_id": made["config_id"]}
        assert made["qr_code"] == f"{play.url}/qr/{made['config_id']}.svg"
        way = (await play.wecom(f"{EC}/get_contact_way", asked))["contact_way"]
        assert (way["type"], way["scene"], way["user"], way["party"]) == (1, 2, ["rm.chen"], [])
        assert (way["state"], way["remark"], way["skip_verify"], way["qr_code"]) == (
            "s1",
            "网点",
            True,
            made["qr_code"],
        )
        assert (await play.wecom(f"{EC}/update_contact_way", {**asked, "user": ["rm.li"]}))["errcode"] == 0
        way = (await play.wecom(f"{EC}/get_contact_way", asked))["contact_way"]
        assert (way["user"], way["state"], way["remark"]) == (["rm.li"], "s1", "网点")
        assert (await play.wecom(f"{EC}/del_contact_way", asked))["errcode"] == 0
        assert (await play.wecom(f"{EC}/get_contact_way", asked))["errcode"] == 41044


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [
        ({"type": None}, 41037),
        ({"scene": None}, 41038),
        ({"type": 3}, 41039),
        ({"scene": 9}, 41040),
        ({"style": 4}, 41042),
        ({"state": "s" * 31}, 40058),
        ({"remark": "字" * 31}, 40058),
        ({"party": [99]}, 60123),
        ({"user": ["rm.nobody"]}, 60111),
        ({"party": []}, 40058),
        ({"type": 1, "user": ["rm.chen", "rm.li"], "party": []}, 40058),
        ({"is_temp": True}, 48002),
    ],
)
async def test_refused_way_is_not_made(playing, changes, errcode):
    """B5, D3: each wrong field has its errcode."""
    async with playing() as play:
        body = {"type": 2, "scene": 2, "party": [2]} | changes
        assert (await play.wecom(f"{EC}/add_contact_way", body))["errcode"] == errcode
        assert (await play.control("/ways"))["ways"] == []


async def test_way_calls_want_a_known_config_id(playing):
    """B5: 41043 missing, 41044 bad."""
    async with playing() as play:
        for call in ("get_contact_way", "update_contact_way", "del_contact_way"):
            assert (await play.wecom(f"{EC}/{call}", {}))["errcode"] == 41043
            assert (await play.wecom(f"{EC}/{call}", {"config_id": "0" * 32}))["errcode"] == 41044


async def test_ways_are_listed_in_pages_and_by_time(playing):
    """B5: opaque cursor, empty at the end; by default the last 90 days."""
    async with playing() as play:
        made = [await play.way(state=f"s{i}") for i in range(5)]
        seen, cursor = [], ""
        for _ in range(3):
            page = await play.wecom(f"{EC}/list_contact_way", {"limit": 2, "cursor": cursor})
            seen += [w["config_id"] for w in page["contact_way"]]
            cursor = page["next_cursor"]
        assert (seen, cursor) == (made, "")
        assert (await play.wecom(f"{EC}/list_contact_way", {"limit": 1001}))["errcode"] == 0
        assert (await play.wecom(f"{EC}/list_contact_way", {"cursor": "made up"}))["errcode"] == 40058
        play.box.clock.advance(91 * 86_400)
        assert (await play.wecom(f"{EC}/list_contact_way", {}))["contact_way"] == []


async def test_way_of_another_app_is_out_of_sight(playing, world):
    """B5, F10: each app sees only its own ways."""
    second = App(
        agent_id=1000003,
        name="另一个应用",
        secret="fake-other-secret",
        token="Other",
        encoding_aes_key=world.corp.apps[0].encoding_aes_key,
        callback_url="http://127.0.0.1:9/",
    )
    apps = (*world.corp.apps, second)
    async with playing(world.model_copy(update={"corp": world.corp.model_copy(update={"apps": apps})})) as play:
        config_id = await play.way()
        token = (await play.wecom_token(second.secret))["access_token"]
        other = await play.post(f"/wecom{EC}/get_contact_way", {"config_id": config_id}, access_token=token)
        listed = await play.post(f"/wecom{EC}/list_contact_way", {}, access_token=token)
        assert (other["errcode"], listed["contact_way"]) == (41044, [])


async def test_members_of_a_way_take_turns(playing):
    """B5: a way of several members."""
    async with playing() as play:
        config_id = await play.way(party=[2], user=["rm.wang"])
        people = [await play.person(f"客户{i}") for i in range(4)]
        got = [(await play.control(f"/people/{p['id']}/scan", {"config_id": config_id}))["userid"] for p in people]
        assert got == ["rm.wang", "rm.chen", "rm.li", "rm.wang"]


async def test_exclusive_way_gives_the_same_member_again(playing):
    """B5: is_exclusive."""
    async with playing() as play:
        config_id = await play.way(is_exclusive=True, state="vip")
        first, second = await play.person("甲"), await play.person("乙")
        scan = {"state": "vip"}
        one = await play.control(f"/people/{first['id']}/scan", scan)
        two = await play.control(f"/people/{second['id']}/scan", {"config_id": config_id})
        await play.control(f"/people/{first['id']}/delete", {"userid": one["userid"]})
        again = await play.control(f"/people/{first['id']}/scan", scan)
        assert (one["userid"], two["userid"], again["userid"]) == ("rm.chen", "rm.li", "rm.chen")


async def test_second_scan_of_a_friend_changes_nothing(playing):
    """Friends who scan again open the chat: no event, no welcome code, the first state stays."""
    async with playing() as play:
        person, added = await play.friend(state="first", party=[], user=["rm.chen"])
        config_id = await play.way(state="second", party=[], user=["rm.chen"])
        again = await play.control(f"/people/{person['id']}/scan", {"config_id": config_id})
        assert (again["already_friends"], again["welcome_code"], again["state"]) == (True, "", "first")
        assert len(play.receiver.events) == 1
        assert added["delivered"] is True


async def test_scan_of_nothing_is_refused(playing):
    """An unknown code, and a member who is not behind it."""
    async with playing() as play:
        person, config_id = await play.person(), await play.way(party=[2])
        path = f"/people/{person['id']}/scan"
        assert (await play.control(path, {"state": "none"}, status=404))["error"]["code"] == "no_such_way"
        wrong = {"config_id": config_id, "userid": "rm.sun"}
        assert (await play.control(path, wrong, status=409))["error"]["code"] == "impossible"
        assert (await play.control(f"/people/{person['id']}"))["friends"] == []
        assert play.receiver.bodies == []


async def test_qr_code_is_a_picture_of_the_way(playing):
    async with playing(clock=Clock()) as play:
        picture = await play.http.get(f"/qr/{await play.way()}.svg")
        assert (picture.status_code, picture.headers["Content-Type"]) == (200, "image/svg+xml")
        assert picture.text.startswith("<svg ")
        assert (await play.http.get(f"/qr/{'0' * 32}.svg")).status_code == 404
