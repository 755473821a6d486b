"""Temporary contact ways, and who may stand behind a way (contract/wechat B5)."""

from __future__ import annotations

import pytest

EC = "/cgi-bin/externalcontact"
TEMP = {"type": 1, "scene": 2, "user": ["rm.li"], "is_temp": True}


async def test_temporary_way_ends_and_its_chat_is_closed(playing):
    """B5, 92572: only the medical industry; not in the list; close_temp_chat once."""
    async with playing() as play:
        await play.control("/switches", {"medical": True})
        conclusions = {"text": {"content": "祝您早日康复"}, "image": {"media_id": "M1"}}
        made = await play.wecom(f"{EC}/add_contact_way", {**TEMP, "expires_in": 600, "conclusions": conclusions})
        asked = {"config_id": made["config_id"]}
        way = (await play.wecom(f"{EC}/get_contact_way", asked))["contact_way"]
        assert (way["is_temp"], way["expires_in"], way["chat_expires_in"]) == (True, 600, 86_400)
        assert way["conclusions"]["text"] == {"content": "祝您早日康复"}
        assert way["conclusions"]["image"].keys() == {"pic_url"}
        assert (await play.wecom(f"{EC}/list_contact_way", {}))["contact_way"] == []
        person = await play.person()
        await play.control(f"/people/{person['id']}/scan", asked)
        pair = {"userid": "rm.li", "external_userid": person["external_userid"]}
        assert (await play.wecom(f"{EC}/close_temp_chat", pair))["errcode"] == 0
        assert (await play.control(f"/people/{person['id']}"))["friends"] == []
        assert (await play.wecom(f"{EC}/close_temp_chat", pair))["errcode"] == 84061
        assert (await play.wecom(f"{EC}/update_contact_way", {**asked, "expires_in": 900}))["errcode"] == 0
        await play.control("/clock", {"advance": 900})
        await play.control(f"/people/{person['id']}/scan", asked, status=409)


async def test_day_has_so_many_temporary_ways_and_deleting_one_gives_none_back(playing):
    """B5: at most 100,000 a day, here two; the next day begins anew, and lasting ways are not counted."""
    async with playing() as play:
        await play.control("/switches", {"medical": True, "temporary_ways_a_day": 2})
        made = [await play.wecom(f"{EC}/add_contact_way", TEMP) for _ in range(3)]
        assert [one["errcode"] for one in made] == [0, 0, 41045]
        await play.wecom(f"{EC}/del_contact_way", {"config_id": made[0]["config_id"]})
        assert (await play.wecom(f"{EC}/add_contact_way", TEMP))["errcode"] == 41045
        assert (await play.wecom(f"{EC}/add_contact_way", TEMP | {"is_temp": False}))["errcode"] == 0
        assert len((await play.control("/ways"))["ways"]) == 2
        await play.control("/clock", {"advance": 86_400})
        assert (await play.wecom(f"{EC}/add_contact_way", TEMP))["errcode"] == 0


async def test_lasting_friendship_is_no_temporary_chat(playing):
    """B5, 92572: 84061, and it stays."""
    async with playing() as play:
        person, added = await play.friend()
        pair = {"userid": added["userid"], "external_userid": person["external_userid"]}
        assert (await play.wecom(f"{EC}/close_temp_chat", pair))["errcode"] == 84061
        assert len((await play.control(f"/people/{person['id']}"))["friends"]) == 1


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [
        ({"type": 2, "party": [2]}, 41039),
        ({"expires_in": 0}, 40058),
        ({"expires_in": 15 * 86_400}, 40058),
        ({"chat_expires_in": "x"}, 40058),
        ({"conclusions": {"text": {"content": "字" * 1334}}}, 40058),
        ({"conclusions": {"link": {"title": "x"}}}, 40058),
        ({"conclusions": "x"}, 40058),
    ],
)
async def test_refused_temporary_way_is_not_made(playing, changes, errcode):
    """B5: type 1 only, at most 14 days, conclusions complete and up to 4000 bytes."""
    async with playing() as play:
        await play.control("/switches", {"medical": True})
        assert (await play.wecom(f"{EC}/add_contact_way", TEMP | changes))["errcode"] == errcode
        assert (await play.control("/ways"))["ways"] == []


@pytest.mark.parametrize(("changes", "errcode"), [({"status": 4}, 41054), ({"contact": False}, 84074)])
async def test_member_who_cannot_have_customers_is_refused(playing, changes, errcode):
    """B5: 41054 not activated, 84074 without the permission; in a department they are passed over."""
    async with playing() as play:
        await play.control("/members/rm.li", changes)
        body = {"type": 1, "scene": 2, "user": ["rm.li"]}
        assert (await play.wecom(f"{EC}/add_contact_way", body))["errcode"] == errcode
        assert (await play.control("/ways"))["ways"] == []
        assert (await play.wecom(f"{EC}/add_contact_way", {"type": 2, "scene": 2, "party": [2]}))["errcode"] == 0


async def test_way_of_a_department_has_the_members_below_it(playing):
    """B5: the hundred people are counted after expanding departments."""
    async with playing() as play:
        config_id = await play.way(party=[1])
        (way,) = (await play.control("/ways"))["ways"]
        assert (way["config_id"], len(way["members"])) == (config_id, 6)
        for number in range(100):
            member = {"userid": f"u{number}", "name": "员", "department": 3}
            await play.control("/members", member)
        assert (await play.wecom(f"{EC}/add_contact_way", {"type": 2, "scene": 2, "party": [1]}))["errcode"] == 41041
