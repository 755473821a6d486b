"""Rows that wait for a worker: inbox, outbox and timers are all such rows.

A waiting row has `open: true`, `due` (seconds since the epoch, UTC: not before then) and an
`owner`. Claiming moves `due` into the future, so that a row whose worker was killed is simply due
again. Every later write names the owner (the fence): who lost his claim to another changes nothing.
`behind` is there while a row waits for room at a platform's API: the API's id.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any

from services.cache import Slot
from services.errors import Unavailable
from services.store.mongo import Collection, Doc

LEASE_SECONDS = 30.0
LEAST_STEP, WIDER = 0.05, 4.0
"""A horizon widens by so many seconds, and each time by so many times more."""
LOOK_SECONDS = 0.1
"""How long a pump waits for company before it looks again: rows that are handled together share
their writes."""
log = logging.getLogger(__name__)


class Horizon:
    """How far a claimer looks who has seen that more rows wait than he takes. The embedded store
    reads everything that a query fits before it sorts and cuts, so that each claim would cost as
    much as there is waiting.

    It changes what is read and never what is found: rows that have been due for longer are always
    within it, and it widens until there are enough or it has come to now. Kept by who claims again
    and again.
    """

    def __init__(self) -> None:
        self._until = math.inf
        self._step = LEAST_STEP

    async def oldest(
        self, rows: Collection, query: Mapping[str, Any], now: float, limit: int
    ) -> list[Doc]:
        """The `limit` rows of `query` that have been due longest."""
        until, step = min(now, self._until + self._step), self._step
        while True:
            due = {**query, "due": {"$lte": until}}
            found = await rows.find(
                due, sort=[("due", 1)], limit=limit, fields={"_id": 1, "due": 1}
            )
            if len(found) >= limit or until >= now:
                break
            step *= WIDER
            until = min(now, until + step)
        self._until = float(found[-1]["due"]) if len(found) >= limit else math.inf
        self._step = (
            max(LEAST_STEP, float(found[-1]["due"] - found[len(found) // 2]["due"]))
            if found
            else LEAST_STEP
        )
        return found


HORIZONS: Slot[defaultdict[tuple[str, str, str], Horizon]] = Slot(
    "horizons", lambda: defaultdict(Horizon)
)
"""This process's horizons by collection, lane and tenant."""


async def claim(
    rows: Collection,
    now: float,
    *,
    limit: int,
    seconds: float = LEASE_SECONDS,
    query: Mapping[str, Any] | None = None,
    horizon: Horizon | None = None,
) -> tuple[str, list[Doc]]:
    """At most `limit` due rows, ours for `seconds`, oldest first; with the owner's name to finish
    them under."""
    owner = secrets.token_hex(8)
    due = {"open": True, "due": {"$lte": now}, **(query or {})}
    found = await (horizon or Horizon()).oldest(rows, due, now, limit)
    if not found:
        return owner, []
    mine = {"_id": {"$in": [row["_id"] for row in found]}}
    taken = await rows.update_many(
        {**mine, **due},
        {
            "$set": {"owner": owner, "due": now + seconds},
            "$inc": {"attempts": 1},
            "$unset": {"behind": ""},
        },
    )
    if not taken:
        return owner, []
    return owner, await rows.find({**mine, "owner": owner}, sort=[("_id", 1)], limit=limit)


async def close(rows: Collection, owner: str, ids: Iterable[str], **fields: Any) -> int:
    """Ends rows that are still ours; how many were."""
    return await _change(rows, owner, ids, {"open": False, "owner": None, **fields})


async def put_back(
    rows: Collection, owner: str, ids: Iterable[str], due: float, **fields: Any
) -> int:
    """Makes rows that are still ours due again at `due`; how many were."""
    return await _change(rows, owner, ids, {"owner": None, "due": due, **fields})


async def _change(rows: Collection, owner: str, ids: Iterable[str], fields: Doc) -> int:
    wanted = list(ids)
    if not wanted:
        return 0
    return await rows.update_many({"_id": {"$in": wanted}, "owner": owner}, {"$set": fields})


async def wake(rows: Collection, behind: Iterable[str], now: float) -> int:
    """Makes rows due that wait `behind` one of these: what a row was put back with, until it is
    claimed again; how many were."""
    waiting = {"open": True, "behind": {"$in": list(behind)}, "due": {"$gt": now}}
    return await rows.update_many(waiting, {"$set": {"due": now}})


Handle = Callable[[str, Doc], Coroutine[Any, Any, None]]


async def pump(
    clock: Callable[[], float],
    rows: Collection,
    handle: Handle,
    *,
    limit: int = 64,
    seconds: float = LEASE_SECONDS,
    query: Mapping[str, Any] | None = None,
    until: float | None = None,
    gives_way: Callable[[], Awaitable[bool]] | None = None,
    horizon: Horizon | None = None,
) -> int:
    """Claims due rows and runs `handle(owner, row)` for up to `limit` of them at once, until none
    is due; how many it was.

    One slow row holds up nobody else. `handle` finishes its row itself; a row that it leaves
    because the database is away is due again when its lease is over. After `until` (seconds UTC) no
    more are claimed, nor once it `gives_way`, so that a task ends and the next wake-up goes on.
    """

    horizon = horizon or Horizon()
    busy: set[asyncio.Task[None]] = set()
    total, until = 0, math.inf if until is None else until
    while True:
        now = clock()
        room = limit - len(busy)
        if room >= limit // 2 and now < until:
            if gives_way is not None and await gives_way():
                until = now
                continue
            owner, taken = await claim(
                rows, now, limit=room, seconds=seconds, query=query, horizon=horizon
            )
            busy |= {asyncio.create_task(_guarded(handle, owner, row)) for row in taken}
            total += len(taken)
        if not busy:
            return total
        busy = await _still_busy(busy, crowded=len(busy) > limit // 2)


async def _guarded(handle: Handle, owner: str, row: Doc) -> None:
    try:
        await handle(owner, row)
    except Unavailable:
        log.warning("a row was left to its lease", extra={"fields": {"row": row["_id"]}})


async def _still_busy(busy: set[asyncio.Task[None]], *, crowded: bool) -> set[asyncio.Task[None]]:
    """Waits until a task ends, or LOOK_SECONDS at most; those that go on. `crowded`: until one
    ends, since looking for single rows costs more than it brings."""
    seconds = None if crowded else LOOK_SECONDS
    when = asyncio.FIRST_COMPLETED if crowded else asyncio.ALL_COMPLETED
    done, going_on = await asyncio.wait(busy, timeout=seconds, return_when=when)
    for task in done:
        task.result()
    return going_on
