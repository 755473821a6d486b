"""Events in the platform's own writing, and who gets them (contract/wechat A4, A7, C3, C4, I)."""

from __future__ import annotations

import json

import pytest
import xmltodict

from sandbox.core.events import Event, Many, contact

CORP = "ww0c0ffee000000001"


def test_contact_event_is_written_as_in_the_fixture():
    """I: strings in CDATA, the time bare, empty fields left out."""
    event = contact("add_external_contact", "rm001", "wm1", 1_700_000_000, State="", WelcomeCode="WC-1")
    assert event.xml(CORP).decode() == (
        "<xml><ToUserName><![CDATA[ww0c0ffee000000001]]></ToUserName><FromUserName><![CDATA[sys]]></FromUserName>"
        "<CreateTime>1700000000</CreateTime><MsgType><![CDATA[event]]></MsgType>"
        "<Event><![CDATA[change_external_contact]]></Event><ChangeType><![CDATA[add_external_contact]]></ChangeType>"
        "<UserID><![CDATA[rm001]]></UserID><ExternalUserID><![CDATA[wm1]]></ExternalUserID>"
        "<WelcomeCode><![CDATA[WC-1]]></WelcomeCode></xml>"
    )


def test_lists_repeat_item_and_numbers_are_bare():
    """C4, I: change_external_chat update."""
    fields = {"ChatId": "wr1", "JoinScene": 0, "MemChangeCnt": 2, "MemChangeList": ["wmA", "wmB"], "Nothing": []}
    found = xmltodict.parse(Event("change_external_chat", 1, "update", fields).xml(CORP))["xml"]
    assert found["MemChangeList"] == {"Item": ["wmA", "wmB"]}
    assert (found["JoinScene"], found["MemChangeCnt"], "Nothing" in found) == ("0", "2", False)


def test_selected_items_nest():
    """C4: template_card_event."""
    chosen = Many("SelectedItem", [{"QuestionKey": "q", "OptionIds": Many("OptionId", ["a", "b"])}])
    found = xmltodict.parse(Event("template_card_event", 1, fields={"SelectedItems": chosen}).xml(CORP))["xml"]
    assert found["SelectedItems"] == {"SelectedItem": {"QuestionKey": "q", "OptionIds": {"OptionId": ["a", "b"]}}}


@pytest.mark.parametrize("count", [1, 2])
def test_json_push_has_an_object_or_an_array(count):
    """A4: `List` of one is an object, of several an array; CreateTime is a string."""
    listed = [{"TemplateId": str(i), "SubscribeStatusString": "accept"} for i in range(count)]
    event = Event("subscribe_msg_popup_event", 7, fields={"SubscribeMsgPopupEvent": Many("List", listed)})
    found = json.loads(event.json("gh_1"))
    assert found["List"] == (listed[0] if count == 1 else listed)
    assert (found["CreateTime"], found["Event"], "SubscribeMsgPopupEvent" in found) == (
        "7",
        "subscribe_msg_popup_event",
        False,
    )
    xml = xmltodict.parse(event.xml("gh_1"))["xml"]
    assert xml["SubscribeMsgPopupEvent"]["List"] == (listed[0] if count == 1 else listed)


async def test_each_event_goes_to_the_apps_that_get_it(playing):
    """C3: customers' events to customer contact, contacts' to all but the archive, an app's own to itself."""
    async with playing() as play:
        now = play.box.seconds()
        await play.box.sender.send(contact("del_follow_user", "rm.chen", "wm1", now))
        await play.box.sender.send(Event("change_contact", now, "delete_user", {"UserID": "rm.x"}))
        await play.box.sender.send(Event("msgaudit_notify", now))
        await play.box.sender.send(Event("enter_agent", now, from_user="rm.chen", agent_id=1000002))
        told = (await play.control("/deliveries"))["deliveries"]
        assert [(d["event"]["name"], d["to"]) for d in told] == [
            ("change_external_contact", "1000002"),
            ("change_contact", "1000002"),
            ("msgaudit_notify", "2000004"),
            ("enter_agent", "1000002"),
        ]
        assert all(d["delivered"] for d in told)


@pytest.mark.parametrize("push_format", ["xml", "json"])
async def test_push_is_signed_plainly_and_sealed_for_the_appid(playing, world, push_format):
    """A7: safe mode in XML and JSON; wechatpy verifies both signatures and the receiveid."""
    minis = tuple(m.model_copy(update={"push_format": push_format}) for m in world.mini_programs)
    async with playing(world.model_copy(update={"mini_programs": minis})) as play:
        person = await play.person()
        body = {"appid": play.mini.appid, "session_from": "home"}
        assert await play.control(f"/people/{person['id']}/session", body) == {"delivered": True}
        (event,) = play.pushes.events
        openid = person["openids"][play.mini.appid]
        assert (event["Event"], event["SessionFrom"], event["FromUserName"]) == (
            "user_enter_tempsession",
            "home",
            openid,
        )
        assert event["ToUserName"] == f"gh_{play.mini.appid[-12:]}"
        assert (play.pushes.queries[0]["encrypt_type"], play.pushes.queries[0]["openid"]) == ("aes", openid)


async def test_faults_of_callbacks_hold_for_pushes(playing):
    """F8: duplicates, and a wrong msg_signature that is refused four times."""
    async with playing() as play:
        person = await play.person()
        path, body = f"/people/{person['id']}/session", {"appid": play.mini.appid}
        await play.control("/faults", {"target": "callback", "kind": "duplicate", "copies": 2, "times": 1})
        await play.control(path, body)
        await play.settled()
        assert len(play.pushes.events) == 3
        await play.control("/faults", {"target": "callback", "kind": "wrong_signature", "times": 1})
        assert await play.control(path, body) == {"delivered": False}
        await play.settled()
        last = (await play.control("/deliveries"))["deliveries"][-1]
        assert (len(play.pushes.events), [a["status"] for a in last["attempts"]]) == (3, [403] * 4)


TO_WECHAT = "<xml><MsgType><![CDATA[transfer_customer_service]]></MsgType></xml>"


async def test_a_message_may_be_given_to_wechats_own_tool_by_a_sealed_reply(playing):
    """A7: transfer_customer_service is taken at once, and shown; any other reply is refused, and the push repeated."""
    async with playing() as play:
        person = await play.person()
        first, second = list(play.pushes.cryptos)[:2]
        path, body = f"/people/{person['id']}/service-message", {"appid": first, "text": "请问怎么领取？"}
        play.pushes.replies.append((first, TO_WECHAT))
        assert await play.control(path, body) == {"delivered": True}
        await play.settled()
        (attempt,) = (await play.control("/deliveries"))["deliveries"][-1]["attempts"]
        assert (attempt["reply"], attempt["problem"]) == ("transfer_customer_service", "")
        refused = [(second, TO_WECHAT), (first, "<xml><MsgType>text</MsgType></xml>"), (first, "no xml")]
        play.pushes.replies.extend(refused)
        assert await play.control(path, body) == {"delivered": False}
        await play.settled()
        attempts = (await play.control("/deliveries"))["deliveries"][-1]["attempts"]
        assert [one["accepted"] for one in attempts] == [False, False, False, True]
        assert [one["reply"] for one in attempts] == [""] * 4
        assert all(one["problem"] for one in attempts[:3])


async def test_push_without_an_address_is_not_sent(playing, world):
    """A7: a mini-program whose push is not set up."""
    minis = tuple(m.model_copy(update={"token": "", "encoding_aes_key": ""}) for m in world.mini_programs)
    async with playing(world.model_copy(update={"mini_programs": minis})) as play:
        person = await play.person()
        assert await play.control(f"/people/{person['id']}/session", {"appid": play.mini.appid}) == {"delivered": False}
        assert (await play.control("/deliveries"))["deliveries"] == []


async def test_half_add_is_completed_without_a_second_code(playing):
    """C4: add_half_external_contact; the code of the half add is the add event's while it is unused, then none."""
    async with playing() as play:
        person = await play.person()
        half = await play.control(f"/people/{person['id']}/half-add", {"userid": "rm.li", "state": "b1"})
        assert (await play.control(f"/people/{person['id']}"))["friends"] == []
        code = half["welcome_code"]
        sent = await play.wecom(
            "/cgi-bin/externalcontact/send_welcome_msg", {"welcome_code": code, "text": {"content": "hi"}}
        )
        assert sent["errcode"] == 0
        await play.control(f"/people/{person['id']}/add", {"userid": "rm.li"})
        first, second = play.receiver.events
        assert (first["ChangeType"], first["State"], first["WelcomeCode"]) == ("add_half_external_contact", "b1", code)
        assert (second["ChangeType"], "WelcomeCode" in second) == ("add_external_contact", False)
