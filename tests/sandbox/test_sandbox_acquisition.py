"""Acquisition links, their balance, and who comes through them (contract/wechat B6, C4)."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.core.world import App

EC = "/cgi-bin/externalcontact"
CA = f"{EC}/customer_acquisition"
NOW = 1_800_000_000
DAY = 86_400


async def link(play, **fields: Any):
    """The id of a new link."""
    body = {"link_name": "开户", "range": {"user_list": ["rm.li"]}, **fields}
    answer = await play.wecom(f"{CA}/create_link", body)
    assert answer["errcode"] == 0, answer
    return answer["link"]["link_id"]


def told(play):
    """The link events that came, by name with their fields."""
    return [e for e in play.receiver.events if e["Event"] == "customer_acquisition"]


async def test_link_is_made_read_changed_and_deleted(playing):
    """B6."""
    async with playing() as play:
        made = await play.wecom(
            f"{CA}/create_link",
            {
                "link_name": "开户",
                "range": {"user_list": ["RM.LI"], "department_list": [3]},
                "priority_option": {"priority_type": 2, "priority_userid_list": ["rm.wang"]},
            },
        )
        link_id = made["link"]["link_id"]
        assert made["link"] == {
            "link_id": link_id,
            "link_name": "开户",
            "url": f"https://work.weixin.qq.com/ca/{link_id}",
            "create_time": NOW,
        }
        found = await play.wecom(f"{CA}/get", {"link_id": link_id})
        assert found["range"] == {"user_list": ["rm.li"], "department_list": [3]}
        assert found["priority_option"] == {"priority_type": 2, "priority_userid_list": ["rm.wang"]}
        assert (found["link"]["skip_verify"], found["link"]["mark_source"]) == (True, True)
        changes = {"link_id": link_id, "link_name": "信用卡", "range": {"user_list": ["rm.sun"]}, "skip_verify": False}
        assert (await play.wecom(f"{CA}/update_link", changes))["errcode"] == 0
        found = await play.wecom(f"{CA}/get", {"link_id": link_id})
        assert (found["link"]["link_name"], found["link"]["skip_verify"]) == ("信用卡", False)
        assert found["range"] == {"user_list": ["rm.sun"], "department_list": []}
        assert (await play.wecom(f"{CA}/delete_link", {"link_id": link_id}))["errcode"] == 0
        assert (await play.wecom(f"{CA}/get", {"link_id": link_id}))["errcode"] == 40058
        await play.box.sender.idle()
        assert play.receiver.bodies == [], "a deletion through the API is not told"


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [
        ({"link_name": ""}, 40058),
        ({"link_name": "字" * 31}, 40058),
        ({"range": {}}, 40058),
        ({"range": None}, 40058),
        ({"range": {"user_list": ["rm.nobody"]}}, 60111),
        ({"range": {"department_list": [99]}}, 60123),
        ({"priority_option": {"priority_type": 3}}, 40058),
        ({"priority_option": {"priority_type": 2}}, 40058),
        ({"priority_option": {"priority_type": 2, "priority_userid_list": ["rm.nobody"]}}, 60111),
    ],
)
async def test_refused_link_is_not_made(playing, changes, errcode):
    """B6, D3."""
    async with playing() as play:
        body = {"link_name": "开户", "range": {"user_list": ["rm.li"]}} | changes
        assert (await play.wecom(f"{CA}/create_link", body))["errcode"] == errcode
        assert (await play.control("/links"))["links"] == []


async def test_cap_of_links_is_41095(playing):
    """B6."""
    async with playing() as play:
        await play.control("/switches", {"acquisition_links_most": 1})
        await link(play)
        body = {"link_name": "再来", "range": {"user_list": ["rm.li"]}}
        assert (await play.wecom(f"{CA}/create_link", body))["errcode"] == 41095


async def test_links_are_listed_in_pages_to_their_own_app(playing, world):
    """B6: only links of the calling app; not for WeCom's own customer-contact secret."""
    fields = {"encoding_aes_key": world.corp.apps[0].encoding_aes_key, "callback_url": "http://127.0.0.1:9/"}
    other = App(agent_id=1000003, name="另一个", secret="fake-other-secret", token="Other", **fields)
    builtin = App(agent_id=1, name="客户联系", secret="fake-builtin-secret", token="Built", builtin=True, **fields)
    corp = world.corp.model_copy(update={"apps": (*world.corp.apps, other, builtin)})
    async with playing(world.model_copy(update={"corp": corp})) as play:
        made = [await link(play, link_name=f"链接{n}") for n in range(3)]
        seen, cursor = [], ""
        for _ in range(2):
            page = await play.wecom(f"{CA}/list_link", {"limit": 2, "cursor": cursor})
            seen += page["link_id_list"]
            cursor = page["next_cursor"]
        assert (seen, cursor) == (made, "")
        token = (await play.wecom_token(other.secret))["access_token"]
        assert (await play.post(f"/wecom{CA}/list_link", {}, access_token=token))["link_id_list"] == []
        assert (await play.post(f"/wecom{CA}/get", {"link_id": made[0]}, access_token=token))["errcode"] == 40058
        token = (await play.wecom_token(builtin.secret))["access_token"]
        assert (await play.post(f"/wecom{CA}/list_link", {}, access_token=token))["errcode"] == 48002


async def test_channel_of_the_link_becomes_the_state(playing):
    """B6: customer_channel, cut at 64 bytes, in the event, the detail and the link's customers; add_way 16."""
    async with playing() as play:
        link_id, person = await link(play), await play.person()
        channel = "渠道" * 20
        cut = "渠道" * 10 + "渠"
        came = await play.control(f"/people/{person['id']}/click", {"link": link_id, "channel": channel})
        assert (came["added"]["state"], came["delivered"]) == (cut, True)
        request, added = play.receiver.events
        assert (request["ChangeType"], request["LinkId"], request["State"]) == ("friend_request", link_id, cut)
        assert (added["ChangeType"], added["State"], added["WelcomeCode"]) == (
            "add_external_contact",
            cut,
            came["added"]["welcome_code"],
        )
        (follow,) = (await play.wecom(f"{EC}/get", external_userid=person["external_userid"]))["follow_user"]
        assert (follow["userid"], follow["state"], follow["add_way"]) == ("rm.li", cut, 16)
        (row,) = (await play.wecom(f"{CA}/customer", {"link_id": link_id}))["customer_list"]
        assert row == {
            "external_userid": person["external_userid"],
            "userid": "rm.li",
            "chat_status": 0,
            "state": cut,
        }


async def test_chat_is_told_and_its_key_opens_it_for_half_an_hour(playing):
    """B6, C4: customer_start_chat, then a chat key at the 3rd, 5th and 10th message."""
    async with playing() as play:
        link_id, person = await link(play), await play.person()
        await play.control(f"/people/{person['id']}/click", {"link": link_id, "channel": "c1"})
        for number in range(10):
            await play.control(f"/people/{person['id']}/message", {"userid": "rm.li", "text": str(number)})
        chats = [e for e in told(play) if e["ChangeType"] != "friend_request"]
        assert [e["ChangeType"] for e in chats] == ["customer_start_chat", *["message_from_customer"] * 3]
        assert (chats[0]["UserID"], chats[0]["ExternalUserID"]) == ("rm.li", person["external_userid"])
        key = {"chat_key": chats[1]["ChatKey"]}
        found = await play.wecom(f"{CA}/get_chat_info", key)
        assert found["chat_info"] == {"recv_msg_cnt": 3, "link_id": link_id, "state": "c1"}
        assert (found["userid"], found["external_userid"]) == ("rm.li", person["external_userid"])
        (row,) = (await play.wecom(f"{CA}/customer", {"link_id": link_id}))["customer_list"]
        assert row["chat_status"] == 1
        await play.control("/clock", {"advance": 1800})
        assert (await play.wecom(f"{CA}/get_chat_info", key))["errcode"] == 40058


async def test_balance_is_used_up_and_told(playing):
    """B6, C4: below 20, zero, and up from zero; at zero links stop working."""
    async with playing() as play:
        link_id = await link(play)
        await play.control("/acquisition/quota", {"balance": 20, "total": 100})
        assert told(play) == []
        first = await play.person("甲")
        await play.control(f"/people/{first['id']}/click", {"link": link_id})
        await play.control("/acquisition/quota", {"balance": 1})
        second = await play.person("乙")
        await play.control(f"/people/{second['id']}/click", {"link": link_id})
        third = await play.person("丙")
        refused = await play.control(f"/people/{third['id']}/click", {"link": link_id}, status=409)
        assert refused["error"]["code"] == "impossible"
        assert (await play.control(f"/people/{third['id']}"))["friends"] == []
        await play.control("/acquisition/quota", {"balance": 50})
        changes = [e["ChangeType"] for e in told(play) if e["ChangeType"] != "friend_request"]
        assert changes == ["balance_low", "balance_exhausted", "balance_increased"]
        found = await play.wecom(f"{EC}/customer_acquisition_quota")
        assert (found["total"], found["balance"], found["quota_list"]) == (100, 50, [])


async def test_friend_who_opens_a_link_again_costs_nothing(playing):
    """B6: priority 1 leads him to the member whose friend he is."""
    async with playing() as play:
        both = {"range": {"user_list": ["rm.li", "rm.sun"]}, "priority_option": {"priority_type": 1}}
        link_id, person = await link(play, **both), await play.person()
        await play.control(f"/people/{person['id']}/add", {"userid": "rm.sun"})
        again = await play.control(f"/people/{person['id']}/click", {"link": link_id})
        assert (again["added"]["userid"], again["added"]["already_friends"]) == ("rm.sun", True)
        assert (await play.control("/links"))["quota"]["balance"] == 1000
        assert told(play) == []


async def test_members_of_a_link_take_turns(playing):
    """B6: a range of departments."""
    async with playing() as play:
        link_id = await link(play, range={"department_list": [2]})
        got = []
        for _ in range(3):
            person = await play.person()
            got.append((await play.control(f"/people/{person['id']}/click", {"link": link_id}))["added"]["userid"])
        assert got == ["rm.chen", "rm.li", "rm.chen"]


async def test_statistic_counts_clicks_and_customers(playing):
    """B6: at most 30 days of the last 180."""
    async with playing() as play:
        link_id = await link(play)
        for add in (True, False, False):
            person = await play.person()
            await play.control(f"/people/{person['id']}/click", {"link": link_id, "add": add})
        asked = {"link_id": link_id, "start_time": NOW - DAY, "end_time": NOW}
        found = await play.wecom(f"{CA}/statistic", asked)
        assert (found["click_link_customer_cnt"], found["new_customer_cnt"]) == (3, 1)
        for wrong in ({"start_time": NOW - 31 * DAY}, {"start_time": NOW - 181 * DAY, "end_time": NOW - 170 * DAY}):
            assert (await play.wecom(f"{CA}/statistic", asked | wrong))["errcode"] == 40058


@pytest.mark.parametrize(("switch", "get", "post"), [("both", 0, 0), ("official", 0, 43001), ("swapped", 43002, 0)])
async def test_method_of_the_quota_is_a_switch(playing, switch, get, post):
    """B6, F11: sources disagree."""
    async with playing() as play:
        await play.control("/switches", {"acquisition_methods": switch})
        path = f"{EC}/customer_acquisition_quota"
        assert ((await play.wecom(path))["errcode"], (await play.wecom(path, {"a": 1}))["errcode"]) == (get, post)


async def test_administrator_and_wecom_change_links_and_tell(playing):
    """C4: link_unavailable, delete_link, quota_expire_soon, open_profile."""
    async with playing() as play:
        link_id, person = await link(play), await play.person()
        await play.control(f"/links/{link_id}/profile", {"channel": "c1"})
        await play.control(f"/links/{link_id}/unavailable", {})
        await play.control(f"/people/{person['id']}/click", {"link": link_id}, status=409)
        await play.control("/acquisition/expire-soon", {"expire_time": NOW + 14 * DAY, "quota": 30})
        await play.http.delete(f"/control/links/{link_id}")
        profile, unavailable, soon, deleted = told(play)
        assert (profile["ChangeType"], profile["LinkId"], profile["State"]) == ("open_profile", link_id, "c1")
        assert (unavailable["ChangeType"], unavailable["LinkId"]) == ("link_unavailable", link_id)
        assert (soon["ChangeType"], soon["ExpireTime"], soon["ExpireQuotaNum"]) == (
            "quota_expire_soon",
            str(NOW + 14 * DAY),
            "30",
        )
        assert (deleted["ChangeType"], deleted["LinkId"]) == ("delete_link", link_id)
        assert (await play.control("/links"))["links"] == []
