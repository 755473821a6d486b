"""What we do about an event: one table. An event without a row is recorded, and that is all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from campaigns import acquisition, community, friends
from customers import archive, archive_consents, cards, contacts, handover, safety, subscriptions, tags
from services.container import Services
from services.mongo import Doc
from services.wechat import events

Reaction = Callable[[Services, str, Doc, Any], Awaitable[None]]
"""`(services, tenant, inbox row, event)`. It may run twice and in any order: the row's `_id` is the event's id, and what is older
than what is known undoes nothing (wechat-contract C3)."""

REACTIONS: dict[type[events.Event], Reaction] = {
    events.ExternalContactAdded: friends.added,
    events.ExternalContactEdited: friends.edited,
    events.ExternalContactDeleted: friends.lost_by_member,
    events.FollowUserDeleted: friends.lost_by_customer,
    events.GroupCreated: community.group_changed,
    events.GroupUpdated: community.group_changed,
    events.GroupDismissed: community.group_changed,
    events.CardClicked: cards.card_clicked,
    events.HandoverFailed: handover.transfer_failed,
    events.MemberChanged: contacts.member_changed,
    events.MemberLeft: contacts.member_left,
    events.DepartmentChanged: contacts.department_changed,
    events.TagChanged: tags.tag_changed,
    events.ArchiveNotified: archive.notified,
    events.ArchiveConsented: archive_consents.consented,
    events.SubscribeAnswered: subscriptions.answered,
    events.SubscribeSent: subscriptions.sent,
    events.MediaChecked: safety.media_checked,
    events.AcquisitionBalance: acquisition.acquisition_changed,
    events.QuotaExpiring: acquisition.acquisition_changed,
    events.LinkUnavailable: acquisition.acquisition_changed,
    events.LinkDeleted: acquisition.acquisition_changed,
    events.LinkOpened: acquisition.acquisition_changed,
    events.FriendRequested: acquisition.acquisition_changed,
    events.ChatStarted: acquisition.acquisition_changed,
    events.MessageFromCustomer: acquisition.acquisition_changed,
}

HANDLED, NOTED, UNKNOWN = "handled", "noted", "unknown"


async def react(services: Services, tenant: str, row: Doc, event: events.Event) -> str:
    """Does what is to be done; HANDLED, NOTED when nothing is, UNKNOWN when nobody knows the event."""
    if isinstance(event, events.Unknown):
        return UNKNOWN
    reaction = REACTIONS.get(type(event))
    if reaction is None:
        return NOTED
    await reaction(services, tenant, row, event)
    return HANDLED
