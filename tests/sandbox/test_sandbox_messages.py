"""App messages and template cards (contract/wechat B10, C4, D1)."""

from __future__ import annotations

from typing import Any

import pytest

SEND = "/cgi-bin/message/send"
UPDATE = "/cgi-bin/message/update_template_card"


def message(play, kind="text", content=None, **fields: Any):
    content = {"content": "有新客户"} if content is None else content
    return {"touser": "rm.chen", "msgtype": kind, "agentid": play.app.agent_id, kind: content, **fields}


def card(**changes: Any):
    buttons = [{"text": "接受", "style": 1, "key": "yes"}, {"text": "拒绝", "style": 2, "key": "no"}]
    fields = {"card_type": "button_interaction", "main_title": {"title": "交接"}, "task_id": "t-1"}
    return {**fields, "button_list": buttons, **changes}


async def received(play, userid="rm.chen"):
    return (await play.control(f"/members/{userid}/window"))["messages"]


@pytest.mark.parametrize(
    ("kind", "content", "errcode"),
    [
        ("textcard", {"title": "标题", "description": "说明", "url": "https://bank.example"}, 0),
        ("textcard", {"title": "标题", "description": "说明"}, 40058),
        ("textcard", {"title": "标题", "description": "说明", "url": "u", "btntxt": "五个字太多"}, 40058),
        ("markdown", {"content": "**好**"}, 0),
        ("news", {"articles": [{"title": "新", "url": "u"}]}, 0),
        ("news", {"articles": []}, 45008),
        ("image", {"media_id": "x"}, 40007),
        ("miniprogram_notice", {"appid": "wx5ab0000000000001", "title": "业务进度通知"}, 0),
        ("miniprogram_notice", {"appid": "wx0", "title": "业务进度通知"}, 40013),
        ("miniprogram_notice", {"appid": "wx5ab0000000000001", "title": "短"}, 40058),
        ("template_card", {"card_type": "poster"}, 42031),
        ("template_card", card(task_id="has space"), 42014),
        ("template_card", card(main_title={}), 42033),
        ("template_card", card(button_list=[]), 42038),
        ("template_card", card(button_list=[{"text": "好"}]), 42039),
        ("template_card", card(jump_list=[{"title": "a"}] * 4), 42042),
        ("template_card", card(horizontal_content_list=[{"value": "a"}]), 42027),
        ("template_card", {"card_type": "text_notice", "main_title": {"title": "a"}}, 42045),
        ("template_card", card(card_type="vote_interaction"), 42043),
        ("template_card", card(card_type="multiple_interaction"), 42047),
    ],
)
async def test_content_of_each_type_is_checked(playing, kind, content, errcode):
    """B10: the rules of each type, with the table's own code; a refused message reaches nobody."""
    async with playing() as play:
        assert (await play.wecom(SEND, message(play, kind, content)))["errcode"] == errcode
        assert len(await received(play)) == (0 if errcode else 1)


async def test_picture_goes_by_media_id(playing):
    """B10."""
    async with playing() as play:
        media_id = await play.picture()
        assert (await play.wecom(SEND, message(play, "image", {"media_id": media_id})))["errcode"] == 0
        assert (await play.wecom(SEND, message(play, "file", {"media_id": media_id})))["errcode"] == 40007


async def test_department_reaches_those_below_it(playing):
    """B10: toparty of the root is everybody."""
    async with playing() as play:
        await play.wecom(SEND, message(play, touser="", toparty="1"))
        assert [len(await received(play, m.userid)) for m in play.box.world.corp.members] == [1] * 6


async def test_surplus_to_one_member_is_dropped_without_a_word(playing):
    """D1: 30 a minute."""
    async with playing() as play:
        answers = [(await play.wecom(SEND, message(play)))["errcode"] for _ in range(32)]
        assert (set(answers), len(await received(play))) == ({0}, 30)
        await play.control("/clock", {"advance": 60})
        await play.wecom(SEND, message(play))
        assert len(await received(play)) == 31


async def test_quota_of_a_day(playing):
    """D1: 200 person-sends for each account."""
    async with playing() as play:
        for _ in range(200):
            await play.wecom(SEND, message(play, touser="@all"))
        assert (await play.wecom(SEND, message(play)))["errcode"] == 45009
        await play.control("/clock", {"advance": 86_400})
        assert (await play.wecom(SEND, message(play)))["errcode"] == 0


async def test_duplicate_is_swallowed_within_its_interval(playing):
    """B10: errcode 0, delivered once; again after the interval."""
    async with playing() as play:
        twice = message(play, enable_duplicate_check=1, duplicate_check_interval=60)
        first, second = await play.wecom(SEND, twice), await play.wecom(SEND, twice)
        assert (first["msgid"], len(await received(play))) == (second["msgid"], 1)
        await play.control("/clock", {"advance": 60})
        await play.wecom(SEND, twice)
        assert len(await received(play)) == 2
        assert (await play.wecom(SEND, {**twice, "duplicate_check_interval": 14_401}))["errcode"] == 40058


async def test_message_is_taken_back_within_a_day(playing):
    """B10, 94867: 42052 later, 40058 for a msgid that is not the app's."""
    async with playing() as play:
        recall = "/cgi-bin/message/recall"
        first = (await play.wecom(SEND, message(play)))["msgid"]
        second = (await play.wecom(SEND, message(play)))["msgid"]
        assert (await play.wecom(recall, {"msgid": first}))["errcode"] == 0
        assert [m["content"]["msgid"] for m in await received(play)] == [second]
        assert (await play.wecom(recall, {"msgid": "x"}))["errcode"] == 40058
        await play.control("/clock", {"advance": 86_400})
        assert (await play.wecom(recall, {"msgid": second}))["errcode"] == 42052


async def test_pressed_button_is_an_event_and_changes_the_card_once(playing):
    """C4, B10: template_card_event from the member; its ResponseCode is good once."""
    async with playing() as play:
        sent = await play.wecom(SEND, message(play, "template_card", card()))
        assert sent["response_code"].startswith("RC")
        assert await play.control("/members/rm.chen/cards/t-1/click", {"key": "yes"}) == {"delivered": True}
        (event,) = play.receiver.events
        assert (event["Event"], event["FromUserName"], event["EventKey"], event["TaskId"], event["CardType"]) == (
            "template_card_event",
            "rm.chen",
            "yes",
            "t-1",
            "button_interaction",
        )
        body = {"userids": ["rm.chen", "rm.li"], "agentid": play.app.agent_id, "button": {"replace_name": "已接受"}}
        once = {**body, "response_code": event["ResponseCode"]}
        answers = [await play.wecom(UPDATE, once) for _ in range(2)]
        assert [a["errcode"] for a in answers] == [0, 60140]
        assert answers[0]["invaliduser"] == ["rm.li"]
        (shown,) = (await play.control("/members/rm.chen/cards"))["cards"]
        assert (shown["replaced"], shown["clicked"]) == ({"rm.chen": "已接受"}, {"rm.chen": "yes"})
        await play.control("/members/rm.chen/cards/t-1/click", {"key": "yes"}, status=409)


async def test_response_code_dies_after_72_hours(playing):
    """B10, F3."""
    async with playing() as play:
        code = (await play.wecom(SEND, message(play, "template_card", card())))["response_code"]
        body = {"atall": 1, "agentid": play.app.agent_id, "response_code": code, "template_card": card()}
        await play.control("/clock", {"advance": 3 * 86_400})
        assert (await play.wecom(UPDATE, body))["errcode"] == 60140


async def test_answers_of_a_form_are_told(playing):
    """C4: SelectedItems of a multiple_interaction."""
    async with playing() as play:
        selects = [
            {"question_key": "when", "option_list": [{"id": "am", "text": "上午"}, {"id": "pm", "text": "下午"}]}
        ]
        form = card(card_type="multiple_interaction", select_list=selects, submit_button={"text": "提交", "key": "go"})
        assert (await play.wecom(SEND, message(play, "template_card", form)))["errcode"] == 0
        body = {"key": "go", "selected": {"when": ["pm"]}}
        await play.control("/members/rm.chen/cards/t-1/click", body)
        (event,) = play.receiver.events
        assert event["SelectedItems"] == {"SelectedItem": {"QuestionKey": "when", "OptionIds": {"OptionId": "pm"}}}


async def test_button_that_is_not_there_cannot_be_pressed(playing):
    """F9: neither another key nor another member."""
    async with playing() as play:
        await play.wecom(SEND, message(play, "template_card", card()))
        await play.control("/members/rm.chen/cards/t-1/click", {"key": "maybe"}, status=409)
        await play.control("/members/rm.li/cards/t-1/click", {"key": "yes"}, status=409)
        await play.control("/members/rm.chen/cards/t-2/click", {"key": "yes"}, status=404)
        assert play.receiver.events == []


async def test_task_id_is_used_once(playing):
    """B10: unique per app."""
    async with playing() as play:
        body = message(play, "template_card", card())
        assert [(await play.wecom(SEND, body))["errcode"] for _ in range(2)] == [0, 42014]


async def test_opening_the_app_is_an_event(playing):
    """C4: enter_agent and click come from the member."""
    async with playing() as play:
        await play.control("/members/rm.chen/app", {})
        await play.control("/members/rm.chen/app", {"key": "menu_1"})
        assert [(e["Event"], e["FromUserName"], e.get("EventKey")) for e in play.receiver.events] == [
            ("enter_agent", "rm.chen", None),
            ("click", "rm.chen", "menu_1"),
        ]
