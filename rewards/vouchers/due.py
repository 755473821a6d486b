"""What is due of vouchers: what happened and is not told yet, reminders, and the end of those that are
over. Every round is safe to repeat, and to be at it twice at once; whoever is killed loses a round."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import cast

from customers.banks.bank import Bank
from customers.identity import resolution
from customers.messaging import subscriptions
from rewards import catalogue
from rewards.rows import REWARDS, TRANSFERS, Grant
from rewards.vouchers import issuing, life
from rewards.vouchers.rows import EXPIRED, OPEN, VOUCHERS, Voucher
from services.errors import Conflict, InvalidInput
from services.store.mongo import Doc

AT_ONCE = 500
SECONDS = 20.0
"""After this a round takes no more; the next goes on."""
WITHOUT: Doc = {"vouchers": {"$exists": False}}
"""Rewards of before there were vouchers, whose grants may have none yet."""
_LONGEST_TITLE = 20


async def see_to(bank: Bank) -> int:
    """Tells, reminds and ends what is due; how many vouchers were looked at."""
    seen, until = 0, bank.now() + SECONDS
    while bank.now() < until:
        due = {"due": {"$lte": bank.now()}}
        found = await bank.db[VOUCHERS].find(due, sort=[("due", 1)], limit=AT_ONCE)
        rows = cast("list[Voucher]", found)
        if not rows:
            break
        seen += len(rows)
        await _see_to(bank, rows)
    return seen


async def _see_to(bank: Bank, rows: Sequence[Voucher]) -> None:
    await life.tell(bank, [row for row in rows if row["steps"]])
    told = [row for row in rows if not row["steps"]]
    now = bank.utc()
    over = [row for row in told if row["state"] in OPEN and life.is_over(row, now)]
    await expire(bank, over)
    rest = [row for row in told if row not in over]
    for row in rest:
        if row["state"] in OPEN and row["remind"] is not None and row["remind"] <= bank.now():
            await remind(bank, row)
            row["remind"] = None
    looked = [(life.fence(row), _looked(row)) for row in rest]
    await bank.db[VOUCHERS].bulk_update(looked)


def _looked(row: Voucher) -> Doc:
    return {
        "$set": {"remind": row["remind"], "due": life.next_look(row)},
        "$inc": {"version": 1},
    }


async def expire(bank: Bank, rows: Sequence[Voucher]) -> None:
    """Ends these vouchers, unless somebody changed them meanwhile."""
    if not rows:
        return
    now = bank.utc()
    ended = [
        (
            life.fence(row),
            {
                "$set": {**life.happened(row, "voucher.expired", now, state=EXPIRED), "gift": None},
                "$inc": {"version": 1},
            },
        )
        for row in rows
    ]
    await bank.db[VOUCHERS].bulk_update(ended)
    wanted = [row["_id"] for row in rows]
    after = await bank.by_id(VOUCHERS, wanted)
    await life.tell(bank, [cast("Voucher", row) for row in after.values() if row["steps"]])


async def remind(bank: Bank, row: Voucher) -> None:
    """Sends the customer a subscribe message that his voucher is about to end, where he allowed
    one: once, however often this is done."""
    person = await resolution.customer(bank, row["cid"])
    for appid, program in bank.miniprograms.items():
        template = program.voucher_reminder
        if template is None or appid not in person.openids:
            continue
        if not await subscriptions.is_allowed(bank, person.cid, appid, template.template):
            continue
        reward = await catalogue.find(bank, row["reward"])
        ends = cast("datetime", row["expires"]) - timedelta(minutes=1)
        values = {
            template.title: reward["title"]["zh"][:_LONGEST_TITLE],
            template.ends: f"{ends.astimezone(bank.tz):%Y-%m-%d %H:%M}",
        }
        key = f"voucher|{row['_id']}"
        try:
            await subscriptions.send(
                bank, appid, person.cid, template.template, values, key=key, page=template.page
            )
        except (Conflict, InvalidInput):  # he has left, or the title cannot be sent
            continue
        return


async def make_missing(bank: Bank) -> None:
    """Makes the vouchers of all that was granted before there were any."""
    rows = await bank.db[REWARDS].find(WITHOUT, fields={"reward": 1}, limit=None)
    names = [row["reward"] for row in rows]
    some: list[Grant] = []
    async for row in bank.db[TRANSFERS].scan({"kind": "grant", "reward": {"$in": names}}):
        some.append(cast("Grant", row))
        if len(some) == AT_ONCE:
            await issuing.ensure(bank, some)
            some = []
    await issuing.ensure(bank, some)
    made = {**WITHOUT, "reward": {"$in": names}}
    await bank.db[REWARDS].update_many(made, {"$set": {"vouchers": 1}})
