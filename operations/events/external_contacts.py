"""What becomes of friendships: customers are added, changed and lost (contract/wechat C4), in
whatever order it is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from campaigns import live
from campaigns.channels import rosters
from campaigns.channels.rows import Channel, by_state
from campaigns.engine import enter, facts, runs
from campaigns.engine.facts import Scene
from campaigns.engine.rows import Context
from customers import relationships, timeline
from customers.banks.bank import Bank
from customers.handover import departures
from customers.identity import resolution
from customers.wecom_mirror import details
from customers.wecom_mirror.details import Details
from services import ids
from services.limiter import lane
from services.observe import trace
from services.queue import outbox
from services.queue.inbox import InboxRow
from services.wechat import events
from services.wechat.core.errors import PlatformError

DETAILS_SECONDS = 3.0
NO_FRIEND = 84061
log = logging.getLogger(__name__)


async def added(bank: Bank, row: InboxRow, event: events.ExternalContactAdded) -> None:
    """A new friend: who he is, the friendship, and the campaigns that his code leads to. When WeCom
    cannot say who he is in time, the welcome does not wait: the details come later."""
    known = await _details(bank, row, event)
    cid = known.cid if known else await _identify(bank, row, event)
    follow = known.follow_users.get(event.userid, {}) if known else {}
    state, at = event.state or "", events.happened(event, row)
    new = True
    if (
        float(follow.get("createtime") or 0.0) < at
    ):  # else the details have told of this friendship already
        add_way = follow.get("add_way")
        new = await relationships.changed(
            bank, event.userid, cid, at=at, active=True, state=state, add_way=add_way
        )
    channel = await by_state(bank, state)
    story = timeline.record(
        bank, cid, "customer.added", row["_id"], at=at, userid=event.userid, state=state
    )
    counted = rosters.came(bank, channel, event.userid, cid, at)
    if not new and await _is_over(
        bank, cid, event.userid
    ):  # his going was delivered before his coming
        trace.note("friendship.over")
        await asyncio.gather(story, counted)
        return
    await asyncio.gather(story, counted, _enter_campaigns(bank, cid, row, event, follow))
    if await _is_over(bank, cid, event.userid):  # or while we were at it
        trace.note("friendship.over")
        cids = await resolution.cids(bank, cid)
        await runs.on_event(bank, cids, "customer.blocked", at)


async def _identify(bank: Bank, row: InboxRow, event: events.ContactEvent) -> str:
    facts = resolution.Facts(external_userid=event.external_userid)
    return await resolution.identify(bank, facts, source="callback", proof=row["_id"])


async def _is_over(bank: Bank, cid: str, userid: str) -> bool:
    return await relationships.between(bank, userid, await resolution.cids(bank, cid)) is None


async def _details(bank: Bank, row: InboxRow, event: events.ExternalContactAdded) -> Details | None:
    """What WeCom says of him; None when it cannot in time (it is asked again later), or does not
    count him as a friend before the member has added him back (the event of that brings them)."""
    try:
        with lane("welcome" if event.welcome_code else "normal"):
            return await details.fetch(bank, event.external_userid, DETAILS_SECONDS)
    except (PlatformError, TimeoutError) as error:
        if event.half and isinstance(error, PlatformError) and error.errcode == NO_FRIEND:
            trace.note("details.none")
            return None
        log.warning(
            "details come later", extra={"fields": {"event": row["_id"], "why": str(error)[:200]}}
        )
        trace.note(
            "details.later", why=error.code if isinstance(error, PlatformError) else "timeout"
        )
    await _enrich_later(bank, row, event)
    return None


async def _enrich_later(bank: Bank, row: InboxRow, event: events.ExternalContactAdded) -> None:
    cid = await _identify(bank, row, event)
    effect = outbox.Effect(
        id=ids.tenant_id(bank.id, "enrich", row["_id"]),
        tenant=bank.id,
        kind=details.ENRICH.name,
        cid=cid,
        args={"external_userid": event.external_userid},
    )
    await outbox.put(bank.services, effect, due=bank.now() + 2.0)


async def _enter_campaigns(
    bank: Bank,
    cid: str,
    row: InboxRow,
    event: events.ExternalContactAdded,
    follow: Mapping[str, Any],
) -> None:
    channel = await by_state(bank, event.state or "")
    _note_channel(event.state or "", channel)
    if not event.welcome_code:
        trace.note("welcome.no_code")
    scene = Scene(
        bank=bank,
        cid=cid,
        customer=await resolution.customer(bank, cid),
        userid=event.userid,
        state=event.state,
        branch=channel["branch"] if channel else None,
        add_way=follow.get("add_way"),
    )
    known = facts.at_entry(scene)
    context: Context = {
        "event": row["_id"],
        "happened_at": events.happened(event, row),
        "userid": event.userid,
        "welcome_code": event.welcome_code,
        "received_at": row["at"].timestamp(),
    }
    programs = await live.live_programs(bank)
    taking = {program.campaign.id for program in programs}
    for campaign in (await live.campaign_rows(bank)).values():
        if campaign["campaign"] not in taking:
            why = (
                "outside_window" if campaign["state"] == "live" else f"campaign_{campaign['state']}"
            )
            trace.note("campaign.not_entered", campaign=campaign["campaign"], why=why)
    for program in programs:
        await enter.enter(bank, program, cid, known, context, row["owner"] or "")


def _note_channel(state: str, channel: Channel | None) -> None:
    """By which way he came, as far as it is one of ours."""
    if channel is not None:
        trace.note(
            "channel.ours", state=state, campaign=channel["campaign"], branch=channel["branch"]
        )
    else:
        trace.note("channel.not_ours" if state else "channel.none", state=state)


async def edited(bank: Bank, _: InboxRow, event: events.ExternalContactEdited) -> None:
    """Asks WeCom for what changed. Nothing when he is nobody's friend any more: his going is told
    by an event of its own."""
    try:
        await details.fetch(bank, event.external_userid)
    except PlatformError as error:
        if error.errcode != NO_FRIEND:
            raise
        trace.note("details.none")


async def lost_by_customer(bank: Bank, row: InboxRow, event: events.FollowUserDeleted) -> None:
    """The customer deleted the member: what runs for him hears of it."""
    cid = await _ended(bank, row, event, "customer.deleted_rm")
    cids = await resolution.cids(bank, cid)
    await runs.on_event(bank, cids, "customer.blocked", events.happened(event, row))


async def lost_by_member(bank: Bank, row: InboxRow, event: events.ExternalContactDeleted) -> None:
    """The member deleted the customer, or a hand-over did."""
    await _ended(bank, row, event, "rm.deleted_customer")


async def _ended(bank: Bank, row: InboxRow, event: events.ContactEvent, kind: str) -> str:
    """Writes down the end, and has it told to whom it concerns; whose it was."""
    cid = await _identify(bank, row, event)
    at = events.happened(event, row)
    if not await relationships.changed(bank, event.userid, cid, at=at, active=False):
        trace.note("friendship.newer_known")
    await timeline.record(bank, cid, kind, row["_id"], at=at, userid=event.userid)
    await departures.lost(bank, row, event, cid)
    return cid
