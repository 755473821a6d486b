"""A customer's other ids, pages of followers, figures of a day (contract/wechat B3)."""

from __future__ import annotations

import pytest

from sandbox.core.models import day_of
from sandbox.core.world import Member

EC = "/cgi-bin/externalcontact"
NOW = 1_800_000_000
DAY = 86_400


async def test_followers_come_five_hundred_a_page(playing, world):
    """B3, 92114: next_cursor above 500 followers."""
    colleagues = [Member(userid=f"u{n:04d}", name=f"员{n}", department=2) for n in range(600)]
    async with playing(world.with_people(colleagues, world.corp.departments)) as play:
        everybody = [m.userid for m in colleagues]
        await play.control("/people/bulk", {"count": 1, "seed": 1, "userids": everybody, "friends_each": 600})
        (person,) = (await play.control("/people"))["people"]
        first = await play.wecom(f"{EC}/get", external_userid=person["external_userid"])
        second = await play.wecom(f"{EC}/get", external_userid=person["external_userid"], cursor=first["next_cursor"])
        assert (len(first["follow_user"]), len(second["follow_user"]), "next_cursor" in second) == (500, 100, False)
        assert {f["userid"] for f in first["follow_user"] + second["follow_user"]} == set(everybody)


async def test_remark_keeps_a_picture(playing):
    """B3, 92115: remark_pic_mediaid alone is enough; 40007 for what was never uploaded."""
    async with playing() as play:
        person, added = await play.friend()
        pair = {"userid": added["userid"], "external_userid": person["external_userid"]}
        media_id, _ = play.box.files.add("wecom", "image", "card.png", b"12345678")
        for picture, errcode, kept in (("MEDIA", 40007, ""), (media_id, 0, media_id)):
            assert (await play.wecom(f"{EC}/remark", {**pair, "remark_pic_mediaid": picture}))["errcode"] == errcode
            assert (await play.control(f"/people/{person['id']}"))["friends"][0]["remark_picture"] == kept


async def test_external_userid_becomes_an_openid(playing):
    """B3, 92323."""
    async with playing() as play:
        person, _ = await play.friend()
        answer = await play.wecom(f"{EC}/convert_to_openid", {"external_userid": person["external_userid"]})
        assert answer["openid"] == person["openids"][play.mini.appid]
        assert (await play.wecom(f"{EC}/convert_to_openid", {"external_userid": "wmNobody"}))["errcode"] == 40096


async def test_unionid_becomes_an_external_userid(playing):
    """B3: the old endpoint and the new one."""
    async with playing() as play:
        person, _ = await play.friend()
        body = {"unionid": person["unionid"], "openid": person["openids"][play.mini.appid]}
        await play.control("/switches", {"unionid_conversion": True})
        for path in (f"{EC}/unionid_to_external_userid", "/cgi-bin/idconvert/unionid_to_external_userid"):
            assert (await play.wecom(path, body))["external_userid"] == person["external_userid"]


async def test_self_built_app_may_not_ask_by_unionid(playing):
    """B3, 95926: documented for third-party and delegated apps only."""
    async with playing() as play:
        person, _ = await play.friend()
        body = {"unionid": person["unionid"], "openid": person["openids"][play.mini.appid]}
        for path in (f"{EC}/unionid_to_external_userid", "/cgi-bin/idconvert/unionid_to_external_userid"):
            assert (await play.wecom(path, body))["errcode"] == 48002
        asked = {"external_userid": [person["external_userid"]]}
        assert (await play.wecom("/cgi-bin/idconvert/batch/external_userid_to_pending_id", asked))["errcode"] == 48002


async def test_somebody_who_is_no_customer_yet_gets_a_pending_id(playing):
    """B3, 95926: the same one each time; linked once he is a customer."""
    async with playing() as play:
        person = await play.person()
        await play.control("/switches", {"unionid_conversion": True})
        body = {"unionid": person["unionid"], "openid": person["openids"][play.other_mini.appid], "subject_type": 0}
        first = await play.wecom("/cgi-bin/idconvert/unionid_to_external_userid", body)
        again = await play.wecom("/cgi-bin/idconvert/unionid_to_external_userid", body)
        assert first.keys() == {"errcode", "errmsg", "pending_id"}
        assert again["pending_id"] == first["pending_id"]
        assert (await play.wecom(f"{EC}/unionid_to_external_userid", body))["errcode"] == 84061
        await play.control(f"/people/{person['id']}/add", {"userid": "rm.li"})
        asked = {"external_userid": [person["external_userid"], "wmNobody"]}
        linked = await play.wecom("/cgi-bin/idconvert/batch/external_userid_to_pending_id", asked)
        pair = {"external_userid": person["external_userid"], "pending_id": first["pending_id"]}
        assert linked["result"] == [pair]
        known = await play.wecom("/cgi-bin/idconvert/unionid_to_external_userid", body)
        assert known["external_userid"] == person["external_userid"]


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [({"unionid": ""}, 610014), ({"unionid": "oX"}, 610014), ({"openid": "oX"}, 610018), ({"subject_type": 2}, 40058)],
)
async def test_wrong_ids_are_not_converted(playing, changes, errcode):
    """B3: 610014 bad unionid, 610018 openid and unionid do not belong together."""
    async with playing() as play:
        person, _ = await play.friend()
        await play.control("/switches", {"unionid_conversion": True})
        body = {"unionid": person["unionid"], "openid": person["openids"][play.mini.appid]} | changes
        answer = await play.wecom("/cgi-bin/idconvert/unionid_to_external_userid", body)
        assert answer["errcode"] == errcode
        assert play.box.state.pending == {}


async def test_figures_of_several_members_are_added_up_by_day(playing):
    """B3, 92132: one row a day."""
    async with playing() as play:
        for userid in ("rm.li", "rm.li", "rm.chen"):
            person = await play.person()
            await play.control(f"/people/{person['id']}/add", {"userid": userid})
        asked = {"userid": ["rm.li", "rm.chen"], "start_time": NOW - DAY, "end_time": NOW}
        rows = (await play.wecom(f"{EC}/get_user_behavior_data", asked))["behavior_data"]
        assert [(r["stat_time"], r["new_contact_cnt"]) for r in rows] == [(day_of(NOW - DAY), 0), (day_of(NOW), 3)]
        by_party = {"partyid": [2], "start_time": NOW, "end_time": NOW}
        (row,) = (await play.wecom(f"{EC}/get_user_behavior_data", by_party))["behavior_data"]
        assert row["new_apply_cnt"] == 3


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [
        ({"userid": []}, 40058),
        ({"userid": ["rm.nobody"]}, 60111),
        ({"start_time": NOW - 31 * DAY}, 40058),
        ({"start_time": NOW - 200 * DAY, "end_time": NOW - 190 * DAY}, 40058),
        ({"start_time": NOW, "end_time": NOW - 2 * DAY}, 40058),
        ({"start_time": None}, 40058),
    ],
)
async def test_senseless_question_for_figures_is_refused(playing, changes, errcode):
    """B3, 92132: members, at most 30 days, of the last 180."""
    async with playing() as play:
        body = {"userid": ["rm.li"], "start_time": NOW - DAY, "end_time": NOW} | changes
        assert (await play.wecom(f"{EC}/get_user_behavior_data", body))["errcode"] == errcode


async def test_opengid_leads_to_the_group(playing):
    """B3, 94822: 90511 for what is no opengid, 90509 for another corp's."""
    async with playing() as play:
        group = await play.control("/groups", {"owner": "rm.li", "name": "群"})
        found = await play.wecom(f"{EC}/opengid_to_chatid", {"opengid": group["opengid"]})
        assert found["chat_id"] == group["chat_id"]
        assert (await play.wecom(f"{EC}/opengid_to_chatid", {"opengid": "nonsense"}))["errcode"] == 90511
        assert (await play.wecom(f"{EC}/opengid_to_chatid", {"opengid": "tG" + "x" * 26}))["errcode"] == 90509
