"""Signed messages as typed events."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from services.errors import YinqiaoError
from services.wechat.events import (
    ExternalContactAdded,
    ExternalContactDeleted,
    ExternalContactEdited,
    FollowUserDeleted,
    Unknown,
    parse_event,
)

AT = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


def message(change: str, extra: str = "", *, event: str = "change_external_contact", time: str = "1700000000") -> bytes:
    return (
        f"<xml><ToUserName><![CDATA[ww1]]></ToUserName><FromUserName><![CDATA[sys]]></FromUserName>"
        f"<CreateTime>{time}</CreateTime><MsgType><![CDATA[event]]></MsgType><Event><![CDATA[{event}]]></Event>"
        f"<ChangeType><![CDATA[{change}]]></ChangeType><UserID><![CDATA[rm001]]></UserID>"
        f"<ExternalUserID><![CDATA[wm1]]></ExternalUserID>{extra}</xml>"
    ).encode()


def test_a_friend_through_a_live_code():
    extra = "<State><![CDATA[branch-sz-01]]></State><WelcomeCode><![CDATA[WC-1]]></WelcomeCode>"
    assert parse_event(message("add_external_contact", extra)) == ExternalContactAdded(
        corp_id="ww1", create_time=AT, userid="rm001", external_userid="wm1", state="branch-sz-01", welcome_code="WC-1"
    )


@pytest.mark.parametrize("extra", ["", "<State></State><WelcomeCode/>", "<State><![CDATA[]]></State>"])
def test_state_and_welcome_code_may_be_missing(extra):
    event = parse_event(message("add_half_external_contact", extra))
    assert event == ExternalContactAdded(
        corp_id="ww1", create_time=AT, userid="rm001", external_userid="wm1", state=None, welcome_code=None, half=True
    )


@pytest.mark.parametrize(
    ("change", "kind"), [("edit_external_contact", ExternalContactEdited), ("del_follow_user", FollowUserDeleted)]
)
def test_edits_and_lost_friends(change, kind):
    assert parse_event(message(change)) == kind(corp_id="ww1", create_time=AT, userid="rm001", external_userid="wm1")


def test_a_member_deleting_a_customer_says_why():
    extra = "<Source><![CDATA[DELETE_BY_TRANSFER]]></Source>"
    event = parse_event(message("del_external_contact", extra))
    assert isinstance(event, ExternalContactDeleted)
    assert event.source == "DELETE_BY_TRANSFER"


@pytest.mark.parametrize(
    ("event", "change"), [("change_external_contact", "brand_new"), ("location", "create"), ("", "")]
)
def test_what_nobody_knows_is_kept_as_unknown(event, change):
    got = parse_event(message(change, event=event))
    assert got == Unknown(corp_id="ww1", create_time=AT, event=event or "event", change_type=change)


@pytest.mark.parametrize("time", ["", "soon", "-1", "9" * 12, "9" * 40, "１７", "1.5"])
def test_an_unreadable_time_is_none(time):
    assert parse_event(message("edit_external_contact", time=time)).create_time is None


def test_a_time_in_cdata_is_read():
    assert parse_event(message("edit_external_contact", time="<![CDATA[ 1700000000 ]]>")).create_time == AT


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "event_not_xml"),
        (b"not xml", "event_not_xml"),
        (b"<xml><a></xml>", "event_incomplete"),
        (b'<?xml version="1.0" encoding="no-such"?><xml/>', "event_incomplete"),
        (b"<!DOCTYPE xml><xml/>", "event_incomplete"),
        (b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><xml/>', "event_incomplete"),
        (b'<!DOCTYPE x [<!ENTITY a "<xml>', "event_not_xml"),
        (message("add_external_contact").replace(b"rm001", b""), "event_incomplete"),
        (message("del_follow_user").replace(b"wm1", b""), "event_incomplete"),
    ],
)
def test_what_cannot_be_an_event_is_refused(raw, code):
    with pytest.raises(YinqiaoError) as caught:
        parse_event(raw)
    assert (caught.value.status, caught.value.code) == (400, code)
