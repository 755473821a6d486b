"""The callback sender, verified by wechatpy at the other end (contract/wechat C1-C4, F8, I)."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import xmltodict

from sandbox.core.callbacks import RETRIES

EVENT = "change_external_contact"


async def fault(play, kind, **fields: Any):
    await play.control("/faults", {"target": "callback", "kind": kind, **fields})


async def last_delivery(play):
    return (await play.control("/deliveries"))["deliveries"][-1]


async def until_quiet(play):
    """Wait until no delivery is under way."""
    async with asyncio.timeout(20):
        await play.box.sender.idle()


async def test_scan_delivers_the_add_event_with_state_and_welcome_code(playing):
    """C4, I: the fields of add_external_contact, and the envelope around it."""
    async with playing() as play:
        person, added = await play.friend(state="branch-sz-01")
        assert play.receiver.events == [
            {
                "ToUserName": play.box.world.corp.corp_id,
                "FromUserName": "sys",
                "CreateTime": str(play.box.seconds()),
                "MsgType": "event",
                "Event": EVENT,
                "ChangeType": "add_external_contact",
                "UserID": added["userid"],
                "ExternalUserID": person["external_userid"],
                "State": "branch-sz-01",
                "WelcomeCode": added["welcome_code"],
            }
        ]
        envelope = xmltodict.parse(play.receiver.bodies[0])["xml"]
        assert (envelope["ToUserName"], envelope["AgentID"]) == (play.box.world.corp.corp_id, "1000002")
        assert added["delivered"] is True


async def test_add_without_a_code_has_no_state(playing):
    """C4: State only when the customer came through a way."""
    async with playing() as play:
        person = await play.person()
        await play.control(f"/people/{person['id']}/add", {"userid": "rm.liu"})
        (event,) = play.receiver.events
        assert "State" not in event
        assert event["WelcomeCode"].startswith("WC")


@pytest.mark.parametrize(
    ("verb", "body", "change_type"),
    [
        ("delete", {}, "del_follow_user"),
        ("deleted-by", {}, "del_external_contact"),
        ("edited-by", {"remark": "张女士"}, "edit_external_contact"),
    ],
)
async def test_changes_on_a_phone_are_told(playing, verb, body, change_type):
    """C4: delete by either side, and the member's edit."""
    async with playing() as play:
        person, added = await play.friend()
        answer = await play.control(f"/people/{person['id']}/{verb}", {"userid": added["userid"], **body})
        assert answer == {"delivered": True}
        event = play.receiver.events[-1]
        assert (event["ChangeType"], event["UserID"]) == (change_type, added["userid"])
        assert (event["ExternalUserID"], "WelcomeCode" in event) == (person["external_userid"], False)
        left = [f["remark"] for f in (await play.control(f"/people/{person['id']}"))["friends"]]
        assert left == (["张女士"] if verb == "edited-by" else [])


async def test_changes_through_the_api_are_not_told(playing):
    """C3: what the app does itself does not call back."""
    async with playing() as play:
        person, added = await play.friend()
        pair = {"userid": added["userid"], "external_userid": person["external_userid"]}
        assert (await play.wecom("/cgi-bin/externalcontact/remark", {**pair, "remark": "张"}))["errcode"] == 0
        assert len(play.receiver.bodies) == 1


async def test_refused_event_is_sent_again_up_to_three_times(playing):
    """C3: any status but 200 is a failure; three retries in all; the message inside is identical."""
    async with playing() as play:
        play.receiver.answers.extend([500, 503, 404, 500])
        _, added = await play.friend()
        assert added["delivered"] is False
        await until_quiet(play)
        assert len(play.receiver.messages) == 1 + RETRIES == 4
        assert len(set(play.receiver.messages)) == 1
        assert len(set(play.receiver.bodies)) == 4
        delivery = await last_delivery(play)
        assert ([a["status"] for a in delivery["attempts"]], delivery["delivered"]) == ([500, 503, 404, 500], False)


async def test_retries_end_when_the_event_is_taken(playing):
    """C3: one failure, one success, no third post."""
    async with playing() as play:
        play.receiver.answers.append(500)
        await play.friend()
        await until_quiet(play)
        delivery = await last_delivery(play)
        assert ([a["status"] for a in delivery["attempts"]], delivery["delivered"]) == ([500, 200], True)


async def test_unreachable_bank_is_tried_four_times(playing):
    """C3: a refused connection counts as a failure."""
    async with playing(callback_url="http://127.0.0.1:9/") as play:
        _, added = await play.friend()
        await until_quiet(play)
        assert added["delivered"] is False
        assert [a["problem"] for a in (await last_delivery(play))["attempts"]] == ["ConnectError"] * 4


async def test_duplicates_are_signed_anew_and_replays_are_not(playing):
    """F8: the same event three times; then byte for byte twice."""
    async with playing() as play:
        await fault(play, "duplicate", times=1, copies=2)
        await fault(play, "replay", times=1, copies=1)
        await play.friend()
        await play.receiver.until(3)
        await play.friend()
        await play.receiver.until(5)
        await until_quiet(play)
        assert len(play.receiver.bodies) == 5
        assert len(set(play.receiver.messages[:3])) == 1
        assert len(set(play.receiver.bodies[:3])) == 3
        assert play.receiver.bodies[3] == play.receiver.bodies[4]


async def test_held_events_come_in_reverse(playing):
    """F8: reorder holds `times` events."""
    async with playing() as play:
        await fault(play, "reorder", times=3)
        config_id = await play.way()
        people = [await play.person(f"客户{i}") for i in range(3)]
        for person in people:
            answer = await play.control(f"/people/{person['id']}/scan", {"config_id": config_id})
            assert answer["delivered"] is False
        await play.receiver.until(3)
        assert [e["ExternalUserID"] for e in play.receiver.events] == [p["external_userid"] for p in people[::-1]]


async def test_clearing_the_faults_releases_held_events(playing):
    async with playing() as play:
        await fault(play, "reorder", times=9)
        await play.friend()
        assert play.receiver.bodies == []
        assert (await play.http.delete("/control/faults")).json() == {"faults": []}
        await play.receiver.until(1)


@pytest.mark.parametrize(
    ("kind", "problem"),
    [("wrong_signature", "InvalidSignatureException"), ("wrong_receiveid", "InvalidCorpIdException")],
)
async def test_forged_posts_are_refused_by_wechatpy(playing, kind, problem):
    """F8, C2: a wrong signature, a wrong receiveid."""
    async with playing() as play:
        await fault(play, kind, times=1)
        _, added = await play.friend()
        await until_quiet(play)
        assert (added["delivered"], play.receiver.problems, play.receiver.messages) == (False, [problem] * 4, [])


async def test_stale_post_is_well_signed_with_an_old_timestamp(playing):
    """F8."""
    async with playing() as play:
        seen = []
        take = play.receiver.take

        async def remember(body, query):
            seen.append(int(query["timestamp"]))
            return await take(body, query)

        play.receiver.take = remember
        await fault(play, "stale_timestamp", times=1, seconds=900)
        await play.friend()
        assert (play.receiver.problems, len(play.receiver.messages)) == ([], 1)
        assert seen[0] <= time.time() - 900


async def test_dropped_event_never_comes(playing):
    """F8: the friendship is there, the bank does not know."""
    async with playing() as play:
        await fault(play, "drop", times=1)
        person, added = await play.friend()
        assert (added["delivered"], play.receiver.bodies) == (False, [])
        assert len((await play.control(f"/people/{person['id']}"))["friends"]) == 1
        assert (await last_delivery(play))["attempts"] == []


async def test_delayed_event_comes_later(playing):
    """F8."""
    async with playing() as play:
        await fault(play, "delay", times=1, seconds=0.05)
        _, added = await play.friend()
        assert (added["delivered"], len(play.receiver.events)) == (True, 1)


async def test_reset_stops_what_is_under_way(playing):
    """A delivery that still retries does not reach whoever comes next."""
    async with playing(retry_delay=60.0) as play:
        play.receiver.answers.append(500)
        await play.friend()
        await play.control("/reset", {})
        await until_quiet(play)
        assert len(play.receiver.bodies) == 1


async def test_callback_address_is_checked_as_by_an_admin(playing):
    """C1, A7: the echo, decrypted, of each app; the plain echo of each mini-program."""
    async with playing() as play:
        checks = (await play.control("/callback/check", {}))["checks"]
        named = {str(c.get("agent_id") or c["appid"]): (c["ok"], c["status"]) for c in checks}
        expected = [str(a.agent_id) for a in play.box.world.corp.apps] + [play.mini.appid, play.other_mini.appid]
        assert named == dict.fromkeys(expected, (True, 200))


async def test_text_that_ends_a_cdata_section_survives(playing):
    """I: a state of any characters arrives as it was."""
    async with playing() as play:
        await play.friend(state="a]]><b>&c")
        assert play.receiver.events[0]["State"] == "a]]><b>&c"
