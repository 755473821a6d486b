"""The pools' proof: every imported code is in one place, counted from the rows (promise P1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import cast

from customers.banks.bank import Bank
from rewards.pools import spans
from rewards.pools.rows import CODE_LOTS, CODE_POOLS, Pool, Span
from rewards.rows import CODED, TRANSFERS

CHECKS = 3
"""How often pools that change while they are checked are looked at again."""


async def check(bank: Bank) -> list[str]:
    """Every code that is nowhere or in two places, as sentences; an empty list when all is well.
    Takes a byte of memory for each code."""
    problems: list[str] = []
    for _ in range(CHECKS):
        before = await _pools(bank)
        given = await _given(bank)
        in_pools = {"number": {"$exists": True}}
        lots = await bank.db[CODE_LOTS].find(in_pools, limit=None)
        sizes = {str(row["lot"]): int(row["n"]) for row in lots}
        problems = [one for row in before for one in _prove(row, given, sizes)]
        if not problems or before == await _pools(bank):
            break
    return problems


async def _pools(bank: Bank) -> list[Pool]:
    rows = await bank.db[CODE_POOLS].find({}, sort=[("pool", 1)], limit=None)
    return cast("list[Pool]", rows)


Given = dict[str, list[tuple[str, int, str]]]
"""Pool → (lot, number, batch) of every grant, and of what was made good, that has a code of it."""


async def _given(bank: Bank) -> Given:
    given: Given = {}
    grants = {**CODED, "code": {"$exists": True}}
    async for row in bank.db[TRANSFERS].scan(grants, {"code": 1, "batch": 1}):
        code = row["code"]
        given.setdefault(code["pool"], []).append((code["lot"], code["n"], row["batch"]))
    return given


def _prove(row: Pool, given: Given, sizes: dict[str, int]) -> Iterator[str]:
    pool, mine = row["pool"], given.get(row["pool"], [])
    counts = {
        "left": row["left"],
        "held": row["held"],
        "granted": row["granted"],
        "expired": row["expired"],
        "recalled": row["recalled"],
    }
    if row["imported"] != sum(counts.values()):
        yield f"pool {pool}: imported {row['imported']} is not the sum of {counts}"
    settled = [(lot, number) for lot, number, batch in mine if batch not in row["leases"]]
    if len(settled) != row["granted"]:
        yield f"pool {pool}: {len(settled)} codes were given out, but granted is {row['granted']}"
    marks = {lot: bytearray(sizes.get(lot, 0)) for lot in row["lots"]}
    if sum(map(len, marks.values())) != row["imported"]:
        yield f"pool {pool}: imported {row['imported']}, but its uploads have other counts"
    for lot, number in chain(spans.numbers(_kept(row)), settled):
        marks[lot][number] += 1
    yield from (f"pool {pool}: {problem}" for problem in _misplaced(marks))


def _misplaced(marks: Mapping[str, bytearray]) -> Iterator[str]:
    """Codes that are not in one place; `marks` counts in how many each is."""
    for lot, each in marks.items():
        found = Counter(each)
        if found[0]:
            yield f"{found[0]} codes of upload {lot} are nowhere"
        if len(each) - found[0] - found[1]:
            yield f"{len(each) - found[0] - found[1]} codes of upload {lot} are in two places"


def _kept(row: Pool) -> Iterator[Span]:
    """Where the codes are that nobody was given."""
    yield from row["spans"]
    yield from row["gone"]
    for one in row["recalls"]:
        yield from one["spans"]
    for lease in row["leases"].values():
        yield from lease["spans"]
