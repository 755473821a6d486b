"""The shipper's answer: a file with the tracking number of each order, taken line by line. The same
file twice is harmless, and one that was cut short is taken up by sending it again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from customers.actors import ClerkActor
from customers.banks.bank import Bank
from rewards.shipping import rows, shipments
from rewards.shipping.rows import EXPORTED, OUT, SHIPPED, Shipment
from services import sheets
from services.errors import Conflict, InvalidInput, NotFound
from services.store.mongo import Duplicate

COLUMNS: Mapping[str, Sequence[str]] = {
    "order": ("订单号", "订单编号", "订单号order", "order_no"),
    "carrier": ("快递公司", "承运商", "物流公司", "express"),
    "number": ("运单号", "快递单号", "物流单号", "单号", "tracking", "tracking_number"),
}
MOST_LINES = 5_000
_NUMBER = re.compile(r"[A-Za-z0-9-]{5,40}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Problem:
    """A line that was not taken: its number in the file, the order as far as it reads, and the
    reason's code."""

    line: int
    order: str
    code: str


@dataclass(slots=True)
class Report:
    """What became of a file: parcels that are shipped by it, those that were so already, and the
    lines that were not taken."""

    shipped: int = 0
    already: int = 0
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Line:
    line: int
    order: str
    carrier: str
    number: str


async def take(bank: Bank, actor: ClerkActor, batch_id: str, text: str) -> Report:
    """Takes the numbers of one batch. Raises NotFound `shipping_unknown`, Conflict
    `shipping_not_out`, InvalidInput `numbers_unreadable` for a file without the columns."""
    batch = await rows.batch(bank, batch_id)
    if batch is None:
        raise NotFound("shipping_unknown", "no such batch")
    if batch["state"] != OUT:
        raise Conflict("shipping_not_out", "another clerk has not agreed to this batch")
    report = Report()
    lines = _read(text, report)
    known = await _known(bank, lines)
    done: list[str] = []
    async with bank.audited(actor.login, "shipping.numbers", batch_id) as act:
        for line in lines:
            row = known.get(line.order)
            code = _refused(line, row, batch_id)
            if code == "" and row is not None:
                code = await _ship(bank, row, line)
                done.append(row["_id"])
            _count(report, line, code)
        act.data |= {
            "shipped": report.shipped,
            "already": report.already,
            "refused": len(report.problems),
        }
        act.done = bool(report.shipped or report.problems)
    for row in (await rows.of_ids(bank, done)).values():
        await shipments.tell(bank, row)
    report.problems.sort(key=lambda one: one.line)
    return report


def _count(report: Report, line: _Line, code: str) -> None:
    if code == "":
        report.shipped += 1
    elif code == "already":
        report.already += 1
    else:
        report.problems.append(Problem(line.line, line.order, code))


def _read(text: str, report: Report) -> list[_Line]:
    """The lines that can be used; the others are in the report."""
    table = sheets.table(text, COLUMNS)
    if not {"order", "number"} <= set(table.columns):
        raise InvalidInput("numbers_unreadable", "the heading must name the order and the number")
    if len(table.rows) > MOST_LINES:
        raise InvalidInput("numbers_unreadable", f"at most {MOST_LINES} lines at once")
    orders: set[str] = set()
    parcels: set[tuple[str, str]] = set()
    lines: list[_Line] = []
    for row in table.rows:
        line, code = _line(row)
        if code == "" and line.order in orders:
            code = "number_order_twice"
        elif code == "" and (line.carrier, line.number) in parcels:
            code = "number_twice"
        if code:
            report.problems.append(Problem(line.line, line.order, code))
            continue
        orders.add(line.order)
        parcels.add((line.carrier, line.number))
        lines.append(line)
    return lines


def _line(row: sheets.Row) -> tuple[_Line, str]:
    order = sheets.cell(row.cells.get("order", "")).upper()[:40]
    carrier = sheets.cell(row.cells.get("carrier", ""))[:40]
    if row.problem:
        return _Line(row.line, order, carrier, ""), "number_line"
    try:
        number = sheets.digits(row.cells.get("number", "")).upper()
    except InvalidInput as error:
        return _Line(row.line, order, carrier, ""), error.code
    line = _Line(row.line, order, carrier, number)
    if not order:
        return line, "number_order_missing"
    if not number:
        return line, "number_missing"
    return line, "" if _NUMBER.fullmatch(number) else "number_wrong"


async def _known(bank: Bank, lines: Sequence[_Line]) -> dict[str, Shipment]:
    found: dict[str, Shipment] = {}
    orders = [line.order for line in lines]
    for start in range(0, len(orders), 500):
        wanted = {"order": {"$in": orders[start : start + 500]}}
        found |= {row["order"]: row for row in await rows.shipments(bank, wanted)}
    return found


def _refused(line: _Line, row: Shipment | None, batch_id: str) -> str:
    """Why a line is not taken, `already` when it was taken before, or nothing."""
    if row is None:
        return "number_order_unknown"
    if row["batch"] != batch_id:
        return "number_other_batch"
    if row["state"] != EXPORTED:
        same = (row.get("carrier", ""), row.get("number", "")) == (line.carrier, line.number)
        if same:
            return "already"
        return "number_shipped" if row.get("number") else "number_state"
    return ""


async def _ship(bank: Bank, row: Shipment, line: _Line) -> str:
    """Ships it, by one write; why not, or nothing."""
    parcel = f"{line.carrier}|{line.number}"
    fields = {"carrier": line.carrier, "number": line.number, "parcel": parcel}
    change = shipments.step(bank, SHIPPED, **fields, shipped_at=bank.utc())
    try:
        if await rows.change(bank, row["_id"], [EXPORTED], change, batch=row["batch"]):
            return ""
    except Duplicate:
        return "number_taken"
    now = await rows.find(bank, row["_id"])
    return _refused(line, now, row["batch"]) or "number_state"
