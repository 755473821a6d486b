"""Every event of contract/wechat C4, each from a message of the documented form."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from services.wechat import events
from services.wechat.core.errors import EventUnreadable
from services.wechat.events import Event, parse_event

AT = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
HEAD: dict[str, Any] = {"corp_id": "ww1", "create_time": AT}
CONTACT = "<UserID><![CDATA[rm001]]></UserID><ExternalUserID><![CDATA[wm1]]></ExternalUserID>"
PAIR: dict[str, Any] = {"userid": "rm001", "external_userid": "wm1"}


def message(event: str, change: str = "", extra: str = "", *, sender: str = "sys") -> bytes:
    change_type = f"<ChangeType><![CDATA[{change}]]></ChangeType>" if change else ""
    return (
        f"<xml><ToUserName><![CDATA[ww1]]></ToUserName><FromUserName><![CDATA[{sender}]]></FromUserName>"
        f"<CreateTime>1700000000</CreateTime><MsgType><![CDATA[event]]></MsgType>"
        f"<Event><![CDATA[{event}]]></Event>{change_type}{extra}</xml>"
    ).encode()


def field(name: str, value: object) -> str:
    return f"<{name}><![CDATA[{value}]]></{name}>"


CUSTOMERS = "change_external_contact"
ACQUISITION = "customer_acquisition"
KNOWN: list[tuple[bytes, Event]] = [
    (
        message(CUSTOMERS, "transfer_fail", CONTACT + field("FailReason", "customer_refused")),
        events.HandoverFailed(**HEAD, **PAIR, fail_reason="customer_refused"),
    ),
    (
        message(CUSTOMERS, "msg_audit_approved", CONTACT + field("WelcomeCode", "WC")),
        events.ArchiveConsented(**HEAD, **PAIR, welcome_code="WC"),
    ),
    (
        message(CUSTOMERS, "msg_audit_approved", CONTACT),
        events.ArchiveConsented(**HEAD, **PAIR, welcome_code=None),
    ),
    (message("change_external_chat", "create", field("ChatId", "wr1")), events.GroupCreated(**HEAD, chat_id="wr1")),
    (message("change_external_chat", "dismiss", field("ChatId", "wr1")), events.GroupDismissed(**HEAD, chat_id="wr1")),
    (
        message("change_external_tag", "create", field("Id", "et1") + field("TagType", "tag_group")),
        events.TagChanged(**HEAD, change="create", id="et1", tag_type="tag_group", strategy_id=None),
    ),
    (
        message("change_external_tag", "delete", field("Id", "et1") + field("TagType", "tag") + "<StrategyId>7</StrategyId>"),
        events.TagChanged(**HEAD, change="delete", id="et1", tag_type="tag", strategy_id=7),
    ),
    (
        message("change_external_tag", "shuffle", field("Id", "")),
        events.TagChanged(**HEAD, change="shuffle", id="", tag_type="", strategy_id=None),
    ),
    (message(ACQUISITION, "balance_low"), events.AcquisitionBalance(**HEAD, level="low")),
    (message(ACQUISITION, "balance_exhausted"), events.AcquisitionBalance(**HEAD, level="exhausted")),
    (message(ACQUISITION, "balance_increased"), events.AcquisitionBalance(**HEAD, level="increased")),
    (message(ACQUISITION, "link_unavailable", field("LinkId", "caw1")), events.LinkUnavailable(**HEAD, link_id="caw1")),
    (message(ACQUISITION, "delete_link", field("LinkId", "caw1")), events.LinkDeleted(**HEAD, link_id="caw1")),
    (
        message(ACQUISITION, "quota_expire_soon", "<ExpireTime>1700000000</ExpireTime><ExpireQuotaNum>12</ExpireQuotaNum>"),
        events.QuotaExpiring(**HEAD, expire_time=AT, expire_quota_num=12),
    ),
    (
        message(ACQUISITION, "open_profile", field("LinkId", "caw1") + field("State", "s")),
        events.LinkOpened(**HEAD, link_id="caw1", state="s"),
    ),
    (
        message(ACQUISITION, "friend_request", field("LinkId", "caw1") + field("State", "s")),
        events.FriendRequested(**HEAD, link_id="caw1", state="s"),
    ),
    (message(ACQUISITION, "customer_start_chat", CONTACT), events.ChatStarted(**HEAD, **PAIR, link_id="", state="")),
    (
        message(ACQUISITION, "message_from_customer", CONTACT + field("ChatKey", "K")),
        events.MessageFromCustomer(**HEAD, **PAIR, chat_key="K"),
    ),
    (message("change_contact", "delete_user", field("UserID", "rm001")), events.MemberLeft(**HEAD, userid="rm001")),
    (
        message("change_contact", "create_party", "<Id>4</Id><Name>南山</Name><ParentId>1</ParentId><Order>9</Order>"),
        events.DepartmentChanged(**HEAD, change="create", department_id=4, name="南山", parent_id=1, order=9),
    ),
    (
        message("change_contact", "update_party", "<Id>4</Id><ParentId><![CDATA[2]]></ParentId>"),
        events.DepartmentChanged(**HEAD, change="update", department_id=4, name=None, parent_id=2, order=None),
    ),
    (
        message("change_contact", "delete_party", "<Id>4</Id>"),
        events.DepartmentChanged(**HEAD, change="delete", department_id=4, name=None, parent_id=None, order=None),
    ),
    (
        message(
            "change_contact", "update_tag",
            "<TagId>1</TagId>" + field("AddUserItems", "a,b") + field("DelUserItems", "")
            + field("AddPartyItems", "3,") + field("DelPartyItems", "4"),
        ),
        events.MemberTagChanged(
            **HEAD, tag_id="1", added_userids=("a", "b"), removed_userids=(), added_departments=("3",),
            removed_departments=("4",),
        ),
    ),
    (
        message("enter_agent", "", "<AgentID>7</AgentID><EventKey/>", sender="rm001"),
        events.AppEntered(**HEAD, userid="rm001", event_key="", agent_id=7),
    ),
    (
        message("click", "", "<AgentID>7</AgentID>" + field("EventKey", "menu"), sender="rm001"),
        events.MenuUsed(**HEAD, userid="rm001", event_key="menu", agent_id=7),
    ),
    (
        message("view", "", "<AgentID>7</AgentID>" + field("EventKey", "https://x"), sender="rm001"),
        events.MenuUsed(**HEAD, userid="rm001", event_key="https://x", agent_id=7),
    ),
    (
        message("subscribe", "", "<AgentID>7</AgentID>", sender="rm001"),
        events.AppSubscribed(**HEAD, userid="rm001", event_key="", agent_id=7, subscribed=True),
    ),
    (
        message("unsubscribe", "", "<AgentID>7</AgentID>", sender="rm001"),
        events.AppSubscribed(**HEAD, userid="rm001", event_key="", agent_id=7, subscribed=False),
    ),
    (
        message(
            "batch_job_result", "",
            "<BatchJob><JobId>J</JobId>" + field("JobType", "sync_user") + "<ErrCode>0</ErrCode><ErrMsg>ok</ErrMsg></BatchJob>",
        ),
        events.BatchJobDone(**HEAD, job_id="J", job_type="sync_user", errcode=0, errmsg="ok"),
    ),
    (message("msgaudit_notify", "", "<AgentID>2000004</AgentID>"), events.ArchiveNotified(**HEAD, agent_id=2000004)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "expected"), KNOWN, ids=lambda value: type(value).__name__ if value is not None else ""
)
def test_each_event_is_read_as_what_it_is(sent: bytes, expected: Event) -> None:
    assert parse_event(sent) == expected


@pytest.mark.parametrize(
    ("items", "count", "expected"),
    [
        ("<MemChangeList><Item>wmA</Item><Item>wmB</Item></MemChangeList>", 2, ("wmA", "wmB")),
        ("<MemChangeList><Item><![CDATA[wmA]]></Item></MemChangeList>", 1, ("wmA",)),
        ("<MemChangeList>wmA</MemChangeList>", 1, ("wmA",)),
        ("<MemChangeList/>", 0, ()),
        ("", 0, ()),
    ],
)
def test_one_changed_member_of_a_group_is_read_like_many(items: str, count: int, expected: tuple[str, ...]) -> None:
    old, new = "0" * 32, "f" * 32
    extra = (
        "<ChatId>wr1</ChatId><UpdateDetail>add_member</UpdateDetail><JoinScene>3</JoinScene>"
        f"<MemChangeCnt>{count}</MemChangeCnt>{items}<LastMemVer>{old}</LastMemVer><CurMemVer>{new}</CurMemVer>"
    )
    assert parse_event(message("change_external_chat", "update", extra)) == events.GroupUpdated(
        **HEAD, chat_id="wr1", update_detail="add_member", join_scene=3, quit_scene=None, member_changes=expected,
        mem_change_cnt=count, last_mem_ver=old, cur_mem_ver=new,
    )  # fmt: skip


def test_what_changed_of_a_member_is_named_and_typed_as_the_api_does() -> None:
    extra = (
        "<UserID>rm001</UserID><NewUserID>rm002</NewUserID><Name><![CDATA[陈]]></Name><Department><![CDATA[1,2]]></Department>"
        "<MainDepartment>2</MainDepartment><IsLeaderInDept><![CDATA[1,0]]></IsLeaderInDept>"
        "<DirectLeader><![CDATA[boss]]></DirectLeader><Status>5</Status><Alias><![CDATA[]]></Alias><ExtAttr>"
        "<Item><Name>工号</Name><Type>0</Type><Text><Value>007</Value></Text></Item>"
        "<Item><Name>网页</Name><Type>1</Type><Web><Title>t</Title><Url>https://x</Url></Web></Item></ExtAttr>"
    )
    got = parse_event(message("change_contact", "update_user", extra))
    assert got == events.MemberChanged(
        **HEAD,
        change="update",
        userid="rm001",
        new_userid="rm002",
        fields={
            "name": "陈",
            "alias": "",
            "department": [1, 2],
            "main_department": 2,
            "is_leader_in_dept": [1, 0],
            "direct_leader": ["boss"],
            "status": 5,
            "extattr": {
                "attrs": [
                    {"name": "工号", "type": 0, "text": {"value": "007"}},
                    {"name": "网页", "type": 1, "web": {"title": "t", "url": "https://x"}},
                ]
            },
        },
    )


def test_a_member_of_whom_nothing_else_is_told_has_no_fields() -> None:
    got = parse_event(message("change_contact", "update_user", "<UserID>rm001</UserID>"))
    assert got == events.MemberChanged(**HEAD, change="update", userid="rm001", new_userid="", fields={})


@pytest.mark.parametrize(
    ("ids", "one"), [("OptionIds", "OptionId"), ("OpitonIds", "OpitonId"), ("OptionIds", "OpitonId")]
)
def test_a_card_is_read_in_both_spellings(ids: str, one: str) -> None:
    extra = (
        "<EventKey>seen</EventKey><TaskId>t1</TaskId><CardType>vote_interaction</CardType><ResponseCode>R</ResponseCode>"
        "<AgentID>7</AgentID><SelectedItems>"
        f"<SelectedItem><QuestionKey>q1</QuestionKey><{ids}><{one}>a</{one}><{one}>b</{one}></{ids}></SelectedItem>"
        f"<SelectedItem><QuestionKey>q2</QuestionKey><{ids}><{one}>c</{one}></{ids}></SelectedItem></SelectedItems>"
    )
    assert parse_event(message("template_card_event", "", extra, sender="rm001")) == events.CardClicked(
        **HEAD, userid="rm001", event_key="seen", agent_id=7, task_id="t1", card_type="vote_interaction",
        response_code="R", selected={"q1": ("a", "b"), "q2": ("c",)},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("event", "change", "extra", "missing"),
    [
        (CUSTOMERS, "transfer_fail", "<UserID>rm001</UserID>", "ExternalUserID"),
        ("change_external_chat", "update", "", "ChatId"),
        ("change_external_tag", "delete", "", "Id"),
        (ACQUISITION, "delete_link", "", "LinkId"),
        ("change_contact", "delete_user", "", "UserID"),
        ("change_contact", "delete_party", "<Id>none</Id>", "Id"),
        ("change_contact", "update_tag", "", "TagId"),
        ("batch_job_result", "", "", "JobId"),
    ],
)
def test_an_event_without_its_id_is_none(event: str, change: str, extra: str, missing: str) -> None:
    with pytest.raises(EventUnreadable, match=missing) as caught:
        parse_event(message(event, change, extra))
    assert caught.value.code == "event_incomplete"


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (events.FollowUserDeleted(**HEAD, **PAIR), "follow_user_deleted"),
        (events.MemberLeft(**HEAD, userid="x"), "member_left"),
        (events.Unknown(**HEAD, event="e", change_type=""), "unknown"),
    ],
)
def test_an_event_has_a_word_for_what_it_is(event: Event, expected: str) -> None:
    assert events.kind(event) == expected


def test_an_event_happened_when_it_says_else_when_it_was_received() -> None:
    row = {"at": datetime(2024, 1, 1, tzinfo=UTC)}
    assert events.happened(events.MemberLeft(**HEAD, userid="x"), row) == 1_700_000_000.0
    silent = events.MemberLeft(corp_id="ww1", create_time=None, userid="x")
    assert events.happened(silent, row) == row["at"].timestamp()
