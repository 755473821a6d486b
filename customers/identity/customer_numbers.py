"""The bank's customer number: one number leads to one customer, and a customer has one number.

The bank says which number belongs to whom, by file (`manage.py customers link`). A number that
belongs to somebody else, or a customer who has another number, changes nothing: it becomes a
question for a clerk.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from customers.banks.bank import Bank
from customers.identity import review_tasks
from customers.identity.collections import CUSTOMERS, IDENTITIES
from customers.identity.rows import (
    NUMBER,
    Origin,
    id_row,
    number_index,
    phone_index,
    root,
    row_id,
    seal,
    unmerged,
)
from services import ids
from services.errors import Conflict, InvalidInput, NotFound
from services.store.mongo import Doc

LINKED, ALREADY, UNKNOWN, CONFLICT, INVALID = "linked", "already", "unknown", "conflict", "invalid"
OUTCOMES = (LINKED, ALREADY, UNKNOWN, CONFLICT, INVALID)
COLUMNS = ("phone", "external_userid", "unionid", "cid")
_NUMBER = re.compile(r"[A-Za-z0-9-]{4,32}")


@dataclass(frozen=True, slots=True)
class Line:
    """What became of one line of a file: `line` from 1 (the heading is line 1), an outcome, and
    why."""

    line: int
    outcome: str
    why: str = ""


async def link(bank: Bank, number: str, cid: str, *, source: str, proof: str) -> str:
    """Says that `number` is the bank's number of the customer: LINKED, ALREADY, or CONFLICT, which
    became a question.

    Raises NotFound for an unknown customer, InvalidInput for what is no number. Safe to repeat and
    to race.
    """
    if not _NUMBER.fullmatch(number):
        raise InvalidInput(
            "number_invalid",
            "4 to 32 letters, digits and hyphens",
            fields={"number": "not a number"},
        )
    origin, index = Origin(source, proof), number_index(bank, number)
    person = await root(bank, cid)
    if person.get("number_index") not in (None, index):
        return await _ask(bank, "number_other", [person["_id"]], number, origin)
    doc_id = row_id(bank, NUMBER, number)
    made = id_row(bank, NUMBER, number, person["_id"], origin, _anchor(person))
    new = await bank.insert(IDENTITIES, made)
    if not new:
        held = (await bank.read(IDENTITIES, [doc_id]))[doc_id]
        holder = await root(bank, held["cid"])
        if holder["_id"] != person["_id"]:
            return await _ask(bank, "number_taken", [person["_id"], holder["_id"]], number, origin)
        if person.get("number_index") == index:
            return ALREADY
    if await _write(bank, person["_id"], number, doc_id):
        return LINKED
    await bank.db[IDENTITIES].delete({"_id": doc_id, "cid": person["_id"], "moves": 0})
    return await _ask(bank, "number_other", [person["_id"]], number, origin)


def _anchor(person: Doc) -> str:
    return next(iter(person.get("ids", [])), "")


async def _write(bank: Bank, cid: str, number: str, doc_id: str, *, instead: bool = False) -> bool:
    """Writes the number into the customer's row, if he has no other."""
    index = number_index(bank, number)
    free = {} if instead else {"number_index": {"$in": [None, index]}}
    fields = {NUMBER: seal(bank, cid, NUMBER, number), "number_index": index}
    change = {"$set": fields, "$addToSet": {"ids": doc_id}}
    return await bank.db[CUSTOMERS].update({**unmerged(cid), **free}, change)


async def _ask(bank: Bank, kind: str, cids: Sequence[str], number: str, origin: Origin) -> str:
    about = number_index(bank, number)
    await review_tasks.ask(
        bank,
        kind,
        cids,
        source=origin.source,
        proof=origin.proof,
        about=about,
        sealed=number,
    )
    return CONFLICT


async def move(bank: Bank, number: str, cid: str, origin: Origin) -> None:
    """Gives the number to the customer, whoever had it, in place of any other that he had; safe to
    repeat."""
    db = bank.db
    person = await root(bank, cid)
    doc_id, index = row_id(bank, NUMBER, number), number_index(bank, number)
    gone = {"$unset": {NUMBER: "", "number_index": ""}, "$pull": {"ids": {"$in": [doc_id]}}}
    held = await db[IDENTITIES].find_one({"_id": doc_id})
    if held is not None:
        holder = await root(bank, held["cid"])
        if holder["_id"] != person["_id"]:
            await db[CUSTOMERS].update({"_id": holder["_id"], "number_index": index}, gone)
    if person.get("number_index") not in (None, index):
        await db[IDENTITIES].delete({"cid": person["_id"], "_id": await _own_row(bank, person)})
    made = id_row(bank, NUMBER, number, person["_id"], origin, _anchor(person))
    fields = {name: value for name, value in made.items() if name not in ("_id", "tenant", "moves")}
    await db[IDENTITIES].update(
        {"_id": doc_id}, {"$set": fields, "$inc": {"moves": 1}}, upsert=True
    )
    if not await _write(bank, person["_id"], number, doc_id, instead=True):
        raise Conflict("question_decided", "the customer was merged in this moment; agree again")


async def _own_row(bank: Bank, person: Doc) -> str:
    number = bank.vault.open_text(CUSTOMERS, NUMBER, person["_id"], person[NUMBER])
    return row_id(bank, NUMBER, number)


async def link_file(bank: Bank, text: str, actor: str) -> list[Line]:
    """Links every line of a CSV file (UTF-8, with a heading: `number` and at least one of COLUMNS);
    what became of each.

    Raises InvalidInput when the heading is wrong; nothing is linked then. Audited with the file's
    hash and the counts.
    """
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
    heading = [name.strip() for name in reader.fieldnames or []]
    if "number" not in heading or not {*heading} & {*COLUMNS}:
        raise InvalidInput(
            "numbers_file", f"the heading needs number and one of {', '.join(COLUMNS)}"
        )
    reader.fieldnames = heading
    digest = ids.fingerprint(text.encode())
    lines = []
    for row in reader:
        values = {name: (row.get(name) or "").strip() for name in ("number", *COLUMNS)}
        lines.append(
            await _line(bank, reader.line_num, values, f"file:{digest[:12]}:{reader.line_num}")
        )
    counts = {
        outcome: sum(line.outcome == outcome for line in lines)
        for outcome in (LINKED, ALREADY, UNKNOWN, CONFLICT, INVALID)
    }
    await bank.audit(actor, "numbers.linked", digest, **counts)
    return lines


def count(lines: Sequence[Line]) -> dict[str, int]:
    """How many lines had each outcome."""
    return {outcome: sum(line.outcome == outcome for line in lines) for outcome in OUTCOMES}


async def _line(bank: Bank, number: int, values: dict[str, str], proof: str) -> Line:
    try:
        found = await _find(bank, values)
        if len(found) != 1:
            return Line(number, CONFLICT, "several customers") if found else Line(number, UNKNOWN)
        outcome = await link(bank, values["number"], found.pop(), source="bank", proof=proof)
    except InvalidInput as error:
        return Line(number, INVALID, error.message)
    return Line(number, outcome, "a question for a clerk" if outcome == CONFLICT else "")


async def _find(bank: Bank, values: dict[str, str]) -> set[str]:
    """The customers whom all the given columns may mean."""
    found: list[set[str]] = []
    for kind in ("external_userid", "unionid"):
        if values[kind]:
            rows = await bank.read(IDENTITIES, [row_id(bank, kind, values[kind])])
            found.append({row["cid"] for row in rows.values()})
    if values["phone"]:
        wanted = {"phone_index": phone_index(bank, values["phone"])}
        rows_ = await bank.db[CUSTOMERS].find(wanted, fields={"_id": 1}, limit=10)
        found.append({row["_id"] for row in rows_})
    if values["cid"]:
        found.append({values["cid"]})
    roots = [await _roots(bank, cids) for cids in found]
    return set.intersection(*roots) if roots else set()


async def _roots(bank: Bank, cids: set[str]) -> set[str]:
    try:
        return {(await root(bank, cid))["_id"] for cid in cids}
    except NotFound:
        return set()
