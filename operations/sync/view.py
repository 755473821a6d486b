"""How a sync goes, for the console and the command line: progress, errors, and what the last
comparisons found."""

from __future__ import annotations

from typing import Any

from customers.banks.bank import Bank
from customers.identity.resolution import mask_id
from customers.wecom_mirror.rows import SYNC_DIFFERENCES, SYNC_ERRORS
from operations.sync import run
from operations.sync.rows import SYNCS
from services.store.mongo import Doc

MOST_ERRORS = 200
MOST_DIFFERENCES = 200


async def progress(bank: Bank) -> dict[str, Any] | None:
    """The newest sync with a line for each of its parts; None when there never was one. `rate` is
    objects a second."""
    row = await run.latest(bank)
    if row is None:
        return None
    now = bank.now()
    names = ("number", "kind", "by", "mend", "state", "reason", "started", "finished", "open")
    before = await _before(bank, row["number"])
    lines = [_line(row, name, before.get(name), now) for name in row["plan"]]
    expected, done = sum(line["share"] for line in lines), len(lines)
    return {
        **{name: row[name] for name in names},
        "part": row["part"],
        "parts": lines,
        "share": expected / done,
    }


async def _before(bank: Bank, number: int) -> dict[str, int]:
    """How many objects each part had when it was last walked to its end: what may be expected of
    this one."""
    found: dict[str, int] = {}
    rows = bank.db[SYNCS]
    for row in await rows.find({"number": {"$lt": number}}, sort=[("number", -1)], limit=5):
        for name, counts in row["counts"].items():
            if counts["finished"] and not counts.get("left_out"):
                found.setdefault(name, counts["done"])
    return found


def _line(row: Doc, name: str, before: int | None, now: float) -> dict[str, Any]:
    counts = row["counts"].get(name)
    if counts is None:
        nothing = {"done": 0, "new": 0, "changed": 0, "gone": 0, "errors": 0, "rate": 0.0}
        state = (
            "running"
            if row["open"] and row["part"] == name
            else "waiting"
            if row["open"]
            else "cancelled"
        )
        return {"name": name, "state": state, "total": before, "share": 0.0, **nothing}
    total = counts["total"] if counts["total"] is not None else before
    if counts.get("left_out"):
        state, share = "left_out", 1.0
    elif counts["finished"]:
        state, share = "done", 1.0
    else:
        state = "running" if row["open"] else "cancelled"
        share = min(0.99, counts["done"] / total) if total else 0.0
    seconds = (counts["finished"] or row["finished"] or now) - counts["started"]
    told = {each: counts[each] for each in ("done", "new", "changed", "gone", "errors")}
    rate = counts["done"] / seconds if seconds > 0 else 0.0
    return {"name": name, "state": state, "total": total, "share": share, "rate": rate, **told}


async def errors(bank: Bank) -> list[dict[str, Any]]:
    """What could not be brought in, newest first; customers' ids masked."""
    rows = await bank.db[SYNC_ERRORS].find({}, sort=[("last", -1)], limit=MOST_ERRORS)
    return [
        {
            "id": row["_id"].split(":", 1)[1],
            "part": row["part"],
            "object": _shown(bank, "sync_errors", row, private=row["private"]),
            **{name: row[name] for name in ("code", "attempts", "last")},
        }
        for row in rows
    ]


async def differences(bank: Bank) -> tuple[int | None, list[dict[str, Any]]]:
    """The number of the newest comparison, and what it found."""
    db = bank.db
    rows = await db[SYNCS].find({}, sort=[("number", -1)], limit=run.KEPT_SYNCS)
    number = next((row["number"] for row in rows if row["kind"] == run.NIGHTLY), None)
    if number is None:
        return None, []
    found = await db[SYNC_DIFFERENCES].find({"number": number}, limit=MOST_DIFFERENCES)
    return number, [
        {
            "object": _shown(bank, "sync_differences", row, private=bool(row["private"])),
            **{name: row[name] for name in ("part", "kind", "about", "cid", "mended")},
        }
        for row in found
    ]


def _shown(bank: Bank, collection: str, row: Doc, *, private: bool) -> str:
    text = bank.vault.open_text(collection, "object", row["_id"], row["object"])
    return mask_id(text) if private else text
