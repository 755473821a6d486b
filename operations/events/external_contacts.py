"""What becomes of relationships: customers are added, changed and lost (contract/wechat C4), in
whatever order it is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from campaigns import live
from campaigns.channels import rosters
from campaigns.channels.rows import Channel, by_state
from campaigns.engine import enter, facts, runs
from campaigns.engine.facts import Scene
from campaigns.engine.program import Program
from campaigns.engine.rows import Context
from campaigns.engine.verbs.send import greet_plainly
from customers import happenings, relationships, timeline
from customers.banks.bank import Bank
from customers.handover import departures
from customers.identity import resolution
from customers.wecom_mirror import details
from customers.wecom_mirror.details import Details
from services import ids
from services.cache import Slot
from services.limiter import lane
from services.observe import trace
from services.queue import outbox
from services.queue.inbox import InboxRow
from services.store.mongo import Doc
from services.wechat import events
from services.wechat.core.errors import PlatformError

DETAILS_SECONDS = 3.0
ENRICH_SECONDS = 2.0
"""After so long details are asked for again that did not come in time."""
NO_FRIEND = 84061
SURGE = 8
"""When one process lets in more than so many at once, what has time is put off."""


@dataclass
class _Load:
    comings: int = 0
    most: int = 0


_LOAD: Slot[_Load] = Slot("comings", _Load)
"""How many customers this process lets in at the moment."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Coming:
    """A customer who came to an RM: who he is, through which of our channels, and what WeCom says
    of the two (nothing while it does not answer)."""

    row: InboxRow
    event: events.ExternalContactAdded
    cid: str
    channel: Channel | None
    follow: Mapping[str, Any]

    @property
    def userid(self) -> str:
        return self.event.userid

    @property
    def state(self) -> str:
        return self.event.state or ""

    @property
    def at(self) -> float:
        return events.happened(self.event, self.row)


async def added(bank: Bank, row: InboxRow, event: events.ExternalContactAdded) -> Doc | None:
    """A new friend: who he is, the relationship, and the campaigns that his code leads to. When
    WeCom cannot say who he is in time, the welcome does not wait: the details come later.

    In a surge he is greeted, and all that has time is left to the row's next turn: stories, counts,
    tags and offers of one keep nobody else from his welcome.
    """
    if "left" in row:
        channel = await by_state(bank, event.state or "")
        coming = _Coming(row, event, row["left"]["cid"], channel, {})
        await _follow_up(bank, coming, row["left"]["runs"])
        return None
    with _counted(bank) as surge:
        coming = await _meet(bank, row, event)
        if await _is_over(bank, coming):
            await _came_too_late(bank, coming)
            return None
        entries = await _enter_campaigns(bank, coming)
        runs_begun = [entry.run for entry in entries]
        if surge() and event.welcome_code and not any(entry.again for entry in entries):
            return {"cid": coming.cid, "runs": runs_begun}
    await _follow_up(bank, coming, runs_begun)
    return None


async def _came_too_late(bank: Bank, coming: _Coming) -> None:
    """His going was delivered before his coming."""
    trace.note("friendship.over")
    await _record(bank, coming)
    if coming.row["attempts"] > 1:  # an earlier handling may have let him in
        await _undo(bank, coming)


@contextmanager
def _counted(bank: Bank) -> Iterator[Callable[[], bool]]:
    """Counts who is being let in by this process; tells whether it has been more than SURGE at
    once since there was nobody."""
    load = bank.services.cache.of(_LOAD)
    load.comings += 1
    load.most = max(load.most, load.comings)
    try:
        yield lambda: load.most > SURGE
    finally:
        load.comings -= 1
        load.most = load.most if load.comings else 0


async def _meet(bank: Bank, row: InboxRow, event: events.ExternalContactAdded) -> _Coming:
    """Who he is, and that he is the member's friend."""
    known = await _details(bank, row, event)
    cid = known.cid if known else await _identify(bank, row, event)
    follow = known.follow_users.get(event.userid, {}) if known else {}
    channel = await by_state(bank, event.state or "")
    coming = _Coming(row, event, cid, channel, follow)
    await _begin_relationship(bank, coming)
    return coming


async def _follow_up(bank: Bank, coming: _Coming, entered: Sequence[str]) -> None:
    """What has time, once he was greeted."""
    await asyncio.gather(_record(bank, coming), *(enter.go_on(bank, run) for run in entered))
    if await _is_over(bank, coming):  # he went while we were at it
        trace.note("friendship.over")
        await _undo(bank, coming)


async def _undo(bank: Bank, coming: _Coming) -> None:
    """What he was let into stops, and counts for nothing if nothing was done for him."""
    cid = coming.cid
    await _stop_runs(bank, cid, coming.at)
    await enter.take_back(bank, await resolution.cids(bank, cid), coming.userid, coming.at)


async def _begin_relationship(bank: Bank, coming: _Coming) -> None:
    if float(coming.follow.get("createtime") or 0.0) >= coming.at:
        return  # the details have told of it already
    await relationships.changed(
        bank,
        coming.userid,
        coming.cid,
        at=coming.at,
        active=True,
        state=coming.state,
        add_way=coming.follow.get("add_way"),
    )


async def _record(bank: Bank, coming: _Coming) -> None:
    """Into the customer's timeline, to whoever listens, and on the RM's count for today."""
    key, at, userid = coming.row["_id"], coming.at, coming.userid
    await asyncio.gather(
        timeline.record(
            bank, coming.cid, "customer.added", key, at=at, userid=userid, state=coming.state
        ),
        happenings.tell(bank, "customer.added", coming.cid, key, at=at),
        rosters.came(bank, coming.channel, userid, coming.cid, at),
    )


async def _is_over(bank: Bank, coming: _Coming) -> bool:
    """Whether this very friendship is known to be over; WeCom may still list it."""
    cids = await resolution.cids(bank, coming.cid)
    return await relationships.ended_since(bank, coming.userid, cids, coming.at)


async def _stop_runs(bank: Bank, cid: str, at: float) -> None:
    """What runs for the customer hears that he left an RM at that time."""
    cids = await resolution.cids(bank, cid)
    await runs.on_event(bank, cids, "customer.blocked", at)


async def _identify(bank: Bank, row: InboxRow, event: events.ContactEvent) -> str:
    known = resolution.Facts(external_userid=event.external_userid)
    return await resolution.identify(bank, known, source="callback", proof=row["_id"])


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
        why = error.code if isinstance(error, PlatformError) else "timeout"
        fields = {"event": row["_id"], "why": str(error)[:200]}
    log.warning("details come later", extra={"fields": fields})
    trace.note("details.later", why=why)
    await _enrich_later(bank, row, event)
    return None


async def _enrich_later(bank: Bank, row: InboxRow, event: events.ExternalContactAdded) -> None:
    effect = outbox.Effect(
        id=ids.tenant_id(bank.id, "enrich", row["_id"]),
        tenant=bank.id,
        kind=details.ENRICH.name,
        cid=await _identify(bank, row, event),
        args={"external_userid": event.external_userid},
    )
    await outbox.put(bank.services, effect, due=bank.now() + ENRICH_SECONDS)


async def _enter_campaigns(bank: Bank, coming: _Coming) -> list[enter.Entry]:
    """Lets him into every campaign that takes him, one after the other, and greets him."""
    _note_coming(coming)
    scene = Scene(
        bank=bank,
        cid=coming.cid,
        customer=await resolution.customer(bank, coming.cid),
        userid=coming.userid,
        state=coming.event.state,
        branch=coming.channel["branch"] if coming.channel else None,
        add_way=coming.follow.get("add_way"),
    )
    context: Context = {
        "event": coming.row["_id"],
        "happened_at": coming.at,
        "userid": coming.userid,
        "welcome_code": coming.event.welcome_code,
        "received_at": coming.row["at"].timestamp(),
    }
    programs = await live.live_programs(bank)
    await _note_closed(bank, programs)
    known = facts.at_entry(scene)
    entered = [
        await enter.enter(bank, program, coming.cid, known, context, coming.row["owner"] or "")
        for program in programs
    ]
    entries = [entry for entry in entered if entry is not None]
    if not entries and await _greets_plainly(bank, coming):
        trace.note("welcome.plain")
        await greet_plainly(bank, coming.cid, context)
    return entries


async def _greets_plainly(bank: Bank, coming: _Coming) -> bool:
    """Whether he came through a code whose campaign is paused, and the bank wants such friends
    greeted."""
    if coming.channel is None or not coming.event.welcome_code:
        return False
    row = (await live.campaign_rows(bank)).get(coming.channel["campaign"])
    return row is not None and row["state"] == "paused" and row.get("greet") == "plain"


def _note_coming(coming: _Coming) -> None:
    """By which way he came, as far as it is one of ours, and whether he can be greeted."""
    state, channel = coming.state, coming.channel
    if channel is not None:
        ours = {"campaign": channel["campaign"], "branch": channel["branch"]}
        trace.note("channel.ours", state=state, **ours)
    else:
        trace.note("channel.not_ours" if state else "channel.none", state=state)
    if not coming.event.welcome_code:
        trace.note("welcome.no_code")


async def _note_closed(bank: Bank, programs: list[Program]) -> None:
    """Which campaigns take nobody now, and why."""
    taking = {program.campaign.id for program in programs}
    broken = await live.unreadable(bank)
    for campaign in (await live.campaign_rows(bank)).values():
        if campaign["campaign"] not in taking:
            state = campaign["state"]
            why = "outside_window" if state == "live" else f"campaign_{state}"
            if state == "live" and campaign["campaign"] in broken:
                why = "version_unreadable"
            trace.note("campaign.not_entered", campaign=campaign["campaign"], why=why)


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
    await _stop_runs(bank, cid, events.happened(event, row))
    await _take_back(bank, row, event, cid)


async def lost_by_member(bank: Bank, row: InboxRow, event: events.ExternalContactDeleted) -> None:
    """The member deleted the customer, or a hand-over did."""
    cid = await _ended(bank, row, event, "rm.deleted_customer")
    if not departures.is_transfer(event):
        await _take_back(bank, row, event, cid)


async def _take_back(bank: Bank, row: InboxRow, event: events.ContactEvent, cid: str) -> None:
    """What began with this friendship and did nothing for him yet is as if it had not begun: when he
    returns he is greeted."""
    cids = await resolution.cids(bank, cid)
    await enter.take_back(bank, cids, event.userid, events.happened(event, row))


async def _ended(bank: Bank, row: InboxRow, event: events.ContactEvent, kind: str) -> str:
    """Writes down the end, and has it told to whom it concerns; whose it was."""
    cid = await _identify(bank, row, event)
    at = events.happened(event, row)
    ended_by = None
    if departures.is_transfer(event):
        ended_by = relationships.ENDED_BY_TRANSFER
    if not await relationships.changed(
        bank, event.userid, cid, at=at, active=False, ended_by=ended_by
    ):
        trace.note("friendship.newer_known")
    await timeline.record(bank, cid, kind, row["_id"], at=at, userid=event.userid)
    await departures.lost(bank, row, event, cid)
    return cid
