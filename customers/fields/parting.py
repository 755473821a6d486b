"""What becomes of fields when one customer turns out to be two, and when he takes his consent back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from customers.banks.bank import Bank
from customers.fields.rows import FIELD_HISTORY, FieldRow, HistoryRow, Told, erase
from customers.fields.values import TRIES, Update, hold, load, order, put, value_in, value_of, write
from services.errors import Unavailable


async def give_back(bank: Bank, winner: str, loser: str, returned: Sequence[str]) -> None:
    """A merge is undone: what was told of the `winner` by one of the `returned` ids was the
    `loser`'s. Safe to repeat."""
    by_his = {"cid": winner, "identity": {"$in": list(returned)}}
    await bank.db[FIELD_HISTORY].update_many(by_his, {"$set": {"cid": loser}})
    for _ in range(TRIES):
        kept = (await load(bank, [winner]))[winner]
        his = [
            key
            for key, told in kept.row["provenance"].items()
            if told.get("identity") in returned and key in bank.fields
        ]
        if not his:
            return
        await _give(bank, kept.row, loser, his)
        for key in his:
            await _restore(bank, kept.row, key)
        kept.changed = True
        if await write(bank, [kept]):
            return
    raise Unavailable("customer_busy", "this customer is being changed by too many at once")


async def _give(bank: Bank, row: FieldRow, to: str, keys: Sequence[str]) -> None:
    """Writes these values of a row into another customer's, as they were told."""
    for _ in range(TRIES):
        taker = (await load(bank, [to]))[to]
        for key in keys:
            told = row["provenance"][key]
            values = {key: value_in(bank, row, key)}
            more = (told.get("by", ""), told.get("identity", ""))
            update = Update(to, values, told["at"], told["source"], told["proof"], *more)
            put(bank, taker, key, values[key], update)
        if await write(bank, [taker]):
            return
    raise Unavailable("customer_busy", "this customer is being changed by too many at once")


async def _restore(bank: Bank, row: FieldRow, key: str) -> None:
    """The row holds what it held before its present value."""
    asked = {"cid": row["_id"], "key": key}
    lines = cast("list[HistoryRow]", await bank.db[FIELD_HISTORY].find(asked, limit=None))
    line = max(lines, key=order, default=None)
    hold(bank, row, key, None if line is None else value_of(bank, line))
    if line is None:
        row["provenance"].pop(key, None)
        return
    names = ("at", "since", "source", "proof", "by", "identity")
    told = {name: line[name] for name in names if name in line}  # type: ignore[literal-required]
    row["provenance"][key] = cast("Told", told)


async def erase_under(bank: Bank, cids: Sequence[str], purpose: str) -> None:
    """Deletes what these customers hold and held of fields that are kept under a consent."""
    keys = [key for key, one in bank.fields.items() if one.consent == purpose]
    if keys:
        await erase(bank, cids, keys)
