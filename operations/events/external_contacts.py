"""What becomes of friendships: customers are added, changed and lost (contract/wechat C4), in
whatever order it is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from campaigns import live
from campaigns.channels import live_codes, rosters
from campaigns.engine import runs
from customers import relationships, timeline
from customers.handover import departures
from customers.identity import resolution
from customers.wecom_mirror import details
from customers.wecom_mirror.details import Details
from services import ids
from services.container import Services
from services.limiter import lane
from services.observe import trace
from services.queue import outbox
from services.store import batching
from services.store.mongo import Doc
from services.wechat import events
from services.wechat.core.errors import PlatformError

DETAILS_SECONDS = 3.0
NO_FRIEND = 84061
log = logging.getLogger(__name__)


async def added(
    services: Services, tenant: str, row: Doc, event: events.ExternalContactAdded
) -> None:
    """A new friend: who he is, the friendship, and the campaigns that his code leads to. When WeCom
    cannot say who he is in time, the welcome does not wait: the details come later."""
    known = await _details(services, tenant, row, event)
    cid = known.cid if known else await _identify(services, tenant, row, event)
    follow = known.follow_users.get(event.userid, {}) if known else {}
    state, at = event.state or "", events.happened(event, row)
    new = True
    if (
        float(follow.get("createtime") or 0.0) < at
    ):  # else the details have told of this friendship already
        add_way = follow.get("add_way")
        new = await relationships.changed(
            services, tenant, event.userid, cid, at=at, active=True, state=state, add_way=add_way
        )
    channel = await live_codes.by_state(services, tenant, state)
    story = timeline.record(
        services, tenant, cid, "customer.added", row["_id"], at=at, userid=event.userid, state=state
    )
    counted = rosters.came(services, tenant, channel, event.userid, cid, at)
    if not new and await _is_over(
        services, tenant, cid, event.userid
    ):  # his going was delivered before his coming
        trace.note("friendship.over")
        await asyncio.gather(story, counted)
        return
    await asyncio.gather(
        story, counted, _enter_campaigns(services, tenant, cid, row, event, follow)
    )
    if await _is_over(services, tenant, cid, event.userid):  # or while we were at it
        trace.note("friendship.over")
        cids = await resolution.cids(services, tenant, cid)
        await runs.on_event(services, tenant, cids, "customer.blocked", at)


async def _identify(services: Services, tenant: str, row: Doc, event: events.ContactEvent) -> str:
    facts = resolution.Facts(external_userid=event.external_userid)
    return await resolution.identify(services, tenant, facts, source="callback", proof=row["_id"])


async def _is_over(services: Services, tenant: str, cid: str, userid: str) -> bool:
    return (
        await relationships.pair(
            services, tenant, userid, await resolution.cids(services, tenant, cid)
        )
        is None
    )


async def _details(
    services: Services, tenant: str, row: Doc, event: events.ExternalContactAdded
) -> Details | None:
    """What WeCom says of him; None when it cannot in time (it is asked again later), or does not
    count him as a friend before the member has added him back (the event of that brings them)."""
    try:
        with lane("welcome" if event.welcome_code else "normal"):
            return await details.fetch(services, tenant, event.external_userid, DETAILS_SECONDS)
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
    await _enrich_later(services, tenant, row, event)
    return None


async def _enrich_later(
    services: Services, tenant: str, row: Doc, event: events.ExternalContactAdded
) -> None:
    cid = await _identify(services, tenant, row, event)
    effect = outbox.Effect(
        id=ids.tenant_id(tenant, "enrich", row["_id"]),
        tenant=tenant,
        kind="enrich",
        cid=cid,
        args={"external_userid": event.external_userid},
    )
    due = services.clock() + 2.0
    await batching.insert(
        services, tenant, "outbox", outbox.row_of(services, effect, due=due, owner=None)
    )


async def _enter_campaigns(
    services: Services,
    tenant: str,
    cid: str,
    row: Doc,
    event: events.ExternalContactAdded,
    follow: Mapping[str, Any],
) -> None:
    channel = await live_codes.by_state(services, tenant, event.state or "")
    _note_channel(event.state or "", channel)
    if not event.welcome_code:
        trace.note("welcome.no_code")
    person = await resolution.customer(services, tenant, cid)
    facts = {
        "channel.code": event.state,
        "channel.branch": channel["branch"] if channel else None,
        "follow.userid": event.userid,
        "follow.add_way": follow.get("add_way"),
        "customer.id": cid,
        "customer.name": person.name,
        "customer.bound": bool(person.phone),
    }
    context = {
        "tenant": tenant,
        "event": row["_id"],
        "happened_at": events.happened(event, row),
        "userid": event.userid,
        "welcome_code": event.welcome_code,
        "received_at": row["at"].timestamp(),
    }
    programs = await live.live_programs(services, tenant)
    taking = {program.campaign.id for program in programs}
    for campaign in (await live.campaign_rows(services, tenant)).values():
        if campaign["campaign"] not in taking:
            why = (
                "outside_window" if campaign["state"] == "live" else f"campaign_{campaign['state']}"
            )
            trace.note("campaign.not_entered", campaign=campaign["campaign"], why=why)
    for program in programs:
        await runs.enter(services, program, cid, facts, context, row["owner"])


def _note_channel(state: str, channel: Doc | None) -> None:
    """By which way he came, as far as it is one of ours."""
    if channel is not None:
        trace.note(
            "channel.ours", state=state, campaign=channel["campaign"], branch=channel["branch"]
        )
    else:
        trace.note("channel.not_ours" if state else "channel.none", state=state)


async def edited(
    services: Services, tenant: str, _: Doc, event: events.ExternalContactEdited
) -> None:
    """Asks WeCom for what changed. Nothing when he is nobody's friend any more: his going is told
    by an event of its own."""
    try:
        await details.fetch(services, tenant, event.external_userid)
    except PlatformError as error:
        if error.errcode != NO_FRIEND:
            raise
        trace.note("details.none")


async def lost_by_customer(
    services: Services, tenant: str, row: Doc, event: events.FollowUserDeleted
) -> None:
    """The customer deleted the member: what runs for him hears of it."""
    cid = await _ended(services, tenant, row, event, "customer.deleted_rm")
    cids = await resolution.cids(services, tenant, cid)
    await runs.on_event(services, tenant, cids, "customer.blocked", events.happened(event, row))


async def lost_by_member(
    services: Services, tenant: str, row: Doc, event: events.ExternalContactDeleted
) -> None:
    """The member deleted the customer, or a hand-over did."""
    await _ended(services, tenant, row, event, "rm.deleted_customer")


async def _ended(
    services: Services, tenant: str, row: Doc, event: events.ContactEvent, kind: str
) -> str:
    """Writes down the end, and has it told to whom it concerns; whose it was."""
    cid = await _identify(services, tenant, row, event)
    at = events.happened(event, row)
    if not await relationships.changed(services, tenant, event.userid, cid, at=at, active=False):
        trace.note("friendship.newer_known")
    await timeline.record(services, tenant, cid, kind, row["_id"], at=at, userid=event.userid)
    await departures.lost(services, tenant, row, event, cid)
    return cid
