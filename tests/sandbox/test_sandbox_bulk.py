"""Many people at once, batch/get_by_user over them, the truth, and the file that keeps them (contract/wechat B3, F7)."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import pytest

from sandbox.control import bulk
from sandbox.control.frame import ControlCall
from sandbox.core import storage
from sandbox.core.options import Options
from sandbox.core.sandbox import Sandbox
from sandbox.core.state import Person
from sandbox.core.storage import _line, pieces
from sandbox.core.world import load
from tests.support.waiting import until

BATCH = "/cgi-bin/externalcontact/batch/get_by_user"
ALL = ["rm.chen", "rm.li", "rm.wang", "rm.zhao", "rm.liu", "rm.sun"]


async def walk(play, **body: Any):
    """Every page of a batch walk."""
    pages, cursor = [], ""
    for _ in range(200):
        answer = await play.wecom(BATCH, {"userid_list": ALL, "cursor": cursor, **body})
        assert answer["errcode"] == 0, answer
        pages.append(answer["external_contact_list"])
        cursor = answer["next_cursor"]
        if not cursor:
            return pages
    raise AssertionError("the walk has no end")


def pairs(pages):
    return [(i["follow_info"]["userid"], i["external_contact"]["external_userid"]) for page in pages for i in page]


async def test_same_seed_makes_the_same_people(playing):
    seen = []
    for seed in (7, 7, 8):
        async with playing() as play:
            assert await play.control("/people/bulk", {"count": 40, "seed": seed}) == {"made": 40, "people": 40}
            seen.append([(p["name"], p["external_userid"]) for p in (await play.control("/people"))["people"]])
            assert play.receiver.bodies == []
    assert seen[0] == seen[1]
    assert not {e for _, e in seen[0]} & {e for _, e in seen[2]}


async def test_crowd_made_twice_is_two_crowds(playing):
    async with playing() as play:
        for _ in range(2):
            await play.control(
                "/people/bulk", {"count": 30, "seed": 1, "userids": ["rm.li", "RM.SUN"], "friends_each": 2}
            )
        people = (await play.control("/people"))["people"]
        assert len({p["external_userid"] for p in people}) == len({p["phone"] for p in people}) == 60
        assert all(sorted(p["friends"]) == ["rm.li", "rm.sun"] for p in people)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"count": 0}, 400),
        ({"count": 3, "seed": "x"}, 400),
        ({"count": 3, "friends_each": 7}, 400),
        ({"count": 3, "tagged": 1}, 400),
        ({"count": 3, "userids": ["rm.nobody"]}, 404),
    ],
)
async def test_refused_crowd_is_not_made(playing, body, status):
    async with playing() as play:
        await play.control("/people/bulk", body, status=status)
        assert (await play.control("/truth"))["people"] == 0


async def test_truth_counts_and_digests_what_list_answers(playing):
    """B3: the digest is of each member's sorted external_userids."""
    async with playing() as play:
        await play.control("/people/bulk", {"count": 60, "seed": 3, "tagged": True})
        truth = await play.control("/truth")
        counted = {
            name: truth[name] for name in ("people", "friendships", "customers", "tag_groups", "tags", "departments")
        }
        assert counted == {
            "people": 60,
            "friendships": 60,
            "customers": 60,
            "tag_groups": 1,
            "tags": 5,
            "departments": 4,
        }
        for userid in ALL:
            listed = (await play.wecom("/cgi-bin/externalcontact/list", userid=userid))["external_userid"]
            digest = hashlib.sha256("\n".join(sorted(listed)).encode()).hexdigest()
            assert truth["members"][userid] == {"customers": len(listed), "sha256": digest}


async def test_truth_of_a_member_comes_in_pages(playing):
    async with playing() as play:
        await play.control("/people/bulk", {"count": 25, "seed": 3, "userids": ["rm.li"]})
        listed = (await play.wecom("/cgi-bin/externalcontact/list", userid="rm.li"))["external_userid"]
        found, after = [], 0
        while after is not None:
            page = await play.control(f"/truth?userid=rm.li&limit=10&after={after}")
            found += [row["external_userid"] for row in page["customers"]]
            after = page["after"]
        assert found == listed
        assert page["customers"][0].keys() == {"external_userid", "name", "tags", "tag_names", "state", "createtime"}


async def test_batch_has_every_friendship_once(playing):
    """B3, 92994: pages of at most `limit`, until the cursor is empty."""
    async with playing() as play:
        await play.control("/people/bulk", {"count": 83, "seed": 5, "friends_each": 2})
        pages = await walk(play, limit=20)
        assert max(map(len, pages)) == 20
        found = pairs(pages)
        people = (await play.control("/people"))["people"]
        assert Counter(found) == Counter((u, p["external_userid"]) for p in people for u in p["friends"])


async def test_batch_item_has_an_object_with_tag_ids(playing):
    """B3, 92994: follow_info is an object with tag_id and no tag names; unionid because of the Open Platform account."""
    async with playing() as play:
        person, added = await play.friend(state="s1")
        tag = await play.wecom(
            "/cgi-bin/externalcontact/add_corp_tag", {"group_name": "来源", "tag": [{"name": "扫码"}]}
        )
        tag_id = tag["tag_group"]["tag"][0]["id"]
        pair = {"userid": added["userid"], "external_userid": person["external_userid"]}
        await play.wecom("/cgi-bin/externalcontact/mark_tag", {**pair, "add_tag": [tag_id]})
        ((item,),) = await walk(play)
        assert item == {
            "external_contact": {
                "external_userid": person["external_userid"],
                "name": "张晓雯",
                "avatar": "",
                "type": 1,
                "gender": 0,
                "unionid": person["unionid"],
            },
            "follow_info": {
                "userid": added["userid"],
                "remark": "",
                "description": "",
                "createtime": added["create_time"],
                "remark_corp_name": "",
                "remark_mobiles": [],
                "oper_userid": added["userid"],
                "add_way": 1,
                "state": "s1",
                "tag_id": [tag_id],
            },
        }


async def test_batch_walk_survives_comings_and_goings(playing):
    """B3: who is a friend all the time is seen once, whoever leaves or comes between two pages."""
    async with playing() as play:
        await play.control("/people/bulk", {"count": 30, "seed": 5, "userids": ["rm.li"]})
        before = (await play.control("/people"))["people"]
        first = await play.wecom(BATCH, {"userid_list": ["rm.li"], "limit": 10})
        for person in before[5:10]:
            await play.control(f"/people/{person['id']}/delete", {"userid": "rm.li"})
        late = await play.person("迟来者")
        await play.control(f"/people/{late['id']}/add", {"userid": "rm.li"})
        rest, cursor = [], first["next_cursor"]
        while cursor:
            page = await play.wecom(BATCH, {"userid_list": ["rm.li"], "limit": 10, "cursor": cursor})
            rest.append(page["external_contact_list"])
            cursor = page["next_cursor"]
        seen = [external for _, external in pairs([first["external_contact_list"], *rest])]
        assert seen == [p["external_userid"] for p in [*before, late]]


async def test_short_and_empty_pages_still_lead_to_the_end(playing):
    """F7: an empty page with a cursor is not the end."""
    async with playing() as play:
        await play.control("/people/bulk", {"count": 45, "seed": 5})
        await play.control("/faults", {"target": "api", "kind": "short_pages", "path": "batch/get_by_user"})
        pages = await walk(play, limit=10)
        assert [len(page) for page in pages[:3]] == [5, 0, 10]
        assert len(set(pairs(pages))) == len(pairs(pages)) == 45


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({"userid_list": []}, 40058),
        ({"userid_list": ["rm.chen"] * 101}, 40058),
        ({"userid": "rm.chen"}, 40058),
        ({"userid_list": ["rm.nobody"]}, 60111),
        ({"userid_list": ["rm.chen"], "limit": 101}, 0),
        ({"userid_list": ["rm.chen"], "limit": 0}, 0),
        ({"userid_list": ["rm.chen"], "cursor": "made up"}, 40058),
        ({"userid_list": ["rm.chen"], "cursor": "d2F5czoxLjE="}, 40058),
    ],
)
async def test_senseless_batch_is_refused(playing, body, errcode):
    """B3, D3: 1 to 100 members, a cursor of this list; another limit than 1 to 100 is no error."""
    async with playing() as play:
        assert (await play.wecom(BATCH, body))["errcode"] == errcode


async def test_saved_crowd_is_the_same_after_a_restart(tmp_path):
    """Friendships keep their order and their numbers, so that a cursor goes on where it was."""
    options = Options(state_file=tmp_path / "state.json")
    box = Sandbox(load(), options)
    await bulk.add_many(ControlCall(box, {}, {"count": 700, "seed": 1, "tagged": True}, ()))
    before = {u: list(box.state.followers(u).after(0)) for u in ALL}
    await box.close()
    again = Sandbox(load(), options)
    assert {u: [(n, p.id) for n, p in again.state.followers(u).after(0)] for u in ALL} == {
        u: [(n, p.id) for n, p in rows] for u, rows in before.items()
    }
    assert again.state.model_dump() == box.state.model_dump()
    await again.close()


async def test_change_in_the_middle_of_a_save_is_saved_too(tmp_path, monkeypatch):
    """A crowd is written slice by slice, so that others get their turn; what they change is written again."""
    file = tmp_path / "state.json"
    box = Sandbox(load(), Options(state_file=file))
    for number in range(1000):
        box.state.add_person(box.world, f"客{number}", "")
    assert len(list(pieces(box.state))) == 12
    late: list[Person] = []

    def line(person):
        if not late:
            late.append(box.state.add_person(box.world, "迟来者", ""))
            box.changed()
        return _line(person)

    async def saved():
        return bool(late) and file.exists() and late[0].id in file.read_text("utf-8")

    monkeypatch.setattr(storage, "_line", line)
    box.changed()
    await until(saved)
    await box.close()
    assert len(Sandbox(load(), Options(state_file=file)).state.people) == 1001


async def test_the_list_of_people_is_short_unless_somebody_asks_for_more(playing):
    """The page asks for it again and again."""
    async with playing() as play:
        await play.control("/people/bulk", {"count": 1200, "seed": 7})
        told = await play.control("/people")
        assert (len(told["people"]), told["count"]) == (1000, 1200)
        everyone = (await play.control("/people?limit=2000"))["people"]
        assert len(everyone) == 1200
        assert told["people"] == everyone[200:]
