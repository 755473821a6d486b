"""Broadcasts and group welcomes (contract/wechat B8, D3)."""

from __future__ import annotations

from typing import Any

import pytest

EC = "/cgi-bin/externalcontact"
ADD = f"{EC}/add_msg_template"


def body(**fields: Any):
    return {"chat_type": "single", "text": {"content": "周末有活动"}, **fields}


async def results(play, msgid, userid="rm.chen"):
    answer = await play.wecom(f"{EC}/get_groupmsg_send_result", {"msgid": msgid, "userid": userid})
    return {r["external_userid"]: r["status"] for r in answer["send_list"]}


async def test_broadcast_reaches_customers_when_the_member_confirms(playing):
    """B8, 92135: a task, a confirmation, messages on phones, results 0 before and 1 after."""
    async with playing() as play:
        people = [await play.befriended(f"客户{i}") for i in range(2)]
        ids = [p["external_userid"] for p in people]
        made = await play.wecom(ADD, body(external_userid=[*ids, "wmNobody"], sender="rm.chen"))
        assert (made["errcode"], made["fail_list"]) == (0, ["wmNobody"])
        msgid = made["msgid"]
        tasks = await play.wecom(f"{EC}/get_groupmsg_task", {"msgid": msgid})
        assert tasks["task_list"] == [{"userid": "rm.chen", "status": 0}]
        assert await results(play, msgid) == dict.fromkeys(ids, 0)
        assert await play.inbox(people[0], "broadcast") == []
        await play.control(f"/members/rm.chen/tasks/{msgid}/confirm", {})
        assert await results(play, msgid) == dict.fromkeys(ids, 1)
        assert [m["text"] for m in await play.inbox(people[0], "broadcast")] == ["周末有活动"]
        tasks = await play.wecom(f"{EC}/get_groupmsg_task", {"msgid": msgid})
        assert tasks["task_list"] == [{"userid": "rm.chen", "status": 2, "send_time": play.box.seconds()}]


async def test_customer_of_several_members_hears_from_the_last_to_talk(playing):
    """B8: the one who last chatted sends."""
    async with playing() as play:
        person = await play.befriended("甲")
        await play.control(f"/people/{person['id']}/add", {"userid": "rm.li"})
        await play.control("/clock", {"advance": 5})
        await play.control(f"/people/{person['id']}/message", {"userid": "rm.chen", "text": "在吗"})
        msgid = (await play.wecom(ADD, body(external_userid=[person["external_userid"]])))["msgid"]
        tasks = await play.wecom(f"{EC}/get_groupmsg_task", {"msgid": msgid})
        assert [t["userid"] for t in tasks["task_list"]] == ["rm.chen"]


async def test_tag_filter_is_and_of_ors(playing):
    """B8: AND between groups, OR inside; 40068 for an unknown tag."""
    async with playing() as play:
        tags = await play.wecom(f"{EC}/add_corp_tag", {"group_name": "g", "tag": [{"name": n} for n in "abc"]})
        a, b, c = (t["id"] for t in tags["tag_group"]["tag"])
        worn = {"ab": [a, b], "ac": [a, c], "b": [b]}
        people = {}
        for name, add in worn.items():
            people[name] = await play.befriended(name)
            pair = {"userid": "rm.chen", "external_userid": people[name]["external_userid"]}
            await play.wecom(f"{EC}/mark_tag", {**pair, "add_tag": add})
        wanted = {"group_list": [{"tag_list": [a]}, {"tag_list": [b, c]}]}
        msgid = (await play.wecom(ADD, body(tag_filter=wanted)))["msgid"]
        assert await results(play, msgid) == {people[n]["external_userid"]: 0 for n in ("ab", "ac")}
        assert (await play.wecom(ADD, body(tag_filter={"group_list": [{"tag_list": ["x"]}]})))["errcode"] == 40068


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [
        ({"text": {"content": ""}}, 40058),
        ({"text": {"content": "长" * 1334}}, 45002),
        ({"attachments": [{"msgtype": "image", "image": {"media_id": "x"}}]}, 40007),
        ({"attachments": [{"msgtype": "link", "link": {"title": "t", "url": "u"}}] * 10}, 41064),
        ({"attachments": [{"msgtype": "smoke", "smoke": {}}]}, 41065),
        ({"external_userid": []}, 40058),
        ({"external_userid": ["wmNobody"]}, 41048),
        ({"sender": "rm.nobody"}, 60111),
        ({"chat_type": "group"}, 40058),
        ({"chat_type": "group", "sender": "rm.chen"}, 41048),
    ],
)
async def test_wrong_broadcast_makes_no_task(playing, changes, errcode):
    """B8, D3: limits and codes."""
    async with playing() as play:
        person = await play.befriended("甲")
        answer = await play.wecom(ADD, body(external_userid=[person["external_userid"]]) | changes)
        assert answer["errcode"] == errcode
        assert (await play.control("/members/rm.chen/tasks"))["tasks"] == []


async def test_unfriended_and_capped_customers_are_told_apart(playing):
    """B8, F11: status 2 and 3; the cap is enforced when the member sends."""
    async with playing() as play:
        await play.control("/switches", {"broadcast_cap": 1})
        gone, capped = await play.befriended("走"), await play.befriended("满")
        ids = [gone["external_userid"], capped["external_userid"]]
        first = (await play.wecom(ADD, body(external_userid=[ids[1]])))["msgid"]
        await play.control(f"/members/rm.chen/tasks/{first}/confirm", {})
        second = (await play.wecom(ADD, body(external_userid=ids)))["msgid"]
        await play.control(f"/people/{gone['id']}/delete", {"userid": "rm.chen"})
        await play.control(f"/members/rm.chen/tasks/{second}/confirm", {})
        assert await results(play, second) == {ids[0]: 2, ids[1]: 3}
        assert len(await play.inbox(capped, "broadcast")) == 1


async def test_member_picks_customers_only_when_he_may(playing):
    """B8: allow_select."""
    async with playing() as play:
        people = [await play.befriended(f"客户{i}") for i in range(2)]
        ids = [p["external_userid"] for p in people]
        fixed = (await play.wecom(ADD, body(external_userid=ids)))["msgid"]
        await play.control(f"/members/rm.chen/tasks/{fixed}/confirm", {"picked": ids[:1]}, status=400)
        free = (await play.wecom(ADD, body(external_userid=ids, allow_select=True)))["msgid"]
        await play.control(f"/members/rm.chen/tasks/{free}/confirm", {"picked": ids[:1]})
        assert await results(play, free) == {ids[0]: 1, ids[1]: 0}
        assert await results(play, fixed) == dict.fromkeys(ids, 0)


async def test_skipped_task_stays_unsent_and_cannot_be_confirmed(playing):
    """B8, F9."""
    async with playing() as play:
        person = await play.befriended("甲")
        msgid = (await play.wecom(ADD, body(external_userid=[person["external_userid"]])))["msgid"]
        await play.control(f"/members/rm.chen/tasks/{msgid}/skip", {})
        await play.control(f"/members/rm.chen/tasks/{msgid}/confirm", {}, status=409)
        tasks = await play.wecom(f"{EC}/get_groupmsg_task", {"msgid": msgid})
        assert tasks["task_list"] == [{"userid": "rm.chen", "status": 0}]


async def test_three_reminders_a_day_and_none_after_the_end(playing):
    """B8, 97610, 97611: 41094, 41093."""
    async with playing() as play:
        person = await play.befriended("甲")
        msgid = {"msgid": (await play.wecom(ADD, body(external_userid=[person["external_userid"]])))["msgid"]}
        remind = f"{EC}/remind_groupmsg_send"
        assert [(await play.wecom(remind, msgid))["errcode"] for _ in range(4)] == [0, 0, 0, 41094]
        await play.control("/clock", {"advance": 86_400})
        assert (await play.wecom(remind, msgid))["errcode"] == 0
        cancel = f"{EC}/cancel_groupmsg_send"
        assert [(await play.wecom(cancel, msgid))["errcode"] for _ in range(2)] == [0, 41093]
        assert (await play.wecom(remind, msgid))["errcode"] == 41093
        await play.control(f"/members/rm.chen/tasks/{msgid['msgid']}/confirm", {}, status=409)


async def test_new_broadcast_is_being_handed_out(playing):
    """B8: 41063 right after creation, with the switch; 41046 and 41047."""
    async with playing() as play:
        await play.control("/switches", {"dispatch_seconds": 3})
        person = await play.befriended("甲")
        msgid = (await play.wecom(ADD, body(external_userid=[person["external_userid"]])))["msgid"]
        path = f"{EC}/get_groupmsg_task"
        assert (await play.wecom(path, {"msgid": msgid}))["errcode"] == 41063
        await play.control("/clock", {"advance": 3})
        assert [(await play.wecom(path, {"msgid": m}))["errcode"] for m in (msgid, "", "x")] == [0, 41046, 41047]


async def test_broadcasts_are_listed_in_pages_of_a_month(playing):
    """B8, 93338."""
    async with playing() as play:
        person = await play.befriended("甲")
        for _ in range(3):
            await play.wecom(ADD, body(external_userid=[person["external_userid"]], sender="rm.chen"))
        now = play.box.seconds()
        span = {"chat_type": "single", "start_time": now - 9, "end_time": now + 9}
        first = await play.wecom(f"{EC}/get_groupmsg_list_v2", {**span, "limit": 2})
        rest = await play.wecom(f"{EC}/get_groupmsg_list_v2", {**span, "limit": 2, "cursor": first["next_cursor"]})
        listed = first["group_msg_list"] + rest["group_msg_list"]
        assert (len(listed), rest["next_cursor"], listed[0]["creator"]) == (3, "", "rm.chen")
        assert listed[0]["text"] == {"content": "周末有活动"}
        long = {**span, "start_time": now - 40 * 86_400}
        assert (await play.wecom(f"{EC}/get_groupmsg_list_v2", long))["errcode"] == 40058


async def test_group_welcome_is_kept_edited_and_removed_by_its_app(playing, world):
    """B8, 92366: get has no template_id; 41058 for another app."""
    async with playing() as play:
        base = f"{EC}/group_welcome_template"
        media_id = await play.picture()
        content = {"text": {"content": "欢迎%NICKNAME%"}, "image": {"media_id": media_id}}
        template = {"template_id": (await play.wecom(f"{base}/add", content))["template_id"]}
        assert await play.wecom(f"{base}/get", template) == {"errcode": 0, "errmsg": "ok", **content}
        assert (await play.wecom(f"{base}/edit", {**template, "text": {"content": "你好"}}))["errcode"] == 0
        assert (await play.wecom(f"{base}/get", template))["text"] == {"content": "你好"}
        play.box.state.records.templates[template["template_id"]].agent_id = 7
        assert (await play.wecom(f"{base}/del", template))["errcode"] == 41058
        play.box.state.records.templates[template["template_id"]].agent_id = 1000002
        assert [(await play.wecom(f"{base}/del", template))["errcode"] for _ in range(2)] == [0, 40058]


async def test_hundred_group_welcomes_are_enough(playing):
    """B8, D3: 41055; 3000 bytes of text."""
    async with playing() as play:
        path = f"{EC}/group_welcome_template/add"
        content = {"text": {"content": "好"}, "notify": 0}
        assert [(await play.wecom(path, content))["errcode"] for _ in range(101)] == [0] * 100 + [41055]
        assert (await play.wecom(path, {"text": {"content": "好" * 1001}}))["errcode"] == 45002


async def test_broadcast_to_groups_reaches_their_customers(playing):
    """B8: the owner's groups only; others are named in fail_list."""
    async with playing() as play:
        person = await play.befriended("甲")
        own = await play.control(
            "/groups", {"owner": "rm.chen", "name": "理财群", "people": [person["id"]], "members": []}
        )
        other = await play.control(
            "/groups", {"owner": "rm.li", "name": "别人的群", "people": [], "members": ["rm.sun"]}
        )
        chats = [own["chat_id"], other["chat_id"]]
        made = await play.wecom(ADD, body(chat_type="group", sender="rm.chen", chat_id_list=chats))
        assert (made["errcode"], made["fail_list"]) == (0, [other["chat_id"]])
        await play.control(f"/members/rm.chen/tasks/{made['msgid']}/confirm", {})
        asked = {"msgid": made["msgid"], "userid": "rm.chen"}
        (sent,) = (await play.wecom(f"{EC}/get_groupmsg_send_result", asked))["send_list"]
        assert (sent["chat_id"], sent["status"]) == (own["chat_id"], 1)
        assert [m["content"]["chat_id"] for m in await play.inbox(person, "broadcast")] == [own["chat_id"]]


async def test_restart_keeps_tasks_and_transfers(playing, tmp_path):
    """What members have to confirm survives a restart with `--state`."""
    state = tmp_path / "state.json"
    async with playing(state_file=state) as play:
        person = await play.befriended("甲")
        msgid = (await play.wecom(ADD, body(external_userid=[person["external_userid"]])))["msgid"]
        pair = {"handover_userid": "rm.chen", "takeover_userid": "rm.li"}
        await play.wecom(f"{EC}/transfer_customer", {**pair, "external_userid": [person["external_userid"]]})
    async with playing(state_file=state) as play:
        assert [t["msgid"] for t in (await play.control("/members/rm.chen/tasks"))["tasks"]] == [msgid]
        await play.control("/clock", {"advance": 86_400})
        await play.settled()
        assert [f["userid"] for f in (await play.control(f"/people/{person['id']}"))["friends"]] == ["rm.li"]
