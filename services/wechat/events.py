"""A verified callback message as a typed event (wechat-contract C4). Call only on what `crypto` has let through."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from services.clock import utc
from services.wechat.errors import EventUnreadable

_LATEST = 253_402_300_799  # the last second a datetime can hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`corp_id` is ToUserName (an appid for a mini-program); `create_time` is None when unreadable."""

    corp_id: str
    create_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactEvent(Event):
    """Something between the member `userid` and the customer `external_userid`."""

    userid: str
    external_userid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalContactAdded(ContactEvent):
    """A customer became a friend; `half`: the member has not added back yet.

    `state` is the live code's or link's, `welcome_code` is good for 20 s and one message; each may be missing.
    """

    state: str | None
    welcome_code: str | None
    half: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalContactEdited(ContactEvent):
    """Remark, description or tags changed at WeCom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalContactDeleted(ContactEvent):
    """The member deleted the customer; `source` is DELETE_BY_TRANSFER when a hand-over did."""

    source: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUserDeleted(ContactEvent):
    """The customer deleted the member."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown(Event):
    """Anything else; kept so that a new event is recorded and not lost."""

    event: str
    change_type: str


def parse_event(message: bytes) -> Event:
    """The event in `message` (XML in UTF-8).

    Raises EventUnreadable: event_not_xml, event_dtd, or event_incomplete when an id is missing.
    """
    fields = _fields(message)
    event, change = fields.get("Event", ""), fields.get("ChangeType", "")
    if event == "change_external_contact" and change in _CONTACT_CHANGES:
        return _contact_event(fields, change)
    return Unknown(
        corp_id=fields.get("ToUserName", ""),
        create_time=_time(fields.get("CreateTime", "")),
        event=event or fields.get("MsgType", ""),
        change_type=change,
    )


_ADDED = frozenset({"add_external_contact", "add_half_external_contact"})
_CONTACT_CHANGES = _ADDED | {"edit_external_contact", "del_external_contact", "del_follow_user"}


def _contact_event(fields: dict[str, str], change: str) -> ContactEvent:
    corp_id, create_time = _required(fields, "ToUserName"), _time(fields.get("CreateTime", ""))
    userid, external_userid = _required(fields, "UserID"), _required(fields, "ExternalUserID")
    if change in _ADDED:
        return ExternalContactAdded(
            corp_id=corp_id,
            create_time=create_time,
            userid=userid,
            external_userid=external_userid,
            state=fields.get("State") or None,
            welcome_code=fields.get("WelcomeCode") or None,
            half=change == "add_half_external_contact",
        )
    if change == "del_external_contact":
        return ExternalContactDeleted(
            corp_id=corp_id,
            create_time=create_time,
            userid=userid,
            external_userid=external_userid,
            source=fields.get("Source") or None,
        )
    kind = ExternalContactEdited if change == "edit_external_contact" else FollowUserDeleted
    return kind(corp_id=corp_id, create_time=create_time, userid=userid, external_userid=external_userid)


def _fields(message: bytes) -> dict[str, str]:
    """The text of the root's children; of a repeated name, the first."""
    try:
        root: Element = fromstring(message, forbid_dtd=True)
    except DefusedXmlException as error:
        raise EventUnreadable("event_dtd", "a message has no document type") from error
    except (ParseError, ValueError, LookupError) as error:
        raise EventUnreadable("event_not_xml", "the message is not XML") from error
    fields: dict[str, str] = {}
    for child in root:
        fields.setdefault(child.tag, (child.text or "").strip())
    return fields


def _required(fields: dict[str, str], name: str) -> str:
    value = fields.get(name)
    if not value:
        raise EventUnreadable("event_incomplete", f"{name} is missing")
    return value


def _time(text: str) -> datetime | None:
    if not (text.isascii() and text.isdigit()) or len(text) > 12 or int(text) > _LATEST:
        return None
    return utc(int(text))
