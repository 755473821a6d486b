"""Code pools, files for them, and rewards that draw from them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from typing import Any

from customers.banks.bank import Bank
from rewards.item import Item
from rewards.pools import importing, keeping, taking
from rewards.pools.rows import Pool, Upload
from services.container import Services
from services.documents.parts import Text
from services.store import leases
from services.store.mongo import Doc
from tests.integration.rewards import world

POOL = "coffee"
CODED = Item(kind="code_pool", title=Text(zh="咖啡券"), cost=100, pool=POOL)


def code(n: int, prefix: str = "KOPI") -> str:
    return f"{prefix}{n:06d}"


def file(count: int, first: int = 0, prefix: str = "KOPI") -> bytes:
    return "\n".join(["code", *(code(n, prefix) for n in range(first, first + count))]).encode()


async def make(bank: Bank, pool: str = POOL, low: int = 0) -> Pool:
    return await keeping.create(bank, "lin", pool, {"zh": "咖啡"}, supplier="咖啡公司", low=low)


async def send(bank: Bank, data: bytes, pool: str = POOL, *, skip: bool = False) -> tuple[Upload, bool]:
    received = importing.receive(bank, "codes.csv")
    for at in range(0, len(data), 300_000):
        await received.write(data[at : at + 300_000])
    return await importing.start(bank, "lin", pool, received, skip=skip)


async def work(bank: Bank, upload: Upload) -> Upload:
    """One worker's try at the upload."""
    rows = bank.db["code_uploads"]
    owner, taken = await leases.claim(
        rows, bank.now(), limit=1, seconds=importing.LEASE_SECONDS, query={"_id": upload["_id"]}
    )
    for row in taken:
        await importing.work(bank, owner, row)  # type: ignore[arg-type]
    return await importing.find(bank, upload["upload"])


async def bring(bank: Bank, data: bytes, pool: str = POOL, *, skip: bool = False) -> Upload:
    """Sends a file, and has it imported."""
    upload, _ = await send(bank, data, pool, skip=skip)
    return await work(bank, upload)


async def put(services: Services, stock: int, **changes: Any) -> None:
    """The reward of `world`, whose codes come from the pool."""
    await world.put(services, stock, item=CODED, **changes)


async def grants(bank: Bank) -> list[Doc]:
    return await bank.db["transfers"].find({"kind": "grant"}, limit=None)


async def counts(bank: Bank, pool: str = POOL) -> dict[str, int]:
    row = await taking.find(bank, pool)
    names = ("imported", "left", "held", "granted", "expired", "recalled")
    return {name: row[name] for name in names}  # type: ignore[literal-required]


def counted(imported: int, left: int, **others: int) -> dict[str, int]:
    none = {"held": 0, "granted": 0, "expired": 0, "recalled": 0}
    return {"imported": imported, "left": left, **none, **others}


_MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"


def _relation(number: int, kind: str, target: str) -> str:
    return f'<Relationship Id="rId{number}" Type="{_OFFICE}/{kind}" Target="{target}"/>'


def _relations(*each: str) -> str:
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{"".join(each)}</Relationships>'


def _override(part: str, kind: str) -> str:
    return f'<Override PartName="/xl/{part}" ContentType="{_TYPE}.{kind}+xml"/>'


_PARTS = {
    "[Content_Types].xml": (
        f'<Types xmlns="{_PACKAGE}/content-types"><Default Extension="xml" ContentType="application/xml"/>'
        f'<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f"{_override('workbook.xml', 'sheet.main')}{_override('worksheets/sheet1.xml', 'worksheet')}"
        f"{_override('styles.xml', 'styles')}</Types>"
    ),
    "_rels/.rels": _relations(_relation(1, "officeDocument", "xl/workbook.xml")),
    "xl/workbook.xml": (
        f'<workbook {_MAIN} xmlns:r="{_OFFICE}"><sheets><sheet name="S" sheetId="1" r:id="rId1"/></sheets></workbook>'
    ),
    "xl/_rels/workbook.xml.rels": _relations(
        _relation(1, "worksheet", "worksheets/sheet1.xml"), _relation(2, "styles", "styles.xml")
    ),
    "xl/styles.xml": f'<styleSheet {_MAIN}><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs></styleSheet>',
}


def sheet(rows: Sequence[Sequence[str | int | float]], *, days: Sequence[int] = (), place: str = "") -> bytes:
    """A spreadsheet: texts as texts, numbers as numbers, those in the columns `days` (from 0) as
    days; `place`: where the last cell is, if not where it belongs."""
    lines = []
    for number, row in enumerate(rows, 1):
        cells = []
        for at, one in enumerate(row):
            where = f"{chr(65 + at)}{number}"
            if place and number == len(rows) and at == len(row) - 1:
                where = place
            if isinstance(one, str):
                cells.append(f'<c r="{where}" t="inlineStr"><is><t>{one}</t></is></c>')
            else:
                style = ' s="1"' if at in days else ""
                cells.append(f'<c r="{where}"{style}><v>{one}</v></c>')
        lines.append(f'<row r="{number}">{"".join(cells)}</row>')
    body = f"<worksheet {_MAIN}><sheetData>{''.join(lines)}</sheetData></worksheet>"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as parts:
        for name, text in {**_PARTS, "xl/worksheets/sheet1.xml": body}.items():
            parts.writestr(name, f'<?xml version="1.0"?>{text}')
    return out.getvalue()
