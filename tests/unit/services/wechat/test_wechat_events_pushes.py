"""What a mini-program's message push tells (contract/wechat A4, A6, A7), in XML and JSON, and hostile input of both kinds."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.wechat import events
from services.wechat.core.errors import EventUnreadable
from services.wechat.events import Event, parse_event, parse_push

APPID = "wx5ab0000000000001"
AT = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
WHO: dict[str, Any] = {"corp_id": APPID, "create_time": AT, "openid": "oUser"}
ANSWERED = {"TemplateId": "T1", "SubscribeStatusString": "accept", "PopupScene": "0"}
REFUSED = {"TemplateId": "T2", "SubscribeStatusString": "reject", "PopupScene": "0"}
SENT = {"TemplateId": "T1", "MsgID": "1700827132819554304", "ErrorCode": "0", "ErrorStatus": "success"}


def _json(event: str, **fields: Any) -> bytes:
    head = {
        "ToUserName": "gh_1",
        "FromUserName": "oUser",
        "CreateTime": "1700000000",
        "MsgType": "event",
        "Event": event,
    }
    return json.dumps({**head, **fields}).encode()


def _elements(fields: dict[str, Any]) -> str:
    parts = []
    for name, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            inner = _elements(one) if isinstance(one, dict) else escape(str(one))
            parts.append(f"<{name}>{inner}</{name}>")
    return "".join(parts)


def _xml(event: str, **fields: Any) -> bytes:
    head = {"ToUserName": "gh_1", "FromUserName": "oUser", "CreateTime": 1700000000, "MsgType": "event", "Event": event}
    return f"<xml>{_elements({**head, **fields})}</xml>".encode()


@pytest.mark.parametrize(
    ("message", "how", "answers"),
    [
        (_json("subscribe_msg_popup_event", List=ANSWERED), "popup", (("T1", True),)),
        (_json("subscribe_msg_popup_event", List=[ANSWERED, REFUSED]), "popup", (("T1", True), ("T2", False))),
        (_xml("subscribe_msg_popup_event", SubscribeMsgPopupEvent={"List": ANSWERED}), "popup", (("T1", True),)),
        (
            _xml("subscribe_msg_popup_event", SubscribeMsgPopupEvent={"List": [ANSWERED, REFUSED]}),
            "popup",
            (("T1", True), ("T2", False)),
        ),
        (_json("subscribe_msg_change_event", List=REFUSED), "change", (("T2", False),)),
        (_xml("subscribe_msg_change_event", SubscribeMsgChangeEvent={"List": REFUSED}), "change", (("T2", False),)),
        (_json("subscribe_msg_change_event"), "change", ()),
    ],
)
def test_answers_to_a_subscription_are_read(message: bytes, how: Any, answers: tuple[tuple[str, bool], ...]) -> None:
    assert parse_push(APPID, message) == (events.SubscribeAnswered(**WHO, how=how, answers=answers),)


@pytest.mark.parametrize(
    "message",
    [
        _json("subscribe_msg_sent_event", List=SENT),
        _xml("subscribe_msg_sent_event", SubscribeMsgSentEvent={"List": SENT}),
    ],
)
def test_a_delivery_is_read(message: bytes) -> None:
    (got,) = parse_push(APPID, message)
    assert got == events.SubscribeSent(
        **WHO, template_id="T1", msg_id="1700827132819554304", error_code=0, error_status="success"
    )


def test_two_deliveries_in_one_message_are_two_events() -> None:
    failed = {"TemplateId": "T2", "MsgID": 17, "ErrorCode": 12, "ErrorStatus": "denied"}
    got = parse_push(APPID, _json("subscribe_msg_sent_event", List=[SENT, failed]))
    assert [(one.msg_id, one.error_code) for one in got if isinstance(one, events.SubscribeSent)] == [
        ("1700827132819554304", 0),
        ("17", 12),
    ]


@pytest.mark.parametrize("make", [_json, _xml])
def test_a_verdict_on_media_is_read_in_both_versions(make: Any) -> None:
    second = make(
        "wxa_media_check", appid=APPID, trace_id="t-1", version=2, result={"suggest": "risky", "label": 20002}
    )
    assert parse_push(APPID, second) == (
        events.MediaChecked(**WHO, appid=APPID, trace_id="t-1", suggest="risky", label=20002),
    )
    first = make("wxa_media_check", trace_id="t-1", isrisky=1, status_code=0)
    assert parse_push(APPID, first) == (
        events.MediaChecked(**WHO, appid=APPID, trace_id="t-1", suggest="risky", label=0),
    )
    failed = make("wxa_media_check", trace_id="t-1", status_code=-1008)
    assert parse_push(APPID, failed) == (events.MediaChecked(**WHO, appid=APPID, trace_id="t-1", suggest="", label=0),)


@pytest.mark.parametrize("make", [_json, _xml])
def test_the_customer_service_chat_is_read(make: Any) -> None:
    entered = make("user_enter_tempsession", SessionFrom="home")
    assert parse_push(APPID, entered) == (events.SessionEntered(**WHO, session_from="home"),)
    text = make("", MsgType="text", Content="你好 <b>", MsgId=42)
    assert parse_push(APPID, text) == (
        events.CustomerMessage(**WHO, msg_type="text", content="你好 <b>", media_id="", msg_id="42"),
    )
    image = make("", MsgType="image", MediaId="M", PicUrl="https://x", MsgId="43")
    assert parse_push(APPID, image) == (
        events.CustomerMessage(**WHO, msg_type="image", content="", media_id="M", msg_id="43"),
    )


def test_what_nobody_knows_is_unknown() -> None:
    expected = events.Unknown(corp_id=APPID, create_time=AT, event="weapp_audit_success", change_type="")
    assert parse_push(APPID, _json("weapp_audit_success")) == (expected,)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"", "event_not_xml"),
        (b"[]", "event_not_xml"),
        (b"{", "event_not_json"),
        (b'{"a":' + b"[" * 500_000, "event_not_json"),
        (b"<!DOCTYPE xml><xml/>", "event_incomplete"),
        (_json("user_enter_tempsession", FromUserName=""), "event_incomplete"),
        (_json("user_enter_tempsession", FromUserName={"a": 1}), "event_incomplete"),
        (_json("subscribe_msg_popup_event", List={"SubscribeStatusString": "accept"}), "event_incomplete"),
    ],
)
def test_what_cannot_be_a_push_is_refused(message: bytes, code: str) -> None:
    with pytest.raises(EventUnreadable) as caught:
        parse_push(APPID, message)
    assert (caught.value.status, caught.value.code) == (400, code)


_NAMES = [*{event for event, _ in events._READERS}, *events.pushes.READERS, "x", ""]
_CHANGES = [*{change for _, change in events._READERS}, "x"]
_FIELDS = [
    "UserID", "ExternalUserID", "ChatId", "Id", "LinkId", "FromUserName", "ToUserName", "CreateTime", "TagId", "BatchJob",
    "JobId", "MemChangeList", "Item", "SelectedItems", "SelectedItem", "OptionIds", "OptionId", "QuestionKey", "ExtAttr",
    "Department", "MainDepartment", "ExpireTime", "AgentID", "List", "TemplateId", "SubscribeMsgSentEvent", "result",
    "trace_id", "label", "ErrorCode", "MsgType", "StrategyId", "JoinScene",
]  # fmt: skip
_scalars = st.one_of(st.integers(), st.text(max_size=6), st.sampled_from(["1", "-1", "9" * 30, "1,2,,x", "１"]))
_tree = st.recursive(
    _scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(_FIELDS), inner, max_size=4)),
    max_leaves=12,
)
_messages = st.fixed_dictionaries(
    {"Event": st.sampled_from(_NAMES), "ChangeType": st.sampled_from(_CHANGES)},
    optional={name: _tree for name in _FIELDS},
)
_garbage = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=200).map(lambda inner: b"{" + inner),
    st.text(max_size=99).map(str.encode),
)


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _clean(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_clean(one) for one in value]
    return "".join(c for c in str(value) if c.isprintable())


@settings(max_examples=500, deadline=None)
@given(fields=_messages)
def test_any_form_of_any_field_is_an_event_or_refused(fields: dict[str, Any]) -> None:
    xml, body = f"<xml>{_elements(_clean(fields))}</xml>".encode(), json.dumps(fields).encode()
    for read, message in (
        (parse_event, xml),
        (lambda m: parse_push(APPID, m), xml),
        (lambda m: parse_push(APPID, m), body),
    ):
        try:
            got = read(message)
        except EventUnreadable:
            continue
        assert all(isinstance(one, Event) for one in (got if isinstance(got, tuple) else (got,)))


@settings(max_examples=300, deadline=None)
@given(message=_garbage)
def test_garbage_is_an_event_or_refused(message: bytes) -> None:
    try:
        got = parse_push(APPID, message)
    except EventUnreadable:
        return
    assert all(isinstance(one, Event) for one in got)


@pytest.mark.parametrize("depth", [1, 9, 5_000])
def test_depth_exhausts_nothing(depth: int) -> None:
    xml = (
        b"<xml><Event>enter_agent</Event><FromUserName>x</FromUserName>" + b"<a>" * depth + b"</a>" * depth + b"</xml>"
    )
    assert isinstance(parse_event(xml), events.AppEntered)
    body = (
        b'{"Event":"user_enter_tempsession","FromUserName":"x","a":'
        + b"[" * min(depth, 900)
        + b"]" * min(depth, 900)
        + b"}"
    )
    assert isinstance(parse_push(APPID, body)[0], events.SessionEntered)
