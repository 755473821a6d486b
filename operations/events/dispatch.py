"""What we do about an event: one table. An event without a row is recorded, and that is all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from campaigns.channels import acquisition, group_codes
from customers.alerts import cards
from customers.archive import consents, pull
from customers.banks.bank import Bank
from customers.handover import batches
from customers.messaging import content_check, service_chat, subscriptions
from customers.wecom_mirror import members, tags
from operations.events import external_contacts
from operations.events.rows import UNKNOWN
from services.queue.inbox import InboxRow
from services.store.mongo import Doc
from services.wechat import events

Reaction = Callable[[Bank, InboxRow, Any], Awaitable[Doc | None]]
"""`(bank, inbox row, event)`. It may run twice and in any order: the row's `_id` is the
event's id, and what is older than what is known undoes nothing (contract/wechat C3). What it answers
is left to do and has time: it comes again with that in the row (`left`)."""

REACTIONS: dict[type[events.Event], Reaction] = {
    events.ExternalContactAdded: external_contacts.added,
    events.ExternalContactEdited: external_contacts.edited,
    events.ExternalContactDeleted: external_contacts.lost_by_member,
    events.FollowUserDeleted: external_contacts.lost_by_customer,
    events.GroupCreated: group_codes.group_changed,
    events.GroupUpdated: group_codes.group_changed,
    events.GroupDismissed: group_codes.group_changed,
    events.CardClicked: cards.card_clicked,
    events.HandoverFailed: batches.transfer_failed,
    events.MemberChanged: members.member_changed,
    events.MemberLeft: members.member_left,
    events.DepartmentChanged: members.department_changed,
    events.TagChanged: tags.tag_changed,
    events.ArchiveNotified: pull.notified,
    events.ArchiveConsented: consents.consented,
    events.CustomerMessage: service_chat.wrote,
    events.SessionEntered: service_chat.entered,
    events.SubscribeAnswered: subscriptions.answered,
    events.SubscribeSent: subscriptions.sent,
    events.MediaChecked: content_check.media_checked,
    events.AcquisitionBalance: acquisition.acquisition_changed,
    events.QuotaExpiring: acquisition.acquisition_changed,
    events.LinkUnavailable: acquisition.acquisition_changed,
    events.LinkDeleted: acquisition.acquisition_changed,
    events.LinkOpened: acquisition.acquisition_changed,
    events.FriendRequested: acquisition.acquisition_changed,
    events.ChatStarted: acquisition.acquisition_changed,
    events.MessageFromCustomer: acquisition.acquisition_changed,
}

HANDLED, NOTED = "handled", "noted"


async def react(bank: Bank, row: InboxRow, event: events.Event) -> tuple[str, Doc | None]:
    """Does what is to be done; HANDLED, NOTED when nothing is, UNKNOWN when nobody knows the
    event; and what is left of it, if anything."""
    if isinstance(event, events.Unknown):
        return UNKNOWN, None
    reaction = REACTIONS.get(type(event))
    if reaction is None:
        return NOTED, None
    return HANDLED, await reaction(bank, row, await _spelled(bank, event))


async def _spelled(bank: Bank, event: events.Event) -> events.Event:
    """The event with the member's userid as the directory spells it: what is told of the two in
    different letter case is of one friendship."""
    if not isinstance(event, events.ContactEvent):
        return event
    userid = await members.spelling(bank, event.userid)
    return event if userid == event.userid else replace(event, userid=userid)
