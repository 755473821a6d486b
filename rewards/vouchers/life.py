"""The life of a voucher: granted → active → used | expired | recalled | refunded.

Every change is one conditional write on the voucher's row: what may happen is decided from the row,
and the write wants the `version` that was seen. What follows from it is in the row as a step, and
told by whoever changed it, or by the job when he was killed: the ledger's line, the customer's
timeline, and the row of the use. Each has an `_id` made of voucher and step, so telling it twice is
once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from customers import happenings, timeline
from customers.banks.bank import Bank
from rewards.ledger import lines as ledger_lines
from rewards.points import earning
from rewards.points.occasions import Happening
from rewards.rows import TRANSFERS, VoucherLine
from rewards.vouchers import money
from rewards.vouchers.rows import (
    ACTIVE,
    GRANTED,
    OPEN,
    VOUCHER_USES,
    VOUCHERS,
    Step,
    Voucher,
    find_voucher,
)
from services import ids
from services.errors import NotFound, Unavailable, YinqiaoError
from services.store.mongo import EACH_ROWS, Doc

TRIES = 30
"""So often a change is decided anew when others change the same voucher."""
TOLD_SECONDS = 2.0
"""After this the job tells what whoever changed a voucher has not told."""
TOLD_TOGETHER = 32
"""So many vouchers that were changed at the same moment are told of together."""
log = logging.getLogger(__name__)
ISSUED, MADE_GOOD = "issued", "made_good"

TAKEN_AWAY = frozenset({"voucher.recalled", "voucher.refunded"})
"""After these a voucher costs nobody anything."""

Decide = Callable[[Voucher], Doc]
"""What a change sets, decided from the row as it is; raises the refusal. Nothing: no change."""


def fence(row: Voucher) -> Doc:
    """What the row must still be like when it is changed."""
    return {"_id": row["_id"], "version": row["version"]}


async def change(bank: Bank, voucher: str, decide: Decide, seen: Voucher | None = None) -> Voucher:
    """The voucher after the change, with all that follows told. It is decided first from the row as
    it was `seen`, by whoever has read it already. Raises what `decide` raises, NotFound
    `voucher_unknown`, and Unavailable `voucher_busy`."""
    row = seen
    for _ in range(TRIES):
        row = row or await find_voucher(bank, voucher)
        if row is None:
            raise NotFound("voucher_unknown", "no such voucher")
        fields = decide(row)
        if not fields:
            return row
        update = {"$set": fields, "$inc": {"version": 1}}
        if await bank.db[VOUCHERS].update(fence(row), update):
            after = cast("Voucher", {**row, **fields, "version": row["version"] + 1})
            await _tell_now(bank, after)
            return after
        row = None
    raise Unavailable("voucher_busy", "too many change this voucher at once; try again")


async def _tell_now(bank: Bank, row: Voucher) -> None:
    """Tells what has happened, together with what has happened to other vouchers of the bank; what
    cannot be told now is left to the job, since it has happened."""

    async def flush(changed: list[tuple[Bank, Voucher]]) -> Sequence[bool]:
        newest = {
            one["_id"]: one for _, one in sorted(changed, key=lambda pair: pair[1]["version"])
        }
        await tell(changed[-1][0], list(newest.values()))
        return [True] * len(changed)

    group = bank.services.groups.get(f"told:{bank.id}", flush, limit=TOLD_TOGETHER)
    try:
        await group.submit((bank, row))
    except Exception as error:  # one of another voucher's, maybe
        why = error.code if isinstance(error, YinqiaoError) else "internal"
        fields = {"tenant": bank.id, "voucher": row["_id"], "why": why}
        said = "a voucher's steps are left to the job"
        log.warning(said, exc_info=why == "internal", extra={"fields": fields})


def happened(
    row: Voucher,
    kind: str,
    now: datetime,
    *,
    state: str = "",
    use: str = "",
    fields: Doc | None = None,
    **data: Any,
) -> Doc:
    """The change by which `kind` happens to the voucher: `fields`, its new `state` if it has one,
    and the step that tells of it. `data` carries no person's data in clear."""
    before, after = account(row["state"], row["reward"]), account(state, row["reward"])
    moved = bool(state) and before != after
    step: Step = {
        "n": row["last_step"] + 1,
        "kind": kind,
        "at": now,
        "cid": row["cid"],
        "debit": before if moved else "",
        "credit": after if moved else "",
        "use": use,
        "data": data,
    }
    change: Doc = {**(fields or {}), "last_step": step["n"], "steps": [*row["steps"], step]}
    if state:
        change["state"] = state
    change["due"] = now.timestamp() + TOLD_SECONDS
    return change


def account(state: str, reward: str) -> str:
    """The ledger's account in which the unit of a voucher in that state is."""
    name = ISSUED if state in OPEN else state
    return f"{name}:{reward}"


def line_id(tenant: str, voucher: str, n: int) -> str:
    """The `_id` of the ledger's line of a voucher's `n`-th step."""
    return ids.tenant_id(tenant, "voucher", voucher, n)


async def tell(bank: Bank, rows: Sequence[Voucher]) -> None:
    """Tells the steps of these vouchers where they belong, and takes them off the rows that nobody
    changed meanwhile: who did tells them too."""
    steps = [(row, step) for row in rows for step in row["steps"]]
    if not steps:
        return
    await _tell_the_books(bank, steps)
    used = [step for _, step in steps if step["use"]]
    for start in range(0, len(used), TOLD_TOGETHER):
        some = used[start : start + TOLD_TOGETHER]
        await asyncio.gather(*(_tell_of_use(bank, step) for step in some))
    await timeline.record_many(bank, [_entry(bank, row, step) for row, step in steps])
    await bank.db[VOUCHER_USES].bulk_update(list(_uses_told(steps)), many=True)
    done = {row["_id"]: row for row, _ in steps}.values()
    await bank.db[VOUCHERS].bulk_update(list(_told(done)), many=True)


async def _tell_the_books(bank: Bank, steps: Sequence[tuple[Voucher, Step]]) -> None:
    lines = [_line(bank, row, step) for row, step in steps if step["debit"]]
    await bank.db[TRANSFERS].insert_new(cast("list[Doc]", lines))
    await ledger_lines.write_each(bank, lines)
    away = [row for row, step in steps if step["kind"] in TAKEN_AWAY]
    await money.give_back(bank, away)


async def _tell_of_use(bank: Bank, step: Step) -> None:
    """What a use, or its taking back, brings elsewhere: points, and whoever listens."""
    kind, cid, use, at = step["kind"], step["cid"], step["use"], step["at"].timestamp()
    if kind == "voucher.used":
        await earning.earn(bank, Happening(kind, cid, use, at))
    await happenings.tell(bank, kind, cid, use, at=at)


def _told(rows: Iterable[Voucher]) -> Iterable[tuple[Doc, Doc]]:
    """The changes that take the steps off, where nobody changed the row meanwhile: one for all rows
    that are alike in them."""
    alike: dict[tuple[int, float | None], list[str]] = {}
    for row in rows:
        alike.setdefault((row["version"], next_look(row)), []).append(row["_id"])
    for (version, due), found in alike.items():
        change: Doc = {"$set": {"steps": [], "due": due}, "$inc": {"version": 1}}
        for start in range(0, len(found), EACH_ROWS):
            some = {"$in": found[start : start + EACH_ROWS]}
            yield {"_id": some, "version": version}, change


def _line(bank: Bank, row: Voucher, step: Step) -> VoucherLine:
    return {
        "_id": line_id(bank.id, row["_id"], step["n"]),
        "kind": "voucher",
        "reward": row["reward"],
        "debit": step["debit"],
        "credit": step["credit"],
        "amount": 1,
        "cid": step["cid"],
        "voucher": row["_id"],
        "why": step["kind"],
        "at": step["at"],
    }


def _entry(bank: Bank, row: Voucher, step: Step) -> timeline.Entry:
    data = {"reward": row["reward"], "voucher": row["_id"], **step["data"]}
    at = step["at"].timestamp()
    return timeline.entry(bank, step["cid"], step["kind"], f"{row['_id']}|{step['n']}", data, at)


def _uses_told(steps: Sequence[tuple[Voucher, Step]]) -> Iterable[tuple[Doc, Any]]:
    """The changes of the rows of uses: done, or taken back."""
    done = {step["use"]: step for _, step in steps if step["kind"] == "voucher.used"}
    each = list(done.values())
    for start in range(0, len(each), EACH_ROWS):
        yield _uses_done(each[start : start + EACH_ROWS])
    for _, step in steps:
        if step["kind"] == "voucher.undone":
            undone = {"state": "undone", "undone": {"at": step["at"], **step["data"]}}
            yield {"_id": step["use"], "state": {"$ne": "undone"}}, {"$set": undone}


def _uses_done(steps: Sequence[Step]) -> tuple[Doc, list[Doc]]:
    """One change of all these rows of uses: each finds when it was done, and what was left, by its
    place in the list."""
    uses = [step["use"] for step in steps]
    place = {"$indexOfArray": [{"$literal": uses}, "$_id"]}
    at = {"$arrayElemAt": [{"$literal": [step["at"] for step in steps]}, place]}
    left = {"$arrayElemAt": [{"$literal": [step["data"]["uses_left"] for step in steps]}, place]}
    waits = {"_id": {"$in": uses}, "state": {"$in": ["asked", "refused"]}}
    return waits, [{"$set": {"state": {"$literal": "done"}, "at": at, "left": left}}]


def next_look(row: Voucher) -> float | None:
    """When the job has to look at a voucher of which everything is told (seconds UTC)."""
    if row["state"] not in OPEN:
        return None
    ends = row["expires"].timestamp() if row["expires"] is not None else None
    times = [one for one in (row["remind"], ends) if one is not None]
    return min(times) if times else None


def period_of(uses_per: str, at: datetime) -> str:
    """The period in which a use at `at` (the bank's time) counts; empty where all uses do."""
    if uses_per == "day":
        return f"{at:%Y%m%d}"
    if uses_per == "week":
        year, week, _ = at.isocalendar()
        return f"{year}W{week:02d}"
    return f"{at:%Y%m}" if uses_per == "month" else ""


def left(bank: Bank, row: Voucher, now: datetime) -> int:
    """How often it may be used still, in the period of `now` where it has periods; 0 when it is
    over."""
    if row["state"] not in OPEN or is_over(row, now):
        return 0
    per = row["uses_per"]
    period = "" if per == "ever" else period_of(per, now.astimezone(bank.tz))
    return row["uses"] - (row["used"] if row["period"] == period else 0)


def is_over(row: Voucher, now: datetime) -> bool:
    return row["expires"] is not None and row["expires"] <= now


async def opened(bank: Bank, voucher: str) -> Voucher:
    """Its customer looks at it: a granted voucher is active from then on."""

    def decide(row: Voucher) -> Doc:
        if row["state"] != GRANTED:
            return {}
        return happened(row, "voucher.opened", bank.utc(), state=ACTIVE)

    return await change(bank, voucher, decide)


def end_of_day(bank: Bank, day: datetime) -> datetime:
    """The end of the day of `day` in the bank's time."""
    local = day.astimezone(bank.tz)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    following = (midnight + timedelta(days=1)).replace(tzinfo=bank.tz)
    return following.astimezone(day.tzinfo)
