"""Customer groups get another owner (contract/wechat B9)."""

from __future__ import annotations

import pytest

from sandbox.core.models import day_of

GC = "/cgi-bin/externalcontact/groupchat"
NOW = 1_800_000_000
DAY = 86_400


async def group(play, owner):
    """A new group."""
    return await play.control("/groups", {"owner": owner, "name": "理财群"})


async def detail(play, chat_id):
    return (await play.wecom(f"{GC}/get", {"chat_id": chat_id}))["group_chat"]


async def test_groups_of_a_leaver_get_another_owner(playing):
    """B9, 92127: what fails is named and the rest is done; the API's change is not told."""
    async with playing() as play:
        left, stays = await group(play, "rm.li"), await group(play, "rm.sun")
        await play.http.delete("/control/members/rm.li")
        posts = len(play.receiver.bodies)
        body = {"chat_id_list": [left["chat_id"], stays["chat_id"], "wrUnknown"], "new_owner": "rm.chen"}
        answer = await play.wecom(f"{GC}/transfer", body)
        assert answer["errcode"] == 0
        assert [(f["chat_id"], f["errcode"]) for f in answer["failed_chat_list"]] == [
            (stays["chat_id"], 90500),
            ("wrUnknown", 90501),
        ]
        found = await detail(play, left["chat_id"])
        assert (found["owner"], [m["userid"] for m in found["member_list"]]) == ("rm.chen", ["rm.chen"])
        done = await play.wecom(f"{GC}/list", {"limit": 10, "status_filter": 3})
        assert [g["chat_id"] for g in done["group_chat_list"]] == [left["chat_id"]]
        again = await play.wecom(f"{GC}/transfer", {"chat_id_list": [left["chat_id"]], "new_owner": "rm.chen"})
        assert again["failed_chat_list"][0]["errcode"] == 90508
        await play.box.sender.idle()
        assert len(play.receiver.bodies) == posts


async def test_group_changes_owner_on_the_job_twice_in_ninety_days(playing):
    """B9, 95703: 40130 to the same person, 90502 when the owner left; a third time only after 90 days."""
    async with playing() as play:
        made = await group(play, "rm.li")

        async def hand(owner):
            body = {"chat_id_list": [made["chat_id"]], "new_owner": owner}
            failed = (await play.wecom(f"{GC}/onjob_transfer", body))["failed_chat_list"]
            return failed[0]["errcode"] if failed else 0

        assert [await hand(o) for o in ("rm.li", "rm.chen", "rm.sun", "rm.li")] == [40130, 0, 0, 40128]
        await play.control("/clock", {"advance": 90 * DAY})
        assert await hand("rm.li") == 0
        await play.http.delete("/control/members/rm.li")
        assert await hand("rm.sun") == 90502


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({"chat_id_list": [], "new_owner": "rm.sun"}, 40058),
        ({"chat_id_list": ["wr"] * 101, "new_owner": "rm.sun"}, 40058),
        ({"chat_id_list": ["wr"], "new_owner": "rm.nobody"}, 60111),
        ({"chat_id_list": ["wr"], "new_owner": "rm.chen"}, 84074),
        ({"chat_id_list": ["wr"], "new_owner": "rm.wang"}, 41054),
    ],
)
async def test_refused_group_transfer_moves_nothing(playing, body, errcode):
    """B9: 1 to 100 groups; the new owner is activated and has the permission."""
    async with playing() as play:
        await play.control("/members/rm.chen", {"contact": False})
        await play.control("/members/rm.wang", {"status": 4})
        assert (await play.wecom(f"{GC}/onjob_transfer", body))["errcode"] == errcode


async def test_new_owner_takes_three_hundred_groups_a_day(playing):
    """B9, D3."""
    async with playing() as play:
        made = await group(play, "rm.li")
        play.box.state.takeovers["rm.sun"] = {day_of(NOW): 300}
        body = {"chat_id_list": [made["chat_id"]], "new_owner": "rm.sun"}
        assert (await play.wecom(f"{GC}/onjob_transfer", body))["failed_chat_list"][0]["errcode"] == 40099
        assert (await detail(play, made["chat_id"]))["owner"] == "rm.li"
        await play.control("/clock", {"advance": DAY})
        assert (await play.wecom(f"{GC}/onjob_transfer", body))["failed_chat_list"] == []
