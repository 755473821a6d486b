"""Events of members, departments, the app and its cards, and the archive (contract/wechat C4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from services.wechat.core.errors import EventUnreadable
from services.wechat.events.base import Event, Reader, head
from services.wechat.events.fields import Fields, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberChanged(Event):
    """A member is new or changed; `new_userid` is empty unless the id itself changed.

    `fields` has what was sent, named and typed as `user/get` answers it (contract B2): an update
    sends changed fields only.
    """

    change: Literal["create", "update"]
    userid: str
    new_userid: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberLeft(Event):
    """The member was deleted."""

    userid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DepartmentChanged(Event):
    """`name`, `parent_id` and `order` are None where they were not sent."""

    change: Literal["create", "update", "delete"]
    department_id: int
    name: str | None
    parent_id: int | None
    order: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberTagChanged(Event):
    """Members and departments were put into, or taken out of, the members' tag `tag_id`."""

    tag_id: str
    added_userids: tuple[str, ...]
    removed_userids: tuple[str, ...]
    added_departments: tuple[str, ...]
    removed_departments: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AppEvent(Event):
    """Something that the member `userid` did in the app `agent_id`."""

    userid: str
    event_key: str
    agent_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AppEntered(AppEvent):
    """He opened the app."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuUsed(AppEvent):
    """He used the app's menu; `event_key` is the entry's key, or the address that it opens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardClicked(AppEvent):
    """He pressed a button of a template card; `response_code` changes that card once, within 72 h.
    `selected` has the chosen option ids by question."""

    task_id: str
    card_type: str
    response_code: str
    selected: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AppSubscribed(AppEvent):
    """The member came into the app's range, or left it."""

    subscribed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AppUsed(Event):
    """Something that a member did in the app and that nobody waits for, such as telling where he
    is."""

    userid: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberWrote(Event):
    """A member wrote to the app; what, nobody reads here."""

    userid: str
    msg_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchJobDone(Event):
    """An asynchronous job of the directory ended."""

    job_id: str
    job_type: str
    errcode: int
    errmsg: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveNotified(Event):
    """There are new messages in the archive; told at most once in 15 s."""

    agent_id: int


_TEXTS = {
    "Name": "name",
    "Position": "position",
    "Mobile": "mobile",
    "Email": "email",
    "BizMail": "biz_mail",
    "Avatar": "avatar",
    "Alias": "alias",
    "Telephone": "telephone",
    "Address": "address",
}
_NUMBERS = {"MainDepartment": "main_department", "Gender": "gender", "Status": "status"}
_LISTS = {"Department": "department", "IsLeaderInDept": "is_leader_in_dept"}


def _member(change: Literal["create", "update"], fields: Fields) -> Event:
    return MemberChanged(
        **head(fields),
        change=change,
        userid=fields.need("UserID"),
        new_userid=fields.text("NewUserID"),
        fields=_of_member(fields),
    )


def _of_member(fields: Fields) -> dict[str, Any]:
    """What the event says of the member, under the names of user/get."""
    said: dict[str, Any] = {
        ours: fields.text(name) for name, ours in _TEXTS.items() if name in fields
    }
    said |= {ours: fields.number(name) for name, ours in _NUMBERS.items() if fields.text(name)}
    said |= {ours: fields.numbers(name) for name, ours in _LISTS.items() if name in fields}
    if "DirectLeader" in fields:
        said["direct_leader"] = list(fields.names("DirectLeader"))
    if "ExtAttr" in fields:
        items = fields.child("ExtAttr").children("Item")
        said["extattr"] = {"attrs": [_attribute(item) for item in items]}
    return said


def _attribute(item: Fields) -> dict[str, Any]:
    attribute: dict[str, Any] = {"name": item.text("Name"), "type": item.number("Type")}
    if item.children("Web"):
        web = item.child("Web")
        return {**attribute, "web": {"title": web.text("Title"), "url": web.text("Url")}}
    return {**attribute, "text": {"value": item.child("Text").text("Value")}}


def _left(fields: Fields) -> Event:
    return MemberLeft(**head(fields), userid=fields.need("UserID"))


def _department(change: Literal["create", "update", "delete"], fields: Fields) -> Event:
    department_id = whole(fields.need("Id"), 0)
    if not department_id:
        raise EventUnreadable("event_incomplete", "Id is no department's")
    return DepartmentChanged(
        **head(fields),
        change=change,
        department_id=department_id,
        name=fields.text("Name") or None,
        parent_id=fields.number("ParentId") if fields.text("ParentId") else None,
        order=fields.number("Order") if fields.text("Order") else None,
    )


def _member_tag(fields: Fields) -> Event:
    return MemberTagChanged(
        **head(fields),
        tag_id=fields.need("TagId"),
        added_userids=fields.names("AddUserItems"),
        removed_userids=fields.names("DelUserItems"),
        added_departments=fields.names("AddPartyItems"),
        removed_departments=fields.names("DelPartyItems"),
    )


def _app(kind: type[AppEvent], fields: Fields, **more: Any) -> Event:
    return kind(
        **head(fields),
        userid=fields.need("FromUserName"),
        event_key=fields.text("EventKey"),
        agent_id=_agent(fields),
        **more,
    )


def _agent(fields: Fields) -> int:
    return fields.number("AgentID") or fields.number("AgentId")


def _card(fields: Fields) -> Event:
    selected: dict[str, tuple[str, ...]] = {}
    for item in fields.child("SelectedItems").children("SelectedItem"):
        # WeCom's samples spell it both ways
        options = item.child("OptionIds").texts("OptionId") + item.child("OpitonIds").texts(
            "OpitonId"
        )
        options = options or item.child("OptionIds").texts("OpitonId") + item.child(
            "OpitonIds"
        ).texts("OptionId")
        selected[item.text("QuestionKey")] = options
    return _app(
        CardClicked,
        fields,
        task_id=fields.text("TaskId"),
        card_type=fields.text("CardType"),
        response_code=fields.text("ResponseCode"),
        selected=selected,
    )


def _job(fields: Fields) -> Event:
    job = fields.child("BatchJob")
    return BatchJobDone(
        **head(fields),
        job_id=job.need("JobId"),
        job_type=job.text("JobType"),
        errcode=job.number("ErrCode"),
        errmsg=job.text("ErrMsg"),
    )


def _notified(fields: Fields) -> Event:
    return ArchiveNotified(**head(fields), agent_id=_agent(fields))


def _used(what: str, fields: Fields) -> Event:
    return AppUsed(**head(fields), userid=fields.text("FromUserName"), what=what)


def wrote(fields: Fields) -> Event:
    """A message of one of MESSAGES."""
    userid, msg_type = fields.text("FromUserName"), fields.text("MsgType")
    return MemberWrote(**head(fields), userid=userid, msg_type=msg_type)


MESSAGES = frozenset({"text", "image", "voice", "video", "shortvideo", "location", "link", "file"})
USES = (
    "LOCATION",
    "scancode_push",
    "scancode_waitmsg",
    "pic_sysphoto",
    "pic_photo_or_album",
    "pic_weixin",
    "location_select",
    "template_card_menu_event",
    "view_miniprogram",
    "upload_media_job_finish",
)
"""What members do in the app, and what follows of itself: nobody has to look at it."""

READERS: dict[tuple[str, str], Reader] = {
    **{(what, ""): partial(_used, what) for what in USES},
    ("change_contact", "create_user"): partial(_member, "create"),
    ("change_contact", "update_user"): partial(_member, "update"),
    ("change_contact", "delete_user"): _left,
    ("change_contact", "create_party"): partial(_department, "create"),
    ("change_contact", "update_party"): partial(_department, "update"),
    ("change_contact", "delete_party"): partial(_department, "delete"),
    ("change_contact", "update_tag"): _member_tag,
    ("template_card_event", ""): _card,
    ("enter_agent", ""): partial(_app, AppEntered),
    ("click", ""): partial(_app, MenuUsed),
    ("view", ""): partial(_app, MenuUsed),
    ("subscribe", ""): partial(_app, AppSubscribed, subscribed=True),
    ("unsubscribe", ""): partial(_app, AppSubscribed, subscribed=False),
    ("batch_job_result", ""): _job,
    ("msgaudit_notify", ""): _notified,
}
