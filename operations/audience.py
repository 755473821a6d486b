"""The audience process: it follows what changes in the rows that say something of customers, and
brings their profiles up to it.

Any number may run; one leads, by a lease on the installation's one row. Whoever leads stores how far
he is after his work, under the `fence` of his lease: who lost it stores nothing. What is followed
twice is safe, since profiles are made from what is there (customers/profiles). When there is
no going on from where it was, or it never was anywhere, everything is made anew, part by part: cut
short, it goes on with the part at which it was.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, NotRequired, TypedDict, cast

from customers.alerts import alarms
from customers.banks.bank import Bank, list_banks
from customers.profiles.source import concerned
from operations import profiling
from services.container import Services
from services.errors import Unavailable, YinqiaoError
from services.store.mongo import Change, Changes, Doc, Duplicate, StreamLost
from services.store.rows import Rows

AUDIENCE = Rows("audience", of_bank=False)
"""Who leads the audience processes, and how far he is."""
LEADER = "leader"
LEASE_SECONDS = 6.0
RENEW_SECONDS = 2.0
GATHER_SECONDS = 0.3
MOST_CHANGES = 2_000
WAIT_SECONDS = 0.5
LATE_SECONDS = 60.0
"""So far behind, somebody must be told."""
LATE = "audience.late"
log = logging.getLogger("yinqiao.audience")


class Anew(TypedDict):
    """Everything is being made anew: `token` and `at` (seconds UTC) are the place in the stream and
    the time from before that; up to which id it is done, by tenant, stands in `upto`."""

    token: Doc | None
    at: float
    upto: dict[str, str]


class Lead(TypedDict):
    """`owner` leads until then (`until`, seconds UTC); `fence` counts the leads. `token` is the place
    in the stream of changes up to which all is done, and `at` (seconds UTC) the time up to which;
    without a token everything is to be made anew, and `anew` says how far that is."""

    _id: str
    owner: str
    until: float
    fence: int
    token: NotRequired[Doc | None]
    at: NotRequired[float]
    anew: NotRequired[Anew | None]


class _NotLeading(Exception):
    """Somebody else leads."""


async def run(services: Services, stop: asyncio.Event) -> None:
    """Follows the changes until `stop`, whenever it is this process that leads; a database that is
    away is waited for."""
    owner = secrets.token_hex(8)
    while not stop.is_set():
        try:
            lead = await _take(services, owner)
            if lead is not None:
                log.info("audience leads", extra={"fields": {"fence": lead["fence"]}})
                await _lead(services, lead, stop)
        except _NotLeading:
            log.warning("another audience process leads")
        except Unavailable:
            log.warning("the database is away; the audience process waits")
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), WAIT_SECONDS)
    with suppress(Unavailable):
        await _give_up(services, owner)


async def _take(services: Services, owner: str) -> Lead | None:
    """The lead, when it is nobody's now."""
    now = services.clock()
    free = {"_id": LEADER, "$or": [{"until": {"$lte": now}}, {"owner": owner}]}
    taken = {"$set": {"owner": owner, "until": now + LEASE_SECONDS}, "$inc": {"fence": 1}}
    try:
        row = await services.store.system(AUDIENCE).update_and_get(free, taken, upsert=True)
    except Duplicate:
        return None
    return cast("Lead | None", row)


async def _hold(services: Services, lead: Lead, **fields: Any) -> None:
    """Goes on leading, and stores how far it is. Raises _NotLeading."""
    mine = {"_id": LEADER, "owner": lead["owner"], "fence": lead["fence"]}
    until = services.clock() + LEASE_SECONDS
    if not await services.store.system(AUDIENCE).update(mine, {"$set": {"until": until, **fields}}):
        raise _NotLeading


async def _give_up(services: Services, owner: str) -> None:
    """Nobody waits for a lease of one who has ended."""
    over = {"$set": {"until": 0.0}}
    await services.store.system(AUDIENCE).update({"_id": LEADER, "owner": owner}, over)


async def _lead(services: Services, lead: Lead, stop: asyncio.Event) -> None:
    """Follows the changes, and renews the lease beside it, however long a piece of work takes."""
    following = asyncio.create_task(_follow(services, lead, stop))
    try:
        while not following.done():
            await asyncio.wait({following}, timeout=RENEW_SECONDS)
            if not following.done():
                await _hold(services, lead)
        following.result()
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await following


async def _follow(services: Services, lead: Lead, stop: asyncio.Event) -> None:
    token, anew = lead.get("token"), lead.get("anew")
    while not stop.is_set():
        stream = services.store.watch(_watched(), token or (anew["token"] if anew else None))
        try:
            if token is None:
                anew = anew or await _begin(services, lead, stream)
                token = await _make_anew(services, lead, anew, stop)
            known = stream.known_until
            while not stop.is_set():
                changes = await stream.gather(GATHER_SECONDS, MOST_CHANGES)
                await _work(services, changes)
                token = stream.token
                if changes or stream.known_until != known:
                    known = stream.known_until
                    await _hold(services, lead, token=token, at=known)
        except StreamLost as lost:
            log.warning("the changes are lost; all profiles are made anew: %s", lost.code)
            token = anew = None
            await _hold(services, lead, token=None, anew=None)
        finally:
            await stream.close()


def _watched() -> dict[str, tuple[str, ...]]:
    watched: dict[str, tuple[str, ...]] = {}
    for source in profiling.SOURCES:
        for rows, names in source.shown().items():
            watched[rows] = (*watched.get(rows, ()), *names)
    return watched


async def _begin(services: Services, lead: Lead, stream: Changes) -> Anew:
    """Stores the place in the stream from before everything is made anew."""
    begun = services.clock()
    changes = await stream.gather(0.0, 1)  # opens it: what changes from now on is told
    anew: Anew = {"token": stream.token, "at": begun, "upto": {}}
    await _work(services, changes)
    await _hold(services, lead, anew=anew)
    return anew


async def _make_anew(services: Services, lead: Lead, anew: Anew, stop: asyncio.Event) -> Doc | None:
    """Makes all profiles anew that are not yet; the place in the stream from before that, or none
    when it has to stop."""
    for bank in await list_banks(services):
        log.info("all profiles are made anew", extra={"fields": {"tenant": bank.id}})
        async with _told(bank):
            async for progress in profiling.rebuild(bank, anew["upto"].get(bank.id, "")):
                anew["upto"][bank.id] = progress.upto
                await _hold(services, lead, anew=anew)
                if stop.is_set():
                    return None
    await _hold(services, lead, token=anew["token"], at=anew["at"], anew=None)
    return anew["token"]


async def _work(services: Services, changes: Sequence[Change]) -> None:
    """Brings the profiles up to date of whom these changes concern."""
    by_tenant: defaultdict[str, list[Change]] = defaultdict(list)
    for change in changes:
        by_tenant[str(change.id).partition(":")[0]].append(change)
    if not by_tenant:
        return
    for bank in await list_banks(services):
        if bank.id in by_tenant:
            async with _told(bank):
                cids = await concerned(bank, profiling.SOURCES, by_tenant[bank.id])
                await profiling.bring(bank, cids)


@asynccontextmanager
async def _told(bank: Bank) -> AsyncIterator[None]:
    """What fails at one bank is no other's business: somebody is told, and `manage.py profiles
    rebuild` mends it."""
    try:
        yield
    except (Unavailable, _NotLeading):
        raise
    except Exception as error:
        log.exception("profiles were not refreshed", extra={"fields": {"tenant": bank.id}})
        reason = error.code if isinstance(error, YinqiaoError) else "internal"
        await alarms.work_failed(bank, "audience", reason)


async def lag(services: Services) -> float | None:
    """So many seconds the profiles are behind what they are made of; None when no audience process
    ever ran here, or is still at making them for the first time."""
    row = await services.store.system(AUDIENCE).find_one({"_id": LEADER})
    if row is None or "at" not in row:
        return None
    return max(0.0, services.clock() - float(row["at"]))


async def measure(services: Services) -> None:
    """Brings the metric of the lag up to the present."""
    behind = await lag(services)
    if behind is not None:
        services.metrics.audience_lag.set(behind)


async def watch(bank: Bank) -> None:
    """Tells somebody when the profiles are late, once a day."""
    behind = await lag(bank.services)
    if behind is not None and behind > LATE_SECONDS:
        await alarms.raise_daily(bank, LATE, "audience", seconds=int(behind))
