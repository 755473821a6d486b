"""Members, departments and what an administrator does to them (contract/wechat B2, B9, C4)."""

from __future__ import annotations

import pytest

from sandbox.core.world import Department, Member

GET, LIST = "/cgi-bin/user/get", "/cgi-bin/user/list"


async def told(play, count=1):
    """The newest `count` change_contact events, as the bank received them."""
    return [e for e in play.receiver.events if e["Event"] == "change_contact"][-count:]


async def test_member_is_told_without_sensitive_fields_unless_switched(playing):
    """B2, F11: apps of today do not get mobile, gender, email, avatar, address."""
    async with playing() as play:
        body = {
            "userid": "rm.new",
            "name": "新同事",
            "department": 2,
            "mobile": "13900000000",
            "email": "new@bank.example",
        }
        await play.control("/members", body)
        found = await play.wecom(GET, userid="RM.NEW")
        assert found == {
            "errcode": 0,
            "errmsg": "ok",
            "userid": "rm.new",
            "name": "新同事",
            "department": [2],
            "order": [0],
            "position": "",
            "alias": "",
            "is_leader_in_dept": [0],
            "direct_leader": [],
            "status": 1,
            "main_department": 2,
            "extattr": {"attrs": []},
        }
        await play.control("/switches", {"sensitive_member_fields": True})
        found = await play.wecom(GET, userid="rm.new")
        assert (found["mobile"], found["email"], found["gender"]) == ("13900000000", "new@bank.example", "0")


async def test_lists_have_direct_members_only(playing):
    """B2: user/list, user/simplelist; the root has no members of its own here."""
    async with playing() as play:
        assert [m["userid"] for m in (await play.wecom(LIST, department_id=2))["userlist"]] == ["rm.chen", "rm.li"]
        assert (await play.wecom(LIST, department_id=1))["userlist"] == []
        short = await play.wecom("/cgi-bin/user/simplelist", department_id=3)
        assert short["userlist"][0] == {"userid": "rm.wang", "name": "王若溪", "department": [3]}
        leader = (await play.wecom(LIST, department_id=2))["userlist"][0]
        assert leader["is_leader_in_dept"] == [1]


@pytest.mark.parametrize(
    ("path", "query", "errcode"),
    [
        (GET, {"userid": "rm.nobody"}, 60111),
        (LIST, {}, 60003),
        (LIST, {"department_id": "99"}, 60123),
        (LIST, {"department_id": "two"}, 60123),
        ("/cgi-bin/department/get", {"id": "99"}, 60123),
        ("/cgi-bin/department/list", {"id": "99"}, 60123),
    ],
)
async def test_unknown_member_or_department_is_refused(playing, path, query, errcode):
    """B2: 60111, 60003, 60123."""
    async with playing() as play:
        assert (await play.wecom(path, **query))["errcode"] == errcode


async def test_every_member_comes_with_each_department_in_pages(playing):
    """B2: user/list_id."""
    async with playing() as play:
        await play.control("/members/rm.chen", {"also": [3]})
        rows, cursor = [], ""
        for _ in range(4):
            page = await play.wecom("/cgi-bin/user/list_id", {"limit": 2, "cursor": cursor})
            rows += [(r["userid"], r["department"]) for r in page["dept_user"]]
            cursor = page["next_cursor"]
        assert (rows[:3], len(rows), cursor) == ([("rm.chen", 2), ("rm.chen", 3), ("rm.li", 2)], 7, "")
        assert (await play.wecom("/cgi-bin/user/list_id", {"limit": 10_001}))["errcode"] == 0


async def test_departments_are_a_tree_with_root_one(playing):
    """B2: list and simplelist of a department answer what is below it too."""
    async with playing() as play:
        made = await play.control("/departments", {"name": "深圳", "id": 10})
        await play.control("/departments/2", {"parentid": 10})
        listed = (await play.wecom("/cgi-bin/department/list"))["department"]
        assert {d["id"]: d["parentid"] for d in listed} == {1: 0, 2: 10, 3: 1, 4: 1, 10: 1}
        assert made["department"]["parentid"] == 1
        below = (await play.wecom("/cgi-bin/department/simplelist", id=10))["department_id"]
        assert below == [{"id": 10, "parentid": 1, "order": 0}, {"id": 2, "parentid": 10, "order": 0}]
        one = (await play.wecom("/cgi-bin/department/get", id=2))["department"]
        assert (one["name"], one["department_leader"]) == ("深圳南山支行", ["rm.chen"])


async def test_openid_of_a_member_leads_back_to_him(playing):
    """B2: convert_to_openid, convert_to_userid."""
    async with playing() as play:
        openid = (await play.wecom("/cgi-bin/user/convert_to_openid", {"userid": "rm.chen"}))["openid"]
        assert len(openid) == 28
        assert (await play.wecom("/cgi-bin/user/convert_to_userid", {"openid": openid}))["userid"] == "rm.chen"
        assert (await play.wecom("/cgi-bin/user/convert_to_userid", {"openid": "oNobody"}))["errcode"] == 40003


async def test_member_is_found_by_mobile_and_email(playing):
    """B2: getuserid, get_userid_by_email."""
    async with playing() as play:
        await play.control("/members/rm.li", {"mobile": "13811112222", "email": "li@bank.example"})
        by_mobile = await play.wecom("/cgi-bin/user/getuserid", {"mobile": "13811112222"})
        by_email = await play.wecom("/cgi-bin/user/get_userid_by_email", {"email": "li@bank.example", "email_type": 1})
        assert (by_mobile["userid"], by_email["userid"]) == ("rm.li", "rm.li")
        assert (await play.wecom("/cgi-bin/user/getuserid", {"mobile": "13800000000"}))["errcode"] == 60111


async def test_new_member_is_told_in_full(playing):
    """C4: create_user with comma lists, without sensitive fields."""
    async with playing() as play:
        body = {
            "userid": "rm.new",
            "name": "新同事",
            "department": 2,
            "also": [3],
            "leads": [3],
            "mobile": "13900000000",
        }
        assert (await play.control("/members", body))["delivered"] is True
        (event,) = await told(play)
        assert (event["ChangeType"], event["UserID"], event["Name"]) == ("create_user", "rm.new", "新同事")
        assert (event["Department"], event["MainDepartment"], event["IsLeaderInDept"]) == ("2,3", "2", "0,1")
        assert event["Status"] == "1"
        assert "Mobile" not in event


async def test_change_tells_only_what_changed(playing):
    """C4: update_user."""
    async with playing() as play:
        await play.control("/members/rm.li", {"department": 4, "status": 2})
        (event,) = await told(play)
        told_fields = {
            n: v for n, v in event.items() if n not in {"ToUserName", "FromUserName", "CreateTime", "MsgType"}
        }
        assert told_fields == {
            "Event": "change_contact",
            "ChangeType": "update_user",
            "UserID": "rm.li",
            "Department": "4",
            "MainDepartment": "4",
            "Status": "2",
        }


async def test_customers_follow_a_member_to_his_new_userid(playing):
    """C4: NewUserID; friendships, codes and groups go with him."""
    async with playing() as play:
        person, _ = await play.friend(type=1, user=["rm.li"], party=[], state="s1")
        group = await play.control("/groups", {"owner": "rm.li", "name": "群"})
        await play.control("/members/rm.li", {"userid": "rm.li2"})
        (event,) = await told(play)
        assert (event["UserID"], event["NewUserID"]) == ("rm.li", "rm.li2")
        listed = await play.wecom("/cgi-bin/externalcontact/list", userid="rm.li2")
        assert listed["external_userid"] == [person["external_userid"]]
        assert (await play.wecom("/cgi-bin/externalcontact/list", userid="rm.li"))["errcode"] == 60111
        detail = await play.wecom("/cgi-bin/externalcontact/get", external_userid=person["external_userid"])
        assert [f["userid"] for f in detail["follow_user"]] == ["rm.li2"]
        assert (await play.control("/ways"))["ways"][0]["members"] == ["rm.li2"]
        shown = await play.control(f"/groups/{group['chat_id']}")
        assert (shown["owner"], [m["userid"] for m in shown["members"]]) == ("rm.li2", ["rm.li2"])


async def test_leaver_leaves_his_customers_waiting(playing):
    """B9: customers of a member who left are unassigned; his groups have a resigned owner."""
    async with playing() as play:
        person, _ = await play.friend(type=1, user=["rm.li"], party=[], state="s1")
        group = await play.control("/groups", {"owner": "rm.li", "name": "群"})
        assert (await play.http.delete("/control/members/rm.li")).json() == {"delivered": True}
        (event,) = await told(play)
        assert (event["ChangeType"], event["UserID"]) == ("delete_user", "rm.li")
        assert (await play.wecom(GET, userid="rm.li"))["errcode"] == 60111
        assert (await play.control(f"/people/{person['id']}"))["friends"] == []
        left = play.box.state.unassigned["rm.li"][person["external_userid"]]
        assert (left.at, left.friend.state) == (play.box.seconds(), "s1")
        listed = await play.wecom("/cgi-bin/externalcontact/groupchat/list", {"limit": 10, "status_filter": 1})
        assert listed["group_chat_list"] == [{"chat_id": group["chat_id"], "status": 1}]


async def test_leaver_is_gone_from_the_groups_of_others(playing):
    """C4: del_member, QuitScene 0."""
    async with playing() as play:
        group = await play.control("/groups", {"owner": "rm.sun", "name": "群", "members": ["rm.li"]})
        await play.http.delete("/control/members/rm.li")
        shown = await play.control(f"/groups/{group['chat_id']}")
        assert ([m["userid"] for m in shown["members"]], shown["status"]) == (["rm.sun"], 0)
        event = play.receiver.events[-1]
        assert (event["UpdateDetail"], event["QuitScene"], event["MemChangeList"]["Item"]) == (
            "del_member",
            "0",
            "rm.li",
        )


async def test_departments_come_change_and_go(playing):
    """C4: create_party, update_party with what changed, delete_party."""
    async with playing() as play:
        made = (await play.control("/departments", {"name": "广州", "order": 3}))["department"]
        await play.control(f"/departments/{made['id']}", {"name": "广州分行"})
        assert (await play.http.delete(f"/control/departments/{made['id']}")).status_code == 200
        created, updated, deleted = await told(play, 3)
        assert (created["ChangeType"], created["Id"], created["Name"]) == ("create_party", "5", "广州")
        assert (created["ParentId"], created["Order"]) == ("1", "3")
        assert (updated["ChangeType"], updated["Name"], "ParentId" in updated) == ("update_party", "广州分行", False)
        assert (deleted["ChangeType"], deleted["Id"]) == ("delete_party", "5")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/members", {"userid": "RM.LI", "name": "x", "department": 2}, 409),
        ("POST", "/members", {"userid": "rm.x", "name": "x", "department": 99}, 409),
        ("POST", "/members", {"userid": "", "name": "x", "department": 2}, 400),
        ("POST", "/members", {"userid": "rm.x", "name": "x", "department": 2, "leads": [3]}, 409),
        ("POST", "/members/rm.nobody", {"name": "x"}, 404),
        ("POST", "/members/rm.li", {"userid": "rm.chen"}, 409),
        ("POST", "/members/rm.li", {"status": 3}, 400),
        ("DELETE", "/members/rm.nobody", None, 404),
        ("POST", "/departments", {"name": "x", "parentid": 99}, 409),
        ("POST", "/departments", {"name": "x", "id": 2}, 409),
        ("POST", "/departments/2", {"parentid": 2}, 409),
        ("POST", "/departments/1", {"parentid": 2}, 409),
        ("DELETE", "/departments/2", None, 409),
        ("DELETE", "/departments/1", None, 409),
        ("DELETE", "/departments/99", None, 404),
    ],
)
async def test_impossible_change_of_the_corp_changes_nothing(playing, method, path, body, status):
    async with playing() as play:
        before = play.box.world
        answer = await play.http.request(method, f"/control{path}", json=body)
        assert answer.status_code == status
        assert play.box.world == before
        assert play.receiver.bodies == []


async def test_changed_corp_survives_a_restart_and_ends_with_a_reset(playing, tmp_path):
    options = {"state_file": tmp_path / "state.json"}
    async with playing(**options) as play:
        await play.control("/members", {"userid": "rm.new", "name": "新同事", "department": 2})
        await play.control("/departments", {"name": "广州"})
    async with playing(**options) as play:
        assert play.box.world.member("rm.new").name == "新同事"
        assert play.box.world.department(5).name == "广州"
        await play.control("/reset", {})
        assert play.box.world.member("rm.new") is None
        assert play.box.world.department(5) is None


async def test_member_without_the_permission_has_no_customers(playing):
    """B: 84074; get_follow_user_list leaves him out."""
    async with playing() as play:
        await play.control("/members/rm.li", {"contact": False})
        listed = await play.wecom("/cgi-bin/externalcontact/get_follow_user_list")
        assert "rm.li" not in listed["follow_user"]
        assert (await play.wecom("/cgi-bin/externalcontact/list", userid="rm.li"))["errcode"] == 84074


def test_members_of_a_department_are_those_below_it_too(world):
    departments = [*world.corp.departments, Department(id=9, name="班组", parentid=2)]
    members = [*world.corp.members, Member(userid="rm.deep", name="深", department=9)]
    found = world.with_people(members, departments).members_in([2])
    assert [m.userid for m in found] == ["rm.chen", "rm.li", "rm.deep"]
