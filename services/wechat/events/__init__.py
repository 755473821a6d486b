"""A verified callback message as typed events (contract/wechat C4, A4, A6, A7). Call only on what
`crypto` has let through."""

from __future__ import annotations

from services.wechat.events import company, customers, pushes
from services.wechat.events.base import Event, Unknown, happened, kind
from services.wechat.events.company import (
    AppEntered,
    AppEvent,
    AppSubscribed,
    AppUsed,
    ArchiveNotified,
    BatchJobDone,
    CardClicked,
    DepartmentChanged,
    MemberChanged,
    MemberLeft,
    MemberTagChanged,
    MemberWrote,
    MenuUsed,
)
from services.wechat.events.customers import (
    AcquisitionBalance,
    ArchiveConsented,
    ChatStarted,
    ContactEvent,
    ExternalContactAdded,
    ExternalContactDeleted,
    ExternalContactEdited,
    FollowUserDeleted,
    FriendRequested,
    GroupCreated,
    GroupDismissed,
    GroupEvent,
    GroupUpdated,
    HandoverFailed,
    LinkDeleted,
    LinkOpened,
    LinkUnavailable,
    MessageFromCustomer,
    QuotaExpiring,
    TagChanged,
)
from services.wechat.events.fields import Fields
from services.wechat.events.pushes import (
    CustomerMessage,
    MediaChecked,
    Push,
    ServiceSession,
    SessionEntered,
    SubscribeAnswered,
    SubscribeSent,
)
from services.wechat.events.reading import read

__all__ = [
    "AcquisitionBalance",
    "AppEntered",
    "AppEvent",
    "AppSubscribed",
    "AppUsed",
    "ArchiveConsented",
    "ArchiveNotified",
    "BatchJobDone",
    "CardClicked",
    "ChatStarted",
    "ContactEvent",
    "CustomerMessage",
    "DepartmentChanged",
    "Event",
    "ExternalContactAdded",
    "ExternalContactDeleted",
    "ExternalContactEdited",
    "FollowUserDeleted",
    "FriendRequested",
    "GroupCreated",
    "GroupDismissed",
    "GroupEvent",
    "GroupUpdated",
    "HandoverFailed",
    "KNOWN_WORDS",
    "LinkDeleted",
    "LinkOpened",
    "LinkUnavailable",
    "MediaChecked",
    "MemberChanged",
    "MemberLeft",
    "MemberTagChanged",
    "MemberWrote",
    "MenuUsed",
    "MessageFromCustomer",
    "Push",
    "QuotaExpiring",
    "ServiceSession",
    "SessionEntered",
    "SubscribeAnswered",
    "SubscribeSent",
    "TagChanged",
    "Unknown",
    "happened",
    "kind",
    "parse_event",
    "parse_push",
]

_READERS = customers.READERS | company.READERS
KNOWN_WORDS = (
    frozenset(word for names in _READERS for word in names if word)
    | frozenset(pushes.READERS)
    | pushes.MESSAGES
    | {"event", "sys"}
)
"""The platforms' own words for events and messages, which are nobody's data."""


def parse_event(message: bytes) -> Event:
    """WeCom's event in `message`, read leniently (reading.py).

    Raises EventUnreadable: event_not_xml, event_not_json, or event_incomplete when an id or the
    event's name is missing.
    """
    fields = read(message)
    event, change = fields.text("Event"), fields.text("ChangeType")
    reader = _READERS.get((event, change)) or _READERS.get((event, ""))
    if reader is not None:
        return reader(fields)
    if not event and fields.text("MsgType") in company.MESSAGES:
        return company.wrote(fields)
    return _unknown(fields.text("ToUserName"), fields)


def parse_push(appid: str, message: bytes) -> tuple[Event, ...]:
    """What the mini-program `appid` was pushed, in XML or JSON: one event, or one for each message
    that was delivered. Raises what `parse_event` raises."""
    fields = read(message)
    event, kind_of = fields.text("Event"), fields.text("MsgType")
    if event in pushes.READERS:
        return pushes.READERS[event](appid, fields)
    if not event and kind_of in pushes.MESSAGES:
        return pushes.message(appid, fields)
    return (_unknown(appid, fields),)


def _unknown(corp_id: str, fields: Fields) -> Unknown:
    return Unknown(
        corp_id=corp_id,
        create_time=fields.time("CreateTime"),
        event=fields.text("Event") or fields.need("MsgType"),
        change_type=fields.text("ChangeType"),
    )
