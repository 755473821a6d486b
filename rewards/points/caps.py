"""How much a customer may still earn by a rule: per day, per month and ever.

What a happening brings is set aside in one conditional write before it is posted, and stays set
aside under the happening's name until the ledger has it: so the sum of what was posted and what is
set aside is never over a cap, whoever is killed. Whoever sets aside read the row before he looked
whether the ledger has the happening, and his write wants the row as it was: so a happening that was
posted meanwhile is not set aside again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import cast

from customers.banks.bank import Bank
from rewards.points.document import Rule
from rewards.points.rows import POINTS_CAPS, CapsRow, caps_id
from services.errors import Unavailable
from services.store.mongo import Doc

TRIES = 50
KEPT = timedelta(days=62)
"""So long a day's count is kept."""


def spans(day: date) -> list[str]:
    """The spans that caps are for, on the bank's `day`."""
    return [f"day-{day:%Y%m%d}", f"month-{day:%Y%m}", "ever"]


def allowed(rule: Rule, day: date, used: Sequence[Mapping[str, int]]) -> int:
    """How many points one more happening of that day brings: what the rule says, or what its caps
    leave. `used` is what was counted under each of the customer's ids."""
    left = [cap - sum(one.get(span, 0) for one in used) for span, cap in rule.caps(day).items()]
    return max(0, min([rule.points, *left]))


def counted(used: Mapping[str, int], day: date, points: int) -> dict[str, int]:
    """The counts with `points` more on that day, without days of long ago."""
    oldest = f"day-{day - KEPT:%Y%m%d}"
    kept = {span: n for span, n in used.items() if not span.startswith("day-") or span >= oldest}
    for span in spans(day):
        kept[span] = kept.get(span, 0) + points
    return kept


async def read(bank: Bank, rule: str, cids: Sequence[str]) -> list[CapsRow]:
    """The customer's counts, those of his own id first."""
    wanted = {cid: caps_id(bank.id, rule, cid) for cid in cids}
    found = await bank.by_id(POINTS_CAPS, list(wanted.values()))
    blank = {"rule": rule, "used": {}, "pending": {}, "rev": 0}
    rows = [
        found.get(row_id) or {**blank, "_id": row_id, "cid": cid} for cid, row_id in wanted.items()
    ]
    return cast("list[CapsRow]", rows)


async def set_aside(bank: Bank, row: CapsRow, name: str, day: date, points: int) -> bool:
    """Sets aside what the happening `name` brings; False when somebody changed the row since it was
    read."""
    pending = {**row["pending"], name: points}
    return await _write(bank, row, counted(row["used"], day, points), pending)


async def posted(bank: Bank, row: CapsRow, name: str) -> None:
    """The ledger has it: nothing is set aside for it any more."""
    for _ in range(TRIES):
        if name not in row["pending"]:
            return
        pending = {one: n for one, n in row["pending"].items() if one != name}
        if await _write(bank, row, row["used"], pending):
            return
        (row,) = await read(bank, row["rule"], [row["cid"]])
        await pause()
    raise Unavailable("points_busy", "too many change this customer's points at once")


async def _write(
    bank: Bank, row: CapsRow, used: Mapping[str, int], pending: Mapping[str, int]
) -> bool:
    change: Doc = {"used": dict(used), "pending": dict(pending), "rev": row["rev"] + 1}
    if row["rev"] == 0:
        return await bank.insert(POINTS_CAPS, {**cast("Doc", row), **change})
    unchanged = {"_id": row["_id"], "rev": row["rev"]}
    return await bank.db[POINTS_CAPS].update(unchanged, {"$set": change})


async def pause() -> None:
    """Until the next try, so that those who race do not meet again."""
    await asyncio.sleep(random.uniform(0, 0.02))  # noqa: S311 - no secret
