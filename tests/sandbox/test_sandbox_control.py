"""The control plane, the page, and restarts."""

from __future__ import annotations

import pytest

from sandbox.core.clock import Clock


async def test_person_is_known_to_both_mini_programs_and_to_wecom(playing):
    async with playing() as play:
        person = await play.person("李雷", "13912345678")
        assert (person["name"], person["phone"], person["friends"]) == ("李雷", "13912345678", [])
        assert person["openids"].keys() == {play.mini.appid, play.other_mini.appid}
        assert (len(person["external_userid"]), person["external_userid"][:2]) == (32, "wm")
        assert all(len(o) == 28 and o.startswith("o") for o in person["openids"].values())
        assert [p["id"] for p in (await play.control("/people"))["people"]] == [person["id"]]


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": "  "}, {"name": 7}, {"name": "a", "phone": "+86"}])
async def test_senseless_person_is_refused(playing, body):
    async with playing() as play:
        assert (await play.control("/people", body, status=400))["error"]["code"] == "bad_field"
        assert (await play.control("/people"))["people"] == []


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/people/p999999", None, 404, "no_such_person"),
        ("/people/{id}/add", {"userid": "rm.nobody"}, 404, "no_such_member"),
        ("/people/{id}/add", {}, 400, "bad_field"),
        ("/people/{id}/delete", {"userid": "rm.chen"}, 409, "impossible"),
        ("/people/{id}/message", {"userid": "rm.chen", "text": "x"}, 409, "impossible"),
        ("/people/{id}/edited-by", {"userid": "rm.chen"}, 400, "bad_field"),
        ("/people/{id}/open", {"appid": "wx0"}, 404, "no_such_mini_program"),
        ("/members/rm.nobody/oauth", {}, 404, "no_such_member"),
        ("/clock", {"advance": -1}, 400, "bad_field"),
        ("/clock", {}, 400, "bad_field"),
        ("/tokens/revoke", {"errcode": 1}, 400, "bad_field"),
        ("/calls?limit=many", None, 400, "bad_field"),
        ("/health", {}, 405, "method_not_allowed"),
    ],
)
async def test_impossible_control_calls_say_why(playing, path, body, status, code):
    async with playing() as play:
        person = await play.person()
        answer = await play.control(path.replace("{id}", person["id"]), body, status=status)
        assert answer["error"]["code"] == code
        assert play.receiver.bodies == []


@pytest.mark.parametrize("content", [b"{", b"[]"])
async def test_body_that_is_no_object_is_refused(playing, content):
    async with playing() as play:
        answer = await play.http.post("/control/people", content=content)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_json")


async def test_pages_of_other_sites_may_not_drive_the_sandbox(playing):
    async with playing() as play:
        foreign = await play.http.post("/control/people", json={"name": "x"}, headers={"Origin": "http://evil.example"})
        assert (foreign.status_code, foreign.json()["error"]["code"]) == (403, "foreign_origin")
        assert (await play.http.post("/control/people", json={"name": "x"}, headers={"Origin": play.url})).is_success


async def test_open_gives_the_portals_address(playing):
    async with playing(portal_url="http://bank.example/preview/{appid}/") as play:
        person = await play.person()
        answer = await play.control(f"/people/{person['id']}/open", {"appid": play.mini.appid})
        assert answer["url"] == f"http://bank.example/preview/{play.mini.appid}/?code={answer['code']}"


async def test_message_is_kept_for_the_member(playing):
    async with playing() as play:
        person, added = await play.friend()
        await play.control(f"/people/{person['id']}/message", {"userid": added["userid"], "text": "在吗"})
        member = next(m for m in (await play.control("/members"))["members"] if m["userid"] == added["userid"])
        assert member["customers"] == [person["external_userid"]]
        assert [(m["sender"], m["text"]) for m in member["messages"]] == [(person["external_userid"], "在吗")]


async def test_config_tells_the_world_without_its_secrets(playing):
    async with playing(sidebar_url="http://bank.example/sidebar?u={userid}") as play:
        answer = await play.http.get("/control/config")
        config = answer.json()
        assert (config["corp_id"], len(config["members"]), config["agent_ids"]) == (
            "ww0c0ffee000000001",
            6,
            [1000002, 2000004],
        )
        assert config["sidebar_url"] == "http://bank.example/sidebar?u={userid}"
        for secret in (play.app.secret, play.app.encoding_aes_key, play.app.token, play.mini.secret):
            assert secret not in answer.text


async def test_reset_empties_the_world(playing):
    async with playing() as play:
        await play.friend()
        await play.control("/faults", {"target": "api", "kind": "close", "path": "never"})
        await play.control("/clock", {"advance": 60})
        await play.control("/reset", {})
        health = await play.control("/health")
        assert (health["people"], health["time"]) == (0, play.box.clock.now())
        assert play.box.clock.offset == 0
        for path, name in (("ways", "ways"), ("calls", "calls"), ("deliveries", "deliveries"), ("faults", "faults")):
            assert (await play.control(f"/{path}"))[name] == []
        assert (await play.control("/welcomes"))["count"] == 0
        assert (await play.person())["id"] == "p000001"


async def test_a_sandbox_goes_back_to_what_was_kept(playing):
    async with playing() as play:
        person, added = await play.friend()
        await play.control("/keep", {"name": "one friend"})
        counted = (await play.control("/calls"))["counts"]
        token = (await play.wecom_token())["access_token"]
        await play.person("李雷", "13912345678")
        await play.control("/faults", {"target": "api", "kind": "close", "path": "never"})
        await play.control("/clock", {"advance": 60})
        await play.control("/tokens/revoke", {})
        for _ in range(2):
            await play.control("/reset", {"to": "one friend"})
            (kept,) = (await play.control("/people"))["people"]
            assert (kept["id"], list(kept["friends"])) == (person["id"], [added["userid"]])
            assert (await play.control("/faults"))["faults"] == []
            assert (await play.control("/calls"))["counts"] == counted
            assert play.box.clock.offset == 0
            assert len((await play.control("/ways"))["ways"]) == 1
            listed = await play.get("/wecom/cgi-bin/externalcontact/list", access_token=token, userid=added["userid"])
            assert listed["external_userid"] == [person["external_userid"]]
            assert (await play.person("韩梅梅", "13912345679"))["id"] == "p000002"
        nothing = await play.control("/reset", {"to": "two friends"}, status=404)
        assert nothing["error"]["code"] == "nothing_kept"


async def test_restart_keeps_people_friends_ways_and_tags(playing, tmp_path):
    """A demo that is stopped and started again still knows everyone."""
    file = tmp_path / "deep" / "state.json"
    async with playing(state_file=file) as play:
        person, added = await play.friend(state="branch-sz-01")
        tag = {"group_name": "来源", "tag": [{"name": "扫码"}]}
        group = (await play.wecom("/cgi-bin/externalcontact/add_corp_tag", tag))["tag_group"]
        pair = {"userid": added["userid"], "external_userid": person["external_userid"]}
        await play.wecom("/cgi-bin/externalcontact/mark_tag", {**pair, "add_tag": [group["tag"][0]["id"]]})
        before = await play.control(f"/people/{person['id']}"), await play.control("/ways")
    assert [p.name for p in file.parent.iterdir()] == ["state.json"]
    async with playing(state_file=file) as play:
        assert (await play.control(f"/people/{person['id']}"), await play.control("/ways")) == before
        detail = await play.wecom("/cgi-bin/externalcontact/get", external_userid=person["external_userid"])
        assert detail["follow_user"][0]["tags"][0]["tag_name"] == "扫码"
        code = (await play.control(f"/people/{person['id']}/open", {"appid": play.mini.appid}))["code"]
        assert (await play.session(code))["openid"] == person["openids"][play.mini.appid]
        assert (await play.person("新人"))["id"] == "p000002"


async def test_mini_program_that_is_new_to_a_saved_state_knows_everyone(playing, world, tmp_path):
    """The openids of before stay; the new mini-program has its own."""
    file = tmp_path / "state.json"
    async with playing(state_file=file) as play:
        before = (await play.person())["openids"]
    new = world.mini_programs[0].model_copy(update={"appid": "wx5ab0000000000009"})
    async with playing(
        world.model_copy(update={"mini_programs": (world.mini_programs[0], new)}), state_file=file
    ) as play:
        (person,) = (await play.control("/people"))["people"]
        assert {appid: person["openids"][appid] for appid in before} == before
        code = (await play.control(f"/people/{person['id']}/open", {"appid": new.appid}))["code"]
        session = await play.session(code, appid=new.appid)
        assert session["openid"] == person["openids"][new.appid]
        assert session["openid"] not in before.values()


async def test_page_is_served_without_anything_from_elsewhere(playing):
    async with playing() as play:
        page = await play.http.get("/")
        policy = page.headers["Content-Security-Policy"]
        assert (page.status_code, "'unsafe-inline'" in policy) == (200, False)
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        for name in ("app.js", "style.css", "icon.svg"):
            assert (await play.http.get(f"/static/{name}")).status_code == 200
        assert "http://" not in page.text.replace(play.url, "")
        assert "<script>" not in page.text
        assert " style=" not in page.text


def test_clock_does_not_run_backwards():
    with pytest.raises(ValueError, match="backwards"):
        Clock().advance(-1)
