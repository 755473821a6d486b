"""Whether the columnar mirror of this host says what the database says."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from customers.banks.bank import Bank
from customers.columnar import block, keeping, reading
from customers.columnar.block import Block
from customers.columnar.folder import Folder, Part
from customers.profiles.vocabulary import offset_of
from customers.rules.days import number_of
from customers.rules.filters import to_filter
from customers.rules.tree import Constant, Tree
from operations import profiling
from services.errors import Unavailable

SAMPLE = 50
"""So many customers of each block are compared value by value."""
SETTLE_SECONDS = 3.0
"""So long after a difference was found is looked again: it may have been on its way."""
EVERYBODY = Constant(text="", column=1, value=True)


@dataclass(frozen=True)
class Step:
    """How far the comparing is, and what differs, as sentences."""

    done: int
    of: int
    told: Sequence[str]


async def compare(bank: Bank) -> AsyncIterator[Step]:
    """Compares how many customers there are, how many meet each segment's rule, and some customers of
    each block value by value. Raises Unavailable `mirror_stale` when there is no mirror to ask."""
    trees: dict[str, Tree] = {"all customers": EVERYBODY, **(await profiling.judge(bank)).trees}
    folder = reading.folder_of(bank)
    state = await _asked(bank, folder)
    of = len(trees) + len(state)
    for done, (name, tree) in enumerate(trees.items(), 1):
        yield Step(done, of, await _counts(bank, name, tree))
    for done, part in enumerate(state, len(trees) + 1):
        yield Step(done, of, await _values(bank, folder, part))


async def _asked(bank: Bank, folder: Folder) -> Sequence[Part]:
    if await reading.count(bank, EVERYBODY, 0) is None:
        raise Unavailable("mirror_stale", "this host has no mirror that is up to the database")
    state = folder.read()
    return () if state is None else state.parts


async def _counts(bank: Bank, name: str, tree: Tree) -> list[str]:
    mine, its = await _both(bank, tree)
    if mine != its:
        await asyncio.sleep(SETTLE_SECONDS)
        mine, its = await _both(bank, tree)
    return [] if mine == its else [f"{name}: {mine:,} in the mirror, {its:,} in the database"]


async def _both(bank: Bank, tree: Tree) -> tuple[int, int]:
    found = await reading.count(bank, tree, 0)
    if found is None:
        raise Unavailable("mirror_stale", "this host has no mirror that is up to the database")
    wanted = to_filter(tree, number_of(bank.today()))
    return found.count, await keeping.count_in_database(bank, wanted)


async def _values(bank: Bank, folder: Folder, part: Part) -> list[str]:
    """Some of a block's customers, beside a block of them that is made now."""
    try:
        mine = _some(bank, folder.block(part), part)
    except FileNotFoundError:  # it was put in order meanwhile
        return []
    its = await _fresh(bank, list(mine))
    unlike = [cid for cid in mine if mine[cid] != its.get(cid)]
    gone = await _gone(folder, part, unlike) if unlike else set()
    return [_told(cid, mine[cid], its.get(cid, {})) for cid in unlike if cid not in gone]


def _some(bank: Bank, kept: Block, part: Part) -> dict[str, dict[str, Any]]:
    live = np.flatnonzero(part.live).tolist()
    some = sorted(random.sample(live, min(SAMPLE, len(live))))
    cids = [f"{bank.id}:{one}" for one in kept.hex_at(np.array(some))]
    return dict(zip(cids, kept.values_at(some), strict=True))


def _told(cid: str, mine: Mapping[str, Any], its: Mapping[str, Any]) -> str:
    unlike = sorted(name for name in {*mine, *its} if mine.get(name) != its.get(name))
    return f"{cid}: {', '.join(unlike) or 'no such customer'}"


async def _fresh(bank: Bank, cids: Sequence[str]) -> dict[str, dict[str, Any]]:
    builder = await keeping.built(bank, cids)
    if not len(builder):
        return {}
    with TemporaryDirectory() as aside:
        file = Path(aside) / "block"
        block.write(file, bank.id, builder)
        made = Block(file, bank.id, offset_of(bank))
        names = [f"{bank.id}:{one}" for one in made.hex_at(np.arange(made.size))]
        return dict(zip(names, made.values_at(range(made.size)), strict=True))


async def _gone(folder: Folder, part: Part, cids: Sequence[str]) -> set[str]:
    """Who of them does not count in that block any more, a moment later."""
    await asyncio.sleep(SETTLE_SECONDS)
    state = folder.read()
    now = next((one for one in state.parts if one.name == part.name), None) if state else None
    if now is None:
        return set(cids)
    return {cid for cid in cids if not keeping.counts(folder, now, cid)}
