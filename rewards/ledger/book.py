"""The book: what is posted, held, confirmed, cancelled and refunded, each once under its key.

A transfer is one row, written once under an `_id` made of its facts, and never changed. Entries of
one moment are posted as a group:

    read the accounts → write what is about to happen → take leases → insert the rows → answer
                                                  └→ write the lines → end the leases → strike it out

The rows decide. Killed at any point, what was written down is enough to finish (`sweep.py`).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from customers.banks.bank import Bank
from rewards.ledger import accounts, entries, lines
from rewards.ledger.chart import MOST_AMOUNT, kind_of
from rewards.ledger.entries import Entry, end_id, refund_id, transfer_id
from rewards.ledger.lines import CANCEL, CONFIRM, EXPIRE, HOLD, REFUND, VOID, Leg, legs_of
from rewards.ledger.rows import HOLDS, AccountRow, HoldRow, LotChange, Piece
from rewards.rows import TRANSFERS
from services.cache import Slot, TtlCache
from services.errors import Conflict, InvalidInput, KeyReused, NotFound, Unavailable, YinqiaoError
from services.store.groupcommit import GroupCommit
from services.store.mongo import Doc

TRIES = 20
"""So often a group tries to write an account that others change at the same moment."""
MOST_REFUNDS = 1_000
MOST_KEPT = 10_000
INSUFFICIENT = "insufficient"
log = logging.getLogger(__name__)

_COUNTED: Slot[dict[str, set[str]]] = Slot("ledger.counted", dict)
"""Batches of this process whose rows are in and whose leases are still open: the ids that arrived.
Whoever reads an account here counts them already."""
_KEPT: Slot[TtlCache[tuple[str, str], AccountRow]] = Slot(
    "ledger.kept", lambda: TtlCache(MOST_KEPT)
)
"""Accounts (tenant, name) as this process wrote them last, so that their next change needs no
reading. Others may have changed them since: `rev` keeps that from being written over, and nobody is
refused by them."""
_SHARED: Slot[TtlCache[tuple[str, str], bool]] = Slot("ledger.shared", lambda: TtlCache(MOST_KEPT))
"""Accounts that another process changed a moment ago: these are always read."""


@dataclass(frozen=True, slots=True)
class Posted:
    """A transfer as it stands in the ledger; `replayed` when this key had it already."""

    row: Doc
    replayed: bool

    @property
    def id(self) -> str:
        return str(self.row["_id"])

    @property
    def amount(self) -> int:
        return int(self.row["amount"])


@dataclass(eq=False)
class _Asked:
    """A transfer that somebody asks for; `hold` is the hold that it ends. `answer` is None until it
    has one."""

    row: Doc
    hold: Doc | None = None
    pieces: dict[str, Piece] = field(default_factory=dict)
    answer: Posted | YinqiaoError | None = None


@dataclass(frozen=True, slots=True)
class _Counting:
    """A batch whose lines are written: its leases may end."""

    batch: str
    accounts: frozenset[str]


@dataclass
class _Group:
    """The entries of one moment, and the accounts that they touch; `kept` are those that were not
    read for it."""

    bank: Bank
    batch: str
    now: datetime
    asked: list[_Asked]
    counting: list[_Counting]
    rows: dict[str, AccountRow] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)

    def alive(self) -> list[_Asked]:
        return [one for one in self.asked if one.answer is None]

    def touched(self) -> set[str]:
        """The accounts that have to be read and written."""
        ending = (account for one in self.counting for account in one.accounts)
        return {account for one in self.asked for account in one.pieces} | set(ending)


@asynccontextmanager
async def refusals_kept(bank: Bank, object_: str) -> AsyncIterator[None]:
    """Keeps in the audit trail what was asked wrongly; that there is too little is no wrong."""
    try:
        yield
    except (InvalidInput, KeyReused, Conflict) as error:
        if error.code != INSUFFICIENT:
            await bank.audit("rewards", "ledger.refused", object_, reason=error.code)
        raise


async def post(bank: Bank, entry: Entry) -> Posted:
    """Posts the entry: all of its legs, or nothing. The same key again gets the first answer.

    Raises InvalidInput that names the field, KeyReused for the same key with another content,
    Conflict `insufficient` when an account has too little, and Unavailable when that is not known:
    the same key tells it then.
    """
    async with refusals_kept(bank, transfer_id(bank.id, entry.key)):
        entries.check(entry)
        return await _post_once(bank, _Asked(entries.row_of(bank, entry)))


async def hold(bank: Bank, entry: Entry, expires: datetime) -> Posted:
    """Sets aside what the entry takes until it is confirmed, cancelled, or `expires`. Raises as
    `post`."""
    async with refusals_kept(bank, transfer_id(bank.id, entry.key)):
        entries.check(entry)
        if expires <= bank.utc():
            fields = {"expires": "entry_invalid"}
            raise InvalidInput("entry_invalid", "a hold must end later than now", fields=fields)
        row = entries.row_of(bank, entry)
        row |= {"kind": HOLD, "what": entry.kind, "expires": expires}
        return await _post_once(bank, _Asked(row | {"body": entries.body_of(row)}))


async def confirm(
    bank: Bank, hold_id: str, amount: int | None = None, *, customer: str = ""
) -> Posted:
    """Posts what was held, or `amount` of it; the rest is free again. A hold has one end: a second
    call gets the first answer, and another end raises Conflict `hold_ended`.

    `customer` is who asks, where a customer does: another's hold raises Conflict `not_yours`. Also
    raises InvalidInput, Conflict `hold_exceeded`, NotFound `hold_unknown`.
    """
    async with refusals_kept(bank, hold_id):
        held = await _held(bank, hold_id, customer)
        legs = list(legs_of(held))
        if amount is not None:
            entries.checked_amount(amount, "amount")
            if len(legs) > 1 and amount != legs[0].amount:
                fields = {"amount": "entry_invalid"}
                raise InvalidInput("entry_invalid", "such a hold is confirmed whole", fields=fields)
            if amount > legs[0].amount:
                problem = f"{legs[0].amount} are held, and {amount} were to be confirmed"
                raise Conflict("hold_exceeded", problem)
            legs[0] = Leg(legs[0].debit, legs[0].credit, amount)
        return await _end(bank, held, CONFIRM, entries.with_legs(legs))


async def cancel(bank: Bank, hold_id: str, *, customer: str = "") -> Posted:
    """Gives back what was held. Raises as `confirm`."""
    async with refusals_kept(bank, hold_id):
        held = await _held(bank, hold_id, customer)
        return await _end(bank, held, CANCEL, _nothing(held))


async def expire(bank: Bank, hold_id: str) -> Posted:
    """The end of a hold that nobody confirmed; whichever end it has by now, where it has one."""
    held = await _held(bank, hold_id, "")
    return await _submit(bank, _Asked(_end_row(bank, held, EXPIRE, _nothing(held)), held))


def _nothing(held: Doc) -> Doc:
    return {**entries.with_legs([next(iter(legs_of(held)))]), "amount": 0}


async def _held(bank: Bank, hold_id: str, customer: str) -> Doc:
    row = (await bank.read(TRANSFERS, [hold_id])).get(hold_id)
    if row is None or row["kind"] != HOLD:
        raise NotFound("hold_unknown", "no such hold")
    if customer and row["about"].get("cid") != customer:
        raise Conflict("not_yours", "this hold is another customer's")
    return row


def _end_row(bank: Bank, held: Doc, kind: str, fields: Doc) -> Doc:
    row: Doc = {
        "_id": end_id(held["_id"]),
        "tenant": bank.id,
        "kind": kind,
        "what": held["what"],
        "of": held["_id"],
        **fields,
        "held": entries.held_by(held),
        "about": held["about"],
    }
    if "lot_expires" in held:
        row["lot_expires"] = held["lot_expires"]
    return row | {"body": entries.body_of(row)}


async def _end(bank: Bank, held: Doc, kind: str, fields: Doc) -> Posted:
    row = _end_row(bank, held, kind, fields)
    found = (await bank.read(TRANSFERS, [row["_id"]])).get(row["_id"])
    if found is not None and found["kind"] != VOID:
        return _replay(row, found)
    if held["expires"] <= bank.utc():
        return _replay(row, (await expire(bank, held["_id"])).row)
    return await _post_once(bank, _Asked(row, held))


async def refund(
    bank: Bank,
    transfer: str,
    amount: int | None = None,
    *,
    reason: str,
    maker: str,
    key: str = "",
) -> Posted:
    """Gives back a transfer, or `amount` of it, as a contra entry that is linked to it; to the lots
    that it took. `key` tells refunds of one transfer apart: the same key again gets the first
    answer.

    `maker` is who asked for it. Raises Conflict `refund_exceeded` when more would be given back than
    was moved, `not_refundable` for what moved nothing or moves a reward's stock, NotFound
    `transfer_unknown`, and as `post`.
    """
    async with refusals_kept(bank, transfer):
        original = await _refundable(bank, transfer)
        for _ in range(TRIES):
            refunds = await refunds_of(bank, transfer)
            known = next((row for row in refunds if row["key"] == key), None)
            if known is None:
                row = _refund_row(bank, original, refunds, amount)
                row |= {"reason": reason, "maker": maker, "key": key}
                posted = await _submit(bank, _Asked(row | {"body": key}))
            else:
                posted = Posted(known, replayed=True)
            if posted.row["key"] == key:
                if posted.row["asked"] != amount:
                    raise KeyReused("idempotency_key_reused", "this key was used with another body")
                return posted
        raise Unavailable("busy", "others give this transfer back at the same moment")


async def _refundable(bank: Bank, transfer: str) -> Doc:
    row = (await bank.read(TRANSFERS, [transfer])).get(transfer)
    if row is None:
        raise NotFound("transfer_unknown", "no such transfer")
    if row["kind"] == HOLD:
        end = end_id(transfer)
        row = (await bank.read(TRANSFERS, [end])).get(end, row)
    names = (name for leg in legs_of(row) for name in (leg.debit, leg.credit))
    if row["kind"] in (*lines.UNMOVED, REFUND) or any(kind_of(name).in_stock for name in names):
        raise Conflict("not_refundable", "this moved nothing that could be given back")
    return row


async def refunds_of(bank: Bank, transfer: str) -> list[Doc]:
    """The refunds of a transfer, in their order."""
    found: list[Doc] = []
    while len(found) < MOST_REFUNDS:
        row_id = refund_id(transfer, len(found))
        row = await bank.db[TRANSFERS].find_one({"_id": row_id, "kind": {"$ne": VOID}})
        if row is None:
            return found
        found.append(row)
    raise Conflict("refund_exceeded", "this was given back in too many parts")


def _refund_row(bank: Bank, original: Doc, refunds: Sequence[Doc], asked: int | None) -> Doc:
    """The next refund of the transfer: of what is left of it, or of `asked`."""
    legs = [Leg(leg.credit, leg.debit, leg.amount) for leg in legs_of(original)]
    before = sum(row["amount"] for row in refunds)
    left = legs[0].amount - before
    amount = left if asked is None else entries.checked_amount(asked, "amount")
    if not 0 < amount <= left or (len(legs) > 1 and amount != legs[0].amount):
        problem = f"of {legs[0].amount}, {before} were given back already"
        raise Conflict("refund_exceeded", problem)
    legs[0] = Leg(legs[0].debit, legs[0].credit, amount)
    return {
        "_id": refund_id(original["_id"], len(refunds)),
        "tenant": bank.id,
        "kind": REFUND,
        "what": original.get("what", original["kind"]),
        "of": original["_id"],
        "asked": asked,
        "before": before,
        "of_amount": before + left,
        **entries.with_legs(legs),
        "about": original.get("about", {}),
        "lots": _given_back(original, before, amount),
    }


def _given_back(original: Doc, before: int, amount: int) -> list[Doc]:
    """The lots that a refund gives to: those that the transfer took, the last to expire first,
    without what earlier refunds gave."""
    given: list[Doc] = []
    for lot in reversed([lot for lot in original.get("lots", ()) if lot["n"] < 0]):
        skipped = min(before, -lot["n"])
        n = min(-lot["n"] - skipped, amount)
        before, amount = before - skipped, amount - n
        if n:
            given.append({**lot, "n": n})
    return given


async def _post_once(bank: Bank, asked: _Asked) -> Posted:
    """As asked, or as it was posted before under the same key."""
    posted = await _submit(bank, asked)
    return _replay(asked.row, posted.row) if posted.replayed else posted


async def _submit(bank: Bank, item: _Asked) -> Posted:
    """What is there under the row's id now, whoever put it there."""
    item.pieces = entries.pieces_of(item.row, item.hold)
    return cast("Posted", await _group_of(bank).submit(item))


def _group_of(bank: Bank) -> GroupCommit[_Asked | _Counting, Posted | None]:
    async def flush(items: list[_Asked | _Counting]) -> Sequence[Posted | None | Exception]:
        return await _flush(bank, items)

    return bank.services.groups.get(f"book:{bank.id}", flush, limit=128)


def _replay(row: Doc, found: Doc) -> Posted:
    """The answer that this key has had before."""
    if found["body"] == row["body"]:
        return Posted(found, replayed=True)
    if row["kind"] in (CONFIRM, CANCEL):
        ended = {CONFIRM: "confirmed", CANCEL: "cancelled", EXPIRE: "expired"}[found["kind"]]
        raise Conflict("hold_ended", f"this hold was {ended} already")
    raise KeyReused("idempotency_key_reused", "this key was used with another body")


async def _flush(
    bank: Bank, items: list[_Asked | _Counting]
) -> Sequence[Posted | None | Exception]:
    asked = [one for one in items if isinstance(one, _Asked)]
    first: dict[str, _Asked] = {}
    for one in asked:
        first.setdefault(one.row["_id"], one)
    counting = [one for one in items if isinstance(one, _Counting)]
    group = _Group(bank, secrets.token_hex(8), bank.utc(), list(first.values()), counting)
    await _write(group)
    present = await _present(group, [one for one in asked if first[one.row["_id"]] is not one])
    return [
        _answer(one, first[one.row["_id"]], present) if isinstance(one, _Asked) else None
        for one in items
    ]


def _answer(one: _Asked, first: _Asked, present: Mapping[str, Doc]) -> Posted | Exception | None:
    """Its own answer, or the row that is there; twins are answered as the first of them."""
    if one is first and isinstance(one.answer, Posted):
        return one.answer
    row = present.get(one.row["_id"])
    return first.answer if row is None else Posted(row, replayed=True)


async def _present(group: _Group, twins: Iterable[_Asked]) -> dict[str, Doc]:
    """The rows that stand under the ids of who has no row of his own."""
    without = [one for one in group.asked if not isinstance(one.answer, Posted)]
    wanted = {one.row["_id"] for one in (*without, *twins)}
    found = await group.bank.by_id(TRANSFERS, list(wanted)) if wanted else {}
    return {row_id: row for row_id, row in found.items() if row["kind"] != VOID}


async def _write(group: _Group) -> None:
    """Takes the leases and inserts the rows; each entry has its answer then, except that of a row
    that was there already."""
    bank = group.bank
    if group.asked:
        ids = [one.row["_id"] for one in group.asked]
        touched = sorted({account for one in group.asked for account in one.pieces})
        await accounts.begin(bank, group.batch, touched, group.now, row_ids=ids)
    await _lease(group)
    arrived = await _insert(group) if group.alive() else []
    if group.asked:
        bank.services.cache.of(_COUNTED)[group.batch] = {row["_id"] for row in arrived}
        bank.services.groups.spawn(_count(group, arrived))


async def _lease(group: _Group) -> None:
    """Takes every entry's leases, or refuses it; ends those that may end."""
    open_accounts = group.touched()
    for attempt in range(TRIES):
        if not open_accounts:
            return
        await _read(group, open_accounts, may_be_old=not attempt)
        before = {name: _state(group.rows[name]) for name in open_accounts}
        for name in open_accounts:
            _count_ended(group, group.rows[name])
        if not await _lease_all(group, open_accounts):
            continue
        changed = [
            group.rows[name] for name in open_accounts if _state(group.rows[name]) != before[name]
        ]
        lost = await accounts.write(group.bank, changed, group.batch)
        _keep(group, open_accounts, lost)
        open_accounts = lost
        if attempt and open_accounts:
            await asyncio.sleep(0.002 * secrets.randbelow(attempt + 1))
    for one in group.alive():
        if open_accounts & one.pieces.keys():
            one.answer = Unavailable("busy", "others change this account all the time")


async def _read(group: _Group, names: set[str], *, may_be_old: bool) -> None:
    """Reads these accounts, or takes them as this process wrote them last."""
    bank, rows = group.bank, group.bank.services.cache.of(_KEPT)
    found = {name: rows.get((bank.id, name), bank.now()) for name in names if may_be_old}
    kept = {name: row for name, row in found.items() if row is not None}
    for name in names:
        rows.discard((bank.id, name))
    group.kept = set(kept)
    group.rows |= kept | await accounts.read(bank, names - group.kept)


def _keep(group: _Group, names: set[str], lost: set[str]) -> None:
    """Keeps the accounts as they are now, but not what others change as well."""
    bank = group.bank
    kept, shared = bank.services.cache.of(_KEPT), bank.services.cache.of(_SHARED)
    now = bank.now()
    for name in names:
        key = (bank.id, name)
        if name in lost:
            shared.put(key, True, now + accounts.LEASE_SECONDS)
        elif shared.get(key, now) is None and "_id" in group.rows[name]:
            kept.put(key, group.rows[name], now + accounts.LEASE_SECONDS)


def _state(row: AccountRow) -> tuple[Any, ...]:
    """What shows whether an account was changed: leases are only ever added and ended whole."""
    return tuple((batch, len(one.get("pieces", ()))) for batch, one in row["leases"].items())


def _count_ended(group: _Group, row: AccountRow) -> None:
    """Counts what this process knows to have arrived."""
    counted = group.bank.services.cache.of(_COUNTED)
    for batch in [batch for batch in row["leases"] if batch in counted]:
        accounts.end(row, batch, counted[batch])


async def _lease_all(group: _Group, open_accounts: set[str]) -> bool:
    """Takes the leases on the accounts that are to be written, or refuses; False when an account
    must be read first."""
    for one in group.alive():
        mine = {name: piece for name, piece in one.pieces.items() if name in open_accounts}
        short = [name for name, piece in mine.items() if not _allows(group, one, name, piece)]
        if not group.kept.isdisjoint(short):
            return False
        await _lease_one(group, one, mine)
    return True


async def _lease_one(group: _Group, one: _Asked, mine: Mapping[str, Piece]) -> None:
    """Takes the entry's leases on these of its accounts, or refuses it."""
    for name, piece in mine.items():
        row = group.rows[name]
        if accounts.is_shut_out(row, group.batch):
            one.answer = Unavailable("posting_unknown", "try again with the same key")
            return
        if not _allows(group, one, name, piece):
            await _look(group, row)
        if not _allows(group, one, name, piece):
            one.answer = _refusal(row, piece)
            return
    for name, piece in mine.items():
        piece["lots"] = _lots(group, one, group.rows[name], piece)
        accounts.lease(group.rows[name], group.batch, group.now, piece)


def _allows(group: _Group, one: _Asked, name: str, piece: Piece) -> bool:
    row = group.rows[name]
    if row["posted"] + max(0, piece["posted"]) > MOST_AMOUNT:
        return False
    expired = bool(one.row.get("of_expired"))
    return not piece["take"] or piece["take"] <= accounts.available(row, group.now, expired=expired)


def _refusal(row: AccountRow, piece: Piece) -> YinqiaoError:
    if row["posted"] + max(0, piece["posted"]) > MOST_AMOUNT:
        return Conflict("balance_exceeded", "an account cannot hold so much")
    if row["leases"]:
        problem = "what others are taking at this moment may come back; try again"
        return Unavailable("balance_in_doubt", problem, retry_after=2)
    return Conflict("insufficient", "there is not enough on the account")


async def _look(group: _Group, row: AccountRow) -> None:
    """Counts the leases of other processes whose rows are all in."""
    for batch in [batch for batch in row["leases"] if batch != group.batch]:
        wanted = accounts.leased_ids(row, batch)
        found = await group.bank.by_id(TRANSFERS, wanted)
        arrived = {row_id for row_id, one in found.items() if one.get("batch") == batch}
        arrived = {row_id for row_id in arrived if found[row_id]["kind"] != VOID}
        if len(arrived) == len(wanted) and "each" not in row["leases"][batch]:
            accounts.end(row, batch, arrived)


def _lots(group: _Group, one: _Asked, row: AccountRow, piece: Piece) -> list[LotChange]:
    """The account's lots that the transfer takes and gives; the row says them too."""
    name = row["account"]
    if not kind_of(name).lots:
        return []
    given = [lot for lot in one.row.get("lots", ()) if lot["account"] == name and lot["n"] > 0]
    changes: list[LotChange]
    if one.hold is not None and piece["held"]:
        changes = _held_lots(one.hold, name, -piece["posted"])
    elif piece["take"]:
        changes = accounts.pick(
            row, piece["take"], group.now, expired=bool(one.row.get("of_expired"))
        )
        if one.row["kind"] == HOLD:
            changes = [{**change, "left": 0, "aside": 0} for change in changes]
    else:
        changes = [_gift(lot["expires"], lot["n"]) for lot in given]
    missing = piece["posted"] - sum(change["left"] for change in changes)
    if missing > 0:
        changes.append(_gift(one.row.get("lot_expires"), missing))
    others = [lot for lot in one.row.get("lots", ()) if lot["account"] != name]
    one.row["lots"] = [*others, *entries.lots_row(name, changes)]
    return changes


def _gift(expires: datetime | None, n: int) -> LotChange:
    return {"expires": expires, "take": 0, "left": n, "aside": 0}


def _held_lots(held: Doc, account: str, used: int) -> list[LotChange]:
    """What becomes of the lots that a hold set aside, when `used` of it is posted."""
    changes: list[LotChange] = []
    for lot in held.get("lots", ()):
        if lot["account"] == account:
            n = min(used, -lot["n"])
            used -= n
            changes.append({"expires": lot["expires"], "take": 0, "left": -n, "aside": lot["n"]})
    return changes


async def _insert(group: _Group) -> list[Doc]:
    """Inserts the rows of the entries that have their leases; those that are there now."""
    asked = group.alive()
    for one in asked:
        one.row |= {"batch": group.batch, "at": group.now}
    rows = [one.row for one in asked]
    refused = await group.bank.services.store.insert_new_across(TRANSFERS, rows)
    disputed = [rows[position] for position in sorted(refused)]
    await _overwrite_old_voids(group, disputed)
    found = await group.bank.by_id(TRANSFERS, [row["_id"] for row in disputed])
    arrived: list[Doc] = []
    for position, one in enumerate(asked):
        row = found.get(one.row["_id"]) if position in refused else one.row
        if row is None or row["kind"] == VOID:
            one.answer = Unavailable("posting_unknown", "try again with the same key")
        elif row["batch"] == group.batch:
            one.answer = Posted(row, replayed=False)
            arrived.append(row)
        else:
            one.answer = Unavailable("posting_unknown", "try again with the same key")
    return arrived


async def _overwrite_old_voids(group: _Group, rows: Sequence[Doc]) -> None:
    """Puts the rows in the place of voids, but not of those that say that our batch is dead."""
    changes: list[tuple[Doc, Doc]] = []
    for row in rows:
        fields = {name: value for name, value in row.items() if name != "_id"}
        old_void = {"_id": row["_id"], "kind": VOID, "dead": {"$ne": group.batch}}
        changes.append((old_void, {"$set": fields, "$unset": {"dead": ""}}))
    await group.bank.db[TRANSFERS].bulk_update(changes)


async def _count(group: _Group, arrived: Sequence[Doc]) -> None:
    """Behind the answers: writes the lines, ends the leases, strikes the batch out."""
    bank, batch = group.bank, group.batch
    touched = frozenset(account for one in group.asked for account in one.pieces)
    try:
        await follow(bank, batch, arrived)
        if touched:
            await _end_leases(bank, _Counting(batch, touched))
        await accounts.finish(bank, batch)
    except Unavailable:
        log.warning("a batch is left to the sweep", extra={"fields": {"tenant": bank.id}})
    finally:
        bank.services.cache.of(_COUNTED).pop(batch, None)


async def _end_leases(bank: Bank, counting: _Counting) -> None:
    """Together with what is posted at the same moment, or alone where nothing more is taken."""

    try:
        await _group_of(bank).submit(counting)
    except Unavailable:
        await _flush(bank, [counting])


async def follow(bank: Bank, batch: str, rows: Sequence[Doc]) -> None:
    """What follows from a batch's transfers: the accounts' lines, and the waiting rows of its holds.
    Repeating it adds nothing."""
    await lines.write(bank, batch, rows)
    holds = [_waiting(row) for row in rows if row["kind"] == HOLD]
    await bank.db[HOLDS].insert_new(cast("list[Doc]", holds))


def _waiting(row: Doc) -> HoldRow:
    due = row["expires"].timestamp()
    return {"_id": row["_id"], "open": True, "due": due, "owner": None, "attempts": 0}


__all__ = ["Entry", "Leg", "Posted", "cancel", "confirm", "expire", "hold", "post", "refund"]
__all__ += ["refunds_of", "transfer_id"]
