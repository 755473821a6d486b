"""Spending: points are set aside, and then used or given back; or used at once.

Whoever sells something for points (rewards/ledger/book.py is who decides):

    held = await spending.hold(bank, cid, 500, key, title, until)
    await spending.confirm(bank, cid, held.id)      # or cancel; forgotten, it ends by itself

The same `key` gets the first answer, so whoever is killed asks again. What expires first is spent
first, from all accounts of a customer who was merged. Points never go from one customer to another.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn

from customers.actors import CustomerActor
from customers.banks.bank import Bank
from customers.identity import resolution
from rewards.ledger import book
from rewards.ledger.book import Posted
from rewards.ledger.entries import Entry, checked_amount, transfer_id
from rewards.ledger.lines import Leg, legs_of
from rewards.points import accounts, program
from rewards.rows import TRANSFERS
from services.documents.parts import Text
from services.errors import Conflict, KeyReused, NotFound
from services.store.mongo import Doc

SPEND = "spend"


async def spend(
    bank: Bank, cid: str, points: int, key: str, title: Text, about: Mapping[str, Any] | None = None
) -> Posted:
    """Uses so many points for what `title` says, which the customer reads in his statement.

    Raises InvalidInput `amount_invalid`, Conflict `points_none` or `insufficient`, KeyReused for the
    same key with another body, Unavailable when the outcome is not known: the same key tells it.
    """
    known = await _asked_before(bank, cid, points, key)
    if known is not None:
        return known
    try:
        return await book.post(bank, await _entry(bank, cid, points, key, title, about))
    except KeyReused:
        return await _again(bank, cid, points, key)


async def hold(
    bank: Bank,
    cid: str,
    points: int,
    key: str,
    title: Text,
    expires: datetime,
    about: Mapping[str, Any] | None = None,
) -> Posted:
    """Sets so many points aside until they are used, given back, or the hold `expires`. Raises as
    `spend`."""
    known = await _asked_before(bank, cid, points, key)
    if known is not None:
        return known
    try:
        entry = await _entry(bank, cid, points, key, title, about)
        return await book.hold(bank, entry, expires)
    except KeyReused:
        return await _again(bank, cid, points, key)


async def confirm(bank: Bank, cid: str, hold_id: str, points: int | None = None) -> Posted:
    """Uses what was set aside, or so many points of it. Raises as `cancel`, and Conflict
    `hold_exceeded`."""
    await _check_owner(bank, cid, hold_id)
    return await book.confirm(bank, hold_id, points)


async def cancel(bank: Bank, cid: str, hold_id: str) -> Posted:
    """Gives back what was set aside. A hold has one end: the same again gets the first answer.
    Raises NotFound `hold_unknown`, Conflict `hold_ended` or `not_yours`."""
    await _check_owner(bank, cid, hold_id)
    return await book.cancel(bank, hold_id)


async def transfer(bank: Bank, actor: CustomerActor) -> NoReturn:
    """Points are the customer's own: giving them to another is refused (Conflict
    `points_not_transferable`), and that he tried is in the audit trail."""
    await bank.audit(f"customer:{actor.cid}", "points.transfer_refused", actor.cid)
    raise Conflict("points_not_transferable", "points cannot be given to another customer")


async def _entry(
    bank: Bank,
    cid: str,
    points: int,
    key: str,
    title: Text,
    about: Mapping[str, Any] | None,
) -> Entry:
    live = await program.live(bank)
    cids = await resolution.cids(bank, cid)
    rows = await accounts.read(bank, cids)
    gives = accounts.split(rows, points, bank.utc())
    spent = accounts.spent(live.program.id)
    legs = [Leg(account, spent, n) for account, n in gives.items()]
    said = {**(about or {}), "program": live.program.id, "title": title.model_dump()}
    return Entry(_key(key), SPEND, legs, said)


def _key(key: str) -> str:
    return f"spend:{key}"


async def _asked_before(bank: Bank, cid: str, points: int, key: str) -> Posted | None:
    """As `_known`; what is asked wrongly is kept in the audit trail."""
    async with book.refusals_kept(bank, transfer_id(bank.id, _key(key))):
        return await _known(bank, cid, checked_amount(points, "points"), key)


async def _known(bank: Bank, cid: str, points: int, key: str) -> Posted | None:
    """What was answered to this key before: of a customer who was merged meanwhile the accounts that
    give may be others by now."""
    row = await accounts.find(bank, _key(key))
    if row is None:
        return None
    if _total(row) != points or not await _is_his(bank, cid, row):
        raise KeyReused("idempotency_key_reused", "this key was used with another body")
    return Posted(row, replayed=True)


async def _again(bank: Bank, cid: str, points: int, key: str) -> Posted:
    """Somebody else was faster with this key."""
    known = await _known(bank, cid, points, key)
    if known is None:
        raise KeyReused("idempotency_key_reused", "this key was used with another body")
    return known


def _total(row: Doc) -> int:
    return sum(leg.amount for leg in legs_of(row))


async def _is_his(bank: Bank, cid: str, row: Doc) -> bool:
    his = {accounts.of(one) for one in await resolution.cids(bank, cid)}
    return any(leg.debit in his for leg in legs_of(row))


async def _check_owner(bank: Bank, cid: str, hold_id: str) -> None:
    row = (await bank.by_id(TRANSFERS, [hold_id])).get(hold_id)
    if row is None:
        raise NotFound("hold_unknown", "no such hold")
    async with book.refusals_kept(bank, hold_id):
        if not await _is_his(bank, cid, row):
            raise Conflict("not_yours", "this hold is another customer's")
