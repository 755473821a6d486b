"""Events of customers, groups, tags and acquisition links (contract/wechat C4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Literal

from services.wechat.events.base import Event, Reader, head
from services.wechat.events.fields import Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactEvent(Event):
    """Something between the member `userid` and the customer `external_userid`."""

    userid: str
    external_userid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalContactAdded(ContactEvent):
    """A customer became a friend; `half`: the member has not added back yet.

    `state` is the live code's or link's, `welcome_code` is good for 20 s and one message; each may
    be missing.
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
class HandoverFailed(ContactEvent):
    """The customer did not go over to `userid`: `fail_reason` is customer_refused or
    customer_limit_exceed."""

    fail_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveConsented(ContactEvent):
    """The customer agreed to the archive of his messages with the member."""

    welcome_code: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupEvent(Event):
    """Something in the customer group `chat_id`."""

    chat_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCreated(GroupEvent):
    """A group with customers began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDismissed(GroupEvent):
    """The group is no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupUpdated(GroupEvent):
    """`update_detail` is add_member, del_member, change_owner, change_name or change_notice.

    `join_scene` and `quit_scene` are None where they do not apply. The list of members has changed
    from `last_mem_ver` to `cur_mem_ver`; who holds another version than the former has missed
    something.
    """

    update_detail: str
    join_scene: int | None
    quit_scene: int | None
    member_changes: tuple[str, ...]
    mem_change_cnt: int
    last_mem_ver: str
    cur_mem_ver: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TagChanged(Event):
    """A corp tag or group of tags `id` changed. `tag_type` is tag or tag_group, empty for a
    shuffle; a shuffle without an id is one of all groups. Deleting a group tells nothing of its
    tags."""

    change: Literal["create", "update", "delete", "shuffle"]
    id: str
    tag_type: str
    strategy_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AcquisitionBalance(Event):
    """The corp's balance of acquisition links: under 20, at zero, or above it again."""

    level: Literal["low", "exhausted", "increased"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkUnavailable(Event):
    """The link stopped working."""

    link_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkDeleted(Event):
    """Somebody deleted the link at WeCom."""

    link_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaExpiring(Event):
    """`expire_quota_num` of the balance end at `expire_time`; told 14, 7, 3, 2 and 1 days ahead."""

    expire_time: datetime | None
    expire_quota_num: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkOpened(Event):
    """Somebody opened the member's profile behind the link."""

    link_id: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FriendRequested(Event):
    """Somebody asked to be a friend through the link."""

    link_id: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatStarted(ContactEvent):
    """The first message of a customer who came through a link; link and state may be empty
    (contract G)."""

    link_id: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFromCustomer(ContactEvent):
    """His 3rd, 5th or 10th message; `chat_key` opens the counts for 30 minutes."""

    chat_key: str


def _contact(kind: type[ContactEvent], fields: Fields, **more: Any) -> ContactEvent:
    ids: dict[str, Any] = {
        "userid": fields.need("UserID"),
        "external_userid": fields.need("ExternalUserID"),
    }
    return kind(**head(fields), **ids, **more)


def _added(fields: Fields, *, half: bool) -> Event:
    state, code = fields.text("State") or None, fields.text("WelcomeCode") or None
    return _contact(ExternalContactAdded, fields, state=state, welcome_code=code, half=half)


def _deleted(fields: Fields) -> Event:
    return _contact(ExternalContactDeleted, fields, source=fields.text("Source") or None)


def _handover_failed(fields: Fields) -> Event:
    return _contact(HandoverFailed, fields, fail_reason=fields.text("FailReason"))


def _consented(fields: Fields) -> Event:
    return _contact(ArchiveConsented, fields, welcome_code=fields.text("WelcomeCode") or None)


def _started(fields: Fields) -> Event:
    return _contact(ChatStarted, fields, link_id=fields.text("LinkId"), state=fields.text("State"))


def _message(fields: Fields) -> Event:
    return _contact(MessageFromCustomer, fields, chat_key=fields.text("ChatKey"))


def _group(kind: type[GroupEvent], fields: Fields) -> Event:
    return kind(**head(fields), chat_id=fields.need("ChatId"))


def _group_updated(fields: Fields) -> Event:
    changes = fields.child("MemChangeList").texts("Item") or fields.texts("MemChangeList")
    return GroupUpdated(
        **head(fields),
        chat_id=fields.need("ChatId"),
        update_detail=fields.text("UpdateDetail"),
        join_scene=fields.number("JoinScene") if fields.text("JoinScene") else None,
        quit_scene=fields.number("QuitScene") if fields.text("QuitScene") else None,
        member_changes=changes,
        mem_change_cnt=fields.number("MemChangeCnt", len(changes)),
        last_mem_ver=fields.text("LastMemVer"),
        cur_mem_ver=fields.text("CurMemVer"),
    )


def _tag(change: Literal["create", "update", "delete", "shuffle"], fields: Fields) -> Event:
    return TagChanged(
        **head(fields),
        change=change,
        id=fields.text("Id") if change == "shuffle" else fields.need("Id"),
        tag_type=fields.text("TagType"),
        strategy_id=fields.number("StrategyId") if fields.text("StrategyId") else None,
    )


def _balance(level: Literal["low", "exhausted", "increased"], fields: Fields) -> Event:
    return AcquisitionBalance(**head(fields), level=level)


def _link_gone(kind: type[LinkUnavailable | LinkDeleted], fields: Fields) -> Event:
    return kind(**head(fields), link_id=fields.need("LinkId"))


def _link_used(kind: type[LinkOpened | FriendRequested], fields: Fields) -> Event:
    return kind(**head(fields), link_id=fields.text("LinkId"), state=fields.text("State"))


def _quota(fields: Fields) -> Event:
    until, number = fields.time("ExpireTime"), fields.number("ExpireQuotaNum")
    return QuotaExpiring(**head(fields), expire_time=until, expire_quota_num=number)


READERS: dict[tuple[str, str], Reader] = {
    ("change_external_contact", "add_external_contact"): partial(_added, half=False),
    ("change_external_contact", "add_half_external_contact"): partial(_added, half=True),
    ("change_external_contact", "edit_external_contact"): partial(_contact, ExternalContactEdited),
    ("change_external_contact", "del_external_contact"): _deleted,
    ("change_external_contact", "del_follow_user"): partial(_contact, FollowUserDeleted),
    ("change_external_contact", "transfer_fail"): _handover_failed,
    ("change_external_contact", "msg_audit_approved"): _consented,
    ("change_external_chat", "create"): partial(_group, GroupCreated),
    ("change_external_chat", "dismiss"): partial(_group, GroupDismissed),
    ("change_external_chat", "update"): _group_updated,
    ("change_external_tag", "create"): partial(_tag, "create"),
    ("change_external_tag", "update"): partial(_tag, "update"),
    ("change_external_tag", "delete"): partial(_tag, "delete"),
    ("change_external_tag", "shuffle"): partial(_tag, "shuffle"),
    ("customer_acquisition", "balance_low"): partial(_balance, "low"),
    ("customer_acquisition", "balance_exhausted"): partial(_balance, "exhausted"),
    ("customer_acquisition", "balance_increased"): partial(_balance, "increased"),
    ("customer_acquisition", "link_unavailable"): partial(_link_gone, LinkUnavailable),
    ("customer_acquisition", "delete_link"): partial(_link_gone, LinkDeleted),
    ("customer_acquisition", "quota_expire_soon"): _quota,
    ("customer_acquisition", "open_profile"): partial(_link_used, LinkOpened),
    ("customer_acquisition", "friend_request"): partial(_link_used, FriendRequested),
    ("customer_acquisition", "customer_start_chat"): _started,
    ("customer_acquisition", "message_from_customer"): _message,
}
