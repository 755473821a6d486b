"""Subscribe messages (contract/wechat A4)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

SEND = "/cgi-bin/message/subscribe/send"
TEMPLATE = "tmpl-reward-ready-01"


async def prompt(play, person, choice="accept", *templates: Any, path="subscribe"):
    body = {"appid": play.mini.appid, "templates": dict.fromkeys(templates or [TEMPLATE], choice)}
    return await play.control(f"/people/{person['id']}/{path}", body)


async def send(play, person, **changes: Any):
    body = {"touser": person["openids"][play.mini.appid], "template_id": TEMPLATE}
    return await play.wechat(SEND, body | {"data": {"thing1": {"value": "咖啡券"}}} | changes)


async def test_each_acceptance_is_good_for_one_message(playing):
    """A4: acceptances add up; 43101 without one; the popup and the sent event."""
    async with playing() as play:
        person = await play.person()
        assert (await send(play, person))["errcode"] == 43101
        assert [await prompt(play, person) for _ in range(2)] == [{"delivered": True}] * 2
        answers = [await send(play, person) for _ in range(3)]
        assert [a["errcode"] for a in answers] == [0, 0, 43101]
        await play.settled()
        assert [m["content"]["data"] for m in await play.inbox(person, "subscribe")] == [{"thing1": "咖啡券"}] * 2
        popup, sent = play.pushes.events[0], play.pushes.events[2]
        assert popup["SubscribeMsgPopupEvent"]["List"] == {
            "TemplateId": TEMPLATE,
            "SubscribeStatusString": "accept",
            "PopupScene": "0",
        }
        told = {"TemplateId": TEMPLATE, "MsgID": str(answers[0]["msgid"]), "ErrorCode": "0", "ErrorStatus": "success"}
        assert (sent["Event"], sent["SubscribeMsgSentEvent"]["List"]) == ("subscribe_msg_sent_event", told)


async def test_refusal_allows_nothing(playing):
    """A4: reject is told, and 43101 stays."""
    async with playing() as play:
        person = await play.person()
        await prompt(play, person, "reject")
        assert (await send(play, person))["errcode"] == 43101
        (event,) = play.pushes.events
        assert event["SubscribeMsgPopupEvent"]["List"]["SubscribeStatusString"] == "reject"


async def test_settings_take_every_grant_away(playing):
    """A4: subscribe_msg_change_event, then 43101."""
    async with playing() as play:
        person = await play.person()
        await prompt(play, person)
        await prompt(play, person, "reject", path="subscribe-settings")
        assert (await send(play, person))["errcode"] == 43101
        assert play.pushes.events[-1]["Event"] == "subscribe_msg_change_event"
        assert (await play.control(f"/people/{person['id']}/grants"))["grants"] == []


async def test_long_term_template_is_sent_until_it_is_turned_off(playing):
    """A4: one acceptance, many sends."""
    async with playing() as play:
        await play.control("/templates", {"template_id": TEMPLATE, "lasting": True, "keys": ["thing1"]})
        person = await play.person()
        await prompt(play, person)
        assert [(await send(play, person))["errcode"] for _ in range(3)] == [0, 0, 0]


@pytest.mark.parametrize("most", [3, 5])
async def test_prompt_has_so_many_templates_at_most(playing, most):
    """A4: 20003 for more; three in older documents."""
    async with playing() as play:
        person = await play.person()
        await play.control("/switches", {"templates_at_once": most})
        body = {"appid": play.mini.appid, "templates": {f"template-{i}": "accept" for i in range(most + 1)}}
        refused = await play.control(f"/people/{person['id']}/subscribe", body, status=409)
        assert "20003" in refused["error"]["message"]
        assert play.box.state.records.grants == {}
        del body["templates"]["template-0"]
        await play.control(f"/people/{person['id']}/subscribe", body)


async def test_prompt_mixes_no_kinds_of_templates(playing):
    """A4: 20002."""
    async with playing() as play:
        person = await play.person()
        await play.control("/templates", {"template_id": "lasting-1", "lasting": True})
        body = {"appid": play.mini.appid, "templates": {"lasting-1": "accept", "once-1": "accept"}}
        refused = await play.control(f"/people/{person['id']}/subscribe", body, status=409)
        assert "20002" in refused["error"]["message"]


async def test_one_openid_is_sent_one_message_at_a_time(playing):
    """A4: 43108 beside another one; not for somebody else."""
    async with playing() as play:
        await play.control("/switches", {"subscribe_ms": 300})
        people = [await play.person(), await play.person()]
        template = "template-1"
        for person in people:
            for _ in range(2):
                grant = {"appid": play.mini.appid, "templates": {template: "accept"}}
                await play.control(f"/people/{person['id']}/subscribe", grant)
        bodies = [
            {"touser": person["openids"][play.mini.appid], "template_id": template, "data": {"thing1": {"value": "好"}}}
            for person in (people[0], people[0], people[1])
        ]
        sent = await asyncio.gather(*(play.wechat("/cgi-bin/message/subscribe/send", body) for body in bodies))
        codes = [answer["errcode"] for answer in sent]
        assert (sorted(codes[:2]), codes[2]) == ([0, 43108], 0)
        assert (await play.wechat("/cgi-bin/message/subscribe/send", bodies[0]))["errcode"] == 0


@pytest.mark.parametrize(
    ("data", "errcode"),
    [
        ({"thing1": {"value": "一" * 20}}, 0),
        ({"thing1": {"value": "一" * 21}}, 47003),
        ({"thing1": {"value": ""}}, 47003),
        ({"thing1": "x"}, 47003),
        ({}, 47003),
        ({"number1": {"value": "12.5"}}, 0),
        ({"number1": {"value": "十二"}}, 47003),
        ({"letter1": {"value": "abc"}}, 0),
        ({"letter1": {"value": "abc1"}}, 47003),
        ({"time1": {"value": "15:01"}}, 0),
        ({"time1": {"value": "2019年10月1日 15:01"}}, 0),
        ({"time1": {"value": "soon"}}, 47003),
        ({"date1": {"value": "2019年10月1日"}}, 0),
        ({"date1": {"value": "15:01"}}, 47003),
        ({"amount1": {"value": "￥100.00元"}}, 0),
        ({"amount1": {"value": "100.001"}}, 47003),
        ({"phone_number1": {"value": "+86-0766-66888866"}}, 0),
        ({"phone_number1": {"value": "1" * 18}}, 47003),
        ({"car_number1": {"value": "粤A8Z888"}}, 0),
        ({"name1": {"value": "张" * 11}}, 47003),
        ({"name1": {"value": "a" * 20}}, 0),
        ({"phrase1": {"value": "已发放"}}, 0),
        ({"phrase1": {"value": "已经全部发放"}}, 47003),
        ({"character_string1": {"value": "A-1#2"}}, 0),
        ({"character_string1": {"value": "单号1"}}, 47003),
        ({"picture1": {"value": "x"}}, 47003),
    ],
)
async def test_values_keep_the_rules_of_their_kind(playing, data, errcode):
    """A4: by the key's prefix; a refused message uses no grant."""
    async with playing() as play:
        person = await play.person()
        await prompt(play, person)
        assert (await send(play, person, data=data))["errcode"] == errcode
        (grant,) = (await play.control(f"/people/{person['id']}/grants"))["grants"]
        assert grant["left"] == (1 if errcode else 0)


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [
        ({"touser": "o-nobody"}, 40003),
        ({"template_id": "?"}, 40037),
        ({"page": "https://elsewhere.example"}, 41030),
        ({"miniprogram_state": "beta"}, 47003),
        ({"lang": "fr"}, 47003),
    ],
)
async def test_wrong_message_uses_no_grant(playing, changes, errcode):
    """A4: 40003, 40037, 41030, 47003."""
    async with playing() as play:
        person = await play.person()
        await prompt(play, person)
        assert (await send(play, person, **changes))["errcode"] == errcode
        assert (await send(play, person))["errcode"] == 0


async def test_described_template_needs_its_keys(playing):
    """A4: 47003 for a missing key, and for one that the template does not have."""
    async with playing() as play:
        await play.control("/templates", {"template_id": TEMPLATE, "keys": ["thing1", "date2"]})
        person = await play.person()
        await prompt(play, person)
        assert "data.date2.value invalid" in (await send(play, person))["errmsg"]
        full = {"thing1": {"value": "券"}, "date2": {"value": "2026-11-22"}}
        assert (await send(play, person, data={**full, "thing3": {"value": "x"}}))["errcode"] == 47003
        assert (await send(play, person, data=full))["errcode"] == 0
