"""A counter's write-offs: no more on one of the bank's days than it may.

The day's row holds how many there were, and which keys are under way. One conditional write takes a
place for a key, and has those leave that are done; what is refused gives its place back, and what is
cut short keeps it until the same key comes again, or until there is no other place: then the key is
given up before its place goes to another. So there are never more than the limit. A write-off that is
taken back later has counted.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypedDict, cast

from customers.banks.bank import Bank
from rewards import catalogue
from rewards.rows import Reward
from rewards.vouchers import redeem as vouchers
from rewards.vouchers.issuing import item_of
from rewards.vouchers.redeem import Receipt, Redeemer
from rewards.vouchers.rows import Use, find_use, find_voucher, use_id
from services import ids
from services.cache import Slot
from services.errors import Conflict, NotFound, YinqiaoError
from services.store.mongo import Doc
from services.store.rows import Rows

UNDER_WAY = timedelta(seconds=10)
"""How long a key belongs to whoever brought it; after that, to who brings it again."""
TRIES = 5
ENDED_AT_ONCE = 20
"""So many tries that were cut short are ended for one that needs a place."""
AT_ONCE = 16
"""So many write-offs of a bank are under way in a process at once. They share their writes, so more
would take as much longer as they are more: the first of 64 would end with the last of them, and a
process that dies would leave 64 keys under way. Whoever waits has written nothing yet."""
COUNTER_DAYS = Rows("counter_days")
"""What each counter wrote off on each of the bank's days."""
_TURNS: Slot[defaultdict[str, asyncio.Semaphore]] = Slot(
    "desk.turns", lambda: defaultdict(lambda: asyncio.Semaphore(AT_ONCE))
)
"""The turns of each bank."""


class CounterDay(TypedDict):
    """The `n` write-offs of a counter on a day, those under way included: `open` are the keys of
    these, and of some that are done, as hashes, with whose try each is, since when, and the whole
    hash."""

    _id: str
    counter: str
    day: str
    n: int
    open: dict[str, Doc]


class UnderWay(Conflict):
    """The same key is asked for at this moment; `retry_after` in seconds."""

    def __init__(self) -> None:
        super().__init__("key_under_way", "a request with this key is still under way")
        self.retry_after = 1


@dataclass(frozen=True)
class _Place:
    """A place in the day's row `row`, taken for `key` by the try `by`; `new` if the key had none."""

    row: str
    key: str
    by: str
    new: bool


async def redeem(
    bank: Bank, by: Redeemer, per_day: int, shown: str, key: str, uses: int = 1
) -> Receipt:
    """As `rewards.vouchers.redeem.redeem`, by a counter that may write off `per_day` times a day.

    Raises what it does, and Conflict `counter_limit`, or `key_under_way` while the same key is asked
    for elsewhere.
    """
    async with bank.services.cache.of(_TURNS)[bank.id]:
        return await _redeem(bank, by, per_day, shown, key, uses)


async def _redeem(
    bank: Bank, by: Redeemer, per_day: int, shown: str, key: str, uses: int
) -> Receipt:
    hashed = ids.fingerprint(key.encode())
    if not key or await _is_done(bank, by, hashed):
        return await vouchers.redeem(bank, by, shown, key, uses)
    place = await _take(bank, by, per_day, hashed)
    try:
        receipt = await vouchers.redeem(bank, by, shown, key, uses)
    except YinqiaoError as error:
        if error.status < 500:
            await _leave(bank, place, counts=False)
        raise
    if place.new and receipt.replayed:
        await _leave(bank, place, counts=False)
    else:
        bank.services.cache.of(_DONE)[bank.id, by.counter].add(place)
    return receipt


_DONE: Slot[defaultdict[tuple[str, str], set[_Place]]] = Slot("desk.done", lambda: defaultdict(set))
"""Of each counter of a bank, the places whose keys are done: they stay taken, and their keys leave
the row with the next write-off. Nobody misses a key that is done, and one write is spared."""


@dataclass(frozen=True)
class Line:
    """A write-off as its counter sees it later; `undoable` until `undo_until`, and `reason` why it
    was taken back."""

    use: str
    title: Mapping[str, str]
    face_value: int
    count: int
    left: int
    at: datetime
    undone: bool
    reason: str
    undoable: bool
    undo_until: datetime


async def today(bank: Bank, by: Redeemer) -> list[Line]:
    """What this counter wrote off today, newest first, taken back or not."""
    known = await catalogue.all_rewards(bank)
    return [_line(bank, use, known[use["reward"]]) for use in await vouchers.today(bank, by)]


async def find(bank: Bank, by: Redeemer, use: str) -> Line:
    """One write-off of this counter's; raises NotFound `use_unknown`, also for another's."""
    found = await find_use(bank, use) if use.startswith(f"{bank.id}:") else None
    mine = found is not None and found["counter"] == by.counter
    if found is None or not mine or not await _was_done(bank, found):
        raise NotFound("use_unknown", "no such write-off")
    return _line(bank, found, await catalogue.find(bank, found["reward"]))


def _line(bank: Bank, use: Use, reward: Reward) -> Line:
    undone, until = use["state"] == "undone", use["at"] + vouchers.UNDO
    return Line(
        use=use["_id"],
        title=reward["title"],
        face_value=vouchers.face_value(item_of(reward)),
        count=use["count"],
        left=use["left"],
        at=use["at"],
        undone=undone,
        reason=str(use.get("undone", {}).get("reason", "")),
        undoable=not undone and bank.utc() <= until,
        undo_until=until,
    )


async def used_today(bank: Bank, counters: Sequence[str]) -> dict[str, int]:
    """How often each counter (`kind:id`) wrote off today, those without a write-off left out."""
    wanted = {_row_id(bank, counter): counter for counter in counters}
    rows = await bank.by_id(COUNTER_DAYS, list(wanted), {"n": 1})
    return {wanted[row_id]: int(row["n"]) for row_id, row in rows.items() if row["n"]}


async def _is_done(bank: Bank, by: Redeemer, hashed: str) -> bool:
    """Whether this key wrote something off before, told everywhere or not yet."""
    use = await find_use(bank, use_id(bank.id, by.counter, hashed))
    return use is not None and await _was_done(bank, use)


async def _was_done(bank: Bank, use: Use) -> bool:
    """Also one that was refused first: its row says so until the voucher's use is told."""
    if use["state"] in ("done", "undone"):
        return True
    row = await find_voucher(bank, use["voucher"]) if use["voucher"] else None
    return row is not None and vouchers.has(row, use["_id"])


def _row_id(bank: Bank, counter: str) -> str:
    return f"{bank.id}:{counter}:{bank.today():%Y%m%d}"


async def _take(bank: Bank, by: Redeemer, per_day: int, hashed: str) -> _Place:
    """A place in today's row; raises Conflict `counter_limit`, and UnderWay."""
    place = _Place(_row_id(bank, by.counter), hashed[:32], ids.token()[:16], new=True)
    at = f"open.{place.key}"
    mine = {at: {"by": place.by, "at": bank.utc(), "key": hashed}}
    free: Doc = {"_id": place.row, "n": {"$lt": per_day}, at: {"$exists": False}}
    done = bank.services.cache.of(_DONE)[bank.id, by.counter]
    leaving = frozenset(done)
    taking = {"$inc": {"n": 1}, "$set": mine, **_leaving(place, leaving)}
    for _ in range(TRIES):
        if await _write(bank, place, free, taking):
            done -= leaving
            return place
        row = await _day(bank, by, place.row)
        known = row["open"].get(place.key)
        if known is not None:
            return await _take_over(bank, place, known, mine)
        if row["n"] >= per_day and not await _end_cut_short(bank, by, row):
            raise await _full(bank, by, per_day)
    raise UnderWay


def _leaving(place: _Place, done: Iterable[_Place]) -> Doc:
    """The change by which the keys of these places leave the row of another."""
    keys = {one.key for one in done if one.row == place.row} - {place.key}
    return {"$unset": {f"open.{key}": "" for key in keys}} if keys else {}


async def _take_over(bank: Bank, place: _Place, known: Doc, mine: Doc) -> _Place:
    """The place of a try that was cut short; raises UnderWay while it may not have been."""
    as_read = {"_id": place.row, f"open.{place.key}.by": known["by"]}
    old = known["at"] + UNDER_WAY <= bank.utc()
    if not old or not await _write(bank, place, as_read, {"$set": mine}):
        raise UnderWay
    return replace(place, new=False)


async def _end_cut_short(bank: Bank, by: Redeemer, row: CounterDay) -> bool:
    """Ends tries of the day that were cut short and whose keys did not come again, and frees the
    places of those that wrote nothing off; whether there were any."""
    over = [
        (key, known)
        for key, known in row["open"].items()
        if known["at"] + UNDER_WAY <= bank.utc() and "key" in known
    ]
    for key, known in over[:ENDED_AT_ONCE]:
        await vouchers.give_up(bank, by, known["key"])
        counts = await _is_done(bank, by, known["key"])
        await _leave(bank, _Place(row["_id"], key, known["by"], new=False), counts=counts)
    return bool(over)


async def _full(bank: Bank, by: Redeemer, per_day: int) -> Conflict:
    where = {"branch": by.branch, "merchant": by.merchant}
    said = {name: value for name, value in where.items() if value}
    await bank.audit(by.counter, "voucher.refused", "-", reason="counter_limit", **said)
    return Conflict(
        "counter_limit",
        f"this counter writes off {per_day} vouchers a day at most",
        data={"most": str(per_day)},
    )


async def _day(bank: Bank, by: Redeemer, row_id: str) -> CounterDay:
    """Today's row, which is made where there is none."""
    row = await bank.db[COUNTER_DAYS].find_one({"_id": row_id})
    if row is None:
        day = f"{bank.today():%Y-%m-%d}"
        empty = {"_id": row_id, "counter": by.counter, "day": day, "n": 0, "open": {}}
        is_new = await bank.insert(COUNTER_DAYS, empty)
        row = empty if is_new else await bank.db[COUNTER_DAYS].find_one({"_id": row_id}) or empty
    return cast("CounterDay", row)


async def _leave(bank: Bank, place: _Place, *, counts: bool) -> None:
    """Ends the try. What does not count gives its place back, unless another took the key over."""
    at = f"open.{place.key}"
    change: Doc = {"$unset": {at: ""}}
    if not counts:
        change["$inc"] = {"n": -1}
    await _write(bank, place, {"_id": place.row, f"{at}.by": place.by}, change)


async def _write(bank: Bank, place: _Place, query: Doc, change: Doc) -> bool:
    """One conditional change of a day's row, in one write with those of other counters; whether the
    place is its try's now."""

    async def flush(writes: list[tuple[_Place, Doc, Doc]]) -> Sequence[bool]:
        matched = await bank.db[COUNTER_DAYS].bulk_update([write[1:] for write in writes])
        if matched == len(writes):
            return [True] * len(writes)
        days = await bank.by_id(COUNTER_DAYS, list({place.row for place, _, _ in writes}))
        return [_has_place(days.get(place.row), place) for place, _, _ in writes]

    group = bank.services.groups.get(f"places:{bank.id}", flush, limit=AT_ONCE, lanes=2)
    return cast("bool", await group.submit((place, query, change)))


def _has_place(day: Doc | None, place: _Place) -> bool:
    known = day["open"].get(place.key) if day is not None else None
    return known is not None and known["by"] == place.by
