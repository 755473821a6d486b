"""What an app may do, which switches decide, and what refuses it (contract/wechat A1, B, B2, B6-B10, D2, D3)."""

from __future__ import annotations

import asyncio

import pytest

from sandbox.core.limits import WRONG_TOKENS_AN_HOUR
from sandbox.core.records import Record
from sandbox.core.world import App

EC = "/cgi-bin/externalcontact"
GC = f"{EC}/groupchat"
DAY = 86_400
SYSTEM = App(
    agent_id=1,
    name="客户联系",
    secret="fake-builtin-secret",
    token="Built",
    encoding_aes_key="FakeEncodingAesKeyForTheSandboxOnly00000000",
    callback_url="http://127.0.0.1:1/",
    builtin=True,
)


def with_system_secret(world):
    corp = world.corp.model_copy(update={"apps": (*world.corp.apps, SYSTEM)})
    return world.model_copy(update={"corp": corp})


async def test_system_secret_may_call_in_old_corps_only(playing, world):
    """B: 48002 in corps made since 2023-12-01."""
    async with playing(with_system_secret(world)) as play:
        token = (await play.wecom_token(SYSTEM.secret))["access_token"]
        ask = lambda: play.get(f"/wecom{EC}/get_follow_user_list", access_token=token)  # noqa: E731
        assert (await ask())["errcode"] == 48002
        await play.control("/switches", {"system_secret_may_call": True})
        assert (await ask())["errcode"] == 0


async def test_unused_app_loses_its_rights_until_they_are_given_back(playing):
    """D2: 48006; signing in goes on."""
    async with playing() as play:
        await play.control("/switches", {"app_unused": True})
        assert (await play.wecom(f"{EC}/get_follow_user_list"))["errcode"] == 48006
        assert (await play.wecom("/cgi-bin/user/get", userid="rm.chen"))["errcode"] == 0
        await play.control("/switches", {"app_unused": False})
        assert (await play.wecom(f"{EC}/get_follow_user_list"))["errcode"] == 0


@pytest.mark.parametrize("code", [42001, 40014])
async def test_expired_token_meets_what_the_switch_says(playing, code):
    """A1, B1: 42001, or 40014."""
    async with playing() as play:
        await play.control("/switches", {"expired_token_code": code})
        token = (await play.wecom_token())["access_token"]
        await play.control("/clock", {"advance": 7200})
        assert (await play.get("/wecom/cgi-bin/user/get", access_token=token, userid="rm.chen"))["errcode"] == code


async def test_wrong_secrets_block_the_address_for_every_app_behind_it(playing):
    """A1, B1, D1: about 2,000 in an hour; 45009 for an hour, for both families."""
    async with playing() as play:
        limits = play.box.limits
        for _ in range(WRONG_TOKENS_AN_HOUR - 1):
            limits.wrong_token("127.0.0.1")
        assert (await play.wecom_token())["errcode"] == 0
        assert (await play.wecom_token("wrong"))["errcode"] == 40001
        assert (await play.wecom_token())["errcode"] == 45009
        assert (await play.stable_token())["errcode"] == 45009
        await play.control("/clock", {"advance": 3600})
        assert (await play.wecom_token())["errcode"] == 0
        assert "access_token" in await play.stable_token()


async def test_wrong_mini_program_secrets_count_too(playing):
    async with playing() as play:
        for _ in range(WRONG_TOKENS_AN_HOUR - 1):
            play.box.limits.wrong_token("127.0.0.1")
        assert (await play.stable_token(secret="wrong"))["errcode"] == 40125
        assert (await play.wecom_token())["errcode"] == 45009


async def test_guessing_at_numbers_closes_the_call_for_a_day(playing):
    """B2: wrong guesses over a fifth of the corp's size; a right one costs nothing."""
    async with playing() as play:
        path = "/cgi-bin/user/getuserid"
        await play.control("/members/rm.chen", {"mobile": "13800000001"})
        codes = [(await play.wecom(path, {"mobile": f"1390000000{n}"}))["errcode"] for n in range(3)]
        assert codes == [60111, 60111, 45009]  # six members: more than 1.2
        assert (await play.wecom(path, {"mobile": "13800000001"}))["errcode"] == 45009
        await play.control("/clock", {"advance": DAY})
        assert (await play.wecom(path, {"mobile": "13800000001"}))["userid"] == "rm.chen"


@pytest.mark.parametrize(
    ("path", "body", "over", "default"),
    [
        (f"{EC}/get_groupmsg_list_v2", {"chat_type": "single"}, 101, 50),
        (f"{EC}/batch/get_by_user", {"userid_list": ["rm.chen"]}, 101, 100),
    ],
)
async def test_limit_over_the_most_is_no_error(playing, path, body, over, default):
    """D3: batch clamps, lists of group messages take their default; only groupchat/list refuses."""
    async with playing() as play:
        for n in range(102):
            await play.befriended(f"客{n}")
        now = play.box.seconds()
        text = {"text": {"content": "您好"}, "sender": "rm.chen"}
        for _ in range(60 if "groupmsg" in path else 0):
            await play.wecom(f"{EC}/add_msg_template", text)
        answer = await play.wecom(path, {**body, "start_time": now - 1, "end_time": now + 1, "limit": over})
        (rows,) = [value for value in answer.values() if isinstance(value, list)]
        assert (answer["errcode"], len(rows)) == (0, default)
        refused = await play.wecom(f"{GC}/list", {"limit": 1001})
        assert refused["errcode"] == 40058


async def test_pages_by_number_end_before_fifty_thousand(playing):
    """B9, 92124: page_id x page_size; the cursor goes on."""
    async with playing() as play:
        path = f"{EC}/get_unassigned_list"
        assert (await play.wecom(path, {"page_id": 49, "page_size": 1000}))["errcode"] == 0
        assert (await play.wecom(path, {"page_id": 50, "page_size": 1000}))["errcode"] == 40058


@pytest.mark.parametrize(("cap", "most"), [("month_days", 31), ("week7", 7), ("day1", 1), ("month4", 4), (2, 2)])
async def test_broadcast_profiles(playing, cap, most):
    """B8, F11: the clock stands on 15 January 2027."""
    async with playing() as play:
        await play.control("/switches", {"broadcast_cap": cap})
        person = await play.befriended("客")
        body = {"text": {"content": "您好"}, "external_userid": [person["external_userid"]]}
        for n in range(most + 1):
            msgid = (await play.wecom(f"{EC}/add_msg_template", body))["msgid"]
            await play.control(f"/members/rm.chen/tasks/{msgid}/confirm", {})
            rows = await play.wecom(f"{EC}/get_groupmsg_send_result", {"msgid": msgid, "userid": "rm.chen"})
            assert [row["status"] for row in rows["send_list"]] == [1 if n < most else 3]


async def test_results_of_groups_list_what_was_sent(playing):
    """B8: for chat_type group only rows that were sent."""
    async with playing() as play:
        for name in ("一", "二"):
            await play.control("/groups", {"owner": "rm.chen", "name": name})
        body = {"chat_type": "group", "sender": "rm.chen", "text": {"content": "您好"}, "allow_select": True}
        msgid = (await play.wecom(f"{EC}/add_msg_template", body))["msgid"]
        asked = {"msgid": msgid, "userid": "rm.chen"}
        assert (await play.wecom(f"{EC}/get_groupmsg_send_result", asked))["send_list"] == []
        chat = next(iter(play.box.state.groups))
        await play.control(f"/members/rm.chen/tasks/{msgid}/confirm", {"picked": [chat]})
        (row,) = (await play.wecom(f"{EC}/get_groupmsg_send_result", asked))["send_list"]
        assert (row["chat_id"], row["status"]) == (chat, 1)


async def test_source_is_marked_by_marketing_apps_only(playing):
    """B6."""
    async with playing() as play:
        link = {"link_name": "开户", "range": {"user_list": ["rm.chen"]}, "mark_source": False}
        marked = []
        for switch in (False, True):
            await play.control("/switches", {"marketing_acquisition": switch})
            made = await play.wecom(f"{EC}/customer_acquisition/create_link", link)
            got = await play.wecom(f"{EC}/customer_acquisition/get", {"link_id": made["link"]["link_id"]})
            marked.append(got["link"]["mark_source"])
        assert marked == [True, False]


@pytest.mark.parametrize(("channel", "told"), [("", 0), ("ads", 1)])
async def test_friend_request_is_told_only_with_a_state(playing, channel, told):
    """C4."""
    async with playing() as play:
        link = {"link_name": "开户", "range": {"user_list": ["rm.chen"]}}
        made = (await play.wecom(f"{EC}/customer_acquisition/create_link", link))["link"]
        person = await play.person()
        click = {"link": made["url"], **({"channel": channel} if channel else {})}
        await play.control(f"/people/{person['id']}/click", click)
        await play.settled()
        changes = [event.get("ChangeType") for event in play.receiver.events]
        assert (changes.count("friend_request"), changes.count("add_external_contact")) == (told, 1)


async def test_group_is_told_late_when_switched_so(playing):
    """B7: groupchat/get may lag behind the callback."""
    async with playing() as play:
        group = await play.control("/groups", {"owner": "rm.chen", "name": "一"})
        await play.control("/switches", {"group_lag_seconds": 30})
        person = await play.person()
        await play.control(f"/groups/{group['chat_id']}/join", {"person": person["id"]})
        await play.settled()
        announced = play.receiver.events[-1]["CurMemVer"]

        async def told():
            found = (await play.wecom(f"{GC}/get", {"chat_id": group["chat_id"]}))["group_chat"]
            return len(found["member_list"]), found["member_version"] == announced

        assert await told() == (1, False)
        await play.control("/clock", {"advance": 30})
        assert await told() == (2, True)


@pytest.mark.parametrize(
    ("switch", "item", "whole"), [("group_transfers_busy", 90507, 0), ("groups_unused", None, 90510)]
)
async def test_groups_that_cannot_be_handed_over_now(playing, switch, item, whole):
    """B9: 90507 for a group, 90510 for all."""
    async with playing() as play:
        group = await play.control("/groups", {"owner": "rm.chen", "name": "一"})
        await play.control("/switches", {switch: True})
        body = {"chat_id_list": [group["chat_id"]], "new_owner": "rm.li"}
        answer = await play.wecom(f"{GC}/onjob_transfer", body)
        failed = [row["errcode"] for row in answer.get("failed_chat_list", [])]
        assert (answer["errcode"], failed) == (whole, [item] if item else [])
        await play.control("/switches", {switch: False})
        assert (await play.wecom(f"{GC}/onjob_transfer", body))["failed_chat_list"] == []


async def test_member_who_has_not_logged_in_for_a_year_hands_nobody_over_and_welcomes_nobody(playing):
    """B8, B9."""
    async with playing() as play:
        person, added = await play.friend(party=[], user=["rm.chen"], type=1)
        await play.control("/switches", {"idle_members": ["rm.chen"]})
        welcome = {"welcome_code": added["welcome_code"], "text": {"content": "您好"}}
        assert (await play.wecom(f"{EC}/send_welcome_msg", welcome))["errcode"] == 41051
        assert await play.inbox(person, "welcome") == []
        for giver, taker in (("rm.chen", "rm.li"), ("rm.li", "rm.chen")):
            ask = {"handover_userid": giver, "takeover_userid": taker, "external_userid": [person["external_userid"]]}
            (row,) = (await play.wecom(f"{EC}/transfer_customer", ask))["customer"]
            assert row["errcode"] == 40098


async def test_who_handed_a_customer_on_hears_of_no_addition_when_he_gets_him_back(playing):
    """B9: no add event where the taker once handed that customer on."""
    async with playing() as play:
        person = await play.befriended("客")
        changes = []
        for giver, taker in (("rm.chen", "rm.li"), ("rm.li", "rm.chen")):
            ask = {"handover_userid": giver, "takeover_userid": taker, "external_userid": [person["external_userid"]]}
            (row,) = (await play.wecom(f"{EC}/transfer_customer", ask))["customer"]
            assert row["errcode"] == 0
            await play.control("/clock", {"advance": DAY})
            await play.settled()
            told = [(e["ChangeType"], e["UserID"]) for e in play.receiver.events]
            changes.append(("add_external_contact", taker) in told[len(changes) and -1 :])
            play.receiver.messages.clear()
        assert changes == [True, False]


async def test_customer_who_deleted_a_member_stays_on_his_list(playing):
    """D2, 84061: the customer's deletion leaves the APIs working, the member's does not."""
    async with playing() as play:
        person, added = await play.friend()
        userid, external = added["userid"], person["external_userid"]
        await play.control("/switches", {"one_sided": True})
        await play.control(f"/people/{person['id']}/delete", {"userid": userid})

        async def codes():
            calls = [
                play.wecom(f"{EC}/get", external_userid=external),
                play.wecom(f"{EC}/list", userid=userid),
                play.wecom(f"{EC}/remark", {"userid": userid, "external_userid": external, "remark": "走了"}),
            ]
            return [answer["errcode"] for answer in await asyncio.gather(*calls)]

        assert await codes() == [0, 0, 0]
        batch = await play.wecom(f"{EC}/batch/get_by_user", {"userid_list": [userid]})
        assert [row["follow_info"]["userid"] for row in batch["external_contact_list"]] == [userid]
        assert (await play.control(f"/people/{person['id']}"))["friends"] == []
        body = {"text": {"content": "您好"}, "external_userid": [external]}
        assert (await play.wecom(f"{EC}/add_msg_template", body))["errcode"] == 41048
        await play.control(f"/people/{person['id']}/deleted-by", {"userid": userid})
        assert await codes() == [84061, 84061, 84061]


async def test_customer_who_comes_back_is_a_friend_once(playing):
    async with playing() as play:
        person, added = await play.friend()
        await play.control("/switches", {"one_sided": True})
        await play.control(f"/people/{person['id']}/delete", {"userid": added["userid"]})
        back = await play.control(f"/people/{person['id']}/add", {"userid": added["userid"]})
        assert (back["already_friends"], bool(back["welcome_code"])) == (False, True)
        found = await play.wecom(f"{EC}/list", userid=added["userid"])
        assert found["external_userid"] == [person["external_userid"]]


async def test_phone_button_without_quota_gives_the_server_nothing(playing):
    """A3: errno 1400001 at the client."""
    async with playing() as play:
        person = await play.person()
        await play.control("/switches", {"phone_quota": 1})
        assert (await play.control(f"/people/{person['id']}/phone", {"appid": play.mini.appid}))["code"]
        refused = await play.control(f"/people/{person['id']}/phone", {"appid": play.mini.appid}, status=409)
        assert "1400001" in refused["error"]["message"]


@pytest.mark.parametrize(
    ("phone", "number", "pure", "country"),
    [
        ("13812345678", "13812345678", "13812345678", 86),
        ("+49 15123456700", "+4915123456700", "15123456700", 49),
        ("+852 91234567", "+85291234567", "91234567", 852),
    ],
)
@pytest.mark.parametrize("kind", ["number", "string"])
async def test_only_foreign_numbers_carry_their_country(playing, phone, number, pure, country, kind):
    """A3: countryCode may be a number."""
    async with playing() as play:
        await play.control("/switches", {"countryCode_type": kind})
        person = await play.person(phone=phone)
        code = (await play.control(f"/people/{person['id']}/phone", {"appid": play.mini.appid}))["code"]
        info = (await play.wechat("/wxa/business/getuserphonenumber", {"code": code}))["phone_info"]
        told = (info["phoneNumber"], info["purePhoneNumber"], info["countryCode"])
        assert told == (number, pure, country if kind == "number" else str(country))


async def test_archive_hands_out_messages_for_some_days_and_no_answer_that_is_too_large(playing):
    """B10: five days; 301058."""
    async with playing() as play:
        kept = play.box.state.records.archive
        now = play.box.clock.now()
        shape = {"msgid": "m", "publickey_ver": 1, "encrypt_random_key": "k", "encrypt_chat_msg": "c" * 100}
        kept.extend(Record(seq=n, at=now - age * DAY, **shape) for n, age in enumerate((6, 4, 1), 1))
        archive = next(app for app in play.box.world.corp.apps if app.archive)
        who = {"corpid": play.box.world.corp.corp_id, "secret": archive.secret}

        async def pull(limit):
            answer = await play.post("/archive/getchatdata", {**who, "seq": 0, "limit": limit})
            return answer["errcode"], [row["seq"] for row in answer["chatdata"]]

        assert await pull(10) == (0, [2, 3])
        await play.control("/switches", {"archive_days": 3})
        assert await pull(10) == (0, [3])
        await play.control("/switches", {"archive_days": 30, "archive_answer_bytes": 300})
        assert await pull(10) == (301058, [])
        assert await pull(1) == (0, [1])
