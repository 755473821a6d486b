"""How many customers meet a rule, counted in the mirror of this host: where there is one, and it is
fresh.

A count holds up nobody: it is made in a thread, one at a time.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from heapq import merge
from itertools import islice

import numpy as np

from customers.banks.bank import Bank
from customers.columnar.arrays import Damaged
from customers.columnar.block import Block
from customers.columnar.folder import Folder, State
from customers.profiles.vocabulary import offset_of
from customers.rules.columns import Mask
from customers.rules.days import number_of
from customers.rules.masks import mask
from customers.rules.tree import MEMBERS, Tree
from services.aside import aside
from services.cache import Slot

FRESH_SECONDS = 60.0
"""An older mirror is not asked."""
OPEN_SECONDS = 60.0
"""So long at most are its blocks held open."""
TRIES = 5
log = logging.getLogger("yinqiao.columnar")
_FOLDERS: Slot[dict[str, Folder]] = Slot("columnar.folders", dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """How many meet a rule, at which branches their RMs are (`` without any), the first cids, and how
    many seconds old this is."""

    count: int
    by_branch: Mapping[str, int]
    sample: list[str]
    age_seconds: float


def folder_of(bank: Bank) -> Folder:
    """The bank's folder of the mirror on this host."""
    return Folder(bank.services.settings.mirror_dir / bank.id, bank.id, offset_of(bank))


async def age(bank: Bank) -> float | None:
    """So many seconds ago the mirror on this host was right, or will be, where a clock was set back;
    None where there is none that can be read."""
    return await asyncio.to_thread(_age, bank)


def _age(bank: Bank) -> float | None:
    folder = folder_of(bank)
    try:
        state = folder.read()
        return None if state is None else abs(bank.now() - folder.right_at(state))
    except (Damaged, OSError):
        return None


async def count(bank: Bank, tree: Tree, sample: int) -> Answer | None:
    """Those who meet the rule today; None where the mirror cannot be asked: there is none here, it
    is too old, or damaged, and then it is made anew by who keeps it."""
    folders = bank.services.cache.of(_FOLDERS)
    folder = folders.get(bank.id)
    if folder is None:
        folder = folders[bank.id] = folder_of(bank)
        asyncio.get_running_loop().call_later(OPEN_SECONDS, folders.pop, bank.id)
    return await aside(bank.services, lambda: _count(bank, folder, tree, sample))


def _count(bank: Bank, folder: Folder, tree: Tree, sample: int) -> Answer | None:
    for _ in range(TRIES):
        try:
            state = folder.read()
            age = math.inf if state is None else bank.now() - folder.right_at(state)
            if state is None or abs(age) > FRESH_SECONDS:  # a clock may have been set back
                return None
            return _answer(bank, folder, state, tree, sample, max(0.0, age))
        except FileNotFoundError:  # the mirror went on
            continue
        except Damaged as error:
            log.warning("the mirror is damaged: %s", error, extra={"fields": {"tenant": bank.id}})
            folder.drop()
            return None
    return None


def _answer(
    bank: Bank, folder: Folder, state: State, tree: Tree, sample: int, age: float
) -> Answer:
    today, found = number_of(bank.today()), 0
    branches, first = Counter[str](), list[str]()
    for part in state.parts:
        block = folder.block(part)
        met = mask(tree, block, today) & part.live
        here = np.flatnonzero(met)
        found += len(here)
        branches.update(_branches(block, met))
        first = list(islice(merge(first, block.hex_at(here[:sample])), sample))
    return Answer(found, _ordered(branches), [f"{bank.id}:{one}" for one in first], age)


def _ordered(branches: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(branches.items(), key=lambda one: (-one[1], one[0])))


def _branches(block: Block, met: Mask) -> dict[str, int]:
    values, places = block.lists(MEMBERS["branch"])
    without = met.copy()
    found = {}
    for value, at in zip(values, places, strict=True):
        found[value] = int(np.count_nonzero(met[at]))
        without[at] = False
    found[""] = found.get("", 0) + int(np.count_nonzero(without))
    return {value: n for value, n in found.items() if n}
