"""The bank's customer number: one number leads to one customer, and a customer has one number.

The bank says which number belongs to whom, by file (`manage.py customers link`). A number that
belongs to somebody else, or a customer who has another number, changes nothing: it becomes a
question for a clerk.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from customers.banks.bank import Bank
from customers.identity import awaited, review_tasks
from customers.identity.facts import NUMBER, Origin
from customers.identity.rows import (
    CUSTOMERS,
    IDENTITIES,
    CustomerRow,
    cids_with_phone,
    read_identities,
    root,
    unmerged,
)
from customers.identity.sealing import (
    identity_id,
    identity_row,
    number_index,
    open_customer,
    phone_index,
    sealed_fields,
)
from services import ids, phones, sheets
from services.errors import Conflict, InvalidInput, NotFound
from services.store.mongo import Doc

LINKED, ALREADY, UNKNOWN, CONFLICT, INVALID = "linked", "already", "unknown", "conflict", "invalid"
OUTCOMES = (LINKED, ALREADY, UNKNOWN, CONFLICT, INVALID)
COLUMNS = ("phone", "external_userid", "unionid", "cid")
HEADINGS = {
    NUMBER: (
        "客户号",
        "客户编号",
        "客户号码",
        "客户代码",
        "核心客户号",
        "customernumber",
        "customer_number",
    ),
    "phone": (
        "手机号",
        "手机号码",
        "手机",
        "电话",
        "电话号码",
        "联系电话",
        "联系方式",
        "mobile",
        "tel",
    ),
    "external_userid": ("外部联系人id", "外部联系人"),
    "unionid": (),
    "cid": (),
}
"""What the heading of a file may call each column, besides its own name."""
MOST_WITH_PHONE = 10
AT_ONCE = 1_000
"""After so many lines of a file it is said how far it is."""
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
    _check(number)
    origin = Origin(source, proof)
    customer = await root(bank, cid)
    if _has_another(bank, customer, number):
        return await _ask(bank, "number_other", [customer["_id"]], number, origin)
    row = _number_row(bank, number, customer, origin)
    if not await bank.insert(IDENTITIES, row):
        holder = await _holder(bank, row["_id"])
        if holder != customer["_id"]:
            return await _ask(bank, "number_taken", [customer["_id"], holder], number, origin)
        if customer.get("number_index"):
            return ALREADY
    if await _write(bank, customer["_id"], number):
        return LINKED
    unmoved = {"_id": row["_id"], "cid": customer["_id"], "moves": 0}
    await bank.db[IDENTITIES].delete(unmoved)
    return await _ask(bank, "number_other", [customer["_id"]], number, origin)


async def _holder(bank: Bank, row_id: str) -> str:
    """Whose the number is now."""
    held = (await read_identities(bank, [row_id]))[row_id]
    return (await root(bank, held["cid"]))["_id"]


def _check(number: str) -> None:
    if not _NUMBER.fullmatch(number):
        rule = "4 to 32 letters, digits and hyphens"
        raise InvalidInput("number_invalid", rule, fields={"number": "not a number"})


def _has_another(bank: Bank, customer: CustomerRow, number: str) -> bool:
    return customer.get("number_index") not in (None, number_index(bank, number))


def _number_row(bank: Bank, number: str, customer: CustomerRow, origin: Origin) -> Doc:
    """The row of the number as an id of the customer, in company of his first id."""
    by = next(iter(customer.get("ids", [])), "")
    return cast("Doc", identity_row(bank, NUMBER, number, customer["_id"], origin, by))


async def _write(bank: Bank, cid: str, number: str, *, instead: bool = False) -> bool:
    """Writes the number into the customer's row, if he has no other, or `instead` of any other."""
    free = {} if instead else {"number_index": {"$in": [None, number_index(bank, number)]}}
    change = {
        "$set": sealed_fields(bank, cid, {NUMBER: number}),
        "$addToSet": {"ids": identity_id(bank, NUMBER, number)},
    }
    written = await bank.db[CUSTOMERS].update({**unmerged(cid), **free}, change)
    if written:
        awaited.known(bank, [identity_id(bank, NUMBER, number)])
    return written


async def _ask(bank: Bank, kind: str, cids: Sequence[str], number: str, origin: Origin) -> str:
    about = number_index(bank, number)
    await review_tasks.ask(bank, kind, cids, origin, about=about, sealed=number)
    return CONFLICT


async def move(bank: Bank, number: str, cid: str, origin: Origin) -> None:
    """Gives the number to the customer, whoever had it, in place of any other that he had; safe to
    repeat."""
    customer = await root(bank, cid)
    row = _number_row(bank, number, customer, origin)
    await _take_away(bank, row["_id"], number, customer["_id"])
    if _has_another(bank, customer, number):
        his = identity_id(bank, NUMBER, open_customer(bank, customer).number)
        await bank.db[IDENTITIES].delete({"cid": customer["_id"], "_id": his})
    fields = {name: value for name, value in row.items() if name not in ("_id", "tenant", "moves")}
    change = {"$set": fields, "$inc": {"moves": 1}}
    await bank.db[IDENTITIES].update({"_id": row["_id"]}, change, upsert=True)
    if not await _write(bank, customer["_id"], number, instead=True):
        raise Conflict("question_decided", "the customer was merged in this moment; agree again")


async def _take_away(bank: Bank, row_id: str, number: str, to: str) -> None:
    """Takes the number from whoever has it and is not `to`."""
    held = await bank.db[IDENTITIES].find_one({"_id": row_id})
    holder = await root(bank, held["cid"]) if held else None
    if holder is None or holder["_id"] == to:
        return
    has = {"_id": holder["_id"], "number_index": number_index(bank, number)}
    gone = {"$unset": {NUMBER: "", "number_index": ""}, "$pull": {"ids": {"$in": [row_id]}}}
    await bank.db[CUSTOMERS].update(has, gone)


async def link_file(
    bank: Bank, text: str, actor: str, progress: Callable[[int, int], None] | None = None
) -> list[Line]:
    """Links every line of a CSV file (with a heading: `number` and at least one of COLUMNS, or what
    HEADINGS calls them); what became of each. A line that cannot be read costs no other line.
    `progress` is told every AT_ONCE lines how many are done, and of how many.

    Raises InvalidInput when the heading is wrong; nothing is linked then. Audited with the file's
    hash and the counts.
    """
    digest = ids.fingerprint(text.encode())
    table = sheets.table(text, HEADINGS)
    if NUMBER not in table.columns or not {*table.columns} & {*COLUMNS}:
        needs = f"the heading needs number (客户号) and one of {', '.join(COLUMNS)} (手机号)"
        raise InvalidInput("numbers_file", needs)
    proof = f"file:{digest[:12]}"
    async with bank.audited(actor, "numbers.linked", digest) as act:
        lines: list[Line] = []
        for done, row in enumerate(table.rows, 1):
            lines.append(await _link_line(bank, row, f"{proof}:{row.line}"))
            if progress is not None and done % AT_ONCE == 0:
                progress(done, len(table.rows))
        act.data.update(count(lines))
    return lines


def count(lines: Sequence[Line]) -> dict[str, int]:
    """How many lines had each outcome."""
    return {outcome: sum(line.outcome == outcome for line in lines) for outcome in OUTCOMES}


async def _link_line(bank: Bank, row: sheets.Row, proof: str) -> Line:
    try:
        if row.problem:
            raise InvalidInput("numbers_file", row.problem)
        number = sheets.digits(row.cells.get(NUMBER, ""))
        _check(number)
        found = await _find(bank, row.cells)
        if len(found) != 1:
            return _nobody(row.line, found)
        outcome = await link(bank, number, found.pop(), source="bank", proof=proof)
    except InvalidInput as error:
        return Line(row.line, INVALID, error.message)
    return Line(row.line, outcome, "a question for a clerk" if outcome == CONFLICT else "")


def _nobody(line: int, found: set[str]) -> Line:
    return Line(line, CONFLICT, "several customers") if found else Line(line, UNKNOWN)


async def _find(bank: Bank, cells: Mapping[str, str]) -> set[str]:
    """The customers whom all the given columns may mean; raises InvalidInput for a phone that is
    none, or a line that names nobody."""
    values = {name: sheets.cell(cells.get(name, "")) for name in COLUMNS}
    if not any(values.values()):
        raise InvalidInput("numbers_file", f"names nobody: fill in one of {', '.join(COLUMNS)}")
    found: list[set[str]] = []
    for kind in ("external_userid", "unionid"):
        if values[kind]:
            rows = await read_identities(bank, [identity_id(bank, kind, values[kind])])
            found.append({row["cid"] for row in rows.values()})
    if values["phone"]:
        index = phone_index(bank, phones.read(cells["phone"], bank.region))
        found.append({*await cids_with_phone(bank, index, MOST_WITH_PHONE)})
    if values["cid"]:
        found.append({values["cid"]})
    roots = [await _roots(bank, cids) for cids in found]
    return set.intersection(*roots) if roots else set()


async def _roots(bank: Bank, cids: set[str]) -> set[str]:
    try:
        return {(await root(bank, cid))["_id"] for cid in cids}
    except NotFound:
        return set()
