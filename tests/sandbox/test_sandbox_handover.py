"""Handing customers over (contract/wechat B9, C4)."""

from __future__ import annotations

from typing import Any

import pytest

EC = "/cgi-bin/externalcontact"
DAY = 86_400


async def transfer(play, *externals: Any, giver="rm.chen", taker="rm.li", kind="transfer_customer", **more: Any):
    body = {"handover_userid": giver, "takeover_userid": taker, "external_userid": list(externals), **more}
    return await play.wecom(f"{EC}/{kind}", body)


async def result(play, giver="rm.chen", taker="rm.li", kind="transfer_result"):
    answer = await play.wecom(f"{EC}/{kind}", {"handover_userid": giver, "takeover_userid": taker})
    return [(c["external_userid"], c["status"]) for c in answer["customer"]]


async def friends(play, person):
    return [f["userid"] for f in (await play.control(f"/people/{person['id']}"))["friends"]]


async def test_transfer_completes_by_itself_after_a_day(playing):
    """B9, 92125: accepted, waiting for 24 hours, then done; C4: add for the taker, del with Source for the giver."""
    async with playing() as play:
        person = await play.befriended("甲")
        external = person["external_userid"]
        edit = {"userid": "rm.chen", "remark": "老客户"}
        await play.control(f"/people/{person['id']}/edited-by", edit)
        answer = await transfer(play, external, transfer_success_msg="以后由我服务您")
        assert answer["customer"] == [{"external_userid": external, "errcode": 0}]
        await play.control("/clock", {"advance": DAY - 1})
        assert (await result(play), await friends(play, person)) == ([(external, 2)], ["rm.chen"])
        await play.control("/clock", {"advance": 1})
        await play.settled()
        assert (await result(play), await friends(play, person)) == ([(external, 1)], ["rm.li"])
        (moved,) = (await play.control(f"/people/{person['id']}"))["friends"]
        assert (moved["remark"], moved["add_way"]) == ("老客户", 202)
        events = {e["ChangeType"]: e for e in play.receiver.events[2:]}
        assert events["add_external_contact"]["UserID"] == "rm.li"
        assert "WelcomeCode" not in events["add_external_contact"]
        gone = events["del_external_contact"]
        assert (gone["UserID"], gone["Source"]) == ("rm.chen", "DELETE_BY_TRANSFER")
        assert [m["text"] for m in await play.inbox(person, "text")] == ["以后由我服务您"]


async def test_customer_refuses(playing):
    """B9: status 3; C4: transfer_fail tells of the taker."""
    async with playing() as play:
        person = await play.befriended("甲")
        await transfer(play, person["external_userid"])
        await play.control(f"/people/{person['id']}/transfers/refuse", {})
        await play.settled()
        event = play.receiver.events[-1]
        assert (event["ChangeType"], event["UserID"], event["FailReason"]) == (
            "transfer_fail",
            "rm.li",
            "customer_refused",
        )
        await play.control("/clock", {"advance": 2 * DAY})
        assert (await result(play), await friends(play, person)) == ([(person["external_userid"], 3)], ["rm.chen"])
        await play.control(f"/people/{person['id']}/transfers/refuse", {}, status=409)


async def test_each_customer_has_its_own_errcode(playing):
    """B9: 40096 unknown, 40129 under way, 40131 not a follower, 40128 the third time in 90 days."""
    async with playing() as play:
        person, other = await play.befriended("甲"), await play.befriended("乙", "rm.sun")
        external = person["external_userid"]

        async def code(*args: Any, **kwargs: Any):
            return (await transfer(play, *args, **kwargs))["customer"][0]["errcode"]

        assert (await code("wmNobody"), await code(other["external_userid"])) == (40096, 40131)
        assert (await code(external), await code(external)) == (0, 40129)
        await play.control("/clock", {"advance": DAY})
        assert await code(external, giver="rm.li", taker="rm.chen") == 0
        await play.control("/clock", {"advance": DAY})
        assert await code(external) == 40128
        await play.control("/clock", {"advance": 90 * DAY})
        assert await code(external) == 0


@pytest.mark.parametrize(
    ("fields", "errcode"),
    [
        ({"taker": "rm.chen"}, 40130),
        ({"taker": "rm.nobody"}, 60111),
        ({"giver": "rm.nobody"}, 60111),
        ({"transfer_success_msg": "长" * 201}, 40058),
        ({"kind": "resigned/transfer_customer"}, 40097),
    ],
)
async def test_wrong_transfer_asks_nobody(playing, fields, errcode):
    """B9: 40130, 40097, 200 characters."""
    async with playing() as play:
        person = await play.befriended("甲")
        assert (await transfer(play, person["external_userid"], **fields))["errcode"] == errcode
        assert play.box.state.records.transfers == []


async def test_hundred_customers_at_most(playing):
    """B9, D3."""
    async with playing() as play:
        assert (await transfer(play, *[f"wm{i}" for i in range(101)]))["errcode"] == 40058
        assert (await transfer(play, *[f"wm{i}" for i in range(100)]))["errcode"] == 0


async def test_full_taker_gets_nobody(playing):
    """B9: 40099 at once; status 4 and customer_limit_exceed when it fills meanwhile."""
    async with playing() as play:
        await play.control("/switches", {"customers_most": 1})
        person = await play.befriended("甲")
        await transfer(play, person["external_userid"])
        other = await play.befriended("乙", "rm.li")
        await play.control("/clock", {"advance": DAY})
        await play.settled()
        assert await result(play) == [(person["external_userid"], 4)]
        assert play.receiver.events[-1]["FailReason"] == "customer_limit_exceed"
        late = await transfer(play, other["external_userid"], giver="rm.li", taker="rm.chen")
        assert late["customer"][0]["errcode"] == 40099


async def test_customers_of_a_leaver_are_unassigned_until_handed_over(playing):
    """B9, 92124, 94081, 94082: who left, to whom he went; no del event for who is gone."""
    async with playing() as play:
        people = [await play.befriended(f"客户{i}") for i in range(3)]
        ids = [p["external_userid"] for p in people]
        assert (await play.http.delete("/control/members/rm.chen")).status_code == 200
        listed = await play.wecom(f"{EC}/get_unassigned_list", {"page_size": 2})
        rest = await play.wecom(f"{EC}/get_unassigned_list", {"page_size": 2, "cursor": listed["next_cursor"]})
        found = [(i["handover_userid"], i["external_userid"]) for i in listed["info"] + rest["info"]]
        assert sorted(found) == sorted(("rm.chen", e) for e in ids)
        assert (listed["is_last"], rest["is_last"]) == (False, True)
        assert (await transfer(play, ids[0]))["errcode"] == 60111
        answer = await transfer(play, *ids[:2], kind="resigned/transfer_customer")
        assert [c["errcode"] for c in answer["customer"]] == [0, 0]
        await play.control("/clock", {"advance": DAY})
        await play.settled()
        done = await result(play, kind="resigned/transfer_result")
        assert done == [(ids[0], 1), (ids[1], 1)]
        left = await play.wecom(f"{EC}/get_unassigned_list", {})
        assert [i["external_userid"] for i in left["info"]] == ids[2:]
        assert await friends(play, people[0]) == ["rm.li"]
        gone = [e for e in play.receiver.events if e.get("ChangeType") == "del_external_contact"]
        assert gone == []
