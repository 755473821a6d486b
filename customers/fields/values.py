"""What customers' fields hold: written by the bank's systems, by files and by RMs, in any order.

Every value carries the time at which it was true; an older one never takes a newer one's place, it
only goes into the history. Of one time, the greater proof counts, so that any order of arrival ends
with the same values. What was told before under the same time and proof changes nothing.

A customer's values are the newest among his own rows and those of whoever was merged into him: a
merge moves nothing, and neither does its undoing, but for what was told since by an id that goes
back (parting.py).

What a write replaces goes into the history first, and then the row is written, if it still is as it
was read. Whoever is killed in between has told nothing false, and writes it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, cast

from customers import consent
from customers.banks.bank import Bank
from customers.fields.checks import canonical, check, is_findable
from customers.fields.rows import (
    FIELD_HISTORY,
    FIELD_VALUES,
    FieldRow,
    HistoryRow,
    Told,
    erase,
    rows_of,
)
from customers.identity.rows import aliases_of
from services import ids
from services.errors import InvalidInput, Unavailable
from services.store.mongo import Doc

RM = "rm"
"""The source of what an RM writes."""
AHEAD_SECONDS = 300.0
"""So far may the time of a value lie before us."""
TRIES = 8


class Update(NamedTuple):
    """What somebody tells of a customer: `values` by field (None takes one back), true `at` (seconds
    UTC), said by `source` with a `proof`. `by` is the person, if it was one; `identity` the row of
    the id by which the customer was found."""

    cid: str
    values: Mapping[str, Any]
    at: float
    source: str
    proof: str
    by: str = ""
    identity: str = ""


class Answer(NamedTuple):
    """What became of an update: taken, or refused as a whole, with a code and the first field that
    it was refused for."""

    code: str = ""
    field: str = ""

    @property
    def taken(self) -> bool:
        return not self.code


TAKEN = Answer()


@dataclass(frozen=True, slots=True)
class Held:
    """A value as it is held, or was; `since` is when it was first told, `at` when last. None was
    taken back."""

    key: str
    value: Any
    at: float
    since: float
    source: str
    by: str


@dataclass
class Work:
    """A customer's row under work: as it is to be, the `rev` that was read (None: there was no
    row), whether it `changed`, what he holds by rows of those merged into him, and the lines that
    its history gets."""

    row: FieldRow
    was: int | None
    merged: list[FieldRow]
    changed: bool = False
    lines: list[HistoryRow] = field(default_factory=list)


class _Refused(Exception):
    def __init__(self, code: str, key: str) -> None:
        super().__init__(code)
        self.answer = Answer(code, key)


async def write_many(bank: Bank, updates: Sequence[Update]) -> list[Answer]:
    """Writes what each update tells, in the order given; an answer for each. A refused one changes
    nothing; the others are durable. Safe to repeat.

    Codes: `field_unknown`, `field_writer` (its source may not write it), `field_type`,
    `field_choice`, `field_time` (ahead of us), `field_move` (a choice may not change so),
    `consent_withdrawn` (the field is kept under a consent that he took back). Raises
    Unavailable `customer_busy` when others write the same customers all the time.
    """
    for _ in range(TRIES):
        known = await load(bank, dict.fromkeys(one.cid for one in updates))
        answers = [_take(bank, known[one.cid], one) for one in updates]
        if await write(bank, known.values()):
            return await _under_consent(bank, updates, answers)
    raise Unavailable("customer_busy", "these customers are being changed by too many at once")


async def _under_consent(
    bank: Bank, updates: Sequence[Update], answers: list[Answer]
) -> list[Answer]:
    """Lets go of what was written and is kept under a consent that was taken back: whoever withdraws
    meanwhile is seen here, after the write, or sees the write himself."""
    under = {key: one.consent for key, one in bank.fields.items() if one.consent}
    touched = {one.cid for one in updates if under.keys() & one.values.keys()}
    if not touched:
        return answers
    aliases = await aliases_of(bank, sorted(touched))
    families = {cid: [cid, *aliases.get(cid, [])] for cid in sorted(touched)}
    told = list(answers)
    for purpose in set(under.values()):
        keys = [key for key, one in under.items() if one == purpose]
        gone = await consent.withdrawn(bank, families, purpose)
        for cid in sorted(gone):
            await erase(bank, families[cid], keys)
        for place, one in enumerate(updates):
            key = next((key for key in keys if key in one.values), "")
            if one.cid in gone and key and told[place].taken:
                told[place] = Answer("consent_withdrawn", key)
    return told


def _take(bank: Bank, customer: Work, update: Update) -> Answer:
    """Changes the row in the hand, or nothing."""
    try:
        checked = _checked(bank, update)
        for key, value in checked.items():
            _check_move(bank, customer, key, value, update)
    except _Refused as refused:
        return refused.answer
    for key, value in checked.items():
        put(bank, customer, key, value, update)
    return TAKEN


def _checked(bank: Bank, update: Update) -> dict[str, Any]:
    writer = "rm" if update.source == RM else "bank"
    checked = {}
    for key, value in update.values.items():
        declared = bank.fields.get(key)
        if declared is None:
            raise _Refused("field_unknown", key)
        if writer not in declared.written_by:
            raise _Refused("field_writer", key)
        if update.at > bank.now() + AHEAD_SECONDS:
            raise _Refused("field_time", key)
        try:
            checked[key] = check(declared, value)
        except InvalidInput as error:
            raise _Refused(error.code, key) from error
    return checked


def _check_move(bank: Bank, customer: Work, key: str, value: Any, update: Update) -> None:
    """A choice with moves changes along them, as long as what is told is newer than what he has. One
    whose value was taken back, or is none any more, begins anew."""
    declared = bank.fields[key]
    if not declared.moves or value is None:
        return
    holder = _holder(customer, key)
    if holder is None or order(holder["provenance"][key]) >= (update.at, update.proof):
        return
    before = value_in(bank, holder, key)
    if before == value or before not in declared.values:
        return
    if value not in declared.moves.get(before, []):
        raise _Refused("field_move", key)


def _holder(customer: Work, key: str) -> FieldRow | None:
    """The row with the newest word on a field, among his own and those merged into him."""
    told = [row for row in (customer.row, *customer.merged) if key in row["provenance"]]
    return max(told, key=lambda row: order(row["provenance"][key]), default=None)


def order(told: Told | HistoryRow) -> tuple[float, str]:
    """What decides which of two values is the newer."""
    return told["at"], told["proof"]


def put(bank: Bank, customer: Work, key: str, value: Any, update: Update) -> None:
    """Writes one value into the row in the hand, or into its history when it is older."""
    row, now = customer.row, (update.at, update.proof)
    known = row["provenance"].get(key)
    same = known is not None and value_in(bank, row, key) == value
    if known is not None and order(known) >= now:
        if order(known) != now and not same:
            _put_late(bank, customer, key, value, update)
        return
    if known is not None and not same:
        customer.lines.append(_line(bank, row["_id"], key, value_in(bank, row, key), known))
    hold(bank, row, key, value)
    row["provenance"][key] = _told(
        update, known["since"] if known is not None and same else update.at
    )
    customer.changed = True


def _put_late(bank: Bank, customer: Work, key: str, value: Any, update: Update) -> None:
    """Another value was true in between: the present one began anew after it."""
    row = customer.row
    known = row["provenance"][key]
    customer.lines.append(_line(bank, row["_id"], key, value, _told(update, update.at)))
    if known["since"] <= update.at and known["since"] < known["at"]:
        began: Told = {**known, "at": known["since"]}
        customer.lines.append(_line(bank, row["_id"], key, value_in(bank, row, key), began))
        row["provenance"][key] = {**known, "since": known["at"]}
        customer.changed = True


def _told(update: Update, since: float) -> Told:
    told: Told = {
        "at": update.at,
        "since": since,
        "source": update.source,
        "proof": update.proof,
    }
    if update.by:
        told["by"] = update.by
    if update.identity:
        told["identity"] = update.identity
    return told


def _line(bank: Bank, cid: str, key: str, value: Any, told: Told) -> HistoryRow:
    """The history's row of one value."""
    row_id = ids.tenant_id(bank.id, "field", cid, key, told["since"], told["proof"])
    line = cast("HistoryRow", {"_id": row_id, "cid": cid, "key": key, **told})
    if value is None:
        return line
    if bank.fields[key].sealed:
        line["sealed"] = bank.vault.seal_json(FIELD_HISTORY, "sealed", row_id, value)
    else:
        line["value"] = value
    return line


def blind_index(bank: Bank, key: str, value: Any) -> str:
    """What a sealed field's value is compared by."""
    return bank.vault.blind(f"fields.{key}", canonical(value))


def value_in(bank: Bank, row: FieldRow, key: str) -> Any:
    """What a row holds for a field, opened; None for nothing."""
    if key in row["sealed"]:
        place = (FIELD_VALUES, f"sealed.{key}", row["_id"])
        return bank.vault.open_json(*place, row["sealed"][key])
    return row["values"].get(key)


def hold(bank: Bank, row: FieldRow, key: str, value: Any) -> None:
    """The row in the hand holds this value from now on; None for nothing."""
    for part in (row["values"], row["sealed"], row["blind"]):
        part.pop(key, None)
    if value is None:
        return
    declared = bank.fields[key]
    if not declared.sealed:
        row["values"][key] = value
        return
    place = (FIELD_VALUES, f"sealed.{key}", row["_id"])
    row["sealed"][key] = bank.vault.seal_json(*place, value)
    if is_findable(declared):
        row["blind"][key] = blind_index(bank, key, value)


async def load(bank: Bank, wanted: Iterable[str]) -> dict[str, Work]:
    """The customers' rows for work, by the cids that were asked for."""
    asked = list(wanted)
    known, aliases = await asyncio.gather(rows_of(bank, asked), aliases_of(bank, asked))
    merged = [one for every in aliases.values() for one in every]
    known |= await rows_of(bank, merged) if merged else {}
    return {
        cid: Work(
            row=deepcopy(known[cid]) if cid in known else _empty(cid),
            was=known[cid]["rev"] if cid in known else None,
            merged=[known[one] for one in aliases.get(cid, []) if one in known],
        )
        for cid in asked
    }


def _empty(cid: str) -> FieldRow:
    return {"_id": cid, "rev": 0, "values": {}, "sealed": {}, "blind": {}, "provenance": {}}


async def write(bank: Bank, customers: Iterable[Work]) -> bool:
    """Writes the history's lines and then the rows; False when somebody else wrote one of them
    meanwhile, and all must be read again."""
    touched = [one for one in customers if one.changed or one.lines]
    lines = [cast("Doc", line) for one in touched for line in one.lines]
    await bank.db[FIELD_HISTORY].insert_new(lines)
    new: list[Doc] = []
    old: list[tuple[Doc, int]] = []
    for one in touched:
        if not one.changed:
            continue
        row = cast("Doc", {**one.row, "rev": one.row["rev"] + 1})
        if one.was is None:
            new.append(row)
        else:
            old.append((row, one.was))
    there, replaced = await asyncio.gather(
        bank.db[FIELD_VALUES].insert_new(new), bank.db[FIELD_VALUES].replace_each(old, "rev")
    )
    return not there and replaced == len(old)


async def read(bank: Bank, families: Mapping[str, Sequence[str]]) -> dict[str, list[Held]]:
    """What customers hold now, by cid; `families` are the ids of each, his own and those merged into
    him. Values of fields that are not declared any more are left out."""
    every = [one for cids in families.values() for one in cids]
    known = await rows_of(bank, every)
    return {
        cid: _held(bank, [known[one] for one in cids if one in known])
        for cid, cids in families.items()
    }


def newest(bank: Bank, rows: Sequence[FieldRow]) -> dict[str, FieldRow]:
    """The row with the newest word on each declared field, by key."""
    found: dict[str, FieldRow] = {}
    for row in rows:
        for key, told in row["provenance"].items():
            known = found.get(key)
            if key in bank.fields and (
                known is None or order(known["provenance"][key]) < order(told)
            ):
                found[key] = row
    return found


def _held(bank: Bank, rows: Sequence[FieldRow]) -> list[Held]:
    holders = newest(bank, rows)
    return [
        _as_held(key, value_in(bank, holders[key], key), holders[key]["provenance"][key])
        for key in bank.fields
        if key in holders
    ]


def _as_held(key: str, value: Any, told: Told | HistoryRow) -> Held:
    return Held(key, value, told["at"], told["since"], told["source"], told.get("by", ""))


async def history(bank: Bank, cids: Sequence[str], key: str) -> list[Held]:
    """What a field of the customer of these `cids` holds and held, newest first; a value that was
    told several times stands once."""
    rows = await rows_of(bank, cids)
    told: list[tuple[Told | HistoryRow, Any]] = [
        (row["provenance"][key], value_in(bank, row, key))
        for row in rows.values()
        if key in row["provenance"]
    ]
    asked = {"cid": {"$in": list(cids)}, "key": key}
    lines = cast("list[HistoryRow]", await bank.db[FIELD_HISTORY].find(asked, limit=None))
    told += [(line, value_of(bank, line)) for line in lines]
    found: list[Held] = []
    for one, value in sorted(told, key=lambda each: order(each[0])):
        if found and found[-1].value == value:
            since = min(found[-1].since, one["since"])
            found[-1] = replace(found[-1], at=one["at"], since=since)
        else:
            found.append(_as_held(key, value, one))
    return found[::-1]


def value_of(bank: Bank, line: HistoryRow) -> Any:
    """What a line of the history says, opened; None for nothing."""
    if "sealed" in line:
        return bank.vault.open_json(FIELD_HISTORY, "sealed", line["_id"], line["sealed"])
    return line.get("value")
